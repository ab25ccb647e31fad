"""Every case of the table that is marked for it: forward and backward of layers and losses, steps of optimizers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from fastdl import nn
from fastdl.nn import Parameter
from fastdl.random import Stream, drawing_from
from fastdl.testing import (
    CASES,
    LAYER_CASES,
    LOSS_CASES,
    OPTIMIZER_CASES,
    Case,
    make_input,
    make_target,
    naive_step,
)

RNG = np.random.default_rng


def timed(cases: tuple[Case, ...]) -> list[Case]:
    return [case for case in cases if case.timed is not None]


def named(case: Case) -> str:
    return f"{case} on {'x'.join(map(str, case.timed or ()))}"


def subject(case: Case) -> str:
    """The module that a case's class lives in: its file's name."""
    return case.subject.__module__.rpartition(".")[2]


class SameDraws(Stream):
    """A stream whose every call is the same one."""

    def next(self) -> tuple[int, int]:
        return 1, 7


def assert_derivative(f: Callable[[np.ndarray], float], x: np.ndarray, gradient: np.ndarray) -> None:
    """Along the gradient, f changes as fast as the gradient is long: central differences in double precision."""
    length = float(np.linalg.norm(gradient.astype(float)))
    step = 1e-3 * gradient.astype(float) / length
    slope = (f(x + step) - f(x - step)) / 2e-3
    assert slope == pytest.approx(length, rel=1e-3)


@pytest.mark.parametrize("case", timed(LAYER_CASES), ids=named)
def test_layer(benchmark: Any, case: Case) -> None:
    assert case.timed
    benchmark.group = f"{subject(case)}: forward and backward"
    layer, x = case.make(np.float32), make_input(case, case.timed, RNG(0), np.float32)
    gy = RNG(1).standard_normal(layer(x).shape).astype(np.float32)

    def forward_and_backward() -> np.ndarray:
        layer(x)
        return layer.backward(gy)

    random = case.subject in (nn.Dropout, nn.Dropout2d)
    with drawing_from(SameDraws(RNG(0))) if random else nullcontext():
        gx = benchmark(forward_and_backward)
        exact = case.make(np.float64)
        assert_derivative(lambda x: float((exact(x) * gy).sum()), x.astype(float), gx)


@pytest.mark.parametrize("case", timed(LOSS_CASES), ids=named)
def test_loss(benchmark: Any, case: Case) -> None:
    assert case.timed
    benchmark.group = "loss: value and gradient"
    criterion, x = case.make(np.float32), make_input(case, case.timed, RNG(0), np.float32)
    t = make_target(case, case.timed, RNG(1), np.float32)

    def value_and_gradient() -> np.ndarray:
        criterion(x, t)
        return criterion.backward()

    gx = benchmark(value_and_gradient)
    exact = case.make(np.float64)
    target = t.astype(float) if t.dtype == np.float32 else t
    assert_derivative(lambda x: exact(x, target), x.astype(float), gx)


@pytest.mark.parametrize("case", timed(OPTIMIZER_CASES), ids=named)
def test_optimizer(benchmark: Any, case: Case) -> None:
    assert case.timed
    benchmark.group = "optim: a step of that many parameters"
    parameter = Parameter(np.ones(case.timed, np.float32))
    parameter.grad = np.linspace(-1, 1, parameter.data.size)
    optimizer, steps = case.make(np.float32)([parameter]), 0

    def step() -> None:
        nonlocal steps
        optimizer.step()
        steps += 1

    benchmark(step)
    few = slice(None, None, len(parameter.data) // 10)
    data, grad, state = np.ones(parameter.data[few].size), parameter.grad[few].astype(float), {}
    for number in range(1, steps + 1):
        naive_step(optimizer, data, grad, state, number)
    np.testing.assert_allclose(parameter.data[few], data, rtol=1e-3)


def test_every_case_that_is_marked_is_timed_once() -> None:
    benchmarked = [case for cases in (LAYER_CASES, LOSS_CASES, OPTIMIZER_CASES) for case in timed(cases)]
    assert sorted(map(id, benchmarked)) == sorted(id(case) for case in CASES if case.timed is not None)
    assert len(set(map(named, benchmarked))) == len(benchmarked)
