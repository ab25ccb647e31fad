"""Steps of several batches."""

from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.callbacks import Callback
from tests.nn.python_layer import Scale, Untraced

RNG = np.random.default_rng(0)
X = RNG.normal(size=(70, 4))
CLASSES = RNG.integers(0, 3, 70)
CLASSES[::5] = -100
VALUES = RNG.normal(size=(70, 3))


def squares(output, target):
    return np.mean((output - target) ** 2)


def each(output, target):
    return np.mean((output - target) ** 2, axis=1)


def ends_in(criterion):
    return lambda output, target: criterion(output, target)


class Steps(Callback):
    """Lets each step be a call of its own."""

    def __init__(self):
        self.losses = []

    def on_step_end(self, trainer, step, loss):
        self.losses.append(loss)


LAYERS = {"native": (), "traced": (Scale,), "plain": (Untraced,)}
CRITERIA = {
    "a mean": (nn.MSELoss, VALUES),
    "a sum": (lambda: nn.MSELoss("sum"), VALUES),
    "some ignored": (nn.CrossEntropyLoss, CLASSES),
    "weights": (lambda: nn.CrossEntropyLoss(weight=[1.0, 2.0, 0.5]), CLASSES),
    "a function": (lambda: squares, VALUES),
    "a function that ends in a loss": (lambda: ends_in(nn.CrossEntropyLoss(weight=[1.0, 2.0, 0.5])), CLASSES),
    "a function in functional": (lambda: nn.functional.cross_entropy, CLASSES),
    "a loss for each sample": (lambda: each, VALUES),
}


def trainer_of(layers, criterion, optimizer=optim.Adam, **options):
    parts = nn.Linear(4, 6, rng=0, dtype=np.float64), nn.Tanh(), *(layer() for layer in layers)
    model = nn.Sequential(*parts, nn.Linear(6, 3, rng=1, dtype=np.float64))
    return Trainer(model, criterion(), optimizer(model.parameters(), lr=0.01), **options)


def fitted(layers, criterion, target, *, callbacks=(), trainer_options=(), **options):
    trainer = trainer_of(layers, criterion, **dict(trainer_options))
    history = trainer.fit(X, target, epochs=3, seed=0, callbacks=callbacks, **options)
    return history, trainer.model.state_dict(), list(trainer.optimizer._steps)


def assert_same(one, other):
    np.testing.assert_allclose(one[0]["loss"], other[0]["loss"], rtol=1e-10)
    for name, value in one[1].items():
        np.testing.assert_allclose(value, other[1][name], rtol=1e-9, atol=1e-12, err_msg=name)
    assert one[2] == other[2]


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("engine", LAYERS)
def test_a_step_of_several_batches_is_that_of_one(engine, name):
    """Of 70 rows in steps of 24 the last step has 22 rows, in batches of 8, 8 and 6."""
    criterion, target = CRITERIA[name]
    layers = LAYERS[engine]
    whole = fitted(layers, criterion, target, batch_size=24)
    cut = fitted(layers, criterion, target, batch_size=8, accumulate=3)
    assert_same(cut, whole)
    assert cut[0].engine.startswith("plain" if engine == "plain" else "native")
    assert_same(fitted(layers, criterion, target, batch_size=8, accumulate=3, callbacks=[Steps()]), whole)
    assert (
        fitted(layers, criterion, target, batch_size=8, accumulate=3, callbacks=[Steps()])[0]["loss"] == cut[0]["loss"]
    )
    alone = fitted(layers, criterion, target, batch_size=8, accumulate=1)
    assert alone[2] != whole[2]


@pytest.mark.parametrize("limits", [{"clip_norm": 0.05}, {"clip_value": 0.002}])
@pytest.mark.parametrize("engine", LAYERS)
def test_gradients_are_clipped_once_a_step(engine, limits):
    options = {"trainer_options": limits}
    whole = fitted(LAYERS[engine], nn.MSELoss, VALUES, batch_size=24, **options)
    assert_same(fitted(LAYERS[engine], nn.MSELoss, VALUES, batch_size=8, accumulate=3, **options), whole)


@pytest.mark.parametrize("engine", LAYERS)
def test_iterables_and_augmented_batches_are_joined(engine):
    layers = LAYERS[engine]

    def batches():
        return ((X[i : i + 8], VALUES[i : i + 8]) for i in range(0, 70, 8))

    found = []
    for feed, options in (
        ((X, VALUES), {"batch_size": 24, "shuffle": False}),
        ((X, VALUES), {"batch_size": 8, "shuffle": False, "accumulate": 3, "augment": lambda x, rng: x}),
        ((batches,), {"accumulate": 3}),
    ):
        trainer = trainer_of(layers, nn.MSELoss)
        history = trainer.fit(*feed, epochs=3, **options)
        found.append((history, trainer.model.state_dict(), list(trainer.optimizer._steps)))
    assert_same(found[1], found[0])
    assert_same(found[2], found[0])


def test_batches_of_an_iterable_that_do_not_make_a_step_are_refused():
    trainer = trainer_of((), nn.MSELoss)
    batches = [(X[:8], VALUES[:8]), (X[:5], VALUES[:5]), (X[:8], VALUES[:8])]
    with pytest.raises(ValueError, match="expected 3 batches of one size for a step, got 8, 5, 8 samples"):
        trainer.fit(batches, epochs=1, accumulate=3)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", None])
def test_other_than_a_positive_integer_is_refused(wrong):
    with pytest.raises((TypeError, ValueError), match=r"Trainer\.fit: expected a positive integer for accumulate"):
        trainer_of((), nn.MSELoss).fit(X, VALUES, epochs=1, batch_size=8, accumulate=wrong)


