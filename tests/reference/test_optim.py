"""The reference's optimizer steps against their formulas."""

import itertools
import math

import numpy as np
import pytest

from fastdl.reference import optim
from tests.reference.against import close

INF, NAN = math.inf, math.nan


STEPS = 4
BOTH = list(itertools.product([False, True], repeat=2))


def decayed(g, p, lr, weight_decay, decoupled, maximize):
    g = -g if maximize else g
    return (g, p * (1 - lr * weight_decay)) if decoupled else (g + weight_decay * p, p)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("dampening", [0.0, 0.3])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(("decoupled", "maximize"), BOTH)
def test_sgd(rng, momentum, dampening, nesterov, decoupled, maximize):
    p = rng.normal(size=(2, 3))
    expected = p.copy()
    buffer, velocity = (np.full_like(p, 7.0), None) if momentum else (None, None)
    for step in range(STEPS):
        g = rng.normal(size=p.shape)
        d, expected = decayed(g, expected, 0.1, 0.05, decoupled, maximize)
        if momentum:
            velocity = d if velocity is None else momentum * velocity + (1 - dampening) * d
            d = d + momentum * velocity if nesterov else velocity
        expected = expected - 0.1 * d
        options = {"lr": 0.1, "momentum": momentum, "dampening": dampening, "weight_decay": 0.05, "nesterov": nesterov}
        options |= {"decoupled_weight_decay": decoupled, "maximize": maximize}
        optim.sgd_step(g, options, step + 1, p, buffer)
    close(p, expected)
    if momentum:
        close(buffer, velocity)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(("decoupled", "maximize"), BOTH)
def test_rmsprop(rng, momentum, centered, inside, decoupled, maximize):
    p = rng.normal(size=(2, 3))
    expected, square, mean, velocity = p.copy(), 0, 0, 0
    square_avg, grad_avg = np.zeros_like(p), np.zeros_like(p) if centered else None
    buffer = np.zeros_like(p) if momentum else None
    for step in range(1, STEPS + 1):
        g = rng.normal(size=p.shape)
        d, expected = decayed(g, expected, 0.1, 0.05, decoupled, maximize)
        square, mean = 0.8 * square + 0.2 * d**2, 0.8 * mean + 0.2 * d
        variance = square - mean**2 if centered else square
        velocity = momentum * velocity + d / (np.sqrt(variance + 0.01) if inside else np.sqrt(variance) + 0.01)
        expected = expected - 0.1 * velocity
        options = {
            "lr": 0.1,
            "alpha": 0.8,
            "eps": 0.01,
            "weight_decay": 0.05,
            "momentum": momentum,
            "maximize": maximize,
        }
        options |= {"decoupled_weight_decay": decoupled, "eps_inside_sqrt": inside}
        optim.rmsprop_step(g, options, step, p, square_avg, grad_avg, buffer)
    close(p, expected)
    close(square_avg, square)
    if centered:
        close(grad_avg, mean)


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(("decoupled", "maximize"), BOTH)
def test_adam(rng, amsgrad, inside, decoupled, maximize):
    p = rng.normal(size=(2, 3))
    expected, m, v, largest = p.copy(), 0, 0, 0
    exp_avg, exp_avg_sq, max_exp_avg_sq = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p) if amsgrad else None
    for step in range(1, STEPS + 1):
        g = rng.normal(size=p.shape) / step**2
        d, expected = decayed(g, expected, 0.1, 0.05, decoupled, maximize)
        m, v = 0.9 * m + 0.1 * d, 0.7 * v + 0.3 * d**2
        largest = np.maximum(largest, v) if amsgrad else v
        m_hat, v_hat = m / (1 - 0.9**step), largest / (1 - 0.7**step)
        expected = expected - 0.1 * m_hat / (np.sqrt(v_hat + 0.01) if inside else np.sqrt(v_hat) + 0.01)
        options = {"lr": 0.1, "betas": (0.9, 0.7), "eps": 0.01, "weight_decay": 0.05, "maximize": maximize}
        options |= {"decoupled_weight_decay": decoupled, "eps_inside_sqrt": inside}
        optim.adam_step(g, options, step, p, exp_avg, exp_avg_sq, max_exp_avg_sq)
    close(p, expected)
    close(exp_avg, m)
    close(exp_avg_sq, v)
    if amsgrad:
        close(max_exp_avg_sq, largest)
        assert (largest > v).any()


def test_the_first_step_of_adam_is_the_rate_whatever_the_gradient():
    p = np.zeros(3)
    options = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 0.0, "weight_decay": 0.0, "maximize": False}
    options |= {"decoupled_weight_decay": False, "eps_inside_sqrt": False}
    optim.adam_step(np.array([1e-3, -5, 1e3]), options, 1, p, np.zeros(3), np.zeros(3), None)
    close(p, [-0.1, 0.1, -0.1])


def test_zero_over_zero_is_nan_and_does_not_raise():
    p = np.zeros(2)
    options = {"lr": 0.1, "alpha": 0.0, "eps": 0.0, "weight_decay": 0.0, "momentum": 0.0, "maximize": False}
    options |= {"decoupled_weight_decay": False, "eps_inside_sqrt": False}
    optim.rmsprop_step(np.array([0.0, 1.0]), options, 1, p, np.zeros(2), None, None)
    close(p, [NAN, -0.1])


def test_what_is_done_to_a_gradient():
    g = np.array([[3.0, -4.0]])
    assert optim.norm(g) == 5
    close(optim.norm(1e200 * g) / 1e200, 5)
    assert optim.norm(np.empty(0)) == 0
    optim.shrink(2.5, 5 - 1e-6, g)
    close(g, [[1.5, -2]])
    g = np.array([-INF, -2.0, 0.5, 2.0, INF, NAN])
    optim.clamp(-1.0, 1.5, g)
    close(g, [-1, -1, 0.5, 1.5, 1.5, NAN])
