"""A model from a file, and what it says of rows."""

from __future__ import annotations

import numpy as np

from fastdl.casting import cast
from fastdl.errors import InvalidValueError
from fastdl.nn.walk import weights_dtype
from fastdl.serialization.model_file import Checkpoint
from fastdl.training import predict
from fastdl.validation import non_finite_row


def outputs(saved: Checkpoint, x: np.ndarray) -> np.ndarray:
    """Class scores (n, classes), or values (n, columns) in their own unit, scaled both ways in float64.

    Raises:
        ValueError: if the inputs are too far from those that the model learned from, or the file's parts do not fit
            together.
    """
    if saved.scaling is not None:
        x = cast(saved.scaling.transform(x), weights_dtype(saved.model), copy=False)
        row = non_finite_row(x)
        if row is not None:
            raise InvalidValueError(
                None, "inputs like those that the model learned from", f"far larger ones in row {row}"
            )
    found = predict(saved.model, x)
    scaling, wanted = saved.target_scaling, found.shape
    if saved.classes is not None:
        wanted = (len(x), len(saved.classes))
    elif scaling is not None and scaling.mean is not None:
        wanted = (len(x), *scaling.mean.shape)
    if found.shape != wanted or found.ndim != 2:
        raise InvalidValueError(None, f"a model of outputs {wanted}, as its file says", found.shape)
    if not np.isfinite(found).all():
        raise InvalidValueError(None, "finite outputs", "NaN or infinite ones: the weights are damaged or too large")
    return found if scaling is None or saved.classes is not None else scaling.inverse(found.astype(np.float64))
