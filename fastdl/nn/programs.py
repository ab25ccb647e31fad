"""A traced module's programs: one for each kind of inputs and modes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.array import ready
from fastdl._kernels.layer_call import LatestCalls
from fastdl.casting import cast
from fastdl.data.nested import leaves, mapped
from fastdl.errors import InvalidTypeError
from fastdl.graph.trace import surroundings
from fastdl.messages import shown
from fastdl.nn.traced_program import TracedProgram
from fastdl.nn.walk import first_parameter
from fastdl.nn.watching import watch

if TYPE_CHECKING:
    from fastdl.nn.module import Module

Array = NDArray[Any]
# The most programs of a module that are kept, for shapes, dtypes and modes.
MOST_PROGRAMS = 8
# The most bytes of planned memory of all of these; a program has it once for each frame that is idle or in use.
MOST_BYTES = 2**24
# The kinds of calls, such as those in training and in evaluation, that are known without a look at the model.
MOST_LATEST = 4
# A program is made so often at most where the modes change meanwhile.
MOST_ATTEMPTS = 3


class Programs(LatestCalls):
    """A module's programs by the shapes and dtypes of its inputs.

    Nothing is locked, since a process may be forked and a signal handler may come at any time: threads that need a program at the
    same time make one each.

    Args:
        module: the module.
        checks: whether a backward wants the parameters' values of its forward.
    """

    def __init__(self, module: Module, checks: bool = True) -> None:
        super().__init__()
        self._checks = checks
        self._programs: dict[Any, TracedProgram] = {}
        self._unchanged = watch(module, passing={"training"}, traced=True)
        self._modules, self._parameters, _ = module._contents()
        self._surroundings = surroundings(self._modules)
        # Modules that forward reads from elsewhere, whose modes count, too.
        others = [each for read in self._surroundings.modules for each in read.modules()]
        inside = set(map(id, self._modules))
        self._others = [each for each in others if id(each) not in inside]
        self._of_others = watch(self._others[0], *self._others[1:]) if self._others else None
        # Whether a module in it cannot be traced, or uses what a trace cannot follow.
        self.refused = self.untraceable = False

    @staticmethod
    def of(module: Module) -> Programs:
        """The module's."""
        found = vars(module).get("_flat")
        if not isinstance(found, Programs) or not found.stands():
            found = vars(module)["_flat"] = Programs(module)
        return found

    def stands(self) -> bool:
        """Whether the module is as it was, but for modes and what is frozen."""
        others = self._of_others is None or self._of_others.stands()
        return self._unchanged.stands() and others and self._surroundings.stand()

    def forward(self, module: Module, inputs: tuple[Any, ...], named: dict[str, Any], keeps: bool) -> Any:
        """The output, or if it `keeps` the record of the forward."""
        program, arrays = self.program(module, inputs, named, keeps)
        return program.forward(module, arrays, len(arrays[0]))

    def program(
        self, module: Module, inputs: tuple[Any, ...], named: dict[str, Any], keeps: bool
    ) -> tuple[TracedProgram, list[Array]]:
        """The program for these inputs, made where there is none, and their arrays as it reads them."""
        own = [*inputs, *named.values()]
        plain = all(type(each) is np.ndarray for each in own)
        unchanged = watch(module, *self._others, as_frozen=True, traced=True) if plain else None
        dtype = dtype_of(module, (inputs, named))
        given = mapped((inputs, named), lambda value: _ready(value, dtype, module))
        arrays = [array for _, array in leaves(given)]
        if not arrays:
            raise InvalidTypeError(shown(module), "arrays as inputs", "none")
        shapes = keeps, tuple((name, array.shape[1:], array.dtype) for name, array in leaves(given))
        lengths = tuple(map(len, arrays))
        program = self._known(shapes, self._state(), lengths) or self._new(module, given, dtype, keeps, shapes, lengths)
        lasts = program.open and program in list(self._programs.values())
        if unchanged is not None and lasts and all(a.dtype == each.dtype for a, each in zip(arrays, own, strict=True)):
            read = None if self._surroundings.empty else self._surroundings
            call = program.call(arrays, tuple(named), unchanged, read)
            self.latest = (call, *self.latest[: MOST_LATEST - 1])
        return program, arrays

    def _state(self) -> Any:
        """The modes, and what is frozen."""
        return tuple([each.training for each in self._modules]), tuple([p._requires_grad for p in self._parameters])

    def _known(self, shapes: Any, state: Any, lengths: tuple[int, ...]) -> TracedProgram | None:
        """A program that was made before."""
        for key in ((shapes, state, len(set(lengths)) == 1), (shapes, state, lengths)):
            program = self._programs.get(key)
            if program is not None and program.suits(lengths[0]):
                self._programs.pop(key, None)
                self._programs[key] = program  # the latest
                return program
        return None

    def _forget_oldest(self) -> None:
        """Keep the latest programs alone, and their calls."""
        kept, nbytes = list[TracedProgram](), 0
        for key, program in list(self._programs.items())[::-1]:
            nbytes += program.lowered.nbytes
            if kept and (nbytes > MOST_BYTES or len(kept) == MOST_PROGRAMS):
                self._programs.pop(key, None)
            else:
                kept.append(program)
        runs = [program.run for program in kept]
        self.latest = tuple([call for call in self.latest if call.run in runs])

    def _new(
        self, module: Module, given: Any, dtype: Any, keeps: bool, shapes: Any, lengths: tuple[int, ...]
    ) -> TracedProgram:
        """A program for arrays like these, and for the modes as they were all the time while it was made."""
        equal = len(set(lengths)) == 1
        attempts = 0
        while True:
            attempts += 1
            state = self._state()
            program = TracedProgram(module, given, dtype, lengths[0], keeps, equal, self._checks)
            stayed = self._state() == state
            if stayed:
                self._programs[shapes, state, equal if program.open else lengths] = program
                self._forget_oldest()
            if stayed or attempts == MOST_ATTEMPTS:
                return program


def dtype_of(module: Module, given: Any) -> np.dtype[Any]:
    """The dtype that a module computes in: its weights', or that of its first floating input where it has none."""
    first = first_parameter(module)
    if first is not None:
        return first.dtype
    kinds: list[Any] = [getattr(each, "dtype", None) for _, each in leaves(given)]
    return next((np.dtype(kind) for kind in kinds if kind in (np.float32, np.float64)), np.dtype(np.float32))


def _ready(value: Any, dtype: Any, module: Module) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub" or not array.ndim:
        raise InvalidTypeError(shown(module), "arrays of numbers with rows as inputs", f"{array.dtype} {array.shape}")
    if array.dtype.kind == "f":
        return ready(cast(array, dtype, copy=False), dtype, module)
    return np.require(array, np.bool_ if array.dtype.kind == "b" else np.int64, ["C", "A"]).view()
