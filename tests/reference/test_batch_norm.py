"""The reference's normalizations against NumPy, and their gradients against differences."""

import numpy as np
import pytest

from fastdl.reference import batch_norm, layer_norm
from tests.reference.against import central_difference, close, near

SHAPES = [(5, 3), (4, 2, 3), (2, 3, 2, 2)]


def batch_forward(x, W, b, eps=0.1):
    mean, inverse, y = np.zeros(x.shape[1]), np.zeros(x.shape[1]), np.full_like(x, 7.0)
    batch_norm.batch_norm_forward(x, W, b, eps, 0.0, None, None, None, mean, inverse, y)
    return y, mean, inverse


def layer_forward(x, W, b, eps=0.1):
    mean, inverse, y = np.zeros(len(x)), np.zeros(len(x)), np.full_like(x, 7.0)
    layer_norm.layer_norm_forward(x, W, b, eps, mean, inverse, y)
    return y, mean, inverse


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_normalizes_each_channel(rng, shape):
    x, W, b = rng.normal(3, 2, shape), rng.normal(size=shape[1]), rng.normal(size=shape[1])
    axes, beside = (0, *range(2, len(shape))), (1, -1) + (1,) * (len(shape) - 2)
    z = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 0.1)
    y, mean, inverse = batch_forward(x, W, b)
    close(y, z * W.reshape(beside) + b.reshape(beside))
    close(mean, x.mean(axes))
    close(inverse, (x.var(axes) + 0.1) ** -0.5)
    close(batch_forward(x, None, None)[0], z)


def test_running_statistics_move_by_momentum_or_to_the_average(rng):
    batches = rng.normal(size=(4, 6, 3))
    for momentum in (0.3, -1.0):
        running, outputs = (
            [np.zeros(3), np.ones(3), np.zeros((), np.int64)],
            [np.zeros(3), np.zeros(3), np.zeros((6, 3))],
        )
        mean, var = np.zeros(3), np.ones(3)
        for count, x in enumerate(batches, 1):
            batch_norm.batch_norm_forward(x, None, None, 0.1, momentum, *running, *outputs)
            share = momentum if momentum > 0 else 1 / count
            mean, var = (1 - share) * mean + share * x.mean(0), (1 - share) * var + share * x.var(0, ddof=1)
        close(running[0], mean)
        close(running[1], var)
        assert running[2] == 4


def test_evaluation_uses_the_running_statistics(rng):
    x, W, b, running_mean, running_var = rng.normal(size=(4, 3)), *rng.random((4, 3))
    mean, inverse, y = np.zeros(3), np.zeros(3), np.zeros_like(x)
    batch_norm.batch_norm_evaluate(x, W, b, running_mean, running_var, 0.1, mean, inverse, y)
    close(y, (x - running_mean) / np.sqrt(running_var + 0.1) * W + b)
    close(mean, running_mean)
    gx, gW, gb = np.zeros_like(x), np.ones(3), np.ones(3)
    batch_norm.batch_norm_backward(x, x, W, mean, inverse, False, True, gx, gW, gb)
    close(gx, x * W / np.sqrt(running_var + 0.1))
    close(gW - 1, (x * (x - running_mean) / np.sqrt(running_var + 0.1)).sum(0))
    close(gb - 1, x.sum(0))


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_backward_is_the_derivative(rng, shape):
    x, gy, W, b = rng.normal(size=shape), rng.normal(size=shape), rng.normal(size=shape[1]), rng.normal(size=shape[1])

    def f():
        return (gy * batch_forward(x, W, b)[0]).sum()

    gx, gW, gb = np.zeros_like(x), np.full_like(W, 10.0), np.full_like(b, 10.0)
    batch_norm.batch_norm_backward(gy, x, W, *batch_forward(x, W, b)[1:], True, False, gx, gW, gb)
    near(gx, central_difference(f, x))
    near(gW, central_difference(f, W))
    near(gb, central_difference(f, b))


def test_an_empty_batch_changes_nothing():
    running = [np.full(3, 2.0), np.full(3, 3.0), np.ones((), np.int64)]
    outputs = np.zeros(3), np.zeros(3), np.zeros((0, 3))
    batch_norm.batch_norm_forward(np.zeros((0, 3)), None, None, 0.1, 0.5, *running, *outputs)
    assert (running[0] == 2).all()
    assert (running[1] == 3).all()
    assert running[2] == 1


def test_layer_norm_normalizes_each_row_and_its_backward_is_the_derivative(rng):
    x, gy, W, b = rng.normal(3, 2, (4, 5)), rng.normal(size=(4, 5)), rng.normal(size=5), rng.normal(size=5)
    z = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 0.1)
    y, mean, inverse = layer_forward(x, W, b)
    close(y, z * W + b)
    close(layer_forward(x, None, None)[0], z)

    def f():
        return (gy * layer_forward(x, W, b)[0]).sum()

    gx, gW, gb = np.zeros_like(x), np.full_like(W, 10.0), np.full_like(b, 10.0)
    layer_norm.layer_norm_backward(gy, x, W, mean, inverse, True, gx, gW, gb)
    near(gx, central_difference(f, x))
    near(gW - 10, central_difference(f, W))
    near(gb - 10, central_difference(f, b))
