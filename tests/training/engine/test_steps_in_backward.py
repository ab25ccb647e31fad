"""Large weights are stepped over while their gradient is made, except in the last step of a call: nobody can tell."""

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.training.engine import NotFiniteError, Task
from fastdl.training.native_engine import NativeEngine
from tests.training.engine.twins import Parts, compare, epochs, left

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.05),
    "sgd, all options": lambda p: optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.01, maximize=True),
    "sgd, damped": lambda p: optim.SGD(p, lr=0.02, momentum=0.8, dampening=0.3),
    "rmsprop": lambda p: optim.RMSprop(p, lr=1e-3, momentum=0.5, centered=True),
    "adam": lambda p: optim.Adam(p, lr=1e-3, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, lr=1e-3, weight_decay=0.1),
}
ROWS, BATCH = 40, 9  # the last batch has 4


def layer(inputs, outputs, dtype=np.float32):
    return nn.Linear(inputs, outputs, rng=inputs + outputs, dtype=dtype)


def network(dtype=np.float32):
    return nn.Sequential(
        layer(200, 180, dtype),
        nn.ReLU(),
        layer(180, 190, dtype),
        nn.Tanh(),
        layer(190, 300, dtype),
        layer(300, 3, dtype),
    )


def data(dtype=np.float32):
    rng = np.random.default_rng(0)
    return rng.standard_normal((ROWS, 200)).astype(dtype), rng.integers(0, 3, ROWS)


def maker(optimizer, dtype=np.float32, model=network, **clips):
    def make():
        its = model(dtype)
        return Parts(its, nn.CrossEntropyLoss(), optimizer(its.parameters()), **clips)

    return make


def one_call(make, x, y):
    parts = make()
    NativeEngine(Task(*parts), x, y, BATCH).epoch(x, y, None, BATCH, None)
    return left(parts)


def a_call_a_batch(make, x, y):
    parts = make()
    engine = NativeEngine(Task(*parts), x, y, BATCH)
    for first in range(0, len(x), BATCH):
        engine.epoch(x, y, np.arange(first, min(first + BATCH, len(x))), BATCH, None)
    return left(parts)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_bits_are_those_of_a_step_after_backward(name, level, dtype):
    make, (x, y) = maker(OPTIMIZERS[name], dtype), data(dtype)
    want, got = a_call_a_batch(make, x, y), one_call(make, x, y)
    for key, values in want.items():
        np.testing.assert_array_equal(got[key], values, err_msg=key)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_plain_engine_comes_to_the_same(name, dtype):
    compare(maker(OPTIMIZERS[name], dtype), *data(dtype), batch_size=BATCH)


def test_bits_do_not_depend_on_the_number_of_threads(threads):
    results = []
    for count in (1, 2, 3):
        fastdl.set_num_threads(count)
        results.append(one_call(maker(OPTIMIZERS["adam"]), *data()))
    for other in results[1:]:
        for key, values in results[0].items():
            np.testing.assert_array_equal(other[key], values, err_msg=key)


@pytest.mark.parametrize("clips", [{"clip_norm": 0.1}, {"clip_value": 1e-3}])
def test_clipping_waits_for_all_gradients(clips):
    after = compare(maker(OPTIMIZERS["sgd"], **clips), *data(), batch_size=BATCH)
    largest = max(np.abs(v).max() for k, v in after.items() if k.startswith("gradient of"))
    assert 0 < largest <= max(clips.values())


def test_a_weight_that_stands_in_two_places_waits_for_both(dtype):
    def tied(dtype):
        first, second = layer(200, 200, dtype), layer(200, 200, dtype)
        second.weight = first.weight
        second.bias = first.bias
        return nn.Sequential(first, nn.Tanh(), second, layer(200, 3, dtype))

    compare(maker(OPTIMIZERS["sgd"], dtype, tied), *data(dtype), batch_size=BATCH)


class Halved(nn.Module):
    """A layer in Python, whose backward may fail."""

    def __init__(self, fails_at=None):
        self.calls, self.fails_at = 0, fails_at

    def forward(self, x):
        return x * x.dtype.type(0.5)

    def backward(self, grad_output):
        self.calls += 1
        if self.calls == self.fails_at:
            raise OSError("this backward fails")
        return grad_output * grad_output.dtype.type(0.5)


