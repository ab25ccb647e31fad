"""nn.functional with weights: arrays, parameters and traced values that are computed, with their gradients."""

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.nn import functional

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 4))
SIGNALS = RNG.standard_normal((3, 4, 7))
IMAGES = RNG.standard_normal((3, 4, 6, 5))


def weights(*shape):
    return RNG.standard_normal(shape)


# The function of x, W and b; x, the shapes of W and b, and the layer that computes the same.
CASES = {
    "linear": (functional.linear, X, (3, 4), (3,), nn.Linear(4, 3, dtype=np.float64)),
    "conv1d": (
        lambda x, W, b: functional.conv1d(x, W, b, stride=2, padding=1, dilation=2),
        SIGNALS,
        (6, 4, 2),
        (6,),
        nn.Conv1d(4, 6, 2, 2, 1, 2, dtype=np.float64),
    ),
    "conv2d": (
        lambda x, W, b: functional.conv2d(x, W, b, padding="same", groups=2),
        IMAGES,
        (6, 2, 3, 3),
        (6,),
        nn.Conv2d(4, 6, 3, padding="same", groups=2, dtype=np.float64),
    ),
    "batch_norm": (
        lambda x, W, b: functional.batch_norm(x, None, None, W, b, training=True),
        IMAGES,
        (4,),
        (4,),
        nn.BatchNorm2d(4, dtype=np.float64),
    ),
    "layer_norm": (
        lambda x, W, b: functional.layer_norm(x, (6, 5), W, b),
        IMAGES,
        (6, 5),
        (6, 5),
        nn.LayerNorm((6, 5), dtype=np.float64),
    ),
}


class Computed(nn.Module):
    """A function whose weights are computed of parameters: each is twice one."""

    def __init__(self, function, W, b):
        self.function, self.W, self.b = function, nn.Parameter(W / 2), nn.Parameter(b / 2)

    def forward(self, x):
        return self.function(x, self.W * 2, 2 * self.b)


class Held(Computed):
    """The same of the parameters themselves."""

    def forward(self, x):
        return self.function(x, self.W, self.b)


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_the_layers(name):
    function, x, of_W, of_b, layer = CASES[name]
    W, b = weights(*of_W), weights(*of_b)
    layer.weight.data, layer.bias.data = W, b
    wanted = layer(x)
    gy = RNG.standard_normal(wanted.shape)
    wanted_gx = layer.backward(gy)
    np.testing.assert_allclose(function(x, W, b), wanted, rtol=1e-10, atol=1e-12)
    for kind, factor in ((Computed, 2), (Held, 1)):
        model = kind(function, W * (2 / factor), b * (2 / factor))
        with fastdl.eager():
            by_nodes = model(x)
            of_nodes = model.backward(gy)
            slopes = model.W.grad.copy(), model.b.grad.copy()
        for each in (by_nodes, model(x)):
            np.testing.assert_allclose(each, wanted, rtol=1e-9, atol=1e-12)
        model.zero_grad()
        for gx, gW, gb in ((model.backward(gy), model.W.grad, model.b.grad), (of_nodes, *slopes)):
            np.testing.assert_allclose(gx, wanted_gx, rtol=1e-8, atol=1e-10)
            np.testing.assert_allclose(gW, factor * layer.weight.grad, rtol=1e-8, atol=1e-10)
            np.testing.assert_allclose(gb, factor * layer.bias.grad, rtol=1e-8, atol=1e-10)
    layer.zero_grad()


