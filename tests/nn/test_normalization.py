"""Batch and layer normalization: running statistics, names and copies, what is frozen, shared or refused."""

import copy
import pickle

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.nn import Parameter
from fastdl.testing import assert_close, gradcheck

# Running statistics.


def moved(batches, share):
    mean, var = np.zeros(3), np.ones(3)
    for number, x in enumerate(batches, 1):
        part = share or 1 / number
        mean, var = (1 - part) * mean + part * x.mean((0, 2)), (1 - part) * var + part * x.var((0, 2), ddof=1)
    return mean, var


@pytest.mark.parametrize("momentum", [0.1, 0.7, 1.0, None])
def test_running_statistics_follow_the_batches(dtype, momentum):
    batches = [np.random.default_rng(i).normal(i, 1 + i, (4 + i, 3, 5)).astype(dtype) for i in range(20)]
    layer = nn.BatchNorm1d(3, momentum=momentum, dtype=dtype)
    for x in batches:
        layer(x)
    mean, var = moved([x.astype(float) for x in batches], momentum)
    assert_close(layer.running_mean, mean, 64, dtype)
    assert_close(layer.running_var, var, 64, dtype)
    assert layer.num_batches_tracked == 20
    layer.eval()
    x = batches[0]
    want = (x - mean[:, None]) / np.sqrt(var + 1e-5)[:, None]
    assert_close(layer(x), want, 64, dtype)
    assert layer.num_batches_tracked == 20


def test_evaluation_leaves_the_statistics_alone_and_no_grad_does_not():
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    layer = nn.BatchNorm1d(3)
    layer.eval()(x)
    assert not layer.running_mean.any()
    with fastdl.no_grad():
        layer.train()(x)
    assert layer.running_mean.any()
    assert layer.num_batches_tracked == 1


def test_without_running_statistics_evaluation_uses_the_batchs():
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    layer = nn.BatchNorm1d(3, track_running_stats=False)
    assert list(layer.state_dict()) == ["weight", "bias"]
    np.testing.assert_array_equal(layer(x), layer.eval()(x))
    switched = nn.BatchNorm1d(3)
    switched.track_running_stats = False
    switched(x)
    assert not switched.running_mean.any()


def test_one_value_per_channel_is_refused_where_its_statistics_are_taken():
    x, image = np.ones((1, 3), np.float32), np.ones((1, 3, 1, 1), np.float32)
    for layer, only in (
        (nn.BatchNorm1d(3), x),
        (nn.BatchNorm1d(3, track_running_stats=False).eval(), x),
        (nn.BatchNorm2d(3), image),
    ):
        with pytest.raises(
            ValueError, match=r"^BatchNorm.d\(3.*expected more than one value per channel when training, got"
        ):
            layer(only)
    layer = nn.BatchNorm1d(3)
    with pytest.raises(ValueError, match="more than one"):
        layer(x)
    assert layer.num_batches_tracked == 0
    assert layer.eval()(x).shape == (1, 3)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (2, 3, 0)], ids=str)
def test_an_empty_batch_moves_nothing(shape):
    layer = nn.BatchNorm1d(3, momentum=None)
    layer(np.ones((2, 3), np.float32))
    before = layer.state_dict()
    assert layer(np.zeros(shape, np.float32)).shape == shape
    assert layer.backward(np.zeros(shape, np.float32)).shape == shape
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert not layer.weight.grad.any()


def test_a_forgotten_gradient_is_zero_after_an_empty_batch():
    for layer, shape in ((nn.BatchNorm1d(3), (0, 3)), (nn.LayerNorm(3), (0, 3))):
        layer.weight.grad = layer.bias.grad = np.full(3, 7.0)
        optim.SGD(layer.parameters(), lr=1.0).forget_gradients()
        layer(np.zeros(shape, np.float32))
        layer.backward(np.zeros(shape, np.float32))
        assert not layer.weight.grad.any()
        assert not layer.bias.grad.any()


# Names, copies, dtypes.


