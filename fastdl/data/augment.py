"""Batches changed at random while a model trains, so that it sees more than its data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np

from fastdl.data.nested import Nested, leaves
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import listed, shown
from fastdl.random import as_generator
from fastdl.validation import positive_integer, real_number, refuse_special

# In strings: importing numpy.random takes a while.
Augment: TypeAlias = "Callable[[Any, np.random.Generator], Any]"
Seed: TypeAlias = "int | np.random.Generator | None"


class Shift:
    """Move each image by up to k pixels, up or down and to a side; zeros move in.

    y[n, c, h, w] = x[n, c, h - dh[n], w - dw[n]], dh and dw uniform among the integers from -k to k.

    Args:
        k: the most pixels; no more than an image is high or wide.

    Shapes:
        x (N, C, H, W); a new array of the same.

    Raises:
        TypeError: if k is no integer, or x no array of float32 or float64.
        ValueError: if k is below 0, or x has another shape or smaller images.

    Example:
        >>> x = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)
        >>> Shift(1)(x, rng=4)[0, 0]
        array([[0., 0., 0.],
               [0., 1., 2.],
               [0., 4., 5.]], dtype=float32)

    Source: torchvision.transforms.RandomCrop with padding.
    """

    def __init__(self, k: int) -> None:
        self.k = positive_integer(k, "k", "Shift", or_zero=True)

    def __call__(self, x: np.ndarray, rng: Seed = None) -> np.ndarray:
        x = _images(x, self)
        N, _, H, W = x.shape
        k = self.k
        if k > min(H, W):
            raise InvalidValueError(shown(self), f"images of at least {k} by {k} pixels", f"{H} by {W}")
        down, right = as_generator(rng).integers(-k, k, (2, N), endpoint=True)
        padded = np.pad(x, ((0, 0), (0, 0), (k, k), (k, k)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (H, W), axis=(2, 3))
        return windows[np.arange(N), :, k - down, k - right]

    def __repr__(self) -> str:
        return f"Shift({self.k})"


class Flip:
    """Mirror images left to right, each with probability p.

    y[n, c, h, w] = x[n, c, h, W - 1 - w] for the images drawn, x[n, c, h, w] for the others.

    Args:
        p: the probability.

    Shapes:
        x (N, C, H, W); a new array of the same.

    Raises:
        TypeError: if p is no number, or x no array of float32 or float64.
        ValueError: if p is not from 0 to 1, or x has another shape.

    Example:
        >>> Flip(p=1)(np.array([[[[1.0, 2.0, 3.0]]]]))
        array([[[[3., 2., 1.]]]])

    Source: torchvision.transforms.RandomHorizontalFlip.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = real_number(p, "p", "Flip", 0, 1)

    def __call__(self, x: np.ndarray, rng: Seed = None) -> np.ndarray:
        x = _images(x, self)
        drawn = as_generator(rng).random(len(x)) < self.p
        return np.where(drawn[:, np.newaxis, np.newaxis, np.newaxis], x[..., ::-1], x)

    def __repr__(self) -> str:
        return f"Flip({self.p:g})"


class Noise:
    """Add a normal number to each element.

    y = x + std * z, z normal with mean 0 and deviation 1.

    Args:
        std: the deviation.

    Shapes:
        x (N, ...); a new array of the same.

    Raises:
        TypeError: if std is no number, or x no array of float32 or float64.
        ValueError: if std is below 0.

    Example:
        >>> Noise(0.1)(np.zeros((2, 2)), rng=0).round(3)
        array([[ 0.013, -0.013],
               [ 0.064,  0.01 ]])

    Source: torchvision.transforms.v2.GaussianNoise.
    """

    def __init__(self, std: float) -> None:
        self.std = real_number(std, "std", "Noise", 0)

    def __call__(self, x: np.ndarray, rng: Seed = None) -> np.ndarray:
        _floats(x, self)
        y: np.ndarray = as_generator(rng).standard_normal(x.shape, dtype=x.dtype.type)
        y *= x.dtype.type(self.std)
        y += x
        return y

    def __repr__(self) -> str:
        return f"Noise({self.std:g})"


class Compose:
    """One after the other, all from the same generator.

    y = last(... first(x))

    Args:
        parts: functions of (x, generator) that return a new array, as the other classes here are.

    Shapes:
        as the parts have them.

    Raises:
        TypeError: if a part is no function.
        ValueError: if there is none.

    Example:
        >>> change = Compose([Shift(2), Flip(), Noise(0.01)])
        >>> change, change(np.zeros((10, 3, 8, 8)), rng=0).shape
        (Compose([Shift(2), Flip(0.5), Noise(0.01)]), (10, 3, 8, 8))

    Source: torchvision.transforms.Compose.
    """

    def __init__(self, parts: Iterable[Augment]) -> None:
        if not isinstance(parts, Iterable):
            raise InvalidTypeError("Compose", "a list of functions of (x, generator)", shown(parts))
        self.parts = list(parts)
        if not self.parts:
            raise InvalidValueError("Compose", "at least one function of (x, generator)", "none")
        for part in self.parts:
            if not callable(part):
                raise InvalidTypeError("Compose", "functions of (x, generator)", shown(part))

    def __call__(self, x: np.ndarray, rng: Seed = None) -> np.ndarray:
        rng = as_generator(rng)
        for part in self.parts:
            x = part(x, rng)
        return x

    def __repr__(self) -> str:
        return f"Compose({self.parts!r})"


def augmented(augment: Augment, x: Any, rng: np.random.Generator, owner: str) -> Any:
    """augment(x, rng), which has to be an array of x's dtype and shape; of several inputs, as many in the same places.

    Raises:
        TypeError, ValueError: if it is not.
    """
    if not isinstance(x, Nested):
        return _like(augment(x, rng), x, owner)
    # Before it is called: it may write into the tuple or dictionary that it is given.
    wanted = dict(x.arrays())
    y: Any = augment(x.map(lambda array: array), rng)
    found = dict(leaves(y)) if isinstance(y, type(x.parts)) else {}
    if found.keys() != wanted.keys():
        got = listed(found) if found else type(y).__name__
        raise InvalidTypeError(owner, f"augment to return a {type(x.parts).__name__} of {listed(wanted)}", got)
    arrays = {place: _like(found[place], array, owner) for place, array in wanted.items()}
    left = iter(arrays.values())
    return Nested(x.map(lambda _: next(left)))


def _like(y: Any, x: np.ndarray, owner: str) -> np.ndarray:
    """What augment has returned for an array, which has to be one of its dtype and shape."""
    refuse_special(y, "what augment returns", owner)
    if not isinstance(y, np.ndarray) or y.dtype != x.dtype:
        kind = y.dtype if isinstance(y, np.ndarray) else type(y).__name__
        raise InvalidTypeError(owner, f"augment to return an array of {x.dtype}", kind)
    if y.shape != x.shape:
        raise InvalidValueError(owner, f"augment to return the shape {x.shape} that it was given", y.shape)
    return y


def _floats(x: object, owner: object) -> None:
    refuse_special(x, "x", repr(owner))
    if not isinstance(x, np.ndarray) or x.dtype not in (np.float32, np.float64):
        kind = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
        raise InvalidTypeError(shown(owner), "an array of float32 or float64", kind)
    if x.ndim == 0:
        raise InvalidValueError(shown(owner), "an array with rows", "a single value")


def _images(x: np.ndarray, owner: object) -> np.ndarray:
    _floats(x, owner)
    if x.ndim != 4:
        raise InvalidValueError(shown(owner), "images of shape (N, C, H, W)", x.shape)
    return np.ascontiguousarray(x)
