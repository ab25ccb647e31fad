"""The naive network: its predictions, its gradients, its training."""

import math

import numpy as np
import pytest

from fastdl.reference import network
from tests.reference.against import central_difference, close, near


def matrix_outputs(net, x):
    for layer, (W, b) in enumerate(zip(net.W, net.b, strict=True)):
        x = (np.maximum(x, 0) if layer else x) @ np.asarray(W).T + b
    return x


@pytest.mark.parametrize("kind", [network.Network, network.ListNetwork])
def test_network_predicts_what_its_matrices_give(rng, kind):
    net, x = kind([2, 4, 5, 3], rng=1, dtype=np.float64), rng.normal(size=(6, 2))
    close(net.predict(x), matrix_outputs(net, x))


def test_network_backward_is_the_derivative(rng):
    net = network.Network([2, 4, 5, 3], rng=1, dtype=np.float64)
    x, gy = rng.normal(size=2), rng.normal(size=3)
    net.forward(x)
    gx = net.backward(gy)
    gradients = [g.copy() for g in net.gW + net.gb]

    def f():
        return (gy * net.forward(x)).sum()

    near(gx, central_difference(f, x))
    for gradient, p in zip(gradients, net.W + net.b, strict=True):
        near(gradient, central_difference(f, p))


def test_network_trains_on_the_mean_squared_error_one_sample_at_a_time(rng):
    net, x, t = network.Network([2, 4, 3], rng=1, dtype=np.float64), rng.normal(size=(2, 2)), rng.normal(size=(2, 3))
    twin = network.Network([2, 4, 3], rng=1, dtype=np.float64)
    squared_errors = []
    for n in range(2):
        error = twin.forward(x[n]) - t[n]
        squared_errors.append((error**2).mean())
        twin.backward(2 * error / 3)
        for p, g in zip(twin.W + twin.b, twin.gW + twin.gb, strict=True):
            p -= 0.1 * g
    close(net.train(x, t, lr=0.1, epochs=1), [np.mean(squared_errors)])
    for p, q in zip(net.W + net.b, twin.W + twin.b, strict=True):
        close(p, q)


def test_the_network_over_lists_is_the_network_over_arrays(rng):
    x, t = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    nets = [kind([2, 4, 2], rng=1, dtype=np.float64) for kind in (network.Network, network.ListNetwork)]
    losses = [net.train(x, t, lr=0.05, epochs=3) for net in nets]
    close(*losses)
    assert losses[0][2] < losses[0][0]
    for p, q in zip(nets[0].W + nets[0].b, nets[1].W + nets[1].b, strict=True):
        assert isinstance(q, list)
        close(p, q)


def test_network_starts_within_torchs_bounds():
    net = network.Network([16, 200, 1], rng=0)
    for n_in, W, b in zip([16, 200], net.W, net.b, strict=True):
        assert W.dtype == np.float32
        assert 0.9 / math.sqrt(n_in) < np.abs(W).max() <= np.float32(1 / math.sqrt(n_in))
        assert np.abs(b).max() <= np.float32(1 / math.sqrt(n_in))
