"""Metrics: how often a classifier is right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdl.arguments import real_number


def predicted_classes(output: ArrayLike, threshold: float = 0.5) -> NDArray[np.int64]:
    """The class that scores choose for each sample.

    argmax over axis 1, the first of equal scores; of a single column, 1 where the score is above the threshold, else 0.

    Args:
        output: scores, probabilities or log-probabilities.
        threshold: of a single column; 0.5 suits probabilities and targets 0 and 1, 0 suits logits and targets -1 and 1.

    Shape:
        output (N, C, d1, ...) gives (N, d1, ...); (N, 1) and (N,) give (N,).

    Raises:
        TypeError: if output is not numeric, or threshold is no number.
        ValueError: if output has no sample axis or no class axis of at least one column.

    Example:
        >>> predicted_classes([[0.2, 0.8], [0.9, 0.1]])
        array([1, 0])
        >>> predicted_classes([[2.3], [-0.7]], threshold=0)
        array([1, 0])
    """
    threshold = real_number(threshold, "threshold", "predicted_classes")
    scores = _numbers(output, "output", "predicted_classes")
    if scores.ndim == 0 or (scores.ndim > 1 and scores.shape[1] == 0):
        raise ValueError(f"predicted_classes: expected output of shape (N, classes, ...), got {scores.shape}")
    if scores.ndim == 1 or scores.shape[1] == 1:
        above = scores > threshold
        return (above if scores.ndim == 1 else above[:, 0]).astype(np.int64)
    return scores.argmax(axis=1)


def accuracy(output: ArrayLike, target: ArrayLike, threshold: float = 0.5) -> float:
    """The fraction of samples whose predicted class is the target's.

    mean(predicted_classes(output) == classes of target)

    Args:
        output: class scores; a NaN among a sample's scores makes it wrong.
        target: class indices, or one-hot rows or probabilities of output's shape, which count as their largest column.
        threshold: for scores of a single column, as in `predicted_classes`; targets there are 1 above it, too.

    Shape:
        output (N, C, d1, ...), target (N, d1, ...) of integers or (N, C, d1, ...); single column: (N,) or (N, 1) each.

    Raises:
        TypeError: if either is not numeric, or class indices are not integers.
        ValueError: if the shapes do not fit, there are no samples, or a class index is not among the columns.

    Example:
        >>> accuracy([[0.2, 0.8], [0.9, 0.1]], [1, 1])
        0.5
        >>> accuracy([0.9, 0.3, 0.6], [1, 0, 0])
        0.6666666666666666
    """
    return _right(output, target, threshold, "accuracy")


def error(output: ArrayLike, target: ArrayLike, threshold: float = 0.5) -> float:
    """The fraction of samples whose predicted class is not the target's: 1 - accuracy.

    Args, Shape, Raises: those of `accuracy`.

    Example:
        >>> error([[0.2, 0.8], [0.9, 0.1]], [1, 1])
        0.5
    """
    return 1.0 - _right(output, target, threshold, "error")


def _right(output: ArrayLike, target: ArrayLike, threshold: float, owner: str) -> float:
    scores, truth = _numbers(output, "output", owner), _numbers(target, "target", owner)
    if scores.ndim == 0 or scores.size == 0:
        raise ValueError(f"{owner}: expected output of at least one sample, got shape {scores.shape}")
    classes = predicted_classes(scores, threshold)
    nan = np.isnan(scores) if scores.ndim == 1 else np.isnan(scores).any(axis=1)
    if scores.ndim == 1 or scores.shape[1] == 1:
        if truth.shape not in (classes.shape, scores.shape):
            raise ValueError(f"{owner}: expected target of shape {scores.shape}, got {truth.shape}")
        expected = (truth > threshold).reshape(classes.shape)
    elif truth.shape == scores.shape:
        expected = truth.argmax(axis=1)
    elif truth.shape == classes.shape:
        expected = _indices(truth, scores.shape[1], owner)
    else:
        raise ValueError(
            f"{owner}: expected target of shape {classes.shape} (class indices) or {scores.shape}, got {truth.shape}"
        )
    return float(np.mean((classes == expected) & ~nan))


def _indices(target: NDArray[Any], classes: int, owner: str) -> NDArray[Any]:
    if target.dtype.kind not in "iu":
        raise TypeError(f"{owner}: expected integer class indices, got {target.dtype}; write target.astype(np.int64)")
    low, high = int(target.min()), int(target.max())
    if low < 0 or high >= classes:
        raise ValueError(f"{owner}: expected class indices from 0 to {classes - 1}, got {low if low < 0 else high}")
    return target


def _numbers(value: ArrayLike, name: str, owner: str) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{owner}: expected an array of numbers for {name}, got dtype {array.dtype}")
    return array
