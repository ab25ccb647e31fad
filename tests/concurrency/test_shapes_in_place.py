"""Arrays whose shape or dtype is set in place while a layer or a fit holds them: what it computes stays the same."""

import copy
import pickle

import numpy as np
import pytest

from fastdl import Trainer, nn, optim
from fastdl.callbacks import Callback

pytestmark = pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")  # which NumPy 2.5 wants to end
RNG = np.random.default_rng(0)
MODELS = {
    "Linear": (lambda: nn.Linear(30, 8, rng=0), (20, 30)),
    "Conv2d": (lambda: nn.Conv2d(2, 8, 3, rng=0), (5, 2, 8, 8)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(30), (20, 30)),
    "LayerNorm": (lambda: nn.LayerNorm(30), (20, 30)),
    "GELU": (nn.GELU, (20, 30)),
    "ReLU": (nn.ReLU, (20, 30)),
    "LogSoftmax": (nn.LogSoftmax, (20, 30)),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), (5, 2, 8, 8)),
    "Sequential": (lambda: nn.Sequential(nn.Linear(30, 8, rng=0), nn.GELU(), nn.Linear(8, 2, rng=1)), (20, 30)),
}


def set_shape(array, kind):
    if kind == "dtype":
        array.dtype = np.int32 if array.dtype == np.float32 else np.int64
    else:
        array.shape = {"tall": (-1, 1), "wide": (1, -1), "turned": array.shape[::-1]}[kind]


def gradients(name, calls, change=lambda model, x: None):
    make, shape = MODELS[name]
    model, x = make(), np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    for _ in range(calls):
        y = model(x)
    gy = np.ones_like(y)
    change(model, x)
    gx = model.backward(gy)
    return [gx.ravel(), *(parameter._grad.ravel() for parameter in model.parameters()), gx.shape]


@pytest.mark.parametrize("calls", [1, 4], ids=["first call", "later call"])
@pytest.mark.parametrize("kind", ["tall", "wide", "turned", "dtype"])
@pytest.mark.parametrize("name", MODELS)
def test_a_backward_is_of_the_input_as_it_came(name, kind, calls):
    changed = gradients(name, calls, lambda model, x: set_shape(x, kind))
    for one, other in zip(gradients(name, calls), changed, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("calls", [1, 4], ids=["first call", "later call"])
@pytest.mark.parametrize("kind", ["tall", "wide", "turned", "dtype"])
@pytest.mark.parametrize("name", ["Linear", "Conv2d", "BatchNorm1d", "LayerNorm", "Sequential"])
def test_a_layer_computes_with_parameters_of_its_own_shape(name, kind, calls):
    def change(model, x):
        for parameter in model.parameters():
            set_shape(parameter.data, kind)
            set_shape(parameter.grad, kind)

    for one, other in zip(gradients(name, calls), gradients(name, calls, change), strict=True):
        np.testing.assert_array_equal(one, other)


def test_data_and_grad_are_the_same_objects_until_the_parameter_moves():
    parameter = nn.Parameter(np.ones((2, 3)))
    data, grad = parameter.data, parameter.grad
    data[0], grad[1] = 5, 6
    parameter.data += 1
    assert parameter.data is data
    assert parameter.grad is grad
    assert parameter._data.tolist() == [[6, 6, 6], [2, 2, 2]]
    parameter.astype(np.float32)
    assert parameter.data is not data
    assert parameter.data.dtype == np.float32
    for twin in (copy.deepcopy(parameter), pickle.loads(pickle.dumps(parameter))):
        twin.data[:] = 9
        assert (twin._data == 9).all()
        assert twin.grad.tolist() == [[0, 0, 0], [6, 6, 6]]


def test_a_state_and_an_optimizer_take_the_parameters_as_they_are():
    model = nn.Linear(4, 3, rng=0)
    before = model.state_dict()
    set_shape(model.weight.data, "tall")
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    set_shape(model.weight.data, "wide")
    np.testing.assert_array_equal(model.state_dict()["weight"], before["weight"])
    model.load_state_dict(before)
    optimizer.step()
    np.testing.assert_array_equal(model.state_dict()["weight"], before["weight"])


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_step_end", "on_epoch_end"])
def test_a_fit_goes_on_with_the_data_as_they_came(hook):
    def fit(change):
        x, y = np.linspace(-1, 1, 160, dtype=np.float32).reshape(40, 4), np.arange(40) % 3
        model = nn.Sequential(nn.Linear(4, 8, rng=0), nn.ReLU(), nn.Linear(8, 3, rng=1))

        class Change(Callback):
            watches = True

        setattr(
            Change, hook, lambda *_: [set_shape(each, "wide") for each in (x, y, model[0].weight.data)] if change else 0
        )
        trainer = Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
        return trainer.fit(x, y, epochs=4, batch_size=8, seed=0, callbacks=[Change()])["loss"]

    assert fit(True) == fit(False)
