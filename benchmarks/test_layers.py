"""Every case of the table that is marked for it: forward and backward of layers and losses, steps of optimizers."""

import numpy as np
import pytest

from fastdl.nn import Parameter
from fastdl.testing import LAYER_CASES, LOSS_CASES, OPTIMIZER_CASES, Case, make_input, make_target


def timed(cases: tuple[Case, ...]) -> list[Case]:
    return [case for case in cases if case.timed]


@pytest.mark.benchmark(group="layers, forward and backward")
@pytest.mark.parametrize("case", timed(LAYER_CASES), ids=str)
def test_layer(benchmark, case: Case) -> None:
    rng = np.random.default_rng(0)
    assert case.timed
    layer, x = case.make(np.float32), make_input(case, case.timed, rng, np.float32)
    gy = np.ones_like(layer(x))

    def forward_and_backward() -> np.ndarray:
        layer(x)
        return layer.backward(gy)

    assert benchmark(forward_and_backward).shape == x.shape


@pytest.mark.benchmark(group="losses, value and gradient")
@pytest.mark.parametrize("case", timed(LOSS_CASES), ids=str)
def test_loss(benchmark, case: Case) -> None:
    rng = np.random.default_rng(0)
    assert case.timed
    criterion, x = case.make(np.float32), make_input(case, case.timed, rng, np.float32)
    t = make_target(case, case.timed, rng, np.float32)

    def value_and_gradient() -> np.ndarray:
        criterion(x, t)
        return criterion.backward()

    assert benchmark(value_and_gradient).shape == x.shape


@pytest.mark.benchmark(group="optimizers, one step of 669,706 parameters")
@pytest.mark.parametrize("case", timed(OPTIMIZER_CASES), ids=str)
def test_optimizer(benchmark, case: Case) -> None:
    parameter = Parameter(np.ones(case.timed, np.float32))
    parameter.grad = np.ones(case.timed)
    optimizer = case.make(np.float32)([parameter])
    benchmark(optimizer.step)
    assert (parameter.data != 1).all()
