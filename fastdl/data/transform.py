"""Arrays made ready for a network: standardized inputs, pixels as floats, one-hot targets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from fastdl._kernels.quiet import Quiet
from fastdl.errors import InvalidStateError, InvalidTypeError, InvalidValueError
from fastdl.messages import shown
from fastdl.validation import as_array, as_float_dtype, one_of, positive_integer, refuse_special

# Rows that stand in float64 at a time.
BLOCK = 4096
# The most classes that a largest label stands for: an identifier among the labels would ask for all memory.
MOST_IMPLIED = 1 << 16


class Standardize:
    """Shift and scale every column, or every channel, to mean 0 and standard deviation 1 over the rows it was fitted to.

    y = (x - mean) / std, with the deviation over n (not n - 1), both kept in float64; what is constant keeps std 1.

    Shapes:
        x (n, ...); mean and std (...), None before `fit`.

    Raises:
        TypeError: if x is no array of float32 or float64.
        ValueError: if x to fit has no rows, no channels or is not finite, or x to transform has other columns than
            fitted.
        RuntimeError: if nothing was fitted yet.

    Example:
        >>> train = np.array([[1.0, 5.0], [3.0, 5.0]])
        >>> scale = Standardize().fit(train)
        >>> scale.mean, scale.std
        (array([2., 5.]), array([1., 1.]))
        >>> scale.transform(np.array([[4.0, 6.0]]))
        array([[2., 1.]])
        >>> scale.inverse(scale.transform(train))
        array([[1., 5.],
               [3., 5.]])

    Source: paper 003.
    """

    mean: np.ndarray | None = None
    std: np.ndarray | None = None

    def fit(self, x: np.ndarray, per: str = "column") -> Standardize:
        """Take mean and deviation from the rows of x; returns itself.

        Args:
            x: what they are taken from.
            per: "column" for one of each at every place of a row; "channel" for one of each in every channel of images
                (n, channels, ...), which stands at all of its places.
        """
        _expect_floats(x, "Standardize.fit")
        by_channel = one_of(("column", "channel"), per, "per", "Standardize.fit") == "channel"
        if x.ndim == 0 or len(x) == 0:
            raise InvalidValueError("Standardize.fit", "an array of at least one row", f"shape {x.shape}")
        if by_channel and (x.ndim < 2 or x.size == 0):
            raise InvalidValueError("Standardize.fit", "channels, an array of shape (n, channels, ...)", x.shape)
        if not np.isfinite(x).all():
            raise InvalidValueError("Standardize.fit", "finite values", "NaN or infinite ones")
        over = (0, *range(2, x.ndim)) if by_channel else 0
        with Quiet(over="ignore", invalid="ignore"):
            mean, std = (taken(axis=over, dtype=np.float64, keepdims=True) for taken in (x.mean, x.std))
        if not np.isfinite(std).all():
            raise InvalidValueError("Standardize.fit", "values whose squares float64 can hold", "larger ones")
        # The sums of a constant column may round to a deviation just above 0.
        low = x.min(axis=over, keepdims=True)
        constant = (low == x.max(axis=over, keepdims=True)) | (std == 0)
        mean, std = np.where(constant, low, mean), np.where(constant, 1.0, std)
        self.mean, self.std = (np.broadcast_to(each[0], x.shape[1:]).copy() for each in (mean, std))
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """(x - mean) / std, a new array of x's dtype; a NaN stays one, what the dtype cannot hold is infinite."""
        mean, std = self._fitted("transform", x)
        y = np.empty(x.shape, x.dtype)
        with Quiet(over="ignore", invalid="ignore"):
            for i in range(0, len(x), BLOCK):
                y[i : i + BLOCK] = (x[i : i + BLOCK] - mean) / std
        return y

    def inverse(self, y: np.ndarray) -> np.ndarray:
        """y * std + mean, a new array of y's dtype: what `transform` took away."""
        mean, std = self._fitted("inverse", y)
        with Quiet(over="ignore", invalid="ignore"):
            return (y * std + mean).astype(y.dtype, copy=False)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of mean and std, for a checkpoint."""
        if self.mean is None or self.std is None:
            raise InvalidStateError("Standardize.state_dict", "a fitted transform, call fit(x) first")
        return {"mean": self.mean.copy(), "std": self.std.copy()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over mean and std from `state_dict()`.

        Raises:
            ValueError: if the names are others, the shapes differ, or a std is not positive.
        """
        if set(state) != {"mean", "std"}:
            raise InvalidValueError("Standardize.load_state_dict", "'mean' and 'std'", shown(sorted(map(str, state))))
        mean, std = (np.array(state[name], dtype=np.float64) for name in ("mean", "std"))
        if mean.shape != std.shape:
            raise InvalidValueError("Standardize.load_state_dict", "one shape", f"{mean.shape} and {std.shape}")
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise InvalidValueError("Standardize.load_state_dict", "a finite mean and a positive, finite std")
        self.mean, self.std = mean, std

    def _fitted(self, method: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.mean is None or self.std is None:
            raise InvalidStateError(f"Standardize.{method}", "a fitted transform, call fit(x) first")
        _expect_floats(x, f"Standardize.{method}")
        if x.ndim == 0 or x.shape[1:] != self.mean.shape:
            columns = "".join(f", {size}" for size in self.mean.shape) or ","
            raise InvalidValueError(f"Standardize.{method}", f"an array of shape (n{columns})", x.shape)
        return self.mean, self.std


def standardize(train: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """The training set standardized, and the others by the training set's mean and deviation.

    y = (x - mean(train)) / std(train), column by column.

    Args:
        train: what mean and deviation are taken from.
        others: test sets and the like.

    Shapes:
        (n, ...) each, with an n of its own.

    Raises:
        TypeError: if one is no array of float32 or float64.
        ValueError: if the training set has no rows or is not finite, or another has other columns.

    Example:
        >>> train, test = standardize(np.array([[1.0], [3.0]]), np.array([[5.0]]))
        >>> train.tolist(), test.tolist()
        ([[-1.0], [1.0]], [[3.0]])

    Source: paper 003.
    """
    scale = Standardize().fit(train)
    return tuple(scale.transform(x) for x in (train, *others))


def pixels(images: np.ndarray, dtype: npt.DTypeLike = np.float32) -> np.ndarray:
    """8-bit pixels as floats from 0 to 1.

    y = x / 255

    Args:
        images: of uint8.
        dtype: float32 or float64, of the result.

    Shapes:
        images (...); result (...).

    Raises:
        TypeError: if images is no array of uint8.

    Example:
        >>> pixels(np.array([0, 51, 255], np.uint8))
        array([0. , 0.2, 1. ], dtype=float32)

    Source: torchvision.transforms.ToTensor.
    """
    dtype = as_float_dtype(dtype, "pixels")
    refuse_special(images, "images", "pixels")
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        kind = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise InvalidTypeError("pixels", "an array of uint8", kind)
    y = images.astype(dtype, order="C")
    y /= 255
    return y


def one_hot(labels: npt.ArrayLike, classes: int | None = None, dtype: npt.DTypeLike = np.float32) -> np.ndarray:
    """Labels as rows that are 1 at the label and 0 elsewhere.

    y[..., c] = 1 where labels[...] == c, else 0.

    Args:
        labels: integers from 0.
        classes: how many there are; the largest label + 1 by default.
        dtype: float32 or float64, of the result.

    Shapes:
        labels (...); result (..., classes).

    Raises:
        TypeError: if the labels are no integers.
        ValueError: if a label lies outside 0 to classes - 1, there are neither labels nor classes, or a label is 65,536 or
            more without classes.

    Example:
        >>> one_hot([1, 0, 2])
        array([[0., 1., 0.],
               [1., 0., 0.],
               [0., 0., 1.]], dtype=float32)

    Source: papers 000 to 003.
    """
    labels, dtype = as_array(labels, "labels", "one_hot"), as_float_dtype(dtype, "one_hot")
    if not np.issubdtype(labels.dtype, np.integer):
        raise InvalidTypeError("one_hot", "integer labels", labels.dtype, "write one_hot(labels.astype(np.int64))")
    if classes is None:
        if labels.size == 0:
            raise InvalidValueError("one_hot", "at least one label", "none", "write one_hot(labels, classes=...)")
        classes = max(int(labels.max()) + 1, 1)
        if classes > MOST_IMPLIED:
            raise InvalidValueError(
                "one_hot",
                f"labels below {MOST_IMPLIED} without classes",
                classes - 1,
                "write one_hot(labels, classes=...) if there are so many",
            )
    classes = positive_integer(classes, "classes", "one_hot")
    outside = labels[(labels < 0) | (labels >= classes)]
    if outside.size:
        raise InvalidValueError("one_hot", f"labels from 0 to {classes - 1}", outside[0])
    y = np.zeros((*labels.shape, classes), dtype)
    np.put_along_axis(y, labels.astype(np.int64)[..., np.newaxis], 1, axis=-1)
    return y


def _expect_floats(x: object, owner: str) -> None:
    refuse_special(x, "x", owner)
    if not isinstance(x, np.ndarray):
        raise InvalidTypeError(owner, "an array of float32 or float64", type(x).__name__)
    if x.dtype not in (np.float32, np.float64):
        raise InvalidTypeError(owner, "an array of float32 or float64", x.dtype, "write x.astype(np.float32)")
