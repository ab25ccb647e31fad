"""Containers: layers in a row, a layer around a detour, branches side by side, one body for several inputs.

A module may stand in several places, so a container keeps what each place's forward saved and hands it to that place's
backward.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from functools import reduce
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels import layer_call
from fastdl.errors import InvalidShapeError, InvalidTypeError, InvalidValueError
from fastdl.graph.size import same_shape
from fastdl.messages import shown
from fastdl.nn.container_calls import ContainerCalls
from fastdl.nn.grad_mode import mode
from fastdl.nn.layer import Layer
from fastdl.nn.module import Module
from fastdl.nn.refusal import name_producer
from fastdl.nn.running import run_backward, run_forward
from fastdl.nn.walk import DEEPEST, in_python, tree


class Sequential(Layer):
    """Apply layers one after another.

    Args:
        layers: modules, or one mapping of names to modules. The same instance may stand in several places.

    Example:
        >>> from fastdl import nn
        >>> model = nn.Sequential(nn.Linear(2, 25), nn.ReLU(), nn.Linear(25, 2))
        >>> len(model), model[1], model[:2][0] is model[0]
        (3, ReLU(), True)

    Source: torch.nn.Sequential.
    """

    def __init__(self, *layers: Module | Mapping[str, Module]) -> None:
        self._layers: dict[str, Module] = {}
        if len(layers) == 1 and isinstance(layers[0], Mapping):
            for name, layer in layers[0].items():
                self._add(name, layer)
        else:
            for layer in layers:
                self.append(layer)

    def _add(self, name: str, layer: Any) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise InvalidValueError("Sequential", "a name without dots for a layer", shown(name))
        if not isinstance(layer, Module):
            hint = "write the class with parentheses" if isinstance(layer, type) and issubclass(layer, Module) else None
            raise InvalidTypeError("Sequential", "a Module", shown(layer), hint)
        self._layers[name] = layer

    def append(self, layer: Any) -> Sequential:
        """Add a layer at the end; returns self. Make a new optimizer afterwards."""
        number = len(self._layers)
        while str(number) in self._layers:
            number += 1
        leaf = not isinstance(layer, Module) or next(layer.named_children(), None) is None
        inside = () if leaf else tree(layer, once=True, deepest=DEEPEST - 1)
        if layer is self or any(module is self for _, module in inside):
            raise InvalidValueError("Sequential", "another module", "the container itself or one that holds it")
        self._add(str(number), layer)
        return self

    # The calls of programs that run in place of the layers, once there are some.
    _flat: Any = None

    forward = layer_call.container_forward

    def _forward(self, x: Any) -> tuple[Any, Any]:
        """The last layer's output."""
        keeps = mode.enabled
        result = layer_call.result_of(self, x)
        if result is None and mode.repeats:
            return self._layer_by_layer(x, keeps)
        calls = self._flat
        if calls is None:
            calls = self._flat = ContainerCalls()
        if result is None:
            result = calls.forward(self, x, keeps)
        if result is not None:
            return (result.output, result) if keeps else (result, None)
        with calls.turn(self):
            return self._layer_by_layer(x, keeps)

    def _layer_by_layer(self, x: Any, keeps: bool) -> tuple[Any, list[tuple[Module, Any]]]:
        """The output, and each layer with what its forward saved."""
        places: list[tuple[Module, Any]] = []
        layers = iter([*self._layers.values()])  # whoever changes the container meanwhile changes the next forward
        try:
            for layer in layers:
                x, saved = run_forward(layer, x)
                if keeps:
                    places.append((layer, saved))
        except InvalidShapeError as error:
            name_producer(error, x, self._layers, len(self._layers) - 1 - len([*layers]))
            raise
        return x, places

    def _apply(self, *inputs: Any, **named: Any) -> Any:
        """See Module._apply."""
        (x,) = inputs
        for layer in dict(self._layers).values():
            x = layer(x)
        return x

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """Back through the layers that the forward went through, from the last to the first."""
        if not isinstance(saved, list):  # the record of a program's forward
            return saved.pull(self, grad_output, with_parameters, with_input)
        with nullcontext() if self._flat is None else self._flat.turn(self, backward=True):
            for number in range(len(saved) - 1, -1, -1):
                layer, left = saved[number]
                grad_output = run_backward(layer, left, grad_output, with_input or number > 0, with_parameters)
        return grad_output

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the layers with their names, a repeated one at each of its places; those in attributes of a subclass follow."""
        yield from dict(self._layers).items()
        yield from super().named_children()

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Module]:
        return iter([*self._layers.values()])

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    @overload
    def __getitem__(self, index: int | str) -> Module: ...
    def __getitem__(self, index: int | str | slice) -> Module | Sequential:
        """A layer by position or name; a slice is a Sequential of the same layers, under the same names."""
        if isinstance(index, slice):
            return Sequential(dict(list(self._layers.items())[index]))
        try:
            return self._layers[index] if isinstance(index, str) else list(self._layers.values())[index]
        except LookupError as error:
            raise type(error)(
                f"Sequential: expected the name or number of one of {len(self)} layers, got {shown(index)}"
            ) from None
        except TypeError:
            raise InvalidTypeError("Sequential", "an integer, a name or a slice", shown(index)) from None

    def spec(self) -> str:
        """Spell the container with all its layers."""
        return f"Sequential({', '.join(layer.spec() for layer in self)})"


def takes_integers(model: Any) -> bool:
    """Whether a model's input goes to a forward in NumPy first, which may take integers as indices, not to a layer of floats."""
    while isinstance(model, Sequential) and not in_python(model):
        model = next(iter([*model._layers.values()]), None)
    return model is not None and model._forward_only


