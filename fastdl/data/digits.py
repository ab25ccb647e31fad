"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastdl.environment import missing
from fastdl.validation import as_float_dtype


def digits(dtype: npt.DTypeLike = np.float32) -> tuple[np.ndarray, np.ndarray]:
    """1,797 handwritten digits, 8 by 8 pixels, in the order of the original file.

    Args:
        dtype: float32 or float64, of the images.

    Shapes:
        images (1797, 1, 8, 8), from 0 to 1; labels (1797,) of int64, from 0 to 9.

    Raises:
        TypeError: if the dtype is another.
        ImportError: if scikit-learn is not installed.

    Example:
        >>> x, labels = digits()
        >>> x.shape, x.dtype, x.max(), labels[:5]
        ((1797, 1, 8, 8), dtype('float32'), np.float32(1.0), array([0, 1, 2, 3, 4]))

    Source: sklearn.datasets.load_digits (the test part of E. Alpaydin and C. Kaynak's set of 1998).
    """
    dtype = as_float_dtype(dtype, "digits")
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise missing("digits", "sklearn") from None
    x, y = load_digits(return_X_y=True)
    return (np.asarray(x).reshape(-1, 1, 8, 8) / 16).astype(dtype), np.asarray(y).astype(np.int64)
