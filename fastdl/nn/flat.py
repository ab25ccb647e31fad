"""Flat: a container called outside of fit, as one program instead of layer by layer.

What anyone sees stays the same: outputs and gradients are arrays of their own, each forward keeps what its backward
needs, and whatever is changed in the model (a layer, an option, a mode, a parameter) is noticed before the next forward.
A backward is that of the model as it was in its forward, but for parameters that have been frozen or released since.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.access import Access
from fastdl._kernels.array import ready, ready_gradient
from fastdl._kernels.watch import Watch
from fastdl.graph.size import ObservedSizeError
from fastdl.messages import shown
from fastdl.nn.parameter import Parameter
from fastdl.nn.walk import TRANSIENT, Contents, dictionaries, traced_modules
from fastdl.random import stream

if TYPE_CHECKING:
    from fastdl._kernels.program.call import ContainerCall, Kept
    from fastdl.nn.module import Module

# The call at which a container is planned: a plan costs as much as some dozens of calls.
PATIENCE = 3
# The most memory that a program may hold on to, in bytes: with larger batches Python's share is small anyway.
LARGEST = 32 * 2**20
# Kinds and sizes of the elements that kernels compute with.
FLOATS = {("f", 4), ("f", 8)}
# What a forward leaves in layers and calls leave in containers, and what only a draw of parameters reads.
PASSING = TRANSIENT | {"_shapes", "_dtype", "weight_init", "bias_init"}


Turn: TypeAlias = AbstractContextManager[None]


class Flat:
    """A container's programs, for calls with and without backward: made after some calls, and anew after changes."""

    def __init__(self) -> None:
        # As in Trainer: not with fastdl, and as a rule before there are signal handlers that call the container.
        import fastdl._kernels.program.call
        import fastdl.graph.gradient
        import fastdl.graph.lowering
        import fastdl.graph.trace  # noqa: F401

        # Without and with backward, in training and then in evaluation.
        self.calls: list[ContainerCall | None] = [None] * 4
        self._waited, self._patience = 0, PATIENCE
        self._turns: tuple[Watch, Turn, Turn] | None = None

    def forward(self, module: Module, x: Any, keeps: bool) -> Kept | None:
        """Make a program when it is time; what it keeps of x's forward, or None where layer by layer is the way."""
        self._waited += 1
        if self._waited < self._patience:
            return None
        self._waited, place = 0, keeps if module.training else keeps + 2
        self.calls[place] = None
        if not isinstance(x, np.ndarray) or (x.dtype.kind, x.itemsize) not in FLOATS or x.ndim < 2 or not len(x):
            return None
        x = ready(x, None, module)
        try:
            self.calls[place] = call = call_of(module, x, keeps)
        except (ImportError, ValueError, TypeError, IndexError, ObservedSizeError):
            self._patience *= 10  # layer by layer tells what is wrong, if anything is
            return None
        return call.forward(x, module if keeps else None)

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

    @staticmethod
    def kept(value: Any) -> bool:
        """Whether this is what a program's forward has kept; layer by layer a forward keeps a list."""
        return not isinstance(value, list)

    def backward(self, module: Module, kept: Kept, grad_output: Any, with_input: bool) -> Any:
        """What a container's backward does with what its program has kept."""
        gy = ready_gradient(grad_output, kept.y, module)
        try:
            gx = kept.backward(gy, with_input)
        except RuntimeError as error:
            raise RuntimeError(f"{shown(module)}: {error}; call the model on a batch again") from None
        return gx


def is_own(module: Module) -> bool:
    """Whether a module is one of fastdl's layers as they are."""
    return not module._stateful and type(module).__module__.startswith("fastdl.") and "forward" not in vars(module)


def watch(
    module: Module,
    *others: object,
    in_place: Sequence[Parameter] | None = None,
    passing: Set[str] = frozenset(),
    traced: bool = False,
    contents: Contents | None = None,
) -> Watch:
    """Tells whether a module, its parts and some other objects still hold what they hold now.

    Entries named in `passing` may change, and where the module is `traced`, parts that run in Python. Parameters may move to
    other arrays and be frozen or released; where some must stay in place, all of the module's must. `contents` are the module's,
    where they have just been found.
    """
    contents = contents or module._contents()
    held: Any = [*(traced_modules(module) if traced else contents.modules), *others]
    parameters = [*contents.parameters, *(in_place or ()), *contents.buffers]
    return Watch(dictionaries(held), PASSING | passing, parameters, Parameter, in_place is not None)


def call_of(module: Module, x: NDArray[Any], keeps: bool) -> ContainerCall:
    """A module's program for calls with batches like x; an error, of whatever kind, where that cannot be."""
    from fastdl._kernels.program.call import ContainerCall
    from fastdl._kernels.program.program import Frames
    from fastdl.graph.gradient import gradient
    from fastdl.graph.lowering import Lowering
    from fastdl.graph.lowering.sources import found
    from fastdl.graph.trace import SAMPLES, is_pure, trace
    from fastdl.graph.value import Value

    unchanged = watch(module)  # first: what another thread changes while the module is traced is noticed in the call
    modules, parameters, _ = module._contents()
    if not all(map(is_pure, modules)) or any(parameter.dtype != x.dtype for parameter in parameters):
        raise ValueError("a module in Python, or one of another dtype")
    graph, output, _, _ = trace(module, ((x,), {}), x.dtype, len(x))
    if output.number == 0 or not output.shape or output.shape[0] != SAMPLES:
        raise ValueError("nothing is computed of each sample")
    wanted = [number for number, parameter in graph.parameters.items() if parameter._requires_grad] if keeps else []
    gradients: list[Any] = []
    if keeps:
        values = [Value(graph, n, graph.nodes[n].shape, graph.dtype, frozenset()) for n in (*wanted, 0)]
        gradients = gradient(output, values, graph.input("g0", output.shape, graph.dtype))
    lowered = Lowering(
        graph,
        [output],
        gradients=list(zip(wanted, gradients, strict=False)),
        results=gradients[-1:],
        outside=True,
    ).lowered()
    if lowered.nbytes > LARGEST:
        raise ValueError("batches are large")
    moved = [each for each in modules if each.training and each._buffer_names]  # running statistics
    differentiating = [(n, tuple([graph.parameters[each] for each in own])) for n, own in lowered.differentiating]
    return ContainerCall(
        Frames(lowered.program, found(lowered.sources, graph)),
        unchanged,
        graph.least_samples,
        len(x),
        stream,
        Access(reads=[*parameters, *modules], writes=moved),
        x=x,
        output_shape=tuple(map(int, output.shape[1:])),
        gradients=differentiating,
        backward=Access(reads=parameters, writes_gradients=parameters),
    )