def trained(dtype=np.float32):
    model = nn.Sequential(
        nn.Linear(2, 4, rng=0, dtype=dtype), nn.BatchNorm1d(4, dtype=dtype), nn.LayerNorm(4, dtype=dtype)
    )
    for i in range(3):
        model(np.random.default_rng(i).standard_normal((6, 2)).astype(dtype))
    return model


def test_state_dict_holds_the_statistics_and_loads_them():
    model, other = trained(), nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.LayerNorm(4))
    state = model.state_dict()
    assert list(state)[2:7] == ["1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"]
    assert (state["1.num_batches_tracked"].dtype, state["1.num_batches_tracked"].shape) == (np.int64, ())
    other.load_state_dict(state)
    x = np.ones((2, 2), np.float32)
    np.testing.assert_array_equal(other.eval()(x), model.eval()(x))
    assert other[1].num_batches_tracked == 3


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_has_statistics_of_its_own(clone):
    model = trained()
    twin = clone(model)
    twin(np.ones((3, 2), np.float32))
    assert (model[1].num_batches_tracked, twin[1].num_batches_tracked) == (3, 4)
    assert (model[1].running_mean != twin[1].running_mean).all()


def test_statistics_go_through_a_file(tmp_path):
    model = trained()
    fastdl.save(model, tmp_path / "model.safetensors")
    other = fastdl.load(tmp_path / "model.safetensors").model
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)
    assert other[1].num_batches_tracked.dtype == np.int64


def test_astype_changes_everything_but_the_counter():
    model = trained().astype(np.float64)
    assert model(np.ones((3, 2))).dtype == np.float64
    assert model[1].running_mean.dtype == np.float64
    assert model[1].num_batches_tracked.dtype == np.int64
    assert model[1].num_batches_tracked == 4


def test_reset_parameters_begins_again():
    model = trained()
    model[1].weight.data = model[2].weight.data = np.full(4, 3.0)
    model[1].bias.data = np.full(4, 3.0)
    model.reset_parameters(0)
    fresh = nn.Sequential(nn.Linear(2, 4, rng=0), nn.BatchNorm1d(4), nn.LayerNorm(4)).state_dict()
    for name, array in model.state_dict().items():
        if not name.startswith("0"):
            np.testing.assert_array_equal(array, fresh[name])


def test_options_are_spelled_and_kept():
    assert repr(nn.BatchNorm1d(3)) == "BatchNorm1d(3)"
    layer = nn.BatchNorm2d(3, momentum=None, affine=False)
    assert layer.spec() == "BatchNorm2d(3, momentum=None, affine=False)"
    assert layer.weight is layer.bias is None
    assert nn.BatchNorm1d(3, bias=False).spec() == "BatchNorm1d(3, bias=False)"
    assert nn.LayerNorm([3, 2], bias=False).spec() == "LayerNorm((3, 2), bias=False)"
    assert nn.LayerNorm(3, elementwise_affine=False, bias=False).spec() == "LayerNorm((3,), elementwise_affine=False)"
    assert nn.LayerNorm(np.int64(3)).normalized_shape == (3,)
    assert type(nn.from_spec("LayerNorm((3, 2), eps=0.1)").normalized_shape) is tuple


# Frozen, shared, subclassed.


@pytest.mark.parametrize("make", [lambda: nn.BatchNorm1d(4), lambda: nn.LayerNorm(4)], ids=["BatchNorm1d", "LayerNorm"])
def test_frozen_parameters_get_no_gradient(make):
    rng = np.random.default_rng(0)
    x, gy = rng.standard_normal((2, 6, 4)).astype(np.float32)
    want = make()
    want(x)
    gx = want.backward(gy)
    for frozen in (("weight",), ("bias",), ("weight", "bias")):
        layer = make()
        for name in frozen:
            getattr(layer, name).requires_grad = False
        layer(x)
        layer.backward_parameters(gy)
        layer(x)
        np.testing.assert_array_equal(layer.backward(gy), gx)
        for name in ("weight", "bias"):
            grad = getattr(want, name).grad
            np.testing.assert_array_equal(getattr(layer, name).grad, 0 * grad if name in frozen else 2 * grad)


