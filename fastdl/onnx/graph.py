"""Graph: modules in an order of their own, whose values several of them may read; what an ONNX graph comes back as."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.array import ready
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown
from fastdl.nn.module import Module
from fastdl.nn.parameter import Parameter
from fastdl.nn.running import run_backward, run_forward_of
from fastdl.onnx.operation import Operation


class Step(NamedTuple):
    """A module, the names of the values it reads (none for a weight) and of the one it yields."""

    name: str
    module: Module
    inputs: tuple[str, ...]
    output: str


class Graph(Operation):
    """Apply modules to values by name, each after those it reads from.

    A module that reads several values takes them as arguments, and its backward returns a tuple of gradients.

    Args:
        inputs: names of the values that forward is given, in order.
        steps: (name, module, names of values read, name of the value that it yields), in topological order.
        output: the name of the value that forward returns.

    Raises:
        TypeError, ValueError: for a value that is read before it is there or written twice, for names that come twice.

    Example:
        >>> from fastdl import nn
        >>> model = Graph(["x"], [Step("square", nn.Activation(np.square, lambda x: 2 * x), ("x",), "y")], "y")
        >>> model(np.array([3.0])), model.backward(np.array([1.0]))
        (array([9.]), array([6.]))
    """

    def __init__(self, inputs: Sequence[str], steps: Sequence[Step], output: str) -> None:
        self._inputs, self._steps, self._output = tuple(inputs), tuple(Step(*step) for step in steps), output
        known, names = set(self._inputs), set[str]()
        for step in self._steps:
            if not isinstance(step.module, Module):
                raise InvalidTypeError("Graph", f"a Module for {step.name}", shown(step.module))
            missing = [name for name in step.inputs if name not in known]
            if missing or step.output in known or step.name in names:
                what = f"{missing[0]!r} before it is there" if missing else "a name that is taken"
                raise InvalidValueError(
                    "Graph", "steps in order, each under a name of its own", f"{shown(step.name)} with {what}"
                )
            known.add(step.output)
            names.add(step.name)
        if output not in known:
            raise InvalidValueError("Graph", f"a step that yields {shown(output)}", "none")

    def _forward(self, *inputs: Any) -> tuple[NDArray[Any], Any]:
        """The output for these inputs."""
        if len(inputs) != len(self._inputs):
            raise InvalidTypeError(shown(self), f"{len(self._inputs)} inputs", len(inputs))
        values: dict[str, Any] = {name: ready(x, None, self) for name, x in zip(self._inputs, inputs, strict=True)}
        left = []
        for step in self._steps:
            values[step.output], saved = run_forward_of(step.module, [values[name] for name in step.inputs])
            left.append(saved)
        y = values[self._output]
        return y, (left, [values[name] for name in self._inputs], y.shape, y.dtype)

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """The gradient with respect to the input, a tuple of them where there are several."""
        kept, inputs, shape, dtype = saved
        gradients = {self._output: self._gradient(grad_output, shape, dtype)}
        for step, left in zip(reversed(self._steps), reversed(kept), strict=True):
            gradient = gradients.pop(step.output, None)
            if gradient is None:
                continue
            found = run_backward(step.module, left, gradient, True, with_parameters)
            for name, gx in zip(step.inputs, found if isinstance(found, tuple) else (found,), strict=False):
                if gx is not None:
                    gradients[name] = gradients[name] + gx if name in gradients else gx
        found = tuple(
            gradients[name] if name in gradients else np.zeros_like(x)
            for name, x in zip(self._inputs, inputs, strict=True)
        )
        return found[0] if len(found) == 1 else found

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules under the names of their steps; those in attributes of a subclass follow."""
        for step in self._steps:
            yield step.name, step.module
        yield from super().named_children()

    def spec(self) -> str:
        """Tell the values that go in and come out."""
        return f"Graph({', '.join(self._inputs)} -> {self._output}, {len(self._steps)} steps)"


class Weight(Operation):
    """A parameter as a value of a graph; it reads nothing.

    Example:
        >>> Weight(Parameter(np.ones(2)))()
        array([1., 1.])
    """

    def __init__(self, parameter: Parameter) -> None:
        self.value = parameter

    def _forward(self, *inputs: Any) -> tuple[NDArray[Any], Any]:
        """The parameter's values."""
        return self.value.data, ()

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> tuple[()]:
        """Add to the parameter's gradient."""
        if with_parameters and self.value.requires_grad:
            self.value.grad += grad_output
        return ()

    def spec(self) -> str:
        """Spell the weight with its shape."""
        return f"Weight({self.value.shape})"


class Constant(Operation):
    """An array that nothing changes, as a value of a graph; it reads nothing.

    Example:
        >>> Constant(np.ones(2))()
        array([1., 1.])
    """

    value: NDArray[Any]

    def __init__(self, array: NDArray[Any]) -> None:
        self.register_buffer("value", array)

    def _forward(self, *inputs: Any) -> tuple[NDArray[Any], Any]:
        """The array."""
        return self.value, ()

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> tuple[()]:
        """Nothing: there is nothing to change."""
        return ()

    def spec(self) -> str:
        """Spell the constant with its shape."""
        return f"Constant({self.value.shape})"