class Residual(Layer):
    """y = body(x) + shortcut(x), with x itself when there is no shortcut.

    Args:
        body: a module.
        shortcut: a module whose output has the body's shape; None where the body keeps the shape of x.

    Raises:
        ValueError: if the two outputs differ in shape.

    Example:
        >>> from fastdl import nn
        >>> Residual(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))(np.zeros((1, 4), dtype=np.float32)).shape
        (1, 4)

    Source: K. He et al., "Deep Residual Learning for Image Recognition", 2015.
    """

    def __init__(self, body: Module, shortcut: Module | None = None) -> None:
        self.body = as_module(body, "body", "Residual")
        self.shortcut = None if shortcut is None else as_module(shortcut, "shortcut", "Residual")

    def _forward(self, x: Any) -> tuple[NDArray[Any], Any]:
        """body(x) + shortcut(x)."""
        y, saved = run_forward(self.body, x)
        around, saved_around = (np.asarray(x), None) if self.shortcut is None else run_forward(self.shortcut, x)
        if y.shape != around.shape:
            raise self._unlike(y, around)
        return y + around, (saved, saved_around)

    def _apply(self, *inputs: Any, **named: Any) -> Any:
        """See Module._apply."""
        (x,) = inputs
        y, around = self.body(x), x if self.shortcut is None else self.shortcut(x)
        if not same_shape(y.shape, around.shape):
            raise self._unlike(y, around)
        return y + around

    def _unlike(self, y: Any, around: Any) -> InvalidValueError:
        got = f"{y.shape} and {around.shape}"
        return InvalidValueError(shown(self), "body and shortcut of one shape", got, "give a shortcut")

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """The sum of the gradients through both ways."""
        body, around = saved
        if self.shortcut is None:
            g_around = np.asarray(grad_output)
        else:
            g_around = run_backward(self.shortcut, around, grad_output, with_input, with_parameters)
        gx = run_backward(self.body, body, grad_output, with_input, with_parameters)
        return add(gx, g_around) if with_input else None


