"""Module: what every layer and container has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdl._kernels import layer_call
from fastdl._kernels.access import Access
from fastdl.casting import cast, cast_finite
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph.registered import describe_registered
from fastdl.graph.value import Value, apart, mode, traced_into, warn_of_constant, where
from fastdl.messages import listed, shown
from fastdl.nn.buffer import Buffer
from fastdl.nn.copying import Copying
from fastdl.nn.parameter import Parameter
from fastdl.nn.traced_operators import traced
from fastdl.nn.walk import entries, walked
from fastdl.validation import as_array, as_float_dtype

if TYPE_CHECKING:
    from fastdl.nn.summary import Summary

_Self = TypeVar("_Self", bound="Module")
# fastdl's own layers and containers by name, which a spec may hold; the package enters them.
LAYERS: dict[str, type[Module]] = {}


class IncompatibleKeys(NamedTuple):
    """What load_state_dict(strict=False) left out on either side."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module(Copying):
    """A function of arrays with parameters, and its gradient written out.

    A subclass defines `forward(x)` and `backward(grad_output)`, which returns the gradient of the loss with respect to x
    and adds those with respect to its parameters to their `grad`. Parameters, Modules and buffers assigned to attributes
    are found by looking through the instance; `super().__init__()` is not needed. Modules in lists and dictionaries are parts in
    `nn.ModuleList` and `nn.ModuleDict`; plain ones are refused when parameters are asked for.

    What forward stores in attributes for backward is kept by containers for each place a module stands in, so one instance
    may stand in several. Whole numbers that forward or backward changes are taken for counts, and go on.

    Example:
        >>> class Scale(Module):
        ...     def __init__(self):
        ...         self.factor = Parameter(np.full(1, 2.0))
        ...     def forward(self, x):
        ...         self.x = x
        ...         return self.factor.data * x
        ...     def backward(self, grad_output):
        ...         self.factor.grad += np.sum(grad_output * self.x)
        ...         return self.factor.data * grad_output
        >>> scale = Scale()
        >>> scale(np.array([3.0])), scale.backward(np.array([1.0])), scale.factor.grad
        (array([6.]), array([2.]), array([3.]))
        >>> list(scale.state_dict())
        ['factor']
    """

    training: bool = True
    # Whether the output always has the input's shape.
    _keeps_shape: bool = False
    # Whether forward stores in attributes what backward reads; else it returns it (Layer).
    _stateful: bool = True
    # What the attributes of all modules inside were found for, and these.
    _known: tuple[Any, list[dict[str, Any]]] | None = None
    # Whether a trace knows what it computes; a layer's, by its _plan or _apply.
    _has_trace: bool = True
    # How often arrays that it has registered were loaded.
    _loads: int = 0
    # Whether such a module is called itself: a list of modules is not.
    _is_called: bool = True

    def forward(self, x: Any) -> Any:
        """Return the output for input x; defined by the subclass."""
        raise TypeError(f"{type(self).__name__} has no forward: define forward(self, x)")

    def backward(self, grad_output: Any) -> Any:
        """Return the gradient with respect to the latest forward's input; defined by the subclass, or derived from forward alone.

        A derived one takes a gradient for each output, in a tuple or dictionary as forward returns them, and gives one for each
        input; of inputs by place and by name, all by name.
        """
        if self._forward_only:
            from fastdl.nn.forward_only import backward

            return backward(self, grad_output)
        raise TypeError(f"{type(self).__name__} has no backward: define backward(self, grad_output)")

    def backward_parameters(self, grad_output: Any) -> None:
        """Do what backward does to the parameters' gradients; the input's gradient need not be computed.

        A model's input has no use for its gradient in training, and the first layer's often costs most.
        """
        self.backward(grad_output)

    # Whether the class defines forward alone, which is traced then.
    _forward_only: bool = False
    # Assign False to run forward node by node, without a trace, for branches on values, prints and breakpoints.
    traced: bool = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = "_forward" not in dir(cls) and "_plan" not in dir(cls)
        cls._forward_only = own and cls.forward is not Module.forward and cls.backward is Module.backward
        if cls._forward_only and not cls.__module__.startswith("fastdl."):
            # Not with fastdl, and before a signal handler may call the model amid it, or a fork leave a child waiting for it.
            from importlib import import_module

            import fastdl.nn.forward_only  # noqa: F401

            import_module("fastdl.nn.functional")  # which is above this file

    __call__ = layer_call.module_call

    def _call_any(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """A call that is not like one of the latest."""
        if len(inputs) == 1 and type(inputs[0]) is not Value and not named and not self._forward_only:
            if mode.traces and (y := self._of_constant(inputs[0])) is not None:
                return y
            return self.forward(inputs[0])
        return self._call_traced(inputs, named)

    def _of_constant(self, x: Any) -> Any:
        """The output for an array amid traced code, where it depends on parameters or buffers that may change; else None."""
        graph = traced_into(self)
        if graph is None:
            warn_of_constant(self)
        if graph is None or type(x) is Value or next(self._entries(), None) is None:
            return None
        from fastdl.graph.operations import as_value

        return self._call_traced((as_value(graph, traced(x)),), {})

    def _call_traced(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """A call within a trace, or of a module that defines forward alone."""
        from fastdl.nn.forward_only import called

        return called(self, inputs, named)

    def _apply(self, *inputs: Any, **named: Any) -> Any:
        """The output for traced values; a layer adds its operation to their graph."""
        return self.forward(*inputs, **named)

    def vjp(self, *inputs: Any, **named: Any) -> tuple[Any, Callable[..., Any]]:
        """Return the output for the inputs, and a function for its gradients, the pullback.

        `pullback(grad_output)` returns the gradient with respect to the input (a tuple of them where there are several, a
        dictionary by the names of forward's arguments where some are given by name) of a loss whose gradient with respect to
        the output is grad_output: the product of grad_output and the Jacobian. It also adds to the parameters' `grad`,
        unless it is called with `parameters=False`.

        Pullbacks may be called in any order, also again, from any thread, as long as the parameters' values are those of
        the forward (see Parameter.version). They have nothing to do with `forward` and `backward`: what the latest forward
        left for backward stays. Inputs are not copied, so they must keep their values, too.

        The forward is that of the module's mode: in training, running statistics move and dropout drops. It is recorded
        also inside no_grad.

        Args:
            inputs, named: as for forward.

        Raises:
            RuntimeError: by the pullback, if a parameter's values have changed since.
            TypeError, ValueError: as forward and backward.

        Example:
            >>> from fastdl import nn
            >>> y, pullback = nn.Tanh().vjp(np.zeros(2))
            >>> pullback(np.array([1.0, 2.0])), pullback(np.array([0.5, 0.0]))
            (array([1., 2.]), array([0.5, 0. ]))

        Source: jax.vjp.
        """
        from fastdl.nn.vjp import vjp

        return vjp(self, inputs, named)

    def register_buffer(self, name: str, array: NDArray[Any]) -> None:
        """Make an array part of the state_dict without being trained (running statistics, for one)."""
        if not isinstance(name, str):
            raise InvalidTypeError("register_buffer", "an attribute name", shown(name))
        if not name.isidentifier():
            raise InvalidValueError("register_buffer", "an attribute name", shown(name))
        if not isinstance(array, np.ndarray):
            raise InvalidTypeError("register_buffer", "an array", type(array).__name__, argument=repr(name))
        describe_registered(type(self), name)
        setattr(self, name, array)
        if name not in self._buffer_names:
            self._buffer_names = (*self._buffer_names, name)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return copies of parameters and buffers under their dotted names (torch's entry names)."""
        with self._state() as arrays:
            return {name: array.copy() for name, array in arrays.items()}

    @contextmanager
    def _state(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Parameters and buffers themselves, as the state_dict names them; the model's calls change none in the block."""
        found = walked(self)
        parts = [part for _, part in entries(found) if not isinstance(part, np.ndarray)]
        with Access(reads=[*{id(each): each for each in (*parts, *(module for _, module in found))}.values()]):
            yield {name: _array_of(part) for name, part in entries(found)}

    def load_state_dict(self, state: Mapping[str, ArrayLike], strict: bool = True) -> IncompatibleKeys:
        """Copy values in by name.

        Args:
            state: arrays (or torch tensors) by entry name.
            strict: every entry must be there, and no other; False takes what fits by name.

        Raises:
            ValueError: if entries are missing, unexpected or of another shape; nothing is changed then.
            TypeError: if state is no mapping, or an entry is not numeric.
        """
        if not isinstance(state, Mapping):
            raise InvalidTypeError("load_state_dict", "a dictionary of arrays by name", type(state).__name__)
        own = {name: _array_of(part) for name, part in self._entries()}
        missing = [name for name in own if name not in state]
        unexpected = [str(name) for name in state if name not in own]
        arrays = {name: _as_array(state[name], name) for name in own if name in state}
        faults = []
        if strict and missing:
            faults.append(f"missing {listed(missing)}")
        if strict and unexpected:
            faults.append(f"unexpected {listed(unexpected)}")
        for name, array in arrays.items():
            if array.dtype.kind not in "fiub":
                raise InvalidTypeError("load_state_dict", "real numbers", f"dtype {array.dtype}", argument=name)
            if array.shape != own[name].shape:
                faults.append(f"{name} of shape {array.shape} where the model has {own[name].shape}")
        if faults:
            raise ValueError(f"load_state_dict: {type(self).__name__} does not fit: {'; '.join(faults)}")
        arrays = {
            name: cast_finite(array, own[name].dtype, f"load_state_dict: {name}") for name, array in arrays.items()
        }
        with self._changing():
            for name, part in self._entries():  # looked up again, for they may have moved while this waited
                if name in arrays:
                    np.copyto(_array_of(part), arrays[name])
                    if isinstance(part, Parameter):
                        part._changed += 1
                    elif isinstance(part, Buffer):
                        part._written()
            for module in self.modules():
                if module._buffer_names and module._forward_only:
                    module._loads += 1  # what its traces have computed of registered arrays is out of date
        return IncompatibleKeys(missing, unexpected)

    def _changing(self) -> Access:
        """A turn to change parameters, gradients and buffers: calls of the model in other threads end before, or begin after."""
        parameters = list(self.parameters())
        return Access(writes=[*parameters, *self.modules(), *self._buffer_objects()], writes_gradients=parameters)

    def train(self: _Self, mode: bool = True) -> _Self:
        """Set training mode here and in all modules inside; returns self."""
        if not isinstance(mode, (bool, np.bool_)):
            raise InvalidTypeError("train", "True or False", shown(mode))
        if traced_into(self, at_once=False) is not None:
            name = "train" if mode else "eval"
            raise InvalidTypeError(f"{where()}: {name}", "a call outside of forward functions and losses", "one within")
        mode = bool(mode)
        for attributes in self._known_attributes():
            attributes["training"] = mode
        return self

    def _known_attributes(self) -> list[dict[str, Any]]:
        """Those of all modules inside, which are looked for anew where the model has changed."""
        known = self._known
        if known is None or not known[0].stands():
            from fastdl.nn.watching import watch

            unchanged = watch(self, passing={"training"})  # first: another thread may change the model meanwhile
            known = vars(self)["_known"] = unchanged, [vars(module) for module in self.modules()]
        return known[1]

    def eval(self: _Self) -> _Self:
        """Set evaluation mode here and in all modules inside; returns self."""
        return self.train(False)

    def requires_grad_(self: _Self, requires_grad: bool = True) -> _Self:
        """Freeze (False) or release (True) every parameter; returns self."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self) -> None:
        """Set every gradient to zeros."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def reset_parameters(self, rng: int | np.random.Generator | None = None) -> None:
        """Draw the parameters anew, in all modules inside; rng as for the layers' constructors."""
        from fastdl.random import as_generator

        generator = as_generator(rng)
        with self._changing():
            for module in self.modules():
                module._draw(generator)

    def _draw(self, generator: np.random.Generator) -> None:
        """Draw this module's own parameters anew; nothing where there are none."""

    def astype(self: _Self, dtype: Any) -> _Self:
        """Change parameters and floating buffers to float32 or float64, in place."""
        dtype = as_float_dtype(dtype, "astype")
        with self._changing():
            for parameter in self.parameters():
                parameter.astype(dtype)
            for buffer in self._buffer_objects():
                buffer.astype(dtype)
            for module in self.modules():
                for name in module._buffer_names:
                    array = getattr(module, name)
                    if array.dtype.kind == "f":
                        setattr(module, name, cast(array, dtype))
        return self

    def summary(self, input_shape: Any) -> Summary:
        """Return the table of layers: name, layer, output shape, parameters and multiply-adds of one sample; totals below.

        fastdl's own layers tell their outputs' shapes. For modules in Python a copy of the model is run once on a sample of
        zeros, in evaluation mode. The model itself stays as it is.

        Args:
            input_shape: the shape of one sample, without the batch axis; of several inputs a tuple of shapes, or a dictionary
                by the names of forward's arguments, in which arrays of samples may stand for those of integers. Of at most
                1 GiB where the model is run.

        Raises:
            TypeError, ValueError: if input_shape is no such shape, or what a layer raises that cannot take it.

        Example:
            >>> from fastdl import nn
            >>> nn.Sequential(nn.Linear(2, 25), nn.ReLU(), nn.Linear(25, 2)).summary(2)
            name   layer          output  parameters  multiply-adds
                   Sequential     (2,)             0              0
            0      Linear(2, 25)  (25,)           75             50
            1      ReLU()         (25,)            0              0
            2      Linear(25, 2)  (2,)            52             50
            total                                127            100
            127 parameters; 508 bytes
        """
        from fastdl.nn.summary import summarize

        return apart(summarize, self, input_shape)

    def multiply_adds(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        """The multiplications of a forward, each with its addition, for the summary; a layer that multiplies defines it.

        What modules inside multiply is theirs.
        """
        return 0

    def spec(self) -> str:
        """Spell the module as its constructor call, as from_spec reads it: `Linear(2, 25)`.

        An argument that a subclass has not stored under its name is spelled `...`, which no spec can be read with.
        """
        words = []
        for name, parameter in _parameters_of(type(self)).items():
            if name in ("rng", "dtype"):
                continue
            try:
                value = self._argument(name)
            except AttributeError:
                words.append("...")
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                words += [_spell(item) for item in value]
            elif parameter.default is parameter.empty:
                words.append(_spell(value))
            elif not _same(value, parameter.default):
                words.append(f"{name}={_spell(value)}")
        return f"{type(self).__name__}({', '.join(words)})"

    @classmethod
    def _state_shapes(cls, *_: Any, **arguments: Any) -> dict[str, tuple[int, ...]]:
        """The shapes of its own parameters and buffers by name, for arguments of the constructor; nothing is allocated."""
        return {}

    def _argument(self, name: str) -> Any:
        """The value a constructor argument has now: the attribute of that name."""
        return getattr(self, name)

    def extra_repr(self) -> str:
        """Return what stands between the parentheses of repr; a subclass may say more."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        head = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({head})"
        return f"{type(self).__name__}({head}\n  " + "\n  ".join(lines) + "\n)"


def _as_array(value: ArrayLike, name: str) -> NDArray[Any]:
    """An entry of a state as an array."""
    try:
        return as_array(value, name, "load_state_dict")
    except ValueError:
        raise InvalidValueError("load_state_dict", "an array", "rows of several lengths", argument=name) from None


@lru_cache(maxsize=1000)
def _parameters_of(kind: type) -> Mapping[str, Any]:
    """The parameters of a class's constructor."""
    import inspect

    return inspect.signature(kind).parameters


def _spell(value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return value.spec() if isinstance(value, Module) else repr(value)


def _same(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and value == default)


def _array_of(part: Parameter | Buffer | NDArray[Any]) -> NDArray[Any]:
    """The array of an entry of the state_dict."""
    return part if isinstance(part, np.ndarray) else part._data