@pytest.mark.parametrize("name", CASES)
def test_gradients_by_central_differences(name):
    function, x, of_W, of_b, _ = CASES[name]
    W, b = weights(*of_W), weights(*of_b)
    factors = RNG.standard_normal(function(x, W, b).shape)

    def loss(x, W, b):
        return np.sum(function(x, np.tanh(W), b) * factors)

    found = fastdl.grad(loss, argnums=(0, 1, 2))(x, W, b)
    for number, (array, gradient) in enumerate(zip((x, W, b), found, strict=True)):
        place = tuple(RNG.integers(array.shape))
        step = np.zeros_like(array)
        step[place] = 1e-6
        sides = [[x, W, b], [x, W, b]]
        sides[0][number], sides[1][number] = array + step, array - step
        slope = (loss(*sides[0]) - loss(*sides[1])) / 2e-6
        assert gradient[place] == pytest.approx(slope, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_missing_weights(name):
    function, x, of_W, of_b, _ = CASES[name]
    W, b = weights(*of_W), weights(*of_b)
    zeros = np.zeros_like(b)
    np.testing.assert_allclose(function(x, W, None), function(x, W, zeros), rtol=1e-12)
    if "norm" in name:
        ones = np.ones_like(W)
        np.testing.assert_allclose(function(x, None, b), function(x, ones, b), rtol=1e-12)
        np.testing.assert_allclose(function(x, None, None), function(x, ones, zeros), rtol=1e-12)
        alone = fastdl.grad(lambda b: np.sum(function(x, None, b) ** 2))(b)
        np.testing.assert_allclose(alone, fastdl.grad(lambda b: np.sum(function(x, ones, b) ** 2))(b), rtol=1e-9)


def test_a_standardized_convolution_trains_as_its_formula_says():
    """The weight's gradient goes on through what it is computed of; the program, node by node, and for a short last batch."""

    class Standardized(nn.Module):
        def __init__(self):
            self.W = nn.Parameter(np.random.default_rng(1).standard_normal((3, 2, 3, 3)))
            self.head = nn.Linear(3, 1, rng=0, dtype=np.float64)

        def forward(self, x):
            W = (self.W - np.mean(self.W, axis=(1, 2, 3), keepdims=True)) / np.std(
                self.W, axis=(1, 2, 3), keepdims=True
            )
            y = functional.max_pool2d(np.maximum(functional.conv2d(x, W, padding=1), 0.0), 2)
            return self.head(np.mean(y, axis=(2, 3)))

    x, y = RNG.standard_normal((10, 2, 6, 6)), RNG.standard_normal((10, 1))
    ends = []
    for traced in (True, False):
        model = Standardized()
        model.traced = traced
        trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.05))
        history = trainer.fit(x, y, epochs=4, batch_size=4, shuffle=False)
        ends.append((model.W.data.copy(), history["loss"]))
    np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(ends[0][1], ends[1][1], rtol=1e-9)


