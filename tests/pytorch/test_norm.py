"""Normalization and dropout beside PyTorch's: outputs, all gradients, running statistics, state dictionaries."""

import numpy as np
import pytest

import fastdl
from fastdl import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

SHAPES = {
    "BatchNorm1d": [(9, 4), (100, 25), (64, 128), (3, 4, 17), (7, 5, 2), (0, 4)],
    "BatchNorm2d": [(4, 3, 5, 6), (6, 20, 7, 7), (2, 3, 65, 70), (9, 5, 1, 1), (0, 3, 4, 4)],
    "LayerNorm": [(9, 25), (4, 3, 17), (2, 2, 5, 130), (3, 1000)],
}
LAYERS = [(name, shape) for name, shapes in SHAPES.items() for shape in shapes]
OPTIONS = [
    {},
    {"momentum": None, "eps": 0.1},
    {"affine": False},
    {"track_running_stats": False},
    {"bias": False, "momentum": 0.6},
    {"affine": False, "track_running_stats": False},
]


def draw(shape, dtype, seed):
    return (2 * np.random.default_rng(seed).standard_normal(shape) + 1).astype(dtype)


def twins(name, size, dtype, **options):
    """A layer and torch's with the same weights, away from ones and zeros."""
    ours = getattr(nn, name)(size, **options, dtype=dtype)
    theirs = getattr(torch.nn, name)(size, **options, dtype=getattr(torch, np.dtype(dtype).name))
    for seed, parameter in enumerate(ours.parameters()):
        parameter.data = draw(parameter.shape, dtype, seed)
    theirs.load_state_dict({key: torch.tensor(array) for key, array in ours.state_dict().items()})
    return ours, theirs


def step_both(ours, theirs, shape, dtype, agree, seed=0):
    """Forward and backward; outputs and all gradients agree."""
    x, gy = draw(shape, dtype, seed), draw(shape, dtype, seed + 100)
    x_torch = torch.tensor(x, requires_grad=True)
    y_torch = theirs(x_torch)
    y_torch.backward(torch.tensor(gy))
    agree(ours(x), y_torch, cancelling=64)
    agree(ours.backward(gy), x_torch.grad, cancelling=128)
    for parameter, parameter_torch in zip(ours.parameters(), theirs.parameters(), strict=True):
        agree(parameter.grad, parameter_torch.grad, cancelling=512)


def statistics_agree(ours, theirs, agree):
    for name, tensor in theirs.state_dict().items():
        array = ours.state_dict()[name]
        if name == "num_batches_tracked":
            assert (array.dtype, array) == (np.int64, tensor.item())
        else:
            agree(array, tensor, cancelling=64)


@pytest.mark.parametrize(("name", "shape"), LAYERS, ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_outputs_and_gradients(name, shape, training, dtype, agree):
    ours, theirs = twins(name, shape[-1] if name == "LayerNorm" else shape[1], dtype)
    if not training:
        for layer, array in ((ours, np.asarray), (theirs, torch.tensor)):
            for key, value in layer.named_buffers():
                if value.shape != ():
                    value[...] = array(draw(tuple(value.shape), dtype, len(key)) ** 2)
            layer.eval()
    step_both(ours, theirs, shape, dtype, agree)
    if 0 not in shape:
        statistics_agree(ours, theirs, agree)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["BatchNorm1d", "BatchNorm2d"])
def test_running_statistics_after_20_batches(name, options, dtype, agree):
    ours, theirs = twins(name, 3, dtype, **options)
    for seed in range(20):
        shape = (3 + seed, 3, 4, 5)[: 4 if name == "BatchNorm2d" else 2 + seed % 2]
        step_both(ours, theirs, shape, dtype, agree, seed)
    statistics_agree(ours, theirs, agree)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.eval()
    theirs.eval()
    step_both(ours, theirs, shape, dtype, agree)
    statistics_agree(ours, theirs, agree)


@pytest.mark.parametrize(
    ("size", "options"),
    [((3, 5), {}), (5, {"bias": False}), ((5,), {"elementwise_affine": False, "eps": 0.5})],
    ids=str,
)
def test_layer_norm_options(size, options, dtype, agree):
    ours, theirs = twins("LayerNorm", size, dtype, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    step_both(ours, theirs, (4, 3, 5), dtype, agree)


def network(library):
    parts = library.Linear(3, 8), library.BatchNorm1d(8), library.ReLU(), library.LayerNorm(8), library.Linear(8, 2)
    return library.Sequential(*parts)


def test_state_dicts_load_both_ways(dtype, agree):
    ours, theirs = network(nn).astype(dtype), network(torch.nn).to(getattr(torch, np.dtype(dtype).name))
    for seed in range(3):
        theirs(torch.tensor(draw((10, 3), dtype, seed)))
    ours.load_state_dict(theirs.state_dict())
    assert ours[1].num_batches_tracked == 3
    x = draw((6, 3), dtype, 9)
    agree(ours.eval()(x), theirs.eval()(torch.tensor(x)), cancelling=64)
    ours.train()(x)
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in ours.state_dict().items()})
    assert theirs[1].num_batches_tracked == 4
    agree(ours.eval()(x), theirs(torch.tensor(x)), cancelling=64)


@pytest.mark.parametrize("training", [True, False])
def test_frozen_weights_get_no_gradient_and_the_input_does(training, dtype, agree):
    ours, theirs = twins("BatchNorm1d", 4, dtype)
    ours.train(training).requires_grad_(False)
    theirs.train(training).requires_grad_(False)
    x, gy = draw((7, 4), dtype, 0), draw((7, 4), dtype, 1)
    x_torch = torch.tensor(x, requires_grad=True)
    theirs(x_torch).backward(torch.tensor(gy))
    ours(x)
    agree(ours.backward(gy), x_torch.grad, cancelling=128)
    assert not ours.weight.grad.any()


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1)])
def test_one_value_per_channel_is_refused_by_both(shape):
    for layer, x in ((nn.BatchNorm1d(3), np.ones(shape, np.float32)), (torch.nn.BatchNorm1d(3), torch.ones(shape))):
        with pytest.raises(
            ValueError, match=r"(?i)expected more than (1|one) value per channel when training, got input"
        ):
            layer(x)


def test_no_grad_in_training_moves_the_statistics_in_both(agree):
    dtype = np.float32
    ours, theirs = twins("BatchNorm1d", 3, dtype)
    x = draw((5, 3), dtype, 0)
    with fastdl.no_grad(), torch.no_grad():
        ours(x)
        theirs(torch.tensor(x))
    np.testing.assert_allclose(ours.running_var, theirs.running_var.numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", ["Dropout", "Dropout2d"])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_dropout_drops_the_same_share_in_the_same_units(name, p):
    ours, theirs, x = getattr(nn, name)(p), getattr(torch.nn, name)(p), np.ones((100, 50, 4, 4), np.float32)
    fastdl.manual_seed(0)
    torch.manual_seed(0)
    y, y_torch = ours(x), theirs(torch.tensor(x)).numpy()
    np.testing.assert_allclose(np.unique(y), np.unique(y_torch), rtol=1e-6)
    flat, flat_torch = y.reshape(5000, 16), y_torch.reshape(5000, 16)
    assert (flat == flat[:, :1]).all() == (flat_torch == flat_torch[:, :1]).all()
    assert abs((flat[:, 0] == 0).mean() - (flat_torch[:, 0] == 0).mean()) < 0.04
    np.testing.assert_array_equal(ours.eval()(x), theirs.eval()(torch.tensor(x)).numpy())