@pytest.mark.parametrize("base", [nn.BatchNorm1d, nn.LayerNorm])
def test_backward_parameters_goes_through_a_subclass_backward(base):
    class Doubled(base):
        def backward(self, grad_output):
            return super().backward(2 * grad_output)

    layer = Doubled(3)
    layer(np.eye(4, 3, dtype=np.float32))
    layer.backward_parameters(np.ones((4, 3), np.float32))
    assert (layer.bias.grad == 8).all()


def test_one_layer_in_two_places():
    layer = nn.BatchNorm1d(3, dtype=np.float64)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    x = np.random.default_rng(0).standard_normal((7, 3))
    assert gradcheck(model, x)
    before = int(layer.num_batches_tracked)
    model(x)
    assert layer.num_batches_tracked == before + 2


class AtEpoch(fastdl.callbacks.Callback):
    def __init__(self, seen):
        self.seen = seen

    def on_epoch_end(self, trainer, record):
        self.seen.append([module.training for module in trainer.model])


def test_a_batch_norm_in_evaluation_mode_stays_so_in_a_fit():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 3)).astype(np.float32), rng.integers(0, 2, 40)
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4, rng=1), nn.BatchNorm1d(4), nn.Linear(4, 2, rng=2))
    model[0](x)
    model[0].eval().requires_grad_(False)
    before, seen = model[0].state_dict(), []
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    trainer.fit(x, y, epochs=2, batch_size=10, validation_data=(x, y), callbacks=[AtEpoch(seen)])
    assert seen == [[False, True, True, True]] * 2
    for name, array in model[0].state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert model[2].num_batches_tracked == 8
    assert not model[0].training
    assert model[2].training


def test_a_fit_is_the_explicit_loop():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 3)).astype(np.float32), rng.integers(0, 2, 40)

    def network():
        return nn.Sequential(
            nn.Linear(3, 4, rng=1), nn.BatchNorm1d(4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 2, rng=2)
        )

    fitted, model, criterion = network(), network(), nn.CrossEntropyLoss()
    Trainer(fitted, criterion, optim.SGD(fitted.parameters(), lr=0.1)).fit(x, y, epochs=3, batch_size=10, shuffle=False)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        for i in range(0, 40, 10):
            optimizer.zero_grad()
            criterion(model(x[i : i + 10]), y[i : i + 10])
            model.backward(criterion.backward())
            optimizer.step()
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(fitted.state_dict()[name], array)


def test_a_fit_tries_out_more_than_one_row():
    x = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    model = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 1))
    history = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1)).fit(
        x, x[:, :1], epochs=1, batch_size=10
    )
    assert np.isfinite(history["loss"]).all()


