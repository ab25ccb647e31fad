"""Initializers beside PyTorch's: gains, and the bounds and deviations of what is drawn."""

import math

import numpy as np
import pytest

from fastdl import nn
from fastdl.nn import init

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

SHAPES = [(300, 500), (40, 30, 9, 11)]
LINEAR = ["linear", *(f"conv{n}d" for n in (1, 2, 3)), *(f"conv_transpose{n}d" for n in (1, 2, 3))]
NONLINEARITIES = [*LINEAR, "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
MODES = ["fan_in", "fan_out"]
KAIMING = [{}, {"a": 0.2}, {"a": math.sqrt(5)}, {"nonlinearity": "tanh"}, {"nonlinearity": "relu", "a": 0.3}]


def samples(name, shape, options):
    torch.manual_seed(0)
    theirs = getattr(torch.nn.init, f"{name}_")(torch.empty(shape, dtype=torch.float64), **options)
    return getattr(init, name)(**options)(shape, rng=0, dtype=np.float64), theirs.numpy()


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_gain(each, nonlinearity):
    for param in each(param=[None, 0, 0.2, 1.0, -0.5, math.sqrt(5)]):
        assert init.calculate_gain(nonlinearity, param) == pytest.approx(
            torch.nn.init.calculate_gain(nonlinearity, param), rel=1e-15
        )


UNIFORM = [
    ("xavier_uniform", {}),
    ("xavier_uniform", {"gain": 1.5}),
    *(("kaiming_uniform", {"mode": mode, **options}) for mode in MODES for options in KAIMING),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "options"), UNIFORM, ids=str)
def test_bounds(name, options, shape):
    ours, theirs = samples(name, shape, options)
    # The largest of 100 000 falls short of the bound by 1/100 000 of it.
    assert (ours.min(), ours.max()) == pytest.approx((theirs.min(), theirs.max()), rel=3e-4)


NORMAL = [
    ("xavier_normal", {}),
    ("xavier_normal", {"gain": 1.5}),
    *(("kaiming_normal", {"mode": mode, **options}) for mode in MODES for options in KAIMING),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "options"), NORMAL, ids=str)
def test_deviations(name, options, shape):
    ours, theirs = samples(name, shape, options)
    assert ours.std() == pytest.approx(theirs.std(), rel=0.02)
    assert abs(ours.mean() - theirs.mean()) < 0.02 * theirs.std()


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.5, 2.0)])
def test_uniform(low, high):
    torch.manual_seed(0)
    theirs = torch.nn.init.uniform_(torch.empty(100_000), low, high)
    ours = init.uniform(low, high)((100_000,), rng=0)
    assert (ours.min(), ours.max()) == pytest.approx((theirs.min().item(), theirs.max().item()), abs=3e-4)


@pytest.mark.parametrize(
    ("mean", "std", "low", "high"),
    [(0.0, 1.0, -2.0, 2.0), (0.5, 0.1, 0.45, 2.0), (0.0, 3.0, -1.0, 4.0), (0.0, 1.0, 1.5, 5.0)],
)
def test_truncated_normal(mean, std, low, high):
    torch.manual_seed(0)
    theirs = torch.nn.init.trunc_normal_(torch.empty(200_000, dtype=torch.float64), mean, std, low, high).numpy()
    ours = init.truncated_normal(mean, std, low, high)((200_000,), rng=0, dtype=np.float64)
    assert ours.mean() == pytest.approx(theirs.mean(), abs=0.02 * std)
    assert ours.std() == pytest.approx(theirs.std(), rel=0.02)
    quantiles = np.linspace(0, 1, 21)
    np.testing.assert_allclose(
        np.quantile(ours, quantiles)[1:-1], np.quantile(theirs, quantiles)[1:-1], atol=0.03 * std
    )
    assert ours.min() >= low
    assert ours.max() <= high


@pytest.mark.parametrize(("in_features", "out_features"), [(400, 300), (3, 50_000)])
def test_linear_draws_as_torchs_does(in_features, out_features):
    torch.manual_seed(0)
    ours, theirs = nn.Linear(in_features, out_features, rng=0), torch.nn.Linear(in_features, out_features)
    for name, rel in (("weight", 3e-4), ("bias", 3e-2)):
        array, tensor = getattr(ours, name).data, getattr(theirs, name).detach().numpy()
        assert (array.min(), array.max()) == pytest.approx((tensor.min(), tensor.max()), rel=rel)
        assert array.std() == pytest.approx(tensor.std(), rel=0.1)
