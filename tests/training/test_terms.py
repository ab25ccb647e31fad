"""Losses of several named terms: functions that return a dictionary, and dictionaries of losses with weights."""

from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.callbacks import Callback
from fastdl.metrics import accuracy

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3))
Y = {"kind": np.arange(50) % 3, "value": np.sum(X, axis=1, keepdims=True)}


class Two(nn.Module):
    """Two outputs by name."""

    def __init__(self, dtype=np.float64):
        self.kind, self.value = nn.Linear(3, 3, rng=0, dtype=dtype), nn.Linear(3, 1, rng=1, dtype=dtype)

    def forward(self, x):
        return {"kind": self.kind(x), "value": np.tanh(self.value(x))}


def terms(output, target):
    logp = nn.functional.log_softmax(output["kind"])
    return {
        "kind": -np.take_along_axis(logp, target["kind"][:, None], axis=1)[:, 0],
        "value": 0.5 * np.mean((output["value"] - target["value"]) ** 2),
    }


def total(output, target):
    found = terms(output, target)
    return np.mean(found["kind"]) + found["value"]


class Steps(Callback):
    def on_step_end(self, trainer, step, loss):
        pass


def fitted(criterion, eager=False, **options):
    model = Two()
    trainer = Trainer(model, criterion, optim.Adam(model.parameters(), lr=0.02))
    options = {"epochs": 4, "batch_size": 16, "seed": 0, "validation_data": (X, Y)} | options
    with fastdl.eager() if eager else nullcontext():
        history = trainer.fit(X, Y, **options)
        assert history.engine.startswith("plain" if eager else "native")
        return history, trainer


CRITERIA = {
    "a function": lambda: terms,
    "losses": lambda: {"kind": nn.CrossEntropyLoss(), "value": (nn.MSELoss(), 0.5)},
    "a scalar as weight": lambda: {"kind": (nn.CrossEntropyLoss(), 1), "value": (nn.MSELoss(), nn.Scalar(0.5))},
}
WAYS = {
    "in one call": {},
    "epochs in a row": {"validation_data": None},
    "step by step": {"callbacks": [Steps()]},
    "steps of two batches": {"batch_size": 8, "accumulate": 2},
}


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CRITERIA)
def test_histories_have_the_terms_of_their_sum(name, way, eager):
    history, trainer = fitted(CRITERIA[name](), eager, **WAYS[way])
    same = {} if "accumulate" in WAYS[way] else WAYS[way]
    whole, other = fitted(total, eager, **same)
    np.testing.assert_allclose(history["loss"], whole["loss"], rtol=1e-9)
    for key, value in other.model.state_dict().items():
        np.testing.assert_allclose(trainer.model.state_dict()[key], value, rtol=1e-8, atol=1e-12)
    weight = 1 if name == "a function" else 0.5
    for prefix in ("", "val_") if WAYS[way].get("validation_data", 1) else ("",):
        sums = np.array(history[f"{prefix}kind"]) + weight * np.array(history[f"{prefix}value"])
        np.testing.assert_allclose(history[f"{prefix}loss"], sums, rtol=1e-9)
    found = trainer.evaluate(X, Y)
    assert list(found) == ["loss", "kind", "value"]
    assert found["loss"] == pytest.approx(found["kind"] + weight * found["value"])
    assert trainer.step(X, Y) == pytest.approx(found["loss"])


def test_names_follow_the_loss_and_come_before_metrics():
    model = Two()

    def right(output, target):
        return accuracy(output["kind"], target["kind"])

    trainer = Trainer(model, terms, optim.SGD(model.parameters(), lr=0.1), metrics=[right])
    history = trainer.fit(X, Y, epochs=1, batch_size=50, validation_data=(X, Y))
    assert history.names[:8] == ("loss", "kind", "value", "right", "val_loss", "val_kind", "val_value", "val_right")
    assert history[0].keys() == set(history.names)


def test_a_resumed_fit_has_them_too(tmp_path):
    whole, _ = fitted(terms)
    _, trainer = fitted(terms, epochs=2)
    trainer.save(tmp_path / "state")
    model = Two()
    other = Trainer(model, terms, optim.Adam(model.parameters(), lr=0.02))
    other.load(tmp_path / "state")
    other.fit(X, Y, epochs=4, batch_size=16, validation_data=(X, Y), resume=True)
    assert other.history["kind"] == whole["kind"]


def test_a_weight_that_changes_is_that_of_the_next_step():
    model, weight = Two(), nn.Scalar(0.0)
    criterion = {"kind": nn.CrossEntropyLoss(), "value": (nn.MSELoss(), weight)}
    trainer = Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.0))
    first = trainer.step(X, Y)
    weight.value = 2.0
    found = trainer.evaluate(X, Y)
    assert first == pytest.approx(found["kind"])
    assert trainer.step(X, Y) == pytest.approx(found["kind"] + 2 * found["value"])


WRONG = {
    "a reserved name": (lambda o, t: {"lr": np.mean(o["value"])}, ValueError, "got 'lr'"),
    "a metric's name": (lambda o, t: {"accuracy": np.mean(o["value"])}, ValueError, "got 'accuracy'"),
    "no identifier": (lambda o, t: {"a b": np.mean(o["value"])}, ValueError, "an identifier as the name of each term"),
    "no term": (lambda o, t: {}, ValueError, "at least one loss in the dictionary"),
    "no loss": (lambda o, t: {"a": 3.0}, TypeError, "to return a loss computed from its arguments"),
    "a matrix": (lambda o, t: {"a": o["kind"]}, ValueError, "one number, or one loss for each sample"),
    "other names": ({"other": nn.MSELoss()}, TypeError, "outputs by the names other, got kind, value"),
}


@pytest.mark.parametrize(("criterion", "kind", "message"), WRONG.values(), ids=WRONG)
def test_wrong_terms_are_refused_before_the_first_step(criterion, kind, message):
    model = Two()
    before = model.state_dict()
    trainer = Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.1), metrics={"accuracy": lambda o, t: 0.0})
    with pytest.raises(kind, match=message) as caught:
        trainer.fit(X, Y, epochs=1, batch_size=10)
    assert "\n" not in str(caught.value)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_what_is_no_loss_or_weight_is_refused():
    model = Two()
    for wrong, message in (
        ({"kind": 3}, "a loss, or a pair"),
        ({"kind": nn.MSELoss}, "a loss, or a pair"),
        ({"kind": (nn.MSELoss(), "1")}, "a number or an nn.Scalar as the weight of 'kind'"),
        ({"kind": nn.MSELoss("none")}, "a loss of one number for 'kind'"),
        ({}, "a loss, or a function"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            Trainer(model, wrong, optim.SGD(model.parameters(), lr=0.1))
