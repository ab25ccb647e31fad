"""What float32 would round in silence: integers of X, targets that differ by little, labels of two kinds of integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from fastdl.casting import cast, first_rounded
from fastdl.errors import InvalidValueError
from fastdl.validation import refuse_masked

Array = NDArray[Any]
FLOAT32 = np.dtype(np.float32)
# The share of their spread by which targets may be rounded.
TOLERANCE = 2.0**-10
STANDARDIZE = "scale {}, as sklearn.preprocessing.StandardScaler does"


def check_inputs(X: Any, owner: str) -> None:
    """Raise an error for a masked X, and for integers that float32 would round; other errors of X are raised elsewhere."""
    refuse_masked(X, "X", owner)
    for array in _integer_arrays(X):
        place = first_rounded(array, FLOAT32)
        if place is not None:
            raise InvalidValueError(
                owner, "integers that float32 holds exactly in X", array.flat[place], STANDARDIZE.format("X")
            )


def exact_targets(y: Array, owner: str) -> Array:
    """Numbers as float32 (n, outputs), when float32 tells them apart.

    Raises:
        ValueError: if they are too large, or so close to each other that they would be rounded to steps.
    """
    truth = cast(y, np.float32).reshape(len(y), -1)
    if not np.isfinite(truth).all():
        raise InvalidValueError(owner, "targets that float32 can hold", "larger ones", "scale y")
    given = cast(y, np.float64).reshape(truth.shape)
    spread, rounding = given.std(axis=0), np.abs(given - truth).max(axis=0)
    if (rounding > TOLERANCE * spread)[spread > 0].any():
        raise InvalidValueError(
            owner,
            "targets that float32 tells apart",
            f"{given.max():.9g} and others close to it",
            f"scale y, as TransformedTargetRegressor({owner}(), transformer=StandardScaler()) does",
        )
    return truth


def of_their_kind(y: Array, classes: Array) -> Array:
    """Integers in the dtype of the classes: NumPy would compare those of int64 and uint64 as floats."""
    if y.dtype == classes.dtype or y.dtype.kind not in "iu" or classes.dtype.kind not in "iu":
        return y
    limits = np.iinfo(classes.dtype)
    fits = (y >= limits.min) & (y <= limits.max)
    return y.astype(classes.dtype) if fits.all() else y


def _integer_arrays(X: Any) -> list[Array]:
    if issparse(X):
        return [array for array in [X.tocoo().data] if array.dtype.kind in "iu"]
    if hasattr(X, "dtypes") and hasattr(X, "columns"):  # a DataFrame, whose columns may be of several dtypes
        columns = [X[name] for name in X.columns]
        found = [np.asarray(each) for each in columns if getattr(each.dtype, "kind", "") in ("i", "u")]
    else:
        try:
            found = [np.asarray(X)]
        except (TypeError, ValueError):
            return []
    return [array for array in found if array.dtype.kind in "iu"]
