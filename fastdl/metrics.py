"""Metrics: how often a classifier is right and what it takes for what, how far values are from where they should be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.validation import as_array, real_number


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
        raise InvalidValueError("predicted_classes", "output of shape (N, classes, ...)", scores.shape)
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


def confusion_matrix(output: ArrayLike, target: ArrayLike, threshold: float = 0.5) -> NDArray[np.int64]:
    """How many samples of each class are taken for each.

    counts[i, j] = the number of samples of class i whose predicted class is j; a NaN score is larger than any other.

    Args:
        output, target, threshold: as for `accuracy`.

    Shape:
        output (N, C, d1, ...) gives (C, C); a single column (2, 2).

    Raises:
        TypeError, ValueError: those of `accuracy`.

    Example:
        >>> confusion_matrix([[0.2, 0.8], [0.9, 0.1], [0.3, 0.7]], [1, 1, 0])
        array([[0, 1],
               [1, 1]])

    Source: sklearn.metrics.confusion_matrix.
    """
    _, predicted, expected, classes = _compared(output, target, threshold, "confusion_matrix")
    counts = np.bincount(classes * expected.ravel() + predicted.ravel(), minlength=classes * classes)
    return counts.astype(np.int64).reshape(classes, classes)


def r2_score(output: ArrayLike, target: ArrayLike) -> float:
    """The part of the targets' variance that the outputs explain: 1 for all, 0 for none, less than a constant would.

    1 - sum (target - output)^2 / sum (target - mean)^2, column by column, and the mean over the columns

    Where a column of targets is constant, it is 1 if the outputs are that constant, else 0.

    Args:
        output, target: values.

    Shape:
        (N, ...) each.

    Raises:
        TypeError: if either is not numeric.
        ValueError: if the shapes differ or there are no samples.

    Example:
        >>> r2_score([[1.0], [2.0], [4.0]], [[1.0], [2.0], [3.0]])
        0.5

    Source: sklearn.metrics.r2_score.
    """
    values, truth = _values(output, target, "r2_score")
    scale = _scale(values, truth, axis=0)
    values, truth = values * scale, truth * scale
    rest, spread = ((truth - values) ** 2).sum(axis=0), ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    varies = (truth != truth[:1]).any(axis=0)
    explained = 1 - rest / np.where(varies, spread, 1)
    return float(np.mean(np.where(varies, explained, (rest == 0).astype(np.float64))))


def root_mean_squared_error(output: ArrayLike, target: ArrayLike) -> float:
    """How far the outputs are from the targets, in their unit.

    sqrt(mean (target - output)^2)

    Args:
        output, target: values.

    Shape:
        (N, ...) each.

    Raises:
        TypeError, ValueError: those of `r2_score`.

    Example:
        >>> root_mean_squared_error([1.0, 2.0], [1.0, 4.0])
        1.4142135623730951

    Source: sklearn.metrics.root_mean_squared_error.
    """
    values, truth = _values(output, target, "root_mean_squared_error")
    scale = _scale(values, truth)
    return float(np.sqrt(np.mean((truth * scale - values * scale) ** 2)) / scale)


def _right(output: ArrayLike, target: ArrayLike, threshold: float, owner: str) -> float:
    scores, predicted, expected, _ = _compared(output, target, threshold, owner)
    nan = np.isnan(scores) if scores.ndim == 1 else np.isnan(scores).any(axis=1)
    return float(np.mean((predicted == expected) & ~nan))


def _compared(
    output: ArrayLike, target: ArrayLike, threshold: float, owner: str
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], int]:
    """Scores, predicted and expected classes, and how many classes there are."""
    scores, truth = _numbers(output, "output", owner), _numbers(target, "target", owner)
    if scores.ndim == 0 or scores.size == 0:
        raise InvalidValueError(owner, "output of at least one sample", f"shape {scores.shape}")
    predicted = predicted_classes(scores, threshold)
    if scores.ndim == 1 or scores.shape[1] == 1:
        if truth.shape not in (predicted.shape, scores.shape):
            raise InvalidValueError(owner, f"target of shape {scores.shape}", truth.shape)
        return scores, predicted, (truth > threshold).reshape(predicted.shape).astype(np.int64), 2
    if truth.shape == scores.shape:
        return scores, predicted, truth.argmax(axis=1), scores.shape[1]
    if truth.shape == predicted.shape:
        return scores, predicted, _indices(truth, scores.shape[1], owner).astype(np.int64), scores.shape[1]
    raise InvalidValueError(owner, f"target of shape {predicted.shape} (class indices) or {scores.shape}", truth.shape)


def _values(output: ArrayLike, target: ArrayLike, owner: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, truth = _numbers(output, "output", owner), _numbers(target, "target", owner)
    if values.shape != truth.shape or values.size == 0:
        raise InvalidValueError(
            owner, "output and target of one shape and with samples", f"{values.shape} and {truth.shape}"
        )
    if values.ndim == 0:
        raise InvalidValueError(owner, "output and target with rows", "single values")
    return values.astype(np.float64), truth.astype(np.float64)


def _indices(target: NDArray[Any], classes: int, owner: str) -> NDArray[Any]:
    if target.dtype.kind not in "iu":
        raise InvalidTypeError(owner, "integer class indices", target.dtype, "write target.astype(np.int64)")
    low, high = int(target.min()), int(target.max())
    if low < 0 or high >= classes:
        raise InvalidValueError(owner, f"class indices from 0 to {classes - 1}", low if low < 0 else high)
    return target


def _numbers(value: ArrayLike, name: str, owner: str) -> NDArray[Any]:
    array = as_array(value, name, owner)
    if array.dtype.kind not in "fiub":
        raise InvalidTypeError(owner, "an array of numbers", f"dtype {array.dtype}", argument=name)
    return array


def _scale(values: NDArray[np.float64], truth: NDArray[np.float64], axis: int | None = None) -> NDArray[np.float64]:
    """A power of two that brings the largest to about 1, so that no square overflows or vanishes."""
    largest = [np.where(np.isfinite(each), np.abs(each), 0.0).max(axis=axis) for each in (values, truth)]
    return np.ldexp(1.0, -np.clip(np.frexp(np.maximum(*largest))[1], -1000, 1000))
