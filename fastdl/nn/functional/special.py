"""What scipy.special's ufuncs are of traced values."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl.graph.operations import elementwise
from fastdl.graph.value import SPECIALS
from fastdl.nn.functional.activation import sigmoid


def xlogy(x: Any, y: Any) -> Any:
    """x log y, and 0 where x is 0 and y no NaN."""
    # Where y is above 0, the derivative with respect to x is log y also at 0.
    nothing = (x == 0) & ((y <= 0) | (y == np.inf))
    return np.where(nothing, 0, x * np.log(np.where(nothing, 1, y)))


def xlog1py(x: Any, y: Any) -> Any:
    """x log(1 + y), and 0 where x is 0 and y no NaN."""
    nothing = (x == 0) & ((y <= -1) | (y == np.inf))
    return np.where(nothing, 0, x * np.log1p(np.where(nothing, 0, y)))


for _name in ("erf", "exp2", "expm1", "log1p"):
    SPECIALS[_name] = lambda x, name=_name: elementwise(name, x)
SPECIALS |= {
    "entr": lambda x: np.where(x < 0, -np.inf, -xlogy(x, np.where(x < 0, 1, x))),
    "expit": sigmoid,
    "log_expit": lambda x: -np.logaddexp(0, -x),
    "logit": lambda x: np.log(x) - np.log1p(-x),
    "xlog1py": xlog1py,
    "xlogy": xlogy,
}
