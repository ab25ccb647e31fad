"""Gradcheck: backward held against central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl import nn
from fastdl.data.nested import call, is_nested, leaves, mapped
from fastdl.errors import InvalidTypeError
from fastdl.validation import kind_of

Array = NDArray[Any]


def gradcheck(
    module: Any, x: Any, *, step: float = 1e-5, tolerance: float = 1e-6, rng: int | np.random.Generator = 0
) -> bool:
    """Compare backward with central differences (f(x + h) - f(x - h)) / 2h, for the inputs and every parameter.

    The scalar differentiated is a fixed random combination of the outputs. A module that draws at random or counts its
    calls cannot be checked.

    Args:
        module: any Module, of float64 parameters; or a loss, or a function of arrays, such as an output and a target.
        x: a float64 input at which the module is smooth; several in a tuple or dictionary, of which integers stay as they
            are. Of a loss the pair (output, target), of which the output is checked.
        step: h.
        tolerance: allowed difference, relative to the largest derivative, plus the same absolutely.
        rng: seed or generator of the combination.

    Returns:
        True; otherwise an AssertionError names the entry that differs most.

    Raises:
        TypeError: if module is none of these, or a loss is given no pair.

    Example:
        >>> gradcheck(nn.Sequential(nn.Linear(2, 3, dtype=np.float64), nn.Tanh()), np.ones((4, 2)))
        True
        >>> gradcheck(nn.MSELoss(), (np.ones((4, 2)), np.zeros((4, 2))))
        True
    """
    rng = np.random.default_rng(rng)
    if not isinstance(module, nn.Module):
        module = _Function(module)
    checked, value = (_of_loss if isinstance(module, nn.Loss) else _of_module)(module, x, rng)
    for name, (array, gradient) in checked.items():
        _compare(name, array, gradient, value, step, tolerance)
    return True


class _Function(nn.Module):
    """A function of arrays as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        if not callable(function) or isinstance(function, type):
            raise InvalidTypeError("gradcheck", "a Module, a loss or a function", kind_of(function))
        self.function = function

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.function(*inputs, **named)


def _of_module(module: nn.Module, given: Any, rng: Any) -> tuple[dict[str, Any], Callable[[], float]]:
    """What is checked with its gradient by name, and the scalar."""
    x = mapped(given, _own) if is_nested(given) else _own(given)
    module.zero_grad()
    y = call(module, x)
    gy = mapped(y, lambda each: np.asarray(rng.standard_normal(np.shape(each))))
    found = module.backward(mapped(gy, np.copy))
    inputs = dict(leaves(x, "input"))
    gradients = [found] if len(inputs) == 1 and isinstance(found, np.ndarray) else [each for _, each in leaves(found)]
    pairs = zip(inputs.items(), gradients, strict=True)
    checked = {name: (array, np.array(gradient)) for (name, array), gradient in pairs if gradient is not None}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            checked[name] = (parameter.data, parameter.grad.copy())

    def value() -> float:
        outputs = zip(leaves(call(module, x)), leaves(gy), strict=True)
        return sum(float(np.sum(one * weights)) for (_, one), (_, weights) in outputs)

    return checked, value


def _of_loss(loss: Any, given: Any, rng: Any) -> tuple[dict[str, Any], Callable[[], float]]:
    """As of a module."""
    if not isinstance(given, tuple) or len(given) != 2:
        expected = f"a pair (output, target) for {type(loss).__name__}"
        raise InvalidTypeError("gradcheck", expected, kind_of(given), argument="x")
    output, target = map(_own, given)
    y = loss(output, target)
    weights = np.asarray(rng.standard_normal(np.shape(y))) if np.ndim(y) else np.asarray(1.0)
    gradient = loss.backward(weights.copy()) if np.ndim(y) else loss.backward()
    return {"output": (output, np.array(gradient))}, lambda: float(np.sum(loss(output, target) * weights))


def _own(array: Any) -> Array:
    """An array to be written to; floats in float64."""
    array = np.asarray(array)
    return np.array(array, dtype=array.dtype if array.dtype.kind in "iub" else np.float64)


def _compare(
    name: str, array: Array, gradient: Array, value: Callable[[], float], step: float, tolerance: float
) -> None:
    """Hold a gradient against differences; array is what `value` reads."""
    slopes = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + step
        above = value()
        array[index] = kept - step
        below = value()
        array[index] = kept
        slopes[index] = (above - below) / (2 * step)
    bound = tolerance * (1 + np.abs(slopes).max(initial=0.0))
    wrong = np.abs(slopes - gradient)
    if wrong.size and not wrong.max() <= bound:
        place = tuple(int(i) for i in np.unravel_index(int(np.nanargmax(wrong)), wrong.shape))
        raise AssertionError(
            f"gradcheck: {name}{list(place)}: backward gives {gradient[place]}, differences give {slopes[place]}"
        )
