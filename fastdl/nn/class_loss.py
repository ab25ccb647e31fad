"""Losses over classes: NLLLoss of log-probabilities and CrossEntropyLoss of scores."""

from __future__ import annotations

from functools import partial
from math import copysign, inf, isnan, nan, prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdl._kernels import cross_entropy as kernels
from fastdl._kernels.array import count_targets, empty, empty_like, ready
from fastdl._kernels.option import Option
from fastdl.casting import cast
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown
from fastdl.nn.loss import Loss, as_weight
from fastdl.nn.softmax import LogSoftmax
from fastdl.validation import as_array, integer, real_number


def _class_weights(value: ArrayLike | None, name: str, owner: str) -> NDArray[Any] | None:
    weights = as_weight(value, name, owner)
    if weights is not None and weights.ndim != 1:
        raise InvalidValueError(owner, "one weight for each class", f"shape {weights.shape}")
    return weights


def _index(value: Any, name: str, owner: str) -> int:
    if not -(2**63) <= integer(value, name, owner) < 2**63:
        raise InvalidValueError(owner, "an integer of 64 bits", shown(value), argument=name)
    return int(value)


class _ClassLoss(Loss):
    """What both have in common: class weights, ignored targets, scores (N, C, d1, ...) seen as (N, C, D)."""

    weight: Any = Option(_class_weights)
    ignore_index = Option(_index)

    def __init__(self, weight: ArrayLike | None, ignore_index: int, reduction: str) -> None:
        super().__init__(reduction)
        self.weight, self.ignore_index = weight, ignore_index

    def _scores(self, output: NDArray[Any], target: Any) -> NDArray[Any]:
        """The output as (N, C, D); scores (C,) are those of one sample where the target is, too."""
        x = ready(output, None, self, "output")
        one = x.ndim == 1 and (
            not np.ndim(target) or (np.shape(target) == x.shape and np.asarray(target).dtype.kind == "f")
        )
        if (not one and x.ndim < 2) or x.shape[not one] == 0:
            raise InvalidValueError(shown(self), "scores of shape (N, C) or (N, C, d1, ...)", x.shape)
        weight = self.weight
        if weight is not None and len(weight) != x.shape[not one]:
            raise InvalidValueError(shown(self), f"scores of {len(weight)} classes, one a weight", x.shape)
        return x.reshape(1, -1, 1) if one else x.reshape(x.shape[0], x.shape[1], prod(x.shape[2:]))

    def _indices(self, target: Any, shape: tuple[int, ...]) -> tuple[NDArray[np.int64], int]:
        """Target classes as int64 (N, D), all of them classes or ignored, and how many are not ignored."""
        if type(target) is not np.ndarray:
            target = as_array(target, "target", self.spec())
        if target.dtype.kind not in "iu":
            raise InvalidTypeError(
                shown(self), "integer class indices", f"dtype {target.dtype}", "write y.astype(np.int64)"
            )
        wanted = _places(shape)
        if target.shape != wanted:
            raise InvalidValueError(shown(self), f"class indices of shape {wanted} for scores {shape}", target.shape)
        # What int64 cannot hold must not come round as a negative index.
        held = np.minimum(target, np.uint64(np.iinfo(np.int64).max)) if target.dtype == np.uint64 else target
        # A copy: backward is for these, whatever becomes of the array, and what is checked here is what the kernels use.
        indices = np.array(held, dtype=np.int64, order="C")
        classes = shape[len(shape) > 1]
        count, wrong = count_targets(indices, classes, self.ignore_index)
        if wrong >= 0:
            place = np.unravel_index(wrong, wanted) if wanted else ()
            where = f" at index {', '.join(str(int(i)) for i in place)}" if wanted else ""
            raise InvalidValueError(shown(self), f"class indices from 0 to {classes - 1}", f"{target[place]}{where}")
        return indices.reshape(wanted[0] if wanted else 1, prod(wanted[1:])), count

    def _picked(self, logp: Any, target: Any) -> tuple[Any, Any]:
        """-weight[t] logp[t] of traced values for each class index t, 0 where it is ignored; and where it is not."""
        counts: Any = target != self.ignore_index
        # What is negative else is no class, and is found out as such.
        index = np.where(counts, np.where(target < 0, logp.shape[1], target), 0)
        losses: Any = -np.squeeze(np.take_along_axis(logp, np.expand_dims(index, 1), 1), 1)
        if self.weight is not None:
            losses = losses * np.take(logp.graph.constant(self.weight), index)
        return np.where(counts, losses, 0.0), counts

    def _formula(self, output: Any, target: Any) -> Any:
        return self._weighted_mean(self.function(output, target), target)

    def _weighted_mean(self, losses: Any, target: Any) -> Any:
        """The mean over class indices is that of those that count, by their weights."""
        if self.reduction != "mean" or target.dtype.kind == "f":
            return self.reduced(losses)
        counts: Any = target != self.ignore_index
        weights = (
            1.0 if self.weight is None else np.take(target.graph.constant(self.weight), np.where(counts, target, 0))
        )
        total: Any = np.sum(np.where(counts, weights, 0.0))
        return np.sum(losses) / np.where(total == 0, 1.0, total)

    def _takes(self, target: NDArray[Any], shape: tuple[int, ...]) -> bool:
        if target.dtype.kind == "f":
            return True
        return count_targets(np.ascontiguousarray(target), shape[0], self.ignore_index)[1] < 0

    def _counted(self, rows: int, saved: Any = None) -> float:
        """What the mean of the forward divides by; else its rows."""
        saved = saved or self._kept
        return saved[3] if self.reduction == "mean" and saved else rows

    def _count_of(self, target: Any, rows: int) -> float | None:
        """What the mean of a loss of these targets divides by; else as other losses."""
        if self.reduction != "mean" or target.dtype.kind == "f":
            return super()._count_of(target, rows)
        return self._divisor(target, int(np.count_nonzero(target != self.ignore_index)), self.weight)

    def _planned(self, name: str, plan: Any, x: Any, target: NDArray[Any], label_smoothing: float = 0.0) -> Any:
        """This loss in a native program, which knows it by this name."""
        weight = None if self.weight is None else cast(self.weight, plan.dtype)
        if not prod(x.shape[:1]) or (weight is not None and len(weight) != x.shape[0]):
            raise plan.refusal(f"a {type(self).__name__} was given scores of shape {x.shape}")
        probabilities = name == "cross_entropy_probabilities"
        wanted = (plan.dtype, x.shape) if probabilities else (np.dtype(np.int64), x.shape[1:])
        if (target.dtype, target.shape[1:]) != wanted:
            raise plan.refusal(f"targets for {type(self).__name__} are {target.dtype} of shape {target.shape}")
        if not self._takes(target, x.shape):
            raise plan.refusal(f"a target is none of {x.shape[0]} classes")
        places = prod(x.shape[1:])
        attributes = {"C": x.shape[0], "D": places, "ignore_index": self.ignore_index}
        attributes["label_smoothing"] = label_smoothing
        return plan.loss(name, attributes, losses=places, weight=weight, **self._reduction_options())

    def _weight_like(self, x: NDArray[Any]) -> NDArray[Any] | None:
        weight = self.weight
        return None if weight is None else cast(weight, x.dtype)

    def _divisor(self, indices: NDArray[np.int64], count: int, weight: NDArray[Any] | None) -> float:
        """What "mean" divides by: the number of targets that count, or the sum of their weights."""
        if weight is None:
            return float(count)
        return float(weight[indices[indices != self.ignore_index]].sum(dtype=np.float64))

    def _reduced(self, losses: NDArray[Any], divisor: float, shape: tuple[int, ...]) -> Any:
        """The losses (N, D) in the reduction asked for; shape is the target's."""
        reduction = self.reduction
        if reduction == "none":
            return losses.reshape(shape)
        total = float(losses.sum(dtype=np.float64))
        if reduction == "mean":
            if divisor or not losses.size:
                return total / (divisor or 1.0)
            return nan if total == 0 or isnan(total) else copysign(inf, total)
        return total * self._factor(losses.shape)

    def _gradient_of_each(
        self, grad_output: Any, shape: tuple[int, ...], divisor: float, x: NDArray[Any]
    ) -> NDArray[Any]:
        """The gradient with respect to each loss, (N, D)."""
        if self.reduction == "mean" and grad_output is None:
            factor = 1.0 / divisor if divisor else 0.0
        elif grad_output is None:
            factor = 1.0 if self.reduction == "none" else self._factor(shape)
        else:
            return self._weight_of_each(grad_output, shape, x.dtype).reshape(x.shape[0], x.shape[2])
        gy = empty((x.shape[0], x.shape[2]), x.dtype)
        gy.fill(factor)
        return gy


