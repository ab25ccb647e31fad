"""What is written in the place of NumPy's functions that cannot be traced."""

from __future__ import annotations

import numpy as np

from fastdl.graph.value import INSTEAD

_SUM, _ORDER = "write np.sum(np.where(np.isnan(x), 0, x))", "take what is wanted of np.sort(x, axis=...)"
for _names, _hint in {
    "median percentile quantile partition nanmedian": _ORDER,
    "nansum nanmean nanvar nanstd nanprod": _SUM,
    "nanmax nanmin": "write np.max(np.where(np.isnan(x), -np.inf, x))",
    "average": "write np.sum(w * x) / np.sum(w)",
    "cumprod": "write np.exp(np.cumsum(np.log(x)))",
    "ptp": "write np.max(x) - np.min(x)",
    "count_nonzero": "write np.sum(x != 0)",
    "flatnonzero argwhere extract compress": "write np.where(condition, x, 0)",
    "isclose allclose array_equal": "write np.all(np.abs(x - y) < tolerance)",
    "isin in1d": "write np.any(x[..., None] == values, axis=-1)",
    "digitize searchsorted": "write np.sum(x[..., None] >= bins, axis=-1)",
    "inner vdot tensordot kron trace diagonal cross": "write np.einsum or sums of products",
    "diag": "write x[:, None] * np.eye(n)",
    "column_stack dstack": "write np.stack or np.concatenate with axis=",
    "array_split hsplit vsplit dsplit": "write np.split with axis=",
    "append insert delete": "write np.concatenate",
    "atleast_1d atleast_2d atleast_3d": "write x[None] or np.expand_dims",
    "rot90 fliplr flipud": "write np.flip or np.transpose",
    "rollaxis": "write np.moveaxis",
    "convolve correlate": "write nn.functional.conv1d",
    "copyto put place putmask fill_diagonal": "write y = np.where(condition, ..., x)",
    "apply_along_axis apply_over_axes": "write functions of the whole array with axis=",
    "gradient ediff1d": "write np.diff",
    "linspace arange": "make it of numbers outside of forward, in an nn.Buffer",
    "fabs": "write np.abs",
    "positive": "write x",
    "hypot": "write np.sqrt(x**2 + y**2)",
    "float_power": "write x**y",
    "fmod": "write x - y * np.trunc(x / y)",
    "fmax": "write np.maximum",
    "fmin": "write np.minimum",
    "cbrt": "write np.sign(x) * np.abs(x) ** (1 / 3)",
    "heaviside": "write np.where(x > 0, 1.0, 0.0)",
    "logaddexp2": "write np.log2(2.0**x + 2.0**y)",
    "signbit": "write x < 0",
    "copysign": "write np.abs(x) * np.sign(y)",
    "arcsinh": "write np.log(x + np.sqrt(x**2 + 1))",
    "arccosh": "write np.log(x + np.sqrt(x**2 - 1))",
    "arctanh": "write 0.5 * (np.log1p(x) - np.log1p(-x))",
    "deg2rad radians": "write x * (np.pi / 180)",
    "rad2deg degrees": "write x * (180 / np.pi)",
}.items():
    INSTEAD.update({getattr(np, each): _hint for each in _names.split() if hasattr(np, each)})