def test_bits_do_not_depend_on_threads(threads):
    found = []
    for count in (1, 2, 4):
        fastdl.set_num_threads(count)
        _, state, _ = fitted((), nn.MSELoss, VALUES, batch_size=8, accumulate=3)
        found.append(b"".join(value.tobytes() for value in state.values()))
    assert len(set(found)) == 1


@pytest.mark.parametrize("engine", LAYERS)
def test_a_loss_that_is_not_finite_leaves_its_step_out(engine):
    """That of the second step's last batch."""
    y = VALUES.copy()
    y[41] = 1e200
    found = []
    for rows, options in ((24, {"batch_size": 24}), (70, {"batch_size": 8, "accumulate": 3})):
        trainer = trainer_of(LAYERS[engine], nn.MSELoss, optim.SGD)
        if rows == 24:
            trainer.fit(X[:rows], y[:rows], epochs=1, shuffle=False, **options)
        else:
            with pytest.raises(FloatingPointError, match="step 2"):
                trainer.fit(X, y, epochs=1, shuffle=False, **options)
        found.append(trainer.model[0].weight.data)
    np.testing.assert_allclose(*found, rtol=1e-10)


def test_a_model_that_is_changed_amid_a_step_begins_the_step_again():
    """By the layer in Python, in a signal handler's place, in the second step's second batch."""
    calls = []

    class Changing(Scale):
        def backward(self, grad_output):
            calls.append(len(grad_output))
            if len(calls) == 5:
                trainer.model[0].weight.requires_grad = False
            return super().backward(grad_output)

    trainer = trainer_of((Changing,), nn.MSELoss, optim.SGD)
    history = trainer.fit(X, VALUES, epochs=1, batch_size=8, accumulate=3, shuffle=False)
    assert trainer.optimizer._steps == [1, 3, 3, 3]
    assert history.engine.endswith("Changing in Python")
    assert sum(calls) == 24 + 16 + 46  # a step, two batches, and all but the first step
    assert np.isfinite(history["loss"]).all()


class AsksForLength(nn.Module):
    """A layer, and the number of a row in its batch."""

    def __init__(self):
        self.layer = nn.Linear(4, 3, rng=0, dtype=np.float64)

    def forward(self, x):
        return self.layer(x) + np.arange(len(x))[:, None] / 10


@pytest.mark.parametrize("batch_size", [8, 9, 10, 24, 35, 69])
@pytest.mark.parametrize("accumulate", [1, 2, 3, 9])
def test_models_that_ask_for_the_length_of_a_batch_step_as_in_python(accumulate, batch_size):
    found = []
    for eager in (False, True):
        model = AsksForLength()
        trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
        with fastdl.eager() if eager else nullcontext():
            history = trainer.fit(X, VALUES, epochs=2, batch_size=batch_size, accumulate=accumulate, seed=0)
        found.append((history["loss"], model.layer.weight.data, list(trainer.optimizer._steps)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_models_that_ask_for_the_length_of_a_batch_are_fitted_with_shorter_ones_later():
    found = []
    for eager in (False, True):
        model = AsksForLength()
        trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
        with fastdl.eager() if eager else nullcontext():
            losses = [trainer.fit(X, VALUES, epochs=1, batch_size=size, seed=0)["loss"][0] for size in (35, 7, 10, 70)]
        found.append((losses, model.layer.weight.data))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


class Named(nn.Module):
    """Two outputs by name."""

    def __init__(self):
        self.layer = nn.Linear(4, 3, rng=0, dtype=np.float64)

    def forward(self, x):
        y = self.layer(x)
        return {"kind": y, "value": np.tanh(y)}


DICTIONARIES = {
    "ignored": lambda: {"kind": nn.CrossEntropyLoss(), "value": nn.MSELoss()},
    "weighted": lambda: {"kind": (nn.CrossEntropyLoss(weight=[1.0, 2.0, 0.5]), nn.Scalar(0.3)), "value": squares},
    "one": lambda: {"kind": nn.CrossEntropyLoss()},
    "a sum": lambda: {"kind": (nn.CrossEntropyLoss(), 2), "value": (nn.MSELoss("sum"), 0.01)},
    "rows": lambda: {"kind": nn.CrossEntropyLoss(ignore_index=7), "value": nn.HuberLoss()},
}


@pytest.mark.parametrize("eager", [False, True], ids=["native", "eager"])
@pytest.mark.parametrize("way", [{}, {"callbacks": [Steps()]}, {"shuffle": False}], ids=["call", "steps", "in order"])
@pytest.mark.parametrize("name", DICTIONARIES)
def test_losses_of_a_dictionary_are_those_of_one_batch(name, way, eager):
    classes = np.maximum(CLASSES, 0) if name == "rows" else np.where(np.arange(70) < 8, -100, CLASSES)
    found = []
    for options in ({"batch_size": 24}, {"batch_size": 8, "accumulate": 3}):
        model = Named()
        trainer = Trainer(model, DICTIONARIES[name](), optim.Adam(model.parameters(), lr=0.01))
        with fastdl.eager() if eager else nullcontext():
            history = trainer.fit(X, {"kind": classes, "value": VALUES}, epochs=4, seed=0, **options, **way)
        own = [history[term] for term in history.names if term not in ("lr", "seconds")]
        found.append((own, model.layer.weight.data, list(trainer.optimizer._steps)))
        if not eager:
            assert history.engine.startswith("native" if name == "rows" or "accumulate" not in options else "plain")
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