# What is refused.


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.BatchNorm1d(3), (3,)),
        (nn.BatchNorm1d(3), ()),
        (nn.BatchNorm1d(3), (2, 4)),
        (nn.BatchNorm1d(3), (2, 3, 4, 5)),
        (nn.BatchNorm2d(3), (2, 3)),
        (nn.BatchNorm2d(3), (2, 3, 4)),
        (nn.BatchNorm2d(3), (2, 4, 5, 5)),
        (nn.BatchNorm2d(3), (2, 3, 4, 5, 6)),
        (nn.LayerNorm(3), ()),
        (nn.LayerNorm(3), (3, 4)),
        (nn.LayerNorm((2, 3)), (3,)),
        (nn.LayerNorm((2, 3)), (5, 3, 2)),
    ],
    ids=str,
)
def test_other_shapes_are_refused(layer, shape):
    with pytest.raises(ValueError, match=r"^(Batch|Layer)Norm.*: expected input of shape \(.*, got"):
        layer(np.ones(shape, np.float32))
    if layer.__class__ is not nn.LayerNorm:
        assert layer.num_batches_tracked == 0


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("weight", Parameter(np.ones(4, np.float32)), ValueError),
        ("weight", Parameter(np.ones(3)), ValueError),
        ("bias", Parameter(np.ones((3, 1), np.float32)), ValueError),
        ("running_mean", np.ones(2, np.float32), ValueError),
        ("running_mean", np.ones(3), ValueError),
        ("running_mean", [0.0, 0.0, 0.0], TypeError),
        ("running_mean", np.ones(3, ">f4"), TypeError),
        ("running_mean", None, ValueError),
        ("running_var", np.ones(3, np.int64), TypeError),
        ("running_var", np.ones(6, np.float32)[::2], ValueError),
        ("running_var", read_only(np.ones(3, np.float32)), ValueError),
        ("num_batches_tracked", 0, TypeError),
        ("num_batches_tracked", np.zeros((), np.int32), TypeError),
        ("num_batches_tracked", read_only(np.zeros((), np.int64)), ValueError),
    ],
    ids=str,
)
def test_what_is_assigned_is_looked_at(name, value, error):
    layer, x = nn.BatchNorm1d(3), np.ones((2, 3), np.float32)
    layer(x)
    setattr(layer, name, value)
    for call in (layer, layer.backward):
        with pytest.raises(error, match=r"^BatchNorm1d\(3.*expected"):
            call(x)


def test_other_statistics_of_the_right_kind_are_taken():
    layer, x = nn.BatchNorm1d(3).eval(), np.ones((1, 3), np.float32)
    layer(x)
    layer.running_mean = np.full(3, 5.0, np.float32)
    layer.weight = Parameter(np.full(3, 2.0, np.float32))
    np.testing.assert_allclose(layer(x), -8, rtol=1e-4)
    layer.running_mean = layer.running_var = layer.num_batches_tracked = None
    np.testing.assert_array_equal(layer(np.concatenate([x, x])), 0)


def test_another_number_of_channels_is_looked_at():
    layer, x = nn.BatchNorm1d(3), np.eye(3, dtype=np.float32)
    layer(x)
    layer.num_features = 2
    with pytest.raises(ValueError, match=r"expected weight of float32 and shape \(2,\), got float32 and \(3,\)"):
        layer(x[:, :2])
    layer = nn.BatchNorm1d(3, affine=False, track_running_stats=False)
    layer(x)
    layer.num_features = 2
    with pytest.raises(RuntimeError, match="latest forward was of 3 channels"):
        layer.backward(x)
    layer = nn.LayerNorm(3)
    layer(x)
    layer.normalized_shape = (4,)
    for call in (layer, layer.backward):
        with pytest.raises(ValueError, match=r"expected weight of float32 and shape \(4,\)"):
            call(x)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(3), nn.LayerNorm(3)], ids=str)
def test_a_dtype_changed_between_forward_and_backward_is_said(layer):
    layer(np.eye(3, dtype=np.float32))
    layer.astype(np.float64)
    with pytest.raises(RuntimeError, match="weights became float64 after a forward in float32; call the model again"):
        layer.backward(np.eye(3, dtype=np.float32))


def test_without_arrays_any_float_is_taken():
    for layer in (
        nn.BatchNorm1d(3, affine=False, track_running_stats=False),
        nn.LayerNorm(3, elementwise_affine=False),
    ):
        for dtype in (np.float32, np.float64):
            y = layer(np.eye(3, dtype=dtype))
            assert y.dtype == layer.backward(y).dtype == dtype


@pytest.mark.parametrize("name", ["weight", "running_var", "num_batches_tracked"])
def test_an_array_of_another_kind_is_named_by_its_kind(name):
    layer = nn.BatchNorm1d(3)
    if name == "weight":
        layer.weight._data = np.arange(500)
    else:
        setattr(layer, name, np.full(500, "word"))
    with pytest.raises(TypeError, match=f"for {name}, got ") as error:
        layer(np.zeros((2, 3), np.float32))
    assert len(str(error.value)) < 150
