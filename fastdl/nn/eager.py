"""Eager runs: a module that defines forward alone, computed node by node as Python comes to each line, with gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import fastdl.graph.functions  # noqa: F401 - lets NumPy's functions take values
from fastdl._kernels.access import Access
from fastdl.data.nested import leaves, mapped
from fastdl.graph import operations as op
from fastdl.graph.eager import EagerGraph
from fastdl.graph.gradient import gradient
from fastdl.graph.python import python_calls
from fastdl.graph.value import Value, mode
from fastdl.nn.parameter import Parameter
from fastdl.nn.records import ThreadLock, check_versions, gradients_of_outputs, in_form, not_computed

if TYPE_CHECKING:
    from fastdl.nn.module import Module

Array = NDArray[Any]


@contextmanager
def eager() -> Iterator[None]:
    """Run forward functions and losses node by node inside the block, in the calling thread, where they are traced otherwise.

    Python comes to each line at each call, and values have their elements: prints, breakpoints and branches on values work.
    Gradients are the same to rounding; it takes longer, for there is no native program. `traced = False` on a module does so
    for that one. `np.asarray(value)` gives an array that cannot be written to, `np.array(value)` a copy; no gradient goes
    through either.

    Example:
        >>> import numpy as np
        >>> from fastdl import nn
        >>> class Steps(nn.Module):
        ...     def forward(self, x):
        ...         while np.max(x) > 1:
        ...             x = x / 2
        ...             print(x)
        ...         return x
        >>> steps = Steps()
        >>> with eager():
        ...     y = steps(np.array([3.0, 1.0]))
        Value([1.5, 0.5], dtype=float64)
        Value([0.75, 0.25], dtype=float64)
        >>> steps.backward(np.ones(2))
        array([0.25, 0.25])

    Source: torch.compiler.disable, jax.disable_jit.
    """
    before, mode.eager = mode.eager, True
    try:
        yield
    finally:
        mode.eager = before


def run(module: Module, inputs: tuple[Any, ...], named: dict[str, Any], dtype: np.dtype[Any]) -> EagerRecord:
    """The record of a forward, with its output."""
    graph = EagerGraph(dtype)
    graph.stand_for(module)
    given = mapped((inputs, named), graph.given)
    with graph.traced():
        output = module.forward(*given[0], **given[1])
    for number, value in graph.updates.items():
        buffer = graph.parameters[number]
        with Access(writes=[buffer]):
            np.copyto(buffer._data, graph.array_of(value))
    return EagerRecord(graph, given, output)


class EagerRecord:
    """A forward that has run node by node: its output, and its graph, from which `pull` gives gradients, also again."""

    def __init__(self, graph: EagerGraph, given: Any, output: Any) -> None:
        self._graph, self._given = graph, given
        self._outputs = [each for _, each in leaves(output)]
        self.output = mapped(output, lambda each: graph.array_of(each).copy() if isinstance(each, Value) else each)
        updated = [graph.parameters[number] for number in graph.updates]
        self._parameters = [leaf for leaf in graph.parameters.values() if leaf not in updated]
        self._versions = [parameter.version for parameter in self._parameters]
        # Modules in Python keep what their backward reads in attributes.
        self._held = ThreadLock().held if python_calls(graph) else nullcontext

    def pull(self, module: Any, grad_output: Any, parameters: bool = True, with_inputs: bool = True) -> Any:
        """The gradients with respect to the inputs, if they are asked for; those of parameters are added to theirs."""
        for output in self._outputs:
            if not isinstance(output, Value):
                raise not_computed(module, output)
        places = [place for place, _ in leaves(self.output)]
        shapes = {p: v.shape if v.dtype.kind == "f" else None for p, v in zip(places, self._outputs, strict=True)}
        seeds = gradients_of_outputs(module, grad_output, shapes, self._graph.dtype)
        learning = [parameter for parameter in self._parameters if parameters and parameter._requires_grad]
        inputs = [value for _, value in leaves(self._given)]
        with self._held(), Access(reads=self._parameters, writes_gradients=learning):
            check_versions(module, self._parameters, self._versions)
            arrays = self._gradients(inputs, learning, seeds, parameters)
            for parameter, array in zip(learning, arrays[len(inputs) :], strict=False):
                parameter.grad += array
        of_inputs = iter(zip(inputs, arrays, strict=False))
        positional, named = mapped(self._given, lambda _: _of_input(*next(of_inputs)))
        return in_form(module, positional, named)

    def _gradients(self, inputs: list[Value], learning: list[Parameter], seeds: list[Any], adds: bool) -> list[Array]:
        """The gradients with respect to inputs and parameters, computed in a copy of the graph."""
        graph = self._graph.copy(adds)
        found: list[Value] = []
        with graph.traced():
            wanted = [*map(graph.own_value, inputs), *map(graph.parameter, learning), *python_calls(graph)]
            for output, seed in zip(self._outputs, seeds, strict=True):
                if seed is not None:
                    parts = gradient(graph.own_value(output), wanted, graph.given(seed))
                    pairs = zip(found, parts, strict=True)
                    found = [op.elementwise("add", *pair) for pair in pairs] if found else parts
        return [graph.array_of(value) for value in found] or [np.zeros(value.shape, graph.dtype) for value in wanted]


def _of_input(value: Value, gradient: Array) -> Array | None:
    return gradient.copy() if value.dtype.kind == "f" else None