def _places(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the losses of scores of this shape: that without the axis of classes."""
    return (shape[0], *shape[2:]) if len(shape) > 1 else ()


class NLLLoss(_ClassLoss):
    """l = -weight[t] x[t] for log-probabilities x and a class index t; "mean" divides by the sum of weight[t].

    Args:
        weight: one number for each class.
        ignore_index: targets of this value count for nothing.
        reduction: as for Loss.

    Shape:
        output (N, C) or (N, C, d1, ...), target (N,) or (N, d1, ...), integers; of one sample (C,) and ().

    Example:
        >>> NLLLoss()(np.log(np.array([[0.5, 0.5]])), np.array([0]))
        0.6931471805599453

    Source: torch.nn.NLLLoss.
    """

    def function(self, output: Any, target: Any) -> Any:
        """Return the loss of each target, of traced values."""
        return self._picked(output, target)[0]

    def _objective(self, plan: Any, x: Any, target: NDArray[Any]) -> Any:
        return self._planned("nll", plan, x, target)

    def __init__(self, weight: ArrayLike | None = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(weight, ignore_index, reduction)

    def _forward(self, output: NDArray[Any], target: Any) -> tuple[Any, Any]:
        x, shape = self._scores(output, target), np.shape(output)
        (indices, count), weight = self._indices(target, shape), self._weight_like(x)
        losses = empty(indices.shape, x.dtype)
        kernels.nll_forward(x, indices, weight, self.ignore_index, losses)
        divisor = self._divisor(indices, count, weight)
        return self._reduced(losses, divisor, _places(shape)), (x, indices, weight, divisor, shape)

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        x, indices, weight, divisor, shape = saved
        gx = empty_like(x)
        gy = self._gradient_of_each(grad_output, _places(shape), divisor, x)
        kernels.nll_backward(indices, weight, self.ignore_index, gy, gx)
        return gx.reshape(shape)


class CrossEntropyLoss(_ClassLoss):
    """l = - sum_c weight[c] q_c log softmax(x)_c for scores x; q is the target, a class or a distribution.

    Args:
        weight: one number for each class; with class indices "mean" divides by the sum of weight[t].
        ignore_index: target indices of this value count for nothing.
        reduction: as for Loss.
        label_smoothing: q = (1 - label_smoothing) q + label_smoothing / C; from 0 to 1.

    Shape:
        output (N, C) or (N, C, d1, ...); target: integer classes (N,) or (N, d1, ...), or probabilities of output's shape.
        Of one sample: output (C,), target () or (C,).

    Raises:
        ValueError: if a class index is out of range or shapes do not fit.

    Example:
        >>> criterion = CrossEntropyLoss()
        >>> criterion(np.zeros((1, 2)), np.array([1])), criterion.backward()
        (0.6931471805599453, array([[ 0.5, -0.5]]))

    Source: torch.nn.CrossEntropyLoss.
    """

    label_smoothing = Option(partial(real_number, low=0.0, high=1.0))

    def __init__(
        self,
        weight: ArrayLike | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        self.label_smoothing = label_smoothing

    def _forward(self, output: NDArray[Any], target: Any) -> tuple[Any, Any]:
        x, shape = self._scores(output, target), np.shape(output)
        weight, p = self._weight_like(x), empty_like(x)
        losses = empty((x.shape[0], x.shape[2]), x.dtype)
        if type(target) is not np.ndarray:
            target = as_array(target, "target", self.spec())
        if target.dtype.kind == "f":
            if target.shape == _places(shape):
                raise InvalidTypeError(
                    shown(self),
                    f"integer class indices, or target probabilities of the scores' shape {shape}",
                    f"{target.dtype} of shape {target.shape}",
                    "write y.astype(np.int64) for indices",
                )
            if target.shape != shape:
                raise InvalidValueError(shown(self), f"target probabilities of the scores' shape {shape}", target.shape)
            t = ready(target, x.dtype, self, "target").reshape(x.shape)
            divisor = float(losses.size)
            kernels.cross_entropy_probabilities_forward(x, t, weight, self.label_smoothing, p, losses)
        else:
            t, count = self._indices(target, shape)
            divisor = self._divisor(t, count, weight)
            kernels.cross_entropy_forward(x, t, weight, self.ignore_index, self.label_smoothing, p, losses)
        return self._reduced(losses, divisor, _places(shape)), (p, t, weight, divisor, shape)

    def function(self, output: Any, target: Any) -> Any:
        """Return the loss of each target, of traced values."""
        logp, smoothing, classes = LogSoftmax(1)(output), self.label_smoothing, output.shape[1]
        weight: Any = 1.0 if self.weight is None else self.weight.reshape(-1, *[1] * (output.ndim - 2))
        of_all: Any = -np.sum(weight * logp, axis=1)
        if target.dtype.kind == "f":
            return smoothing / classes * of_all - (1 - smoothing) * np.sum(weight * target * logp, axis=1)
        losses, counts = self._picked(logp, target)
        return (1 - smoothing) * losses + smoothing / classes * np.where(counts, of_all, 0.0)

    def _objective(self, plan: Any, x: Any, target: NDArray[Any]) -> Any:
        name = "cross_entropy_probabilities" if target.dtype.kind == "f" else "cross_entropy"
        return self._planned(name, plan, x, target, self.label_smoothing)

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        p, t, weight, divisor, shape = saved
        gy = self._gradient_of_each(grad_output, _places(shape), divisor, p)
        gx = empty_like(p)
        if t.dtype.kind == "f":
            kernels.cross_entropy_probabilities_backward(p, t, weight, self.label_smoothing, gy, gx)
        else:
            kernels.cross_entropy_backward(p, t, weight, self.ignore_index, self.label_smoothing, gy, gx)
        return gx.reshape(shape)
