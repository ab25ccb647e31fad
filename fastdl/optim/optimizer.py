"""Optimizer: parameters laid out in one flat buffer, and steps over its contiguous runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.access import Access, Entries, busy
from fastdl._kernels.array import clear
from fastdl.casting import cast_into
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.instance import WithDictionary
from fastdl.messages import listed, shown
from fastdl.nn.parameter import Parameter
from fastdl.optim import torch_state
from fastdl.optim.groups import HINT, Fixed, Group
from fastdl.validation import as_array, real_number, true_or_false

_Self = TypeVar("_Self", bound="Optimizer")
# Each parameter starts on a cache line of the flat buffer; the elements between stay zero.
LINE = 64

SWITCHES = {"nesterov", "centered", "amsgrad", "maximize", "eps_inside_sqrt", "decoupled_weight_decay"}


class Run(NamedTuple):
    """A stretch of the flat buffers that one update covers."""

    data: NDArray[Any]
    grad: NDArray[Any]
    state: dict[str, NDArray[Any]]
    group: dict[str, Any]
    members: slice


class Optimizer(WithDictionary):
    """Change parameters by their gradients.

    Making one moves the parameters, in their order, into one flat buffer and their gradients into another; `Parameter.data`
    and `.grad` are views from then on. A step is one pass over the runs of parameters that share a group; parameters with
    `requires_grad=False` are left out.

    A subclass names its arrays in `state_names`, checks its options in `check_group` and defines
    `update(data, grad, state, group, step)`, which changes `data` in place, given flat arrays, the arrays of its state of
    the same length, the group's options, and the number of the step, from 1.

    `optimizer.param_groups[0]["lr"] = 0.1` sets an option of a group, which is checked as by the constructor and counts from the
    next step on. The groups, their parameters and the names of their options stay as they are.

    Args:
        params: parameters, or dictionaries with an entry "params" and options of that group's own.
        defaults: the options that groups do not set.

    Raises:
        TypeError: if params holds anything but Parameters.
        ValueError: if it is empty, a parameter stands twice, or dtypes differ.

    Example:
        >>> from fastdl import nn
        >>> class SignSGD(Optimizer):
        ...     def __init__(self, params, lr=0.01):
        ...         super().__init__(params, {"lr": lr})
        ...     def update(self, data, grad, state, group, step):
        ...         data -= group["lr"] * np.sign(grad)
        >>> layer = nn.Linear(2, 1, weight_init=nn.init.zeros())
        >>> optimizer = SignSGD(layer.parameters(), lr=0.5)
        >>> layer.weight.grad = [[3.0, -2.0]]
        >>> optimizer.step()
        >>> layer.weight.data
        array([[-0.5,  0.5]], dtype=float32)
    """

    # The name that native programs know the step by; none for a step in Python.
    native: ClassVar[str] = ""
    state_names: ClassVar[tuple[str, ...]] = ()
    # Options that are the class itself, whatever a loaded state says.
    fixed_options: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, params: Iterable[Parameter] | Iterable[Mapping[str, Any]], defaults: Mapping[str, Any]) -> None:
        self.defaults = dict(defaults)
        if isinstance(params, (Parameter, Mapping)):
            raise InvalidTypeError(
                self._name(), "an iterable of parameters", f"one {type(params).__name__}", "write [it]"
            )
        try:
            iterator = iter(params)
        except TypeError:
            raise InvalidTypeError(
                self._name(), "parameters such as model.parameters()", type(params).__name__
            ) from None
        given = list(iterator)
        groups = given if given and all(isinstance(each, Mapping) for each in given) else [{"params": given}]
        made = [Group(self, self._new_group(group)) for group in groups]  # pyright: ignore[reportArgumentType]
        self.param_groups: list[dict[str, Any]] = Fixed(made)
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        if not parameters:
            raise InvalidValueError(self._name(), "at least one parameter", "none")
        if len({id(parameter) for parameter in parameters}) < len(parameters):
            raise InvalidValueError(self._name(), "each parameter once", "one in two places")
        self._parameters: list[Parameter] = parameters
        self._steps = [0] * len(parameters)
        self._state: dict[str, NDArray[Any]] = {}
        self._offsets: list[int] = []
        self._runs: list[Run] = []
        self._lay_out()

    def __setattr__(self, name: str, value: Any) -> None:
        own = vars(self)
        if name == "param_groups" and name in own:
            raise InvalidTypeError(self._name(), "its groups of parameters to stay", "others", HINT)
        if name in own.get("defaults", ()) and type(self).__module__.startswith("fastdl."):
            hint = f"write optimizer.param_groups[0]['{name}'] = {shown(value)}"
            raise InvalidTypeError(self._name(), f"{name} to be set in a group of parameters", "an attribute", hint)
        super().__setattr__(name, value)

    def _new_group(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """A group with every option, checked."""
        unknown = [name for name in group if name != "params" and name not in self.defaults]
        if unknown:
            raise InvalidValueError(self._name(), f"options {', '.join(self.defaults)}", shown(unknown[0]))
        if "params" not in group:
            raise InvalidValueError(self._name(), "an entry 'params' in each group", listed(group))
        given = group["params"]
        if not isinstance(given, (Parameter, Iterable)):
            raise InvalidTypeError(self._name(), "parameters for 'params' of a group", type(given).__name__)
        members = [given] if isinstance(given, Parameter) else list(given)
        for parameter in members:
            if not isinstance(parameter, Parameter):
                raise InvalidTypeError(
                    self._name(), "Parameters such as model.parameters() gives", type(parameter).__name__
                )
        full = {**self.defaults, **group, "params": members}
        self.check_group(full)
        return full

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise TypeError or ValueError for options that cannot be used; a subclass checks its own and calls this."""
        if "lr" in group:
            real_number(group["lr"], "lr", self._name(), low=0.0)
        for name in SWITCHES & group.keys():
            true_or_false(group[name], name, self._name())
        for name, value in self.fixed_options.items():
            if group[name] != value:
                raise InvalidValueError(
                    self._name(), f"{name}={shown(value)}", shown(group[name]), "write another optimizer"
                )

    def _name(self) -> str:
        return type(self).__name__

    # The flat buffers: every parameter and gradient in order, each on a cache line of its own; the state beside them.

    def _lay_out(self) -> None:
        """Move parameters, gradients and state into flat buffers of the parameters' dtype."""
        # Turns to step, and to move.
        self._stepping = Access(writes=self._parameters, reads_gradients=self._parameters)
        # The turns of steps alone, by which parameters count their versions, and since which runs and number of refits they do.
        self._step_turn = Access(writes=self._parameters, reads_gradients=self._parameters)
        self._counted: list[Run] | None = None
        self._refits: int | None = None
        self._moving = Access(writes=self._parameters, writes_gradients=self._parameters)
        with self._moving:
            self._lay_out_buffers()

    def _lay_out_buffers(self) -> None:
        dtypes = {parameter.dtype for parameter in self._parameters}
        if len(dtypes) > 1:
            raise InvalidValueError(self._name(), "parameters of one dtype", " and ".join(sorted(map(str, dtypes))))
        dtype = self._parameters[0].dtype
        each = LINE // dtype.itemsize
        sizes = [-(-parameter.size // each) * each for parameter in self._parameters]
        offsets = [0, *np.cumsum(sizes).tolist()]
        self._data, self._grad = aligned_zeros(offsets[-1], dtype), aligned_zeros(offsets[-1], dtype)
        state = {name: aligned_zeros(offsets[-1], dtype) for name in self.state_names}
        for number, (parameter, start) in enumerate(zip(self._parameters, offsets, strict=False)):
            stop = start + parameter.size
            for name, before in self._state.items():
                state[name][start:stop] = before[self._offsets[number] :][: parameter.size]
            if parameter._forgotten:
                parameter.zero_grad()
            self._data[start:stop] = parameter._data.reshape(-1)
            self._grad[start:stop] = parameter._grad.reshape(-1)
            parameter.move_to(
                self._data[start:stop].reshape(parameter.shape), self._grad[start:stop].reshape(parameter.shape)
            )
        self._offsets, self._state = offsets, state
        self._homes = [(parameter._data, parameter._grad) for parameter in self._parameters]
        self._seen = -1

    def _active_state(self, groups: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
        """The state arrays that some group needs; the others stay zeros that no step touches."""
        return self.state_names

    def _look_again(self) -> None:
        """Take back parameters that have moved (astype, another optimizer's buffer), and find the runs to step over."""
        if any(
            parameter._data is not data or parameter._grad is not grad
            for parameter, (data, grad) in zip(self._parameters, self._homes, strict=True)
        ):
            self._lay_out()
            self._runs = []
        changes, runs = Parameter.changes, self._make_runs()
        # The same ones stay: a change may be that of another model, in another thread.
        if [(run.members, id(run.group)) for run in runs] != [(run.members, id(run.group)) for run in self._runs]:
            self._runs = runs
        self._seen = changes

    def _make_runs(self) -> list[Run]:
        runs: list[Run] = []
        place = 0
        for group in self.param_groups:
            start = None
            for parameter in [*group["params"], None]:
                fits = parameter is not None and parameter.requires_grad
                if start is not None and not (fits and self._steps[place] == self._steps[start]):
                    runs.append(self._make_run(start, place, group))
                    start = None
                if fits and start is None:
                    start = place
                place += parameter is not None
        return runs

    def _make_run(self, start: int, stop: int, group: dict[str, Any]) -> Run:
        flat = slice(self._offsets[start], self._offsets[stop])
        state = {name: array[flat] for name, array in self._state.items()}
        return Run(self._data[flat], self._grad[flat], state, group, slice(start, stop))

    def _current_runs(self) -> list[Run]:
        """The runs to step over."""
        if self._seen != Parameter.changes:
            self._look_again()
        return self._runs

    def zero_grad(self) -> None:
        """Set every gradient to zeros, in one pass."""
        if self._seen != Parameter.changes:
            self._look_again()
        if busy():
            with self._moving:
                clear(self._grad)
        else:
            clear(self._grad)

    def forget_gradients(self) -> None:
        """Let every gradient count as zeros without clearing its memory, which saves a pass where a backward follows.

        `Parameter.grad` shows zeros from now on; an array taken from it before does not.
        """
        if self._seen != Parameter.changes:
            self._look_again()
        for parameter in self._parameters:
            parameter._forgotten = True

    def step(self) -> None:
        """Change every trainable parameter by its gradient."""
        with self._step_turn:
            self._step()

    def _step(self) -> None:
        runs = self._current_runs()
        if self._counted is not runs or self._refits is not Parameter.refits:
            self._count_versions(runs)
        for parameter in self._parameters:
            if parameter._forgotten:
                parameter.zero_grad()
        for data, grad, state, group, members in runs:
            step = self._steps[members.start] + 1
            self.update(data, grad, state, group, step)
            self._steps[members] = [step] * (members.stop - members.start)

    def _count_versions(self, runs: list[Run]) -> None:
        """Let the versions of parameters that steps change grow with each of them, and only theirs."""
        stepped = {id(p) for run in runs for p in self._parameters[run.members]}
        for parameter in self._parameters:
            if id(parameter) in stepped:
                parameter._fitted_in(self._step_turn.entries)
            elif parameter._fit is self._step_turn.entries:
                parameter._fitted_in(Entries())
        self._counted, self._refits = runs, Parameter.refits

    def update(
        self, data: NDArray[Any], grad: NDArray[Any], state: dict[str, NDArray[Any]], group: dict[str, Any], step: int
    ) -> None:
        """Change data in place; defined by the subclass."""
        raise TypeError(f"{self._name()} has no update: define update(self, data, grad, state, group, step)")

    def _states(self, state: dict[str, Any], group: dict[str, Any]) -> tuple[NDArray[Any] | None, ...]:
        """The arrays of its state in the kernel's order; None for those that these options do not use."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the state, by parameter number, and the groups' options (torch's layout)."""
        state, names = {}, self._active_state(self.param_groups)
        with self._stepping:  # one whole state, also while a fit in another thread takes steps
            for number, (parameter, start) in enumerate(zip(self._parameters, self._offsets, strict=False)):
                entry: dict[str, Any] = {"step": self._steps[number]}
                for name in names:
                    entry[name] = self._state[name][start : start + parameter.size].reshape(parameter.shape).copy()
                state[number] = entry
        groups, first = [], 0
        for group in self.param_groups:
            count = len(group["params"])
            groups.append({**group, "params": list(range(first, first + count))})
            first += count
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what state_dict gave, here or in torch; the groups must have as many parameters, of the same shapes.

        As in torch, AdamW stays AdamW with the state of an Adam, and Adam takes decoupled_weight_decay over from that of
        an AdamW.

        Raises:
            TypeError: if it is no dictionary of that layout.
            ValueError: if something is missing or does not fit; nothing is changed in either case.
        """
        groups, state = self._checked_state(state_dict)
        with self._stepping:
            self._take_over(groups, state)

    def _take_over(self, groups: list[dict[str, Any]], state: list[Mapping[str, Any]]) -> None:
        for group, loaded in zip(self.param_groups, groups, strict=True):
            group.update(loaded)
        for number, entry in enumerate(state):
            start, parameter = self._offsets[number], self._parameters[number]
            self._steps[number] = entry["step"]
            for name, array in self._state.items():
                cast_into(array[start : start + parameter.size], np.asarray(entry.get(name, 0)).reshape(-1))
        self._seen = -1

    def _checked_state(self, state_dict: Any) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]]]:
        """The options and the entries by parameter of a state_dict that fits."""
        what = f"{self._name()}.load_state_dict"
        if not isinstance(state_dict, Mapping):
            raise InvalidTypeError(what, "a dictionary such as state_dict() gives", type(state_dict).__name__)
        if not {"state", "param_groups"} <= set(state_dict):
            raise InvalidValueError(what, "a dictionary with entries 'state' and 'param_groups'")
        state, given = state_dict["state"], state_dict["param_groups"]
        if not (
            isinstance(state, Mapping)
            and isinstance(given, (list, tuple))
            and all(isinstance(g, Mapping) for g in given)
        ):
            raise InvalidTypeError(what, "a dictionary for 'state' and a list of dictionaries for 'param_groups'")
        from_torch = torch_state.is_torchs(given, state)
        loaded = [torch_state.options(group) if from_torch else dict(group) for group in given]
        sizes = [len(group["params"]) for group in self.param_groups]
        found = [len(numbers) if isinstance(numbers := group.get("params"), (list, tuple)) else 0 for group in loaded]
        if found != sizes:
            raise InvalidValueError(what, f"groups of {shown(sizes)} parameters", shown(found))
        for group, own in zip(loaded, self.param_groups, strict=True):
            group |= {"params": own["params"], **self.fixed_options}
            unknown = [name for name in group if name not in own]
            if unknown:
                raise InvalidValueError(what, f"options {', '.join(self.defaults)}", shown(unknown[0]))
            if from_torch and (missing := torch_state.missing(group, own)):
                raise InvalidValueError(what, f"the state of torch's {self._name()}", f"one without {missing[0]}")
            self.check_group({**own, **group})
        names = self._active_state([{**own, **group} for own, group in zip(self.param_groups, loaded, strict=True)])
        entries = []
        for number, parameter in enumerate(self._parameters):
            entry = state.get(number)
            if from_torch:
                entry = torch_state.entry(entry, names, parameter)
            if not isinstance(entry, Mapping) or any(name not in entry for name in ("step", *names)):
                raise InvalidValueError(what, f"{', '.join(('step', *names))} for parameter {number}")
            step = np.asarray(entry["step"])
            if step.dtype.kind not in "iuf" or step.size != 1 or not 0 <= step.item() < 2**53 or step.item() % 1:
                raise InvalidValueError(what, f"a step count for parameter {number}", shown(entry["step"]))
            for name in names:
                array = as_array(entry[name], name, what)
                if array.shape != parameter.shape or array.dtype.kind not in "fiu":
                    raise InvalidValueError(
                        what,
                        f"numbers of shape {parameter.shape} for {name} of parameter {number}",
                        f"{array.dtype} {array.shape}",
                    )
            entries.append({"step": int(step.item()), **{name: entry[name] for name in names}})
        return loaded, entries

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the flat buffers, which are made anew around the parameters."""
        views = (
            "_data",
            "_grad",
            "_homes",
            "_runs",
            "_seen",
            "_stepping",
            "_moving",
            "_step_turn",
            "_counted",
            "_refits",
        )
        with self._stepping:  # one whole state, also while another thread takes steps or lays it out anew
            # In one go, for a signal handler may lay out anew, too.
            state = {name: value for name, value in dict(vars(self)).items() if name not in views}
            groups = [{**group, "params": list(group["params"])} for group in self.param_groups]
            arrays = {name: state["_state"][name].copy() for name in self._active_state(groups)}
            return {**state, "_state": arrays, "_steps": self._steps.copy(), "param_groups": groups}

    def __deepcopy__(self: _Self, memo: dict[int, Any]) -> _Self:
        """An optimizer of parameters of its own, all of one moment also while another thread changes them."""
        twin = memo[id(self)] = object.__new__(type(self))
        with self._stepping:
            twin.__setstate__(deepcopy(self.__getstate__(), memo))
        return twin

    def __setstate__(self, state: dict[str, Any]) -> None:
        groups = Fixed([Group(self, group) for group in state["param_groups"]])
        vars(self).update({**state, "param_groups": groups})
        self._runs = []
        self._lay_out()

    def __repr__(self) -> str:
        groups = []
        for group in self.param_groups:
            options = ", ".join(f"{name}={value!r}" for name, value in group.items() if name != "params")
            groups.append(f"{len(group['params'])} parameters, {options}")
        return f"{self._name()}({'; '.join(groups)})"


def aligned_zeros(size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A flat array of zeros that starts on a cache line."""
    raw = np.zeros(size * dtype.itemsize + LINE, dtype=np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + size * dtype.itemsize].view(dtype)
