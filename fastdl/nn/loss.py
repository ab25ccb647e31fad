"""Losses: what training makes small, and its gradient with respect to the model's output."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdl._kernels import layer_call
from fastdl._kernels.array import empty_like, ready
from fastdl._kernels.loss import loss_backward, loss_forward, loss_kinds, loss_sum
from fastdl._kernels.option import Option
from fastdl.casting import cast
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph.size import Size, same_shape
from fastdl.graph.value import Value
from fastdl.messages import shown
from fastdl.nn.grad_mode import mode
from fastdl.nn.layer import Layer
from fastdl.nn.traced_operators import traced
from fastdl.validation import as_array, one_of, positive_number

REDUCTIONS = ("mean", "sum", "batchmean", "none")


def has_backward(criterion: Any) -> bool:
    """Whether a criterion computes its gradient itself; that of a function, or of a module with forward alone, is derived."""
    return hasattr(criterion, "backward") and not getattr(criterion, "_forward_only", False)


def as_weight(value: ArrayLike | None, name: str, owner: str) -> NDArray[Any] | None:
    """The value as an array of finite numbers, or None."""
    if value is None:
        return None
    array = as_array(value, name, owner)
    if array.dtype.kind not in "fiu":
        raise InvalidTypeError(owner, "an array of numbers", shown(value), argument=name)
    if not np.all(np.isfinite(array)):
        raise InvalidValueError(owner, "finite numbers", shown(value), argument=name)
    return cast(array, np.float64)


class Loss(Layer):
    """A loss over elements, for a function of one's own; a subclass defines one method or two.

    `function(output, target)` returns the loss of each element (or sample), `derivative(output, target)` its derivative with
    respect to output, of output's shape. Without the latter the function is traced and differentiated in every backward, see
    `fastdl.grad`; that takes longer than a derivative that is given.

    Args:
        reduction: "mean" over all that `function` returns, "sum", "batchmean" (the sum over the length of the first axis),
            "none" (the array itself).

    Example:
        >>> class LogCosh(Loss):
        ...     def function(self, output, target):
        ...         return np.log(np.cosh(output - target))
        ...     def derivative(self, output, target):
        ...         return np.tanh(output - target)
        >>> criterion = LogCosh()  # which needs no derivative, but is faster with one
        >>> criterion(np.zeros((2, 1)), np.zeros((2, 1))), criterion.backward()
        (0.0, array([[0.],
               [0.]]))
    """

    reduction = Option(partial(one_of, REDUCTIONS), default="mean")

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def function(self, output: NDArray[Any], target: Any) -> NDArray[Any]:
        """Return the loss of each element or sample; defined by the subclass."""
        raise TypeError(f"{type(self).__name__} has no function: define function(self, output, target)")

    def derivative(self, output: NDArray[Any], target: Any) -> NDArray[Any]:
        """Return the derivative of the sum of function's losses with respect to output; a subclass may define it."""
        from fastdl.graph.differentiate import weighed_gradient

        return weighed_gradient(lambda traced: self.function(traced, target), output)

    __call__ = layer_call.loss_call  # pyright: ignore[reportAssignmentType]
    forward = layer_call.loss_forward  # pyright: ignore[reportAssignmentType]
    backward: ClassVar[Callable[..., NDArray[Any]]] = layer_call.loss_backward

    def _apply(self, *inputs: Any, **named: Any) -> Any:
        """The reduced loss of traced values; losses that are not reduced for reduction "none"."""
        from fastdl.graph import layers, operations

        output, target = map(traced, inputs)
        graph = operations.graph_of(output, target)
        output: Any = operations.as_value(graph, output)
        fixed = not any(isinstance(size, Size) for size in output.shape[1:])
        if hasattr(self, "_objective") and self.reduction != "none" and fixed:
            return layers.loss(self, output, target)
        return self.reduced(self._losses(output, target))

    def weighted(self, output: Any, target: Any, weights: Any) -> Any:
        """The reduced loss of traced values with a weight for each sample, sum_i w_i l_i over what it divides by without them."""
        from fastdl.graph import operations

        output, target, weights = map(traced, (output, target, weights))
        output = operations.as_value(operations.graph_of(output, target, weights), output)
        losses = self._losses(output, target)
        return self._weighted_mean(losses * weights.reshape(-1, *[1] * (losses.ndim - 1)), target)

    def _weighted_mean(self, losses: Any, target: Any) -> Any:
        """The reduced loss of traced values, from that of each, whose target decides what it divides by."""
        return self.reduced(losses)

    def _losses(self, output: Any, target: Any) -> Any:
        """The loss of each element or sample, of traced values, with the derivative that the class gives."""
        from fastdl.graph import operations

        if type(self).derivative is Loss.derivative:
            return self.function(output, target)
        is_made = isinstance(target, Value) and target.dtype.kind == "f"
        stands_for = operations.alias(target) if is_made else target
        losses: Any = self.function(output, stands_for)
        slope: Any = self.derivative(output, stands_for)
        if not isinstance(slope, Value) or not same_shape(slope.shape, output.shape):
            shape = getattr(slope, "shape", type(slope).__name__)
            raise InvalidValueError(shown(self), f"derivative to return shape {output.shape}", shape)
        targets = (target, stands_for) if is_made else ()
        return operations.given_slope(output, losses, slope, *targets)

    def _formula(self, output: Any, target: Any) -> Any:
        """The reduced loss in NumPy's functions of traced values, for derivatives that its kernels do not compute."""
        return self.reduced(self.function(output, target))

    def reduced(self, losses: Any) -> Any:
        """The reduced loss of traced values, from that of each."""
        if self.reduction == "none":
            return losses
        total: Any = np.sum(losses)
        if self.reduction == "sum":
            return total
        return total / (losses.size if self.reduction == "mean" else losses.shape[0])

    def _forward_any(self, output: Any, target: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """`forward` of what are not two arrays."""
        if type(output) is Value or type(target) is Value:
            return self._apply(output, target)
        try:
            loss, saved = self._forward(output, target)
        except TypeError:
            if type(traced(output)) is Value or type(traced(target)) is Value:
                return self._apply(output, target)
            raise
        if mode.enabled:
            self._kept = saved
        return loss

    def _forward(self, output: NDArray[Any], target: Any) -> tuple[Any, Any]:
        output = ready(output, None, self, "output")
        losses = np.asarray(self.function(output, target))
        saved = output, target, losses.shape
        if self.reduction == "none":
            return losses, saved
        return float(losses.sum(dtype=np.float64)) * self._factor(losses.shape), saved

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        output, target, shape = saved
        slope = np.asarray(self.derivative(output, target))
        if slope.shape != output.shape:
            raise InvalidValueError(shown(self), f"derivative to return shape {output.shape}", slope.shape)
        weight = self._weight_of_each(grad_output, shape, output.dtype)
        weight = weight.reshape(weight.shape + (1,) * (slope.ndim - weight.ndim))
        return cast(np.asarray(slope * weight), output.dtype, copy=False, order="C")

    def _takes(self, target: NDArray[Any], shape: tuple[int, ...]) -> bool:
        """Whether a native program may read these targets, for outputs of this shape without the batch's axis."""
        return True

    def _counted(self, rows: int, saved: Any = None) -> float:
        """How much the loss of a forward of so many rows, the latest or that which saved this, counts among those of batches."""
        return rows

    def _count_of(self, target: Any, rows: int) -> float | None:
        """How much a loss of these targets, of so many rows, counts among others; None where it is a sum."""
        return None if self.reduction == "sum" else rows

    def _reduction_options(self) -> dict[str, bool]:
        return {"mean": self.reduction == "mean", "batchmean": self.reduction == "batchmean"}

    def _factor(self, shape: tuple[int, ...], reduction: str | None = None) -> float:
        """What the sum of losses of this shape is multiplied with. The mean of nothing is 0."""
        reduction = reduction or self.reduction
        if reduction == "sum":
            return 1.0
        count = prod(shape) if reduction == "mean" else (shape[0] if shape else 1)
        return 1.0 / count if count else 0.0

    def _weight_of_each(self, grad_output: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The gradient of the reduced loss with respect to each single one, or grad_output for reduction none."""
        if grad_output is None:
            factor = 1.0 if self.reduction == "none" else self._factor(shape)
            return np.asarray(factor, dtype=dtype)
        if self.reduction != "none":
            raise InvalidValueError(
                shown(self), f"no grad_output with reduction {self.reduction!r}", hint="call backward()"
            )
        gradient = ready(grad_output, dtype, self, "grad_output")
        if gradient.shape != shape:
            raise InvalidValueError(shown(self), f"grad_output of shape {shape}", gradient.shape)
        return gradient


class _Elementwise(Loss):
    """A loss of the core, over two arrays of one shape."""

    kind: ClassVar[str]
    _delta: float = 0.0
    # Outputs outside of this range have no loss, where the first bound is below the second.
    _range: ClassVar[tuple[float, float]] = (0.0, 0.0)
    weight: Any = None
    pos_weight: Any = None

    def _forward(self, output: NDArray[Any], target: Any) -> tuple[Any, Any]:
        x = ready(output, None, self, "output")
        t = ready(target, x.dtype, self, "target")
        if x.shape != t.shape:
            raise InvalidValueError(shown(self), "output and target of one shape", f"{x.shape} and {t.shape}")
        weight = None if self.weight is None else self._like(self.weight, "weight", x)
        pos_weight = None if self.pos_weight is None else self._like(self.pos_weight, "pos_weight", x)
        reduction = self.reduction
        if reduction == "none":
            y = empty_like(x)
            loss_forward(x, t, weight, pos_weight, self.kind, self._delta, y)
            return y, (x, t, weight, pos_weight, 1.0)
        factor = self._factor(x.shape, reduction)
        loss = loss_sum(x, t, weight, pos_weight, self.kind, self._delta) * factor
        return loss, (x, t, weight, pos_weight, factor)

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        x, t, weight, pos_weight, factor = saved
        gx = empty_like(x)
        if grad_output is None:
            loss_backward(x, t, weight, pos_weight, self.kind, self._delta, factor, gx)
        else:
            gradient = self._weight_of_each(grad_output, x.shape, x.dtype)
            loss_backward(x, t, weight, pos_weight, self.kind, self._delta, 1.0, gx)
            gx *= gradient
        return gx

    def _objective(self, plan: Any, x: Any, target: NDArray[Any]) -> Any:
        """This loss in a native program."""
        if (target.dtype, target.shape[1:]) != (plan.dtype, x.shape):
            raise plan.refusal(f"targets for {type(self).__name__} are {target.dtype} of shape {target.shape}")
        rows = np.empty((plan.batch_size, *x.shape), plan.dtype)
        factors = {"weight": self.weight, "pos_weight": self.pos_weight}
        if any(f is not None and f.ndim > len(x.shape) and len(f) > 1 for f in factors.values()):
            raise plan.refusal(f"{shown(self)} weighs the samples of a batch by their places")
        (low, high), code = self._range, loss_kinds().index(self.kind)
        attributes = {"size": x.size, "code": code, "delta": self._delta, "low": low, "high": high}
        spread = {name: None if factor is None else self._like(factor, name, rows) for name, factor in factors.items()}
        return plan.loss("elementwise", attributes, **spread, **self._reduction_options())

    def _weighed(self, losses: Any) -> Any:
        return losses if self.weight is None else losses * self.weight

    def _like(self, factor: NDArray[Any], name: str, x: NDArray[Any]) -> NDArray[Any]:
        """The factor spread over the shape of x."""
        try:
            return cast(np.broadcast_to(factor, x.shape), x.dtype, order="C")
        except ValueError:
            raise InvalidValueError(
                shown(self), f"a {name} that broadcasts to the output's {x.shape}", factor.shape
            ) from None


class MSELoss(_Elementwise):
    """l = (output - target)^2; "mean" averages over all elements.

    Example:
        >>> criterion = MSELoss()
        >>> criterion(np.array([[3.0, 0.0]]), np.array([[1.0, 0.0]])), criterion.backward()
        (2.0, array([[2., 0.]]))

    Source: torch.nn.MSELoss.
    """

    kind = "mse"

    def function(self, output: Any, target: Any) -> Any:
        """Return (output - target)^2."""
        return np.square(output - target)


class MAELoss(_Elementwise):
    """l = |output - target|; the derivative at 0 is 0. Also under torch's name L1Loss.

    Example:
        >>> MAELoss()(np.array([[3.0, 0.0]]), np.array([[1.0, 0.0]]))
        1.0

    Source: torch.nn.L1Loss.
    """

    kind = "mae"

    def function(self, output: Any, target: Any) -> Any:
        """Return |output - target|."""
        return np.abs(output - target)


L1Loss = MAELoss


class HuberLoss(_Elementwise):
    """l = d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), with d = output - target.

    Args:
        reduction: as for Loss.
        delta: where the square turns into a line; positive.

    Example:
        >>> HuberLoss()(np.array([3.0]), np.array([0.0]))
        2.5

    Source: torch.nn.HuberLoss; P. Huber, "Robust Estimation of a Location Parameter", 1964.
    """

    kind = "huber"
    delta = Option(positive_number, stored="_delta")

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def function(self, output: Any, target: Any) -> Any:
        """Return the loss of each element."""
        d = output - target
        size = np.abs(d)
        return np.where(size <= self.delta, 0.5 * d * d, self.delta * (size - 0.5 * self.delta))


class BCELoss(_Elementwise):
    """l = -w (t log x + (1 - t) log(1 - x)) for probabilities x and targets t, both in [0, 1].

    Logarithms stop at -100. BCEWithLogitsLoss on scores is more accurate than a Sigmoid before this.

    Args:
        weight: w, an array that broadcasts to the output's shape.
        reduction: as for Loss.

    Raises:
        ValueError: if outputs or targets lie outside [0, 1].

    Example:
        >>> float(round(BCELoss()(np.array([0.5]), np.array([1.0])), 4))
        0.6931

    Source: torch.nn.BCELoss.
    """

    kind = "bce"
    _range = (0.0, 1.0)
    weight: Any = Option(as_weight)

    def __init__(self, weight: ArrayLike | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight = weight

    def function(self, output: Any, target: Any) -> Any:
        """Return the loss of each element."""
        yes, no = np.maximum(np.log(output), -100.0), np.maximum(np.log1p(-output), -100.0)
        return self._weighed(-(target * yes + (1 - target) * no))

    def _forward(self, output: NDArray[Any], target: Any) -> tuple[Any, Any]:
        for name, array in (("output", output), ("target", target)):
            array = ready(array, None, self, name)
            if array.size and (array.min() < 0 or array.max() > 1):
                raise InvalidValueError(shown(self), f"{name}s from 0 to 1", f"{array.min()} to {array.max()}")
        return super()._forward(output, target)

    def _takes(self, target: NDArray[Any], shape: tuple[int, ...]) -> bool:
        return not target.size or 0 <= target.min() <= target.max() <= 1

    def _objective(self, plan: Any, x: Any, target: NDArray[Any]) -> Any:
        if not self._takes(target, x.shape):
            raise plan.refusal("targets lie outside of 0 to 1")
        return super()._objective(plan, x, target)


class BCEWithLogitsLoss(_Elementwise):
    """l = -w (p t log s(x) + (1 - t) log(1 - s(x))) for scores x, s the sigmoid; computed without overflow.

    Args:
        weight: w, an array that broadcasts to the output's shape.
        reduction: as for Loss.
        pos_weight: p, likewise; above 1 it weighs positive targets up.

    Example:
        >>> float(round(BCEWithLogitsLoss()(np.array([0.0]), np.array([1.0])), 4))
        0.6931

    Source: torch.nn.BCEWithLogitsLoss.
    """

    kind = "bce_with_logits"
    weight: Any = Option(as_weight)
    pos_weight: Any = Option(as_weight)

    def __init__(
        self, weight: ArrayLike | None = None, reduction: str = "mean", pos_weight: ArrayLike | None = None
    ) -> None:
        super().__init__(reduction)
        self.weight, self.pos_weight = weight, pos_weight

    def function(self, output: Any, target: Any) -> Any:
        """Return the loss of each element."""
        factor = 1.0 if self.pos_weight is None else 1 + (self.pos_weight - 1) * target
        softplus = np.log1p(np.exp(-np.abs(output))) + np.maximum(-output, 0.0)
        return self._weighed((1 - target) * output + factor * softplus)
