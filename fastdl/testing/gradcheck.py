"""Gradcheck: backward held against central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl import nn

Array = NDArray[Any]


def gradcheck(
    module: nn.Module, x: Array, *, step: float = 1e-5, tolerance: float = 1e-6, rng: int | np.random.Generator = 0
) -> bool:
    """Compare backward with central differences (f(x + h) - f(x - h)) / 2h, for the input and every parameter.

    The scalar differentiated is a fixed random combination of the outputs. A module that draws at random or counts its
    calls cannot be checked.

    Args:
        module: any Module, of float64 parameters.
        x: a float64 input at which the module is smooth.
        step: h.
        tolerance: allowed difference, relative to the largest derivative, plus the same absolutely.
        rng: seed or generator of the combination.

    Returns:
        True; otherwise an AssertionError names the entry that differs most.

    Example:
        >>> gradcheck(nn.Sequential(nn.Linear(2, 3, dtype=np.float64), nn.Tanh()), np.ones((4, 2)))
        True
    """
    x = np.array(x, dtype=np.float64)
    module.zero_grad()
    y = module(x)
    gy = np.asarray(np.random.default_rng(rng).standard_normal(y.shape))
    checked = {"input": (x, np.array(module.backward(gy.copy())))}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            checked[name] = (parameter.data, parameter.grad.copy())
    for name, (array, gradient) in checked.items():
        slopes = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            kept = array[index]
            array[index] = kept + step
            above = float(np.sum(module(x) * gy))
            array[index] = kept - step
            below = float(np.sum(module(x) * gy))
            array[index] = kept
            slopes[index] = (above - below) / (2 * step)
        bound = tolerance * (1 + np.abs(slopes).max(initial=0.0))
        wrong = np.abs(slopes - gradient)
        if wrong.size and not wrong.max() <= bound:
            place = tuple(int(i) for i in np.unravel_index(int(np.nanargmax(wrong)), wrong.shape))
            raise AssertionError(
                f"gradcheck: {name}{list(place)}: backward gives {gradient[place]}, differences give {slopes[place]}"
            )
    return True
