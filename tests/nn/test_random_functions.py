"""normal_like, uniform_like and bernoulli_like: random numbers in forward functions, losses and on arrays."""

from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.nn import functional

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 3))


class Noisy(nn.Module):
    """Each kind of noise, with parameters behind it."""

    def __init__(self, dtype=np.float64):
        self.scale = nn.Parameter(np.full(3, 0.5, dtype))

    def forward(self, x):
        noise = functional.normal_like(x, std=self.scale)
        rest = functional.uniform_like(x, -self.scale, self.scale)
        return noise, rest, functional.bernoulli_like(x, 0.25) * self.scale


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("eager", [False, True])
def test_they_have_their_distributions_and_gradients_of_the_same_draw(dtype, eager):
    model, x = Noisy(dtype), X.astype(dtype)
    fastdl.manual_seed(3)
    with fastdl.eager() if eager else nullcontext():
        (noise, rest, ones), pullback = model.vjp(x)
    assert {noise.dtype, rest.dtype, ones.dtype} == {np.dtype(dtype)}
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 0.5) < 0.03
    assert np.abs(rest).max() < 0.5
    assert abs(rest.std() - 1 / np.sqrt(12)) < 0.02
    assert set(np.unique(ones)) == {0, 0.5}
    assert abs((ones > 0).mean() - 0.25) < 0.04
    assert abs(np.corrcoef(noise.ravel(), rest.ravel())[0, 1]) < 0.1
    for _ in range(2):
        model.zero_grad()
        gx = pullback((np.ones_like(x), np.ones_like(x), np.ones_like(x)))
        assert not gx.any()
        wanted = (noise + rest + ones).sum(axis=0) / 0.5
        np.testing.assert_allclose(model.scale.grad, wanted, rtol=1e-4, atol=1e-3)


def test_programs_draw_what_a_run_node_by_node_draws():
    found = []
    for eager in (True, False):
        model = Noisy()
        fastdl.manual_seed(5)
        with fastdl.eager() if eager else nullcontext():
            found.append([model(X), model(X[:7]), model.eval()(X[:7])])
    for one, other in zip(*found, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13)
    assert not np.array_equal(found[0][1][0], found[0][2][0])  # each call draws anew


def elbo(output, target):
    y, mean, logvar = output
    divergence = -0.5 * np.sum(1 + logvar - mean**2 - np.exp(logvar), axis=1)
    return {"reconstruction": np.sum((y - target) ** 2, axis=1), "divergence": divergence}


class Variational(nn.Module):
    """An autoencoder with a random code."""

    def __init__(self, dtype=np.float64):
        self.encoder, self.decoder = nn.Linear(3, 4, rng=0, dtype=dtype), nn.Linear(2, 3, rng=1, dtype=dtype)

    def forward(self, x):
        h = self.encoder(x)
        mean, logvar = h[:, :2], h[:, 2:]
        code = functional.normal_like(mean, mean, np.exp(0.5 * logvar))
        return self.decoder(code), mean, logvar


def test_fits_are_those_of_the_loop_and_of_any_number_of_threads(threads):
    found = []
    for eager, count in ((True, 1), (False, 1), (False, 2), (False, 4)):
        fastdl.set_num_threads(count)
        model = Variational()
        trainer = Trainer(model, elbo, optim.Adam(model.parameters(), lr=0.01))
        with fastdl.eager() if eager else nullcontext():
            history = trainer.fit(X, X, epochs=3, batch_size=150, seed=1)
        assert history.engine.startswith("plain" if eager else "native")
        found.append((history["loss"], model.encoder.weight.data))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-10)
    for losses, weights in found[2:]:
        assert losses == found[1][0]
        np.testing.assert_array_equal(weights, found[1][1])


def test_a_loss_may_draw_too():
    model = nn.Sequential(nn.Linear(3, 2, rng=0, dtype=np.float64))
    trainer = Trainer(
        model, lambda y: np.mean((y + functional.normal_like(y)) ** 2), optim.SGD(model.parameters(), lr=0.0)
    )
    fastdl.manual_seed(0)
    first, second = trainer.step(X), trainer.step(X)
    assert first != second
    fastdl.manual_seed(0)
    assert trainer.step(X) == first


def test_arrays_of_any_shape():
    fastdl.manual_seed(1)
    for shape in ((), (0,), (5,), (2, 3, 4)):
        x = np.zeros(shape, np.float32)
        for found in (functional.normal_like(x), functional.uniform_like(x, 2, 3), functional.bernoulli_like(x, 0.5)):
            assert (np.shape(found), found.dtype) == (shape, np.float32)
    np.testing.assert_array_equal(functional.bernoulli_like(np.zeros(4), np.array([0.0, 1.0, 0.0, 1.0])), [0, 1, 0, 1])


def test_parameters_shapes_and_numbers_alone_are_drawn_in_traces():
    class Weights(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(np.ones((3, 2)))
            self.scale = nn.Parameter(np.ones(()))

        def forward(self, x):
            return x @ (self.weight + functional.normal_like(self.weight[:])) * functional.uniform_like(self.scale[...])

    model = Weights()
    one, other = model(X), model(X)
    assert np.linalg.matrix_rank(one) == 2
    assert not np.array_equal(one, other)
    model.backward(np.ones_like(other))
    assert model.weight.grad.any()


@pytest.mark.parametrize("function", [functional.normal_like, functional.uniform_like, functional.bernoulli_like])
def test_whole_numbers_have_no_random_numbers_like_them(function):
    with pytest.raises(TypeError, match="expected an array of float32 or float64"):
        function(np.arange(3))
