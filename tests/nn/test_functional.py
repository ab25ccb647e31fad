"""nn.functional: what the layers and losses compute, of arrays and of traced values, with their gradients."""

import numpy as np
import pytest

import fastdl
from fastdl import nn
from fastdl.nn import functional

X = np.random.default_rng(0).standard_normal((6, 4))
T = np.random.default_rng(1).uniform(0.1, 0.9, (6, 4))
CLASSES = np.array([0, 3, 1, 1, 2, 0])

LAYERS = {
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(0.01),
    "elu": nn.ELU(),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "softplus": nn.Softplus(),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "softmax": nn.Softmax(-1),
    "log_softmax": nn.LogSoftmax(-1),
}
LOSSES = {
    "mse_loss": (nn.MSELoss(), X, T),
    "l1_loss": (nn.L1Loss(), X, T),
    "huber_loss": (nn.HuberLoss(), X, T),
    "binary_cross_entropy": (nn.BCELoss(), T, (T > 0.5).astype(float)),
    "binary_cross_entropy_with_logits": (nn.BCEWithLogitsLoss(), X, T),
    "nll_loss": (nn.NLLLoss(), X, CLASSES),
    "cross_entropy": (nn.CrossEntropyLoss(), X, CLASSES),
}


@pytest.mark.parametrize("name", LAYERS)
def test_functions_are_their_layers(name):
    function, layer = getattr(functional, name), LAYERS[name]
    np.testing.assert_allclose(function(X), layer(X), rtol=1e-12)
    weights = np.random.default_rng(2).standard_normal(X.shape)
    layer(X)
    wanted = layer.backward(weights)
    np.testing.assert_allclose(fastdl.grad(lambda x: np.sum(function(x) * weights))(X), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_are_their_classes(name, reduction):
    function, (kind, x, target) = getattr(functional, name), LOSSES[name]
    loss = type(kind)(reduction=reduction)
    assert function(x, target, reduction=reduction) == pytest.approx(loss(x, target))
    wanted = 2 * loss.backward()
    found = fastdl.grad(lambda x: 2 * function(x, target, reduction=reduction))(x)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4)])
@pytest.mark.parametrize("dim", [0, -1])
def test_softmax_along_any_axis(shape, dim):
    x = np.random.default_rng(3).standard_normal(shape) * 50
    e = np.exp(x - x.max(axis=dim, keepdims=True))
    wanted = e / e.sum(axis=dim, keepdims=True)
    for function, of in ((functional.softmax, wanted), (functional.log_softmax, np.log(wanted))):
        np.testing.assert_allclose(function(x, dim), of, rtol=1e-9, atol=1e-9)
        value, _ = fastdl.value_and_grad(lambda x, f=function: np.sum(f(x, dim) ** 2))(x)
        assert value == pytest.approx(np.sum(of**2), rel=1e-9)
    wanted = np.log(e.sum(axis=dim)) + x.max(axis=dim)
    np.testing.assert_allclose(functional.logsumexp(x, dim), wanted, rtol=1e-12)


def test_logarithms_of_sums_of_infinities():
    x = np.array([[-np.inf, -np.inf], [-np.inf, 1.0], [np.inf, 1.0], [np.nan, 1.0]])
    np.testing.assert_array_equal(functional.logsumexp(x), [-np.inf, 1, np.inf, np.nan])
    value, gradient = fastdl.value_and_grad(lambda x: functional.logsumexp(x)[0])(x[1:2])
    assert value == 1
    np.testing.assert_array_equal(gradient, [[0, 1]])