def with_halved(place, *arguments):
    def model(dtype=np.float32):
        layers = list(network(dtype))
        return nn.Sequential(*layers[:place], Halved(*arguments), *layers[place:])

    return model


@pytest.mark.parametrize("place", [1, 3, 5])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_step_where_backward_runs_in_python_on_the_way(name, place, dtype):
    compare(maker(OPTIMIZERS[name], dtype, with_halved(place)), *data(dtype), batch_size=BATCH)


def test_no_weight_has_moved_where_a_backward_in_python_fails():
    x, y = data()
    failing, whole = (maker(OPTIMIZERS["adam"], model=with_halved(3, at))() for at in (2, None))
    with pytest.raises(OSError, match="this backward fails"):
        NativeEngine(Task(*failing), x, y, BATCH).epoch(x, y, None, BATCH, None)
    NativeEngine(Task(*whole), x, y, BATCH).epoch(x, y, np.arange(BATCH), BATCH, None)
    for one, other in zip(failing.model.parameters(), whole.model.parameters(), strict=True):
        np.testing.assert_array_equal(one.data, other.data)


def test_frozen_weights_and_groups_of_their_own(dtype):
    def two_groups(parameters):
        first, *others = parameters
        others[1].requires_grad = False
        return optim.SGD([{"params": others, "lr": 0.01}, {"params": [first], "lr": 0.1}], lr=0.1, momentum=0.9)

    make, (x, y) = maker(two_groups, dtype), data(dtype)
    before = left(make())
    after = compare(make, x, y, batch_size=BATCH)
    np.testing.assert_array_equal(before["2.weight"], after["2.weight"])
    assert not np.array_equal(before["0.weight"], after["0.weight"])


def test_weights_that_the_optimizer_does_not_have_keep_their_values_and_add_up_their_gradients(dtype):
    make = maker(lambda p: optim.SGD(list(p)[2:], lr=0.1), dtype)
    compare(make, *data(dtype), batch_size=BATCH)


def test_only_the_last_step_of_a_call_stores_large_gradients():
    make, (x, y) = maker(OPTIMIZERS["sgd"]), data()
    x[BATCH] = np.nan  # in the second batch
    parts = make()
    for parameter in parts.model.parameters():
        parameter._grad[...] = 7
    with pytest.raises(NotFiniteError, match="the loss is nan"):
        NativeEngine(Task(*parts), x, y, BATCH).epoch(x, y, None, BATCH, None)
    kept = [name for name, p in parts.model.named_parameters() if np.all(p._grad == 7)]
    assert kept == ["0.weight", "2.weight", "4.weight"]
    expected = make()
    NativeEngine(Task(*expected), x, y, BATCH).epoch(x, y, np.arange(BATCH), BATCH, None)
    np.testing.assert_array_equal(parts.model[0].weight.data, expected.model[0].weight.data)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gradient_that_is_not_finite_is_named_in_the_middle_of_a_call(name):
    model = nn.Sequential(layer(200, 180, np.float64), nn.Linear(180, 2, bias=False, rng=0, dtype=np.float64))
    model[0].weight.data, model[0].bias.data = np.zeros((180, 200)), np.zeros(180)
    model[1].weight.data = np.full((2, 180), 1e200)
    x, y = np.full((ROWS, 200), 1e200), np.ones((ROWS, 2))
    trainer = Trainer(model, nn.MAELoss(), OPTIMIZERS[name](model.parameters()))
    with pytest.raises(
        FloatingPointError, match=r"the gradient of 0\.weight is not finite in epoch 1, step 1; write a"
    ):
        trainer.fit(x, y, epochs=1, batch_size=BATCH, shuffle=False)
    assert trainer.optimizer.state_dict()["state"][0]["step"] == 1


def test_epochs_agree_when_shuffled_and_repeated(dtype):
    make, (x, y) = maker(OPTIMIZERS["adamw"], dtype), data(dtype)
    native, plain = (epochs(make, x, y, which, batch_size=BATCH, count=3) for which in (True, False))
    np.testing.assert_allclose(native["losses"], plain["losses"], rtol=1e-5)
