"""Cases: one table of ways to use each public layer, loss and optimizer, which tests and benchmarks read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl import nn, optim

Array = NDArray[Any]

# Row and column counts around the widths of registers and tiles.
SIZES = (0, 1, 2, 3, 7, 15, 16, 17, 25, 31, 33, 64, 65, 100)


@dataclass(frozen=True)
class Case:
    """One way to use a public layer, loss or optimizer.

    Args:
        subject: the class.
        make: returns an instance for a dtype; parameters are drawn from a fixed seed.
        shapes: shapes of the input (of the parameters, for an optimizer).
        target: for a loss, what its targets are: "real", "unit" (in [0, 1]), "index" or "probability".
        tolerance: allowed error in units of the dtype's epsilon, relative to the largest magnitude.
        smooth: whether central differences hold everywhere near the inputs drawn.
        bad: constructor arguments that must be refused, with the error's class.
        timed: the input shape with which benchmarks time the case; None where they do not.
    """

    subject: type
    make: Callable[[Any], Any]
    shapes: tuple[tuple[int, ...], ...]
    target: str = ""
    tolerance: float = 16.0
    smooth: bool = True
    bad: tuple[tuple[tuple[Any, ...] | dict[str, Any], type[Exception]], ...] = ()
    timed: tuple[int, ...] | None = None
    label: str = field(default="")

    def __str__(self) -> str:
        return self.label or self.make(np.float32).spec()


def make_target(case: Case, shape: tuple[int, ...], rng: np.random.Generator, dtype: Any) -> Array:
    """Draw targets of the kind a loss case names, for outputs of this shape."""
    if case.target == "index":
        return rng.integers(0, shape[1], (shape[0], *shape[2:]))
    if case.target == "probability":
        t = rng.random(shape)
        return (t / t.sum(axis=1, keepdims=True)).astype(dtype)
    return (rng.random(shape) if case.target == "unit" else rng.standard_normal(shape)).astype(dtype)


def make_input(case: Case, shape: tuple[int, ...], rng: np.random.Generator, dtype: Any) -> Array:
    """Draw inputs; for losses on probabilities inside (0, 1), for log-probabilities below 0."""
    x = rng.standard_normal(shape)
    if case.subject is nn.BCELoss:
        x = 0.02 + 0.96 * rng.random(shape)
    elif not case.smooth:
        x += np.sign(x) * 0.05  # away from the kink
    return x.astype(dtype)


def assert_close(got: Any, want: Any, tolerance: float, dtype: Any, what: str = "") -> None:
    """Raise AssertionError unless the two agree to `tolerance` epsilons of dtype, relative to the largest magnitude."""
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        raise AssertionError(f"{what}: expected shape {want.shape}, got {got.shape}")
    if not got.size:
        return
    finite = want[np.isfinite(want)]
    scale = max(float(np.abs(finite).max(initial=0.0)), 1e-30)
    bound = tolerance * float(np.finfo(dtype).eps) * scale
    np.testing.assert_allclose(got, want, rtol=0, atol=bound, err_msg=what)


def _layer(subject: type, *arguments: Any, **options: Any) -> Callable[[Any], Any]:
    return lambda dtype: subject(*arguments, **options)


def _drawn(subject: type, *arguments: Any, **options: Any) -> Callable[[Any], Any]:
    return lambda dtype: subject(*arguments, **options, rng=0, dtype=dtype)


def _linear(*arguments: Any, **options: Any) -> Callable[[Any], Any]:
    return _drawn(nn.Linear, *arguments, **options)


def _stack(build: Callable[[Any], nn.Module]) -> Callable[[Any], nn.Module]:
    return lambda dtype: build(lambda i, o: nn.Linear(i, o, rng=i * 100 + o, dtype=dtype))


def _norm(subject: type, *arguments: Any, evaluated: bool = False, **options: Any) -> Callable[[Any], Any]:
    def make(dtype: Any) -> Any:
        layer, rng = subject(*arguments, **options, dtype=dtype), np.random.default_rng(0)
        for parameter in layer.parameters():
            parameter.data = rng.standard_normal(parameter.shape)
        for buffer in layer.buffers():
            buffer += rng.random(buffer.shape).astype(buffer.dtype)
        return layer.train(not evaluated)

    return make


def _optimizer(subject: Callable[..., Any], options: dict[str, Any]) -> Callable[[Any], Any]:
    return lambda dtype: lambda params: subject(params, **options)


IMAGES = (64, 32, 32, 32)
ANY = ((3,), (4, 5), (0, 5), (1, 17), (2, 3, 33), (100, 7))
ROWS = ((5, 4), (1, 1), (0, 3), (3, 65), (2, 3, 4))
PAIRS = ((5, 3), (1, 1), (0, 4), (7, 33), (2, 3, 4))
SCORES = ((5, 3), (1, 2), (0, 4), (7, 33), (2, 3, 4), (2, 5, 2, 3))
PARAMETERS = ((1,), (7,), (3, 5), (33, 17))

_OPTIMIZERS: tuple[tuple[type, dict[str, Any]], ...] = (
    (optim.SGD, {"lr": 0.1}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "maximize": True}),
    (optim.SGD, {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    (optim.RMSprop, {"lr": 0.01}),
    (optim.RMSprop, {"lr": 0.01, "momentum": 0.5, "centered": True, "weight_decay": 0.1}),
    (optim.RMSprop, {"lr": 0.01, "eps": 1e-6, "eps_inside_sqrt": True, "maximize": True}),
    (optim.Adam, {"lr": 0.01}),
    (optim.Adam, {"lr": 0.01, "weight_decay": 0.1, "amsgrad": True}),
    (optim.Adam, {"lr": 0.01, "eps_inside_sqrt": True, "betas": (0.8, 0.9), "maximize": True}),
    (optim.AdamW, {"lr": 0.01}),
)

_BAD_SIZES: tuple[Any, ...] = (
    ((0,), ValueError), ((1.5,), TypeError), ((True,), TypeError), (("2",), TypeError), ((2**31,), ValueError),
    ((2, 0), ValueError), ((2, 1, 2), ValueError), ((2, 1, -1), ValueError),
)  # fmt: skip
_BAD_PAIRS: tuple[Any, ...] = (
    (((2, 0),), ValueError), (((2, 2, 2),), ValueError), (((2, "2"),), TypeError), (((4, 2), 1, (1, 2)), ValueError),
)  # fmt: skip
# The last element of each first shape lies in a window.
_POOLING: tuple[Case, ...] = (
    Case(nn.MaxPool2d, _layer(nn.MaxPool2d, 2), ((2, 3, 6, 4), (0, 3, 4, 4), (1, 1, 2, 2), (1, 33, 5, 7), (2, 1, 3, 70)),
         smooth=False, timed=IMAGES,
         bad=(*_BAD_SIZES, *_BAD_PAIRS, ({"kernel_size": 2, "ceil_mode": 1}, TypeError), ((2, 2, 0, 0), ValueError))),
    Case(nn.MaxPool2d, _layer(nn.MaxPool2d, 3, 2, 1), ((2, 3, 7, 9), (1, 1, 1, 1), (1, 5, 6, 41)), smooth=False, timed=IMAGES),
    Case(nn.MaxPool2d, _layer(nn.MaxPool2d, (2, 3), (1, 2), (1, 0), (2, 1), ceil_mode=True), ((1, 3, 6, 7), (2, 1, 3, 40)),
         smooth=False),
    Case(nn.MaxPool2d, _layer(nn.MaxPool2d, 5, 3, 2, 2), ((1, 2, 13, 13), (1, 1, 5, 6)), smooth=False),
    Case(nn.MaxPool1d, _layer(nn.MaxPool1d, 2), ((3, 2, 8), (0, 1, 2), (1, 17, 69)), smooth=False,
         bad=(*_BAD_SIZES, (((2,),), TypeError), ((2, (1, 1)), TypeError))),
    Case(nn.MaxPool1d, _layer(nn.MaxPool1d, 3, 1, 1, ceil_mode=True), ((3, 2, 8), (1, 1, 1)), smooth=False),
    Case(nn.AvgPool2d, _layer(nn.AvgPool2d, 2), ((2, 3, 6, 4), (0, 3, 4, 4), (1, 1, 2, 2), (1, 33, 5, 7), (2, 1, 3, 70)),
         timed=IMAGES,
         bad=(*_BAD_SIZES, *_BAD_PAIRS, ((2, None, 0, 1), TypeError), ((2, None, 0, False, None), TypeError),
              ((2, None, 0, False, True, 0), ValueError), ((2, None, 0, False, True, 1.5), TypeError))),
    Case(nn.AvgPool2d, _layer(nn.AvgPool2d, 3, 2, 1), ((2, 3, 7, 9), (1, 1, 1, 1), (1, 5, 6, 41))),
    Case(nn.AvgPool2d, _layer(nn.AvgPool2d, (3, 2), (2, 1), 1, True, False), ((1, 3, 6, 7), (2, 1, 2, 40))),
    Case(nn.AvgPool2d, _layer(nn.AvgPool2d, 5, 3, 2, ceil_mode=True), ((1, 2, 13, 13), (1, 1, 3, 2))),
    Case(nn.AvgPool2d, _layer(nn.AvgPool2d, 2, divisor_override=3), ((2, 1, 4, 6), (1, 1, 3, 3))),
    Case(nn.AvgPool1d, _layer(nn.AvgPool1d, 2), ((3, 2, 8), (0, 1, 2), (1, 17, 69)),
         bad=(*_BAD_SIZES, (((2,),), TypeError))),
    Case(nn.AvgPool1d, _layer(nn.AvgPool1d, 4, 3, 2, True, False), ((3, 2, 8), (1, 1, 1))),
    Case(nn.AdaptiveAvgPool2d, _layer(nn.AdaptiveAvgPool2d, 1), ((2, 3, 7, 7), (0, 2, 3, 3), (1, 33, 1, 20)), tolerance=32,
         bad=(((0,), ValueError), ((1.5,), TypeError), ((None,), TypeError), (((1, 2, 3),), ValueError),
              (((None, 0),), ValueError))),
    Case(nn.AdaptiveAvgPool2d, _layer(nn.AdaptiveAvgPool2d, (2, 5)), ((2, 3, 4, 7), (1, 1, 3, 10), (1, 2, 1, 2))),
    Case(nn.AdaptiveAvgPool2d, _layer(nn.AdaptiveAvgPool2d, (None, 3)), ((2, 3, 4, 7), (1, 2, 2, 9))),
    Case(nn.Flatten, _layer(nn.Flatten), ((2, 3, 4, 5), (0, 3, 4), (7, 2)), bad=(((1.0,), TypeError), ((1, True), TypeError))),
    Case(nn.Flatten, _layer(nn.Flatten, 0, -2), ((2, 3, 4), (0, 2, 3))),
)  # fmt: skip

CASES: tuple[Case, ...] = (
    Case(nn.Linear, _linear(5, 3), ((4, 5), (0, 5), (1, 5), (2, 3, 5), (5,)), timed=None,
         bad=(((0, 1), ValueError), ((1, -1), ValueError), ((1.5, 1), TypeError), ((True, 1), TypeError), (("2", 1), TypeError),
              ({"in_features": 2, "out_features": 2, "bias": 1}, TypeError),
              ({"in_features": 2, "out_features": 2, "weight_init": np.zeros}, TypeError),
              ({"in_features": 2, "out_features": 2, "dtype": np.int32}, TypeError))),
    Case(nn.Linear, _linear(5, 3, bias=False), ((4, 5), (0, 5)), tolerance=16),
    Case(nn.Linear, _linear(33, 65), ((31, 33), (1, 33)), tolerance=64),
    Case(nn.Linear, _linear(784, 128), ((3, 784),), tolerance=256, timed=(64, 784)),
    Case(nn.Linear, _linear(25, 25), ((100, 25),), tolerance=64, timed=(100, 25)),
    Case(nn.Conv2d, _drawn(nn.Conv2d, 3, 4, 3), ((2, 3, 5, 6), (0, 3, 5, 5), (1, 3, 3, 3), (3, 3, 4, 7)),
         bad=(((0, 1, 1), ValueError), ((1, 1.5, 1), TypeError), ((1, 1, True), TypeError), ((1, 1, (1, 2, 3)), ValueError),
              ((1, 1, 1, 0), ValueError), ((1, 1, 1, 1, -1), ValueError), ((1, 1, 1, 1, "full"), ValueError),
              ((1, 1, 1, 2, "same"), ValueError), ((1, 1, 1, 1, 0, "1"), TypeError), ((3, 4, 1, 1, 0, 1, 2), ValueError),
              ((1, 1, 1, 1, 0, 1, 1, 1), TypeError), ((2**31, 2**31, 2), ValueError))),
    Case(nn.Conv2d, _drawn(nn.Conv2d, 4, 6, 1), ((3, 4, 3, 5), (1, 4, 1, 1))),
    Case(nn.Conv2d, _drawn(nn.Conv2d, 2, 3, 3, padding=1, bias=False), ((2, 2, 5, 4), (1, 2, 1, 1), (1, 2, 2, 33))),
    Case(nn.Conv2d, _drawn(nn.Conv2d, 2, 3, 3, stride=2, padding=1), ((2, 2, 5, 7), (1, 2, 6, 6))),
    Case(nn.Conv2d, _drawn(nn.Conv2d, 2, 3, 2, stride=3), ((2, 2, 5, 8), (1, 2, 7, 7))),
    Case(nn.Conv2d, _drawn(nn.Conv2d, 2, 3, 3, dilation=2), ((2, 2, 6, 7), (1, 2, 5, 5))),
    Case(nn.Conv2d, _drawn(nn.Conv2d, 4, 6, 3, padding=1, groups=2), ((2, 4, 4, 5), (0, 4, 4, 5))),
    Case(nn.Conv2d, _drawn(nn.Conv2d, 3, 3, 3, padding=1, groups=3), ((2, 3, 5, 6), (1, 3, 1, 2))),
    Case(nn.Conv2d, _drawn(nn.Conv2d, 3, 6, (3, 2), stride=(2, 1), groups=3), ((2, 3, 5, 4),)),
    Case(nn.Conv2d, _drawn(nn.Conv2d, 2, 3, (2, 4), padding="same"), ((2, 2, 4, 5), (1, 2, 1, 1))),
    Case(nn.Conv2d, _drawn(nn.Conv2d, 4, 6, (3, 2), (2, 1), (1, 2), (1, 3), 2, False), ((2, 4, 5, 6), (1, 4, 2, 3))),
    Case(nn.Conv2d, _drawn(nn.Conv2d, 33, 17, 3, padding=1), ((1, 33, 3, 5),), tolerance=128),
    Case(nn.Conv2d, _drawn(nn.Conv2d, 1, 8, 5), ((2, 1, 6, 7),), tolerance=64, timed=(64, 1, 28, 28)),
    Case(nn.Conv2d, _drawn(nn.Conv2d, 8, 16, 5), ((2, 8, 6, 5),), tolerance=128, timed=(64, 8, 12, 12)),
    Case(nn.Conv2d, _drawn(nn.Conv2d, 3, 32, 3, padding=1), ((2, 3, 4, 5),), tolerance=64, timed=(32, 3, 32, 32)),
    Case(nn.Conv2d, _drawn(nn.Conv2d, 64, 64, 3, padding=1), ((1, 64, 2, 2),), tolerance=256, timed=(32, 64, 32, 32)),
    Case(nn.Conv2d, _drawn(nn.Conv2d, 64, 128, 1), ((2, 64, 3, 2),), tolerance=128, timed=(32, 64, 16, 16)),
    Case(nn.Conv1d, _drawn(nn.Conv1d, 3, 4, 3, padding=1), ((2, 3, 9), (0, 3, 9), (1, 3, 1)),
         bad=(((0, 1, 1), ValueError), ((1, 1, (1, 2)), TypeError), ((1, 1, 0), ValueError), ((1, 1, 1, 1, "full"), ValueError),
              ((1, 1, 1, 2, "same"), ValueError), ((4, 3, 1, 1, 0, 1, 2), ValueError))),
    Case(nn.Conv1d, _drawn(nn.Conv1d, 2, 3, 4, stride=2, padding="valid", bias=False), ((2, 2, 8), (1, 2, 4))),
    Case(nn.Conv1d, _drawn(nn.Conv1d, 4, 4, 2, padding="same", dilation=3, groups=4), ((2, 4, 7), (1, 4, 2))),
    Case(nn.ReLU, _layer(nn.ReLU), ANY, smooth=False, timed=IMAGES),
    Case(nn.LeakyReLU, _layer(nn.LeakyReLU, 0.2), ANY, smooth=False, bad=((("a",), TypeError), ((np.nan,), ValueError))),
    Case(nn.ELU, _layer(nn.ELU, 1.5), ANY, smooth=False, timed=IMAGES, bad=((("a",), TypeError), ((np.inf,), ValueError))),
    Case(nn.Tanh, _layer(nn.Tanh), ANY, timed=IMAGES),
    Case(nn.Sigmoid, _layer(nn.Sigmoid), ANY, timed=IMAGES),
    Case(nn.GELU, _layer(nn.GELU), ANY, bad=((("no",), ValueError),)),
    Case(nn.GELU, _layer(nn.GELU, "tanh"), ANY),
    Case(nn.SiLU, _layer(nn.SiLU), ANY),
    Case(nn.Softplus, _layer(nn.Softplus), ANY, bad=(((0,), ValueError), ((-1,), ValueError))),
    Case(nn.Softplus, _layer(nn.Softplus, 3.0, 2.0), ANY, smooth=False),
    Case(nn.Identity, _layer(nn.Identity), ANY),
    Case(nn.Softmax, _layer(nn.Softmax), ROWS, timed=(128, 10), bad=((("a",), TypeError), ((True,), TypeError))),
    Case(nn.Softmax, _layer(nn.Softmax, 1), ROWS),
    Case(nn.Softmax, _layer(nn.Softmax, 0), ROWS),
    Case(nn.LogSoftmax, _layer(nn.LogSoftmax), ROWS, bad=(((1.5,), TypeError),)),
    Case(nn.LogSoftmax, _layer(nn.LogSoftmax, 1), ROWS),
    *_POOLING,
    Case(nn.BatchNorm1d, _norm(nn.BatchNorm1d, 4), ((5, 4), (0, 4), (33, 4), (2, 4, 3), (3, 4, 17), (1, 4, 6), (2, 4, 0)),
         tolerance=64,
         bad=(((0,), ValueError), ((1.5,), TypeError), ((4, -1.0), ValueError), ((4, "a"), TypeError), ((4, 1e-5, 2), ValueError),
              ((4, 1e-5, "a"), TypeError), ((4, 1e-5, 0.1, 1), TypeError), ((4, 1e-5, 0.1, True, 0), TypeError),
              ({"num_features": 4, "bias": None}, TypeError), ({"num_features": 4, "dtype": np.int32}, TypeError),
              ((2**62,), ValueError))),
    Case(nn.BatchNorm1d, _norm(nn.BatchNorm1d, 70, eps=0.5, momentum=None, bias=False), ((9, 70), (3, 70, 2)), tolerance=64),
    Case(nn.BatchNorm1d, _norm(nn.BatchNorm1d, 4, affine=False, track_running_stats=False), ((5, 4), (3, 4, 5)), tolerance=64),
    Case(nn.BatchNorm1d, _norm(nn.BatchNorm1d, 4, evaluated=True), ((5, 4), (1, 4), (0, 4), (3, 4, 17)), tolerance=64,
         label="BatchNorm1d-evaluation"),
    Case(nn.BatchNorm2d, _norm(nn.BatchNorm2d, 3), ((2, 3, 4, 5), (1, 3, 2, 3), (0, 3, 2, 2), (5, 3, 1, 1)), tolerance=64,
         bad=(((-1,), ValueError), (("3",), TypeError), ((3, np.nan), ValueError))),
    Case(nn.BatchNorm2d, _norm(nn.BatchNorm2d, 32), ((2, 32, 9, 11),), tolerance=64, timed=IMAGES, label="BatchNorm2d-wide"),
    Case(nn.BatchNorm2d, _norm(nn.BatchNorm2d, 3, evaluated=True), ((2, 3, 4, 5), (1, 3, 1, 1), (0, 3, 2, 2)), tolerance=64,
         label="BatchNorm2d-evaluation"),
    Case(nn.LayerNorm, _norm(nn.LayerNorm, 5), ((4, 5), (5,), (0, 5), (2, 3, 5), (33, 5)), tolerance=64,
         bad=(((0,), ValueError), ((1.5,), TypeError), (((),), ValueError), (((3, 0),), ValueError), (("5",), TypeError),
              ((5, -1.0), ValueError), ((5, 1e-5, 1), TypeError), ((5, 1e-5, True, 1), TypeError),
              (((2**40, 2**40),), ValueError), ({"normalized_shape": 5, "dtype": np.float16}, TypeError))),
    Case(nn.LayerNorm, _norm(nn.LayerNorm, (3, 7), bias=False), ((4, 3, 7), (3, 7), (0, 3, 7)), tolerance=64),
    Case(nn.LayerNorm, _norm(nn.LayerNorm, 70, elementwise_affine=False), ((20, 70),), tolerance=64),
    Case(nn.LayerNorm, _norm(nn.LayerNorm, 512), ((2, 512),), tolerance=64, timed=(4096, 512), label="LayerNorm-wide"),
    Case(nn.Dropout, _layer(nn.Dropout), ANY, timed=IMAGES,
         bad=(((-0.1,), ValueError), ((1.1,), ValueError), ((np.nan,), ValueError), (("0.5",), TypeError), ((None,), TypeError))),
    Case(nn.Dropout, _layer(nn.Dropout, 0.1), ((4, 5), (100, 7))),
    Case(nn.Dropout, _layer(nn.Dropout, 0), ((4, 5), (0, 5))),
    Case(nn.Dropout, _layer(nn.Dropout, 1.0), ((4, 5), (0, 5))),
    Case(nn.Dropout, lambda dtype: nn.Dropout().eval(), ((4, 5), (0, 5)), label="Dropout-evaluation"),
    Case(nn.Dropout2d, _layer(nn.Dropout2d), ((2, 3, 4, 5), (0, 3, 2, 2), (4, 3), (2, 30, 7), (2, 3, 0)),
         bad=(((2,), ValueError), ((True,), TypeError))),
    Case(nn.Sequential, _stack(lambda linear: nn.Sequential(linear(5, 4), nn.Tanh(), nn.Sequential(linear(4, 3)), nn.Sigmoid())),
         ((4, 5), (0, 5)), tolerance=64, label="Sequential", bad=(((nn.ReLU,), TypeError), ((1,), TypeError))),
    Case(nn.Residual, _stack(lambda linear: nn.Residual(nn.Sequential(linear(4, 4), nn.Tanh()))), ((5, 4), (0, 4)),
         tolerance=64, label="Residual", bad=(((1,), TypeError), (({},), TypeError))),
    Case(nn.Residual, _stack(lambda linear: nn.Residual(linear(4, 3), linear(4, 3))), ((5, 4),), tolerance=64,
         label="Residual-shortcut"),
    Case(nn.Parallel, _stack(lambda linear: nn.Parallel(linear(4, 3), nn.Tanh(), linear(4, 1))), ((5, 4), (0, 4)),
         tolerance=64, label="Parallel", bad=(((), ValueError), ((1,), TypeError))),
    Case(nn.Siamese, _stack(lambda linear: nn.Siamese(nn.Sequential(linear(4, 3), nn.Tanh()))), ((5, 2, 4), (0, 3, 4)),
         tolerance=64, label="Siamese", bad=(((1,), TypeError),)),
    Case(nn.MSELoss, _layer(nn.MSELoss), PAIRS, target="real", timed=(100, 2), bad=((("median",), ValueError),)),
    Case(nn.MSELoss, _layer(nn.MSELoss, "sum"), PAIRS, target="real"),
    Case(nn.MSELoss, _layer(nn.MSELoss, "batchmean"), PAIRS, target="real"),
    Case(nn.MSELoss, _layer(nn.MSELoss, "none"), PAIRS, target="real"),
    Case(nn.MAELoss, _layer(nn.MAELoss), PAIRS, target="real", smooth=False),
    Case(nn.HuberLoss, _layer(nn.HuberLoss), PAIRS, target="real", smooth=False,
         bad=((("mean", 0), ValueError), (("mean", "1"), TypeError))),
    Case(nn.HuberLoss, _layer(nn.HuberLoss, "sum", 0.3), PAIRS, target="real", smooth=False),
    Case(nn.BCELoss, _layer(nn.BCELoss), PAIRS, target="unit", tolerance=64,
         bad=((([np.inf],), ValueError), ((["a"],), TypeError))),
    Case(nn.BCELoss, _layer(nn.BCELoss, [2.0], "none"), PAIRS, target="unit", tolerance=64, label="BCELoss-weight"),
    Case(nn.BCEWithLogitsLoss, _layer(nn.BCEWithLogitsLoss), PAIRS, target="unit", bad=((([np.nan],), ValueError),)),
    Case(nn.BCEWithLogitsLoss, _layer(nn.BCEWithLogitsLoss, [0.5], "sum", [3.0]), PAIRS, target="unit", tolerance=64,
         label="BCEWithLogitsLoss-pos_weight"),
    Case(nn.NLLLoss, _layer(nn.NLLLoss), SCORES, target="index",
         bad=((([[1.0]],), ValueError), ((None, 0.5), TypeError), ((None, -100, "all"), ValueError))),
    Case(nn.NLLLoss, _layer(nn.NLLLoss, None, 1, "sum"), SCORES, target="index"),
    Case(nn.CrossEntropyLoss, _layer(nn.CrossEntropyLoss), SCORES, target="index", timed=(128, 10),
         bad=(((None, -100, "mean", 1.5), ValueError), ((None, -100, "mean", "a"), TypeError), (([np.nan, 1.0],), ValueError))),
    Case(nn.CrossEntropyLoss, _layer(nn.CrossEntropyLoss, label_smoothing=0.2), SCORES, target="index", tolerance=32),
    Case(nn.CrossEntropyLoss, _layer(nn.CrossEntropyLoss, [1.0, 2.0, 0.5], 1), ((5, 3), (2, 3, 4)), target="index",
         label="CrossEntropyLoss-weight"),
    Case(nn.CrossEntropyLoss, _layer(nn.CrossEntropyLoss, reduction="none", label_smoothing=0.1), SCORES, target="probability",
         tolerance=32, label="CrossEntropyLoss-probabilities"),
    *(
        Case(subject, _optimizer(subject, options), PARAMETERS,
             tolerance=64, label=f"{subject.__name__}-{'-'.join(options)}", timed=(669706,) if len(options) < 2 else None,
             bad=(({"lr": -1.0}, ValueError), ({"lr": np.nan}, ValueError), ({"lr": "1"}, TypeError),
                  ({"weight_decay": -1.0}, ValueError)))
        for subject, options in _OPTIMIZERS
    ),
)  # fmt: skip
LAYER_CASES = tuple(case for case in CASES if not case.target and not issubclass(case.subject, optim.Optimizer))
LOSS_CASES = tuple(case for case in CASES if case.target)
OPTIMIZER_CASES = tuple(case for case in CASES if issubclass(case.subject, optim.Optimizer))