def test_one_hot():
    np.testing.assert_array_equal(functional.one_hot(CLASSES, 4), np.eye(4, dtype=int)[CLASSES])

    class Chosen(nn.Module):
        def forward(self, x, which):
            return x * functional.one_hot(which, 4)

    np.testing.assert_allclose(Chosen()(X, CLASSES), X * np.eye(4)[CLASSES])
    for wrong in (4, -1):
        beyond = np.where(CLASSES == 3, wrong, CLASSES)
        with pytest.raises(ValueError, match=rf"^one_hot: expected whole numbers from 0 to 3, got {wrong}$"):
            functional.one_hot(beyond, 4)
        with pytest.raises(IndexError, match=r"^test_functional\.py:\d+: expected indices within the axis"):
            Chosen()(X, beyond)
    with pytest.raises(TypeError, match=r"expected whole numbers for x, got dtype float64; write x\.astype\(int\)"):
        functional.one_hot(X, 4)


def test_dropout_is_off_in_evaluation_and_scales_in_training():
    class Own(nn.Module):
        def forward(self, x):
            return functional.dropout(x, 0.5, self.training)

    model, ones = Own(), np.ones((400, 5))
    kept = model(ones)
    assert set(np.unique(kept)) == {0.0, 2.0}
    assert abs(kept.mean() - 1) < 0.2
    np.testing.assert_array_equal(model.eval()(ones), ones)
    np.testing.assert_array_equal(functional.dropout(ones, 0.5, training=False), ones)


OF_EACH = {
    **LOSSES,
    "huber": (nn.HuberLoss(delta=0.3), X, T),
    "weighed": (nn.BCELoss(weight=[1.0, 2.0, 0.5, 0.0]), T, (T > 0.5).astype(float)),
    "positives": (nn.BCEWithLogitsLoss(weight=[1.0, 2.0, 0.5, 3.0], pos_weight=[3.0]), 40 * X, T),
    "at zero": (nn.BCEWithLogitsLoss(), 0 * X, T),
    "ignored": (nn.NLLLoss(weight=[1.0, 2.0, 0.5, 3.0], ignore_index=1), X, CLASSES),
    "smoothed": (nn.CrossEntropyLoss([1.0, 2.0, 0.5, 3.0], ignore_index=-7, label_smoothing=0.2), X, CLASSES),
    "with -7": (nn.CrossEntropyLoss(ignore_index=-7, label_smoothing=0.2), X, np.where(CLASSES == 1, -7, CLASSES)),
    "probabilities": (nn.CrossEntropyLoss([1.0, 2.0, 0.5, 3.0], label_smoothing=0.2), X, T),
    "places": (
        nn.CrossEntropyLoss([1.0, 2.0, 0.5]),
        np.stack([X, 2 * X, X**2], axis=1),
        CLASSES[:, None] * [1, 0, 0, 0] % 3,
    ),
}


@pytest.mark.parametrize("name", OF_EACH)
def test_losses_that_are_not_reduced_are_those_of_the_class_also_in_a_trace(name):
    kind, x, target = OF_EACH[name]
    loss = type(kind).__new__(type(kind))
    vars(loss).update({**vars(kind), "reduction": "none"})
    wanted = loss(x, target)
    weights = np.random.default_rng(4).standard_normal(wanted.shape)
    gx = loss.backward(weights)

    class Losses(nn.Module):
        def forward(self, x, target):
            return loss(x, target)

    model = Losses()
    np.testing.assert_allclose(model(x, target), wanted, rtol=1e-9, atol=1e-12)
    found = model.backward(weights)
    np.testing.assert_allclose(found[0], gx, rtol=1e-9, atol=1e-12)


def test_functions_give_the_loss_of_each():
    found = fastdl.grad(lambda x: np.sum(functional.cross_entropy(x, CLASSES, reduction="none") * np.arange(6)))(X)
    loss = nn.CrossEntropyLoss(reduction="none")
    loss(X, CLASSES)
    np.testing.assert_allclose(found, loss.backward(np.arange(6.0)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("wrong", [-1, 4])
def test_a_target_that_is_no_class_is_an_error_also_in_a_trace(wrong):
    class Losses(nn.Module):
        def forward(self, x, target):
            return functional.cross_entropy(x, target, reduction="none")

    with pytest.raises(IndexError, match=r"test_functional\.py:\d+: expected indices within the axis"):
        Losses()(X, np.where(CLASSES == 3, wrong, CLASSES))