class Parallel(Layer):
    """Give x to every branch and concatenate what comes out along axis 1.

    Args:
        branches: modules whose outputs agree in every axis but 1.

    Example:
        >>> from fastdl import nn
        >>> Parallel(nn.Linear(2, 3), nn.Linear(2, 5))(np.zeros((1, 2), dtype=np.float32)).shape
        (1, 8)
    """

    def __init__(self, *branches: Module) -> None:
        if not branches:
            raise InvalidValueError("Parallel", "at least one branch", "none")
        self.branches = tuple(as_module(branch, "a branch", "Parallel") for branch in branches)

    def _forward(self, x: Any) -> tuple[NDArray[Any], Any]:
        """The branches' outputs side by side."""
        return side_by_side([run_forward(branch, x) for branch in self.branches], self)

    def _apply(self, *inputs: Any, **named: Any) -> Any:
        """See Module._apply."""
        (x,) = inputs
        return concatenate([branch(x) for branch in self.branches], self)

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """The sum of the branches' gradients with respect to x."""
        left, widths, shape, dtype = saved
        gy = self._gradient(grad_output, shape, dtype)
        gradients = [
            run_backward(branch, each, part, with_input, with_parameters)
            for branch, each, part in zip(self.branches, left, parts(gy, widths), strict=True)
        ]
        return reduce(add, gradients) if with_input else None

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the branches under their numbers; modules in attributes of a subclass follow."""
        for number, branch in enumerate(self.branches):
            yield str(number), branch
        yield from super().named_children()


class Siamese(Layer):
    """Apply one body, with one set of weights, to several inputs and concatenate its outputs along axis 1.

    Args:
        body: a module.

    Shape:
        x: (N, k, ...), k inputs for each sample, or a tuple of k arrays (N, ...); y (N, k * width, ...) for body outputs
        (N, width, ...). backward returns the gradient in the form of x.

    Example:
        >>> from fastdl import nn
        >>> compare = nn.Sequential(Siamese(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(16, 1))
        >>> compare(np.zeros((10, 2, 4), dtype=np.float32)).shape
        (10, 1)

    Source: J. Bromley et al., "Signature Verification using a Siamese Time Delay Neural Network", 1993.
    """

    def __init__(self, body: Module) -> None:
        self.body = as_module(body, "body", "Siamese")

    def _forward(self, x: Any) -> tuple[NDArray[Any], Any]:
        """The outputs side by side."""
        stacked = isinstance(x, np.ndarray)
        if not stacked and not isinstance(x, (tuple, list)):
            raise InvalidTypeError(shown(self), "an array (N, k, ...) or a tuple of k arrays", type(x).__name__)
        if (x.ndim < 2 or x.shape[1] == 0) if stacked else not x:
            raise InvalidValueError(shown(self), "an array (N, k, ...) or k arrays, k at least 1", np.shape(x))
        inputs = [x[:, i] for i in range(x.shape[1])] if stacked else x
        y, saved = side_by_side([run_forward(self.body, each) for each in inputs], self)
        return y, (stacked, *saved)

    def _apply(self, *inputs: Any, **named: Any) -> Any:
        """See Module._apply."""
        given = list(inputs)
        parts = given if len(given) > 1 else [given[0][:, number] for number in range(given[0].shape[1])]
        return concatenate([self.body(part) for part in parts], self)

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """Add up the body's gradients over its inputs; the gradient is in the form of x."""
        stacked, left, widths, shape, dtype = saved
        gy = self._gradient(grad_output, shape, dtype)
        gradients = [
            run_backward(self.body, each, part, with_input, with_parameters)
            for each, part in zip(left, parts(gy, widths), strict=True)
        ]
        if not with_input:
            return None
        return np.stack(gradients, axis=1) if stacked else tuple(gradients)


def as_module(value: Any, name: str, owner: str) -> Module:
    """The value when it is a Module; else a TypeError that names the argument."""
    if not isinstance(value, Module):
        raise InvalidTypeError(owner, "a Module", shown(value), argument=name)
    return value


def side_by_side(ran: list[tuple[Any, Any]], owner: Layer) -> tuple[NDArray[Any], Any]:
    """The outputs along axis 1; what their forwards saved, their widths, and the shape and dtype of what is returned."""
    outputs = [output for output, _ in ran]
    y = concatenate(outputs, owner)
    return y, ([saved for _, saved in ran], [output.shape[1] for output in outputs], y.shape, y.dtype)


def concatenate(outputs: list[Any], owner: Layer) -> Any:
    """The outputs, arrays or traced values, along axis 1, when they agree in every other axis."""
    shapes = [output.shape for output in outputs]
    if not shapes or any(len(s) < 2 or not same_shape(s[:1] + s[2:], shapes[0][:1] + shapes[0][2:]) for s in shapes):
        raise InvalidValueError(shown(owner), "outputs that agree in every axis but 1", shapes)
    return np.concatenate(outputs, axis=1)


def parts(gy: NDArray[Any], widths: list[int]) -> list[NDArray[Any]]:
    """The gradient with respect to each of the outputs side by side."""
    return np.split(gy, np.cumsum(widths[:-1]), axis=1)


def add(gx: Any, other: Any) -> Any:
    """The sum of two gradients with respect to one input, an array or (of Siamese) a tuple of arrays."""
    if isinstance(gx, tuple):
        return tuple(add(one, another) for one, another in zip(gx, other, strict=True))
    return gx + other
