"""Calls of a container outside of fit: through one program instead of layer by layer, once it has been called some times.

What anyone sees stays the same: outputs and gradients are arrays of their own, each forward keeps what its backward needs, and
whatever is changed in the model (a layer, an option, a mode, a parameter) is noticed before the next forward. A backward is that
of the model as it was in its forward, but for parameters that have been frozen since.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastdl._kernels.access import Access
from fastdl._kernels.layer_call import LatestCalls
from fastdl._kernels.watch import Watch
from fastdl.graph.size import ObservedSizeError, same
from fastdl.nn.parameter import Parameter
from fastdl.nn.walk import dictionaries
from fastdl.nn.watching import PASSING, is_own

if TYPE_CHECKING:
    from fastdl.nn.module import Module

# The call at which a container is planned: a plan costs as much as some dozens of calls.
PATIENCE = 3
# The most memory that a program may hold on to, in bytes: with larger batches Python's share is small anyway.
LARGEST = 32 * 2**20
# Kinds and sizes of the elements that kernels compute with.
FLOATS = {("f", 4), ("f", 8)}


Turn: TypeAlias = AbstractContextManager[None]


class ContainerCalls(LatestCalls):
    """A container's programs, for calls with and without backward: made after some calls, and anew after changes."""

    def __init__(self) -> None:
        super().__init__()
        # As in Trainer: not with fastdl, and as a rule before there are signal handlers that call the container.
        import fastdl.nn.programs  # noqa: F401

        self._programs: Any = None
        self._waited, self._patience = 0, PATIENCE
        self._turns: tuple[Watch, Turn, Turn] | None = None

    def forward(self, module: Module, x: Any, keeps: bool) -> Any:
        """The output for x, or the record of its forward, of a program when it is time; None where layer by layer is the way."""
        self._waited += 1
        if self._waited < self._patience:
            return None
        self._waited = 0
        if not isinstance(x, np.ndarray) or (x.dtype.kind, x.itemsize) not in FLOATS or x.ndim < 2 or not len(x):
            return None
        try:
            self.latest = self._planned(module, x, keeps)
        except (ImportError, ValueError, TypeError, IndexError, ObservedSizeError):
            self._patience *= 10  # a forward layer by layer raises the error, if there is one
            return None
        return self.latest[0].forward_of_one(module, x, keeps) if self.latest else None

    def _planned(self, module: Module, x: Any, keeps: bool) -> tuple[Any, ...]:
        """The latest calls, of which the first is for such arrays; an error, of whatever kind, where that cannot be."""
        from fastdl.graph.trace import is_pure
        from fastdl.nn.programs import Programs

        modules, parameters, _ = module._contents()
        if not all(map(is_pure, modules)) or any(parameter.dtype != x.dtype for parameter in parameters):
            raise ValueError("a module in Python, or one of another dtype")
        if self._programs is None or not self._programs.stands():
            self._programs = Programs(module, checks=False)
        program, _ = self._programs.program(module, (x,), {}, keeps)
        (output,) = program.outputs
        if output.number == 0 or not output.shape or not same(output.shape[0], program.inputs[0].shape[0]):
            raise ValueError("nothing is computed of each sample")
        if program.lowered.nbytes > LARGEST:
            self._programs = None
            raise ValueError("batches are large")
        return self._programs.latest

    def turn(self, module: Module, backward: bool = False) -> Turn:
        """A turn to call fastdl's own layers one by one, with one set of weights.

        Modules written in Python have none: their code may wait for other threads. Beside them each layer has its own.
        """
        if self._turns is None or not self._turns[0].stands():
            # First: another thread may change the module meanwhile. What Python's modules hold changes in each call.
            unchanged = Watch(dictionaries(filter(is_own, module.modules())), PASSING | {"training"}, (), Parameter)
            modules, parameters = list(module.modules()), list(module.parameters())
            forward: Turn = nullcontext()
            back: Turn = nullcontext()
            if all(map(is_own, modules)):
                buffered = [each for each in modules if each._buffer_names]
                forward = Access(reads=[*parameters, *modules], writes=buffered)
                back = Access(reads=parameters, writes_gradients=parameters)
            self._turns = unchanged, forward, back
        return self._turns[2] if backward else self._turns[1]
