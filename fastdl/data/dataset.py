"""A data set as the readers give it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastdl.validation import refuse_special


@dataclass(eq=False)
class Dataset:
    """Inputs and targets of a file, with the names that it has for them.

    Attributes:
        x: inputs, float32 or float64.
        y: class indices from 0 in int64, or values in x's dtype.
        classes: the name of each class; None where y holds values.
        features: the name of each column of x; None where the file names none.
        target: the name of y's column; None where the file names none.

    Shapes:
        x (n, ...); y (n, ...): (n,) for classes, (n, 1) for one value a row, as criterions want them.
    """

    x: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None
    target: str | None = None

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            refuse_special(getattr(self, name), name, "Dataset")