def test_running_statistics_of_batch_norm():
    class Own(nn.Module):
        def __init__(self):
            self.mean, self.var = nn.Buffer(np.zeros(4)), nn.Buffer(np.ones(4))
            self.scale = nn.Parameter(np.ones(4))

        def forward(self, x):
            return functional.batch_norm(x, self.mean, self.var, self.scale, training=self.training, momentum=0.3)

    model, layer = Own(), nn.BatchNorm2d(4, momentum=0.3, dtype=np.float64)
    arrays = np.zeros(4), np.ones(4)
    for _ in range(3):
        x = RNG.standard_normal((5, 4, 3, 2)) * 3 + 1
        wanted = layer(x)
        np.testing.assert_allclose(model(x), wanted, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(functional.batch_norm(x, *arrays, training=True, momentum=0.3), wanted, rtol=1e-9)
    for mean, var in ((model.mean.data, model.var.data), arrays):
        np.testing.assert_allclose(mean, layer.running_mean, rtol=1e-9)
        np.testing.assert_allclose(var, layer.running_var, rtol=1e-9)
    layer.eval(), model.eval()
    np.testing.assert_allclose(model(x), layer(x), rtol=1e-9)
    np.testing.assert_allclose(functional.batch_norm(x, *arrays), layer(x), rtol=1e-9)
    np.testing.assert_allclose(model.mean.data, layer.running_mean, rtol=1e-9)


@pytest.mark.parametrize("shape", [(2, 6), (2, 6, 5), (2, 6, 3, 4)])
def test_group_and_instance_norm(shape):
    x, W, b = RNG.standard_normal(shape), weights(6), weights(6)
    along = (6, *[1] * (len(shape) - 2))

    def by_hand(groups):
        parts = x.reshape(2, groups, -1)
        y = (parts - parts.mean(-1, keepdims=True)) / np.sqrt(parts.var(-1, keepdims=True) + 1e-5)
        return y.reshape(shape) * W.reshape(along) + b.reshape(along)

    for groups in (1, 2, 6):
        np.testing.assert_allclose(functional.group_norm(x, groups, W, b), by_hand(groups), rtol=1e-9, atol=1e-12)
        value, _ = fastdl.value_and_grad(lambda x, g=groups: np.sum(functional.group_norm(x, g, W, b) ** 2))(x)
        assert value == pytest.approx(np.sum(by_hand(groups) ** 2), rel=1e-9)
    if len(shape) > 2:
        np.testing.assert_allclose(functional.instance_norm(x, W, b), by_hand(6), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("p", [1, 2, 3, np.inf])
def test_normalize(p):
    wanted = X / np.maximum(np.linalg.norm(X, p, axis=1, keepdims=True), 1e-12)
    np.testing.assert_allclose(functional.normalize(X, p), wanted, rtol=1e-12)
    np.testing.assert_array_equal(functional.normalize(np.zeros((1, 3))), np.zeros((1, 3)))
    gradient = fastdl.grad(lambda x: np.sum(functional.normalize(x, p, eps=0.5) * [1, 2, 3]))(
        np.array([[0.0, 0, 0], [3, 0, 4]])
    )
    np.testing.assert_allclose(gradient[0], [2, 4, 6])  # that of x / eps, as in torch
    assert np.isfinite(gradient).all()


def test_pooling_and_dropout_are_their_layers():
    pairs = [
        (functional.max_pool2d(IMAGES, 2, 1, padding=1), nn.MaxPool2d(2, 1, 1)(IMAGES)),
        (functional.avg_pool2d(IMAGES, (2, 1), count_include_pad=False), nn.AvgPool2d((2, 1))(IMAGES)),
        (functional.adaptive_avg_pool2d(IMAGES, 1), IMAGES.mean((2, 3), keepdims=True)),
        (functional.max_pool1d(SIGNALS, 3, ceil_mode=True), nn.MaxPool1d(3, ceil_mode=True)(SIGNALS)),
        (functional.avg_pool1d(SIGNALS, 3), nn.AvgPool1d(3)(SIGNALS)),
        (functional.dropout2d(IMAGES, 0.5, training=False), IMAGES),
    ]
    for found, wanted in pairs:
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    fastdl.manual_seed(0)
    dropped = functional.dropout2d(np.ones((50, 4, 2, 2)), 0.5)
    assert np.unique(dropped).tolist() == [0, 2]
    assert np.ptp(dropped, axis=(2, 3)).max() == 0


@pytest.mark.parametrize("ndim", [1, 3])
def test_linear_along_the_last_axis_of_any_rank(ndim):
    x, W, b = weights(*(2, 3, 4)[-ndim:]), weights(5, 4), weights(5)
    np.testing.assert_allclose(functional.linear(x, W, b), x @ W.T + b, rtol=1e-12)
    found = fastdl.grad(lambda W: np.sum(functional.linear(x, W, b) ** 2))(W)
    y = (x @ W.T + b).reshape(-1, 5)
    np.testing.assert_allclose(found, 2 * y.T @ x.reshape(-1, 4), rtol=1e-9)


class OfSamples(nn.Module):
    """A weight with a row for each sample."""

    def forward(self, x):
        return functional.linear(x, x * 2)


def test_refusals_are_one_sentence():
    with pytest.raises(ValueError, match=r"conv2d: .*a weight of shape \(O, C / groups, KH, KW\), got \(3, 4\)"):
        functional.conv2d(IMAGES, weights(3, 4))
    with pytest.raises(TypeError, match=r"linear: .*float32 or float64 values for weight, got dtype int64"):
        functional.linear(X, np.ones((2, 4), int))
    with pytest.raises(ValueError, match=r"expected x \(\.\.\., inputs\), weight \(outputs, inputs\) and bias"):
        functional.linear(X, weights(4))
    with pytest.raises(TypeError, match="batch_norm: expected running statistics, or training=True, got None"):
        functional.batch_norm(X, None, None)
    with pytest.raises(ValueError, match="group_norm: expected x of shape"):
        functional.group_norm(X, 3)
    with pytest.raises(ValueError, match="instance_norm: expected x of shape"):
        functional.instance_norm(X)
    with pytest.raises(
        ValueError, match=r"test_functional_weights.py:\d+: linear: expected a weight of fixed sizes, got"
    ):
        OfSamples()(X)

    class Arrays(nn.Module):  # whose statistics cannot move in a program
        def __init__(self):
            self.mean, self.scale = np.zeros(4), nn.Parameter(np.ones(4))

        def forward(self, x):
            return functional.batch_norm(x, self.mean, None, self.scale, training=True)

    with pytest.raises(TypeError, match=r"running statistics in nn\.Buffer in traced code, got ndarray"):
        Arrays()(X)
