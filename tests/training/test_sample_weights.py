"""Weights of samples: natively and node by node, for every loss, and what is refused."""

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.metrics import accuracy
from fastdl.training import fit_loop
from fastdl.training.engine import PlainEngine

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((30, 4)).astype(np.float32), rng.standard_normal((30, 3)).astype(np.float32)
LABELS, SIGNS = rng.integers(0, 3, 30), (Y > 0).astype(np.float32)
WEIGHTS = rng.integers(0, 4, 30).astype(float)


class Quartic(nn.Loss):
    def function(self, output, target):
        return (output - target) ** 4

    def derivative(self, output, target):
        return 4 * (output - target) ** 3


def of_samples(output, target):
    return np.mean((output - target) ** 2, axis=1)


def with_model(output, target, model):
    return np.mean((output - target) ** 2, axis=1) + 0.01 * np.sum(model[0].weight ** 2)


LOSSES = [
    (nn.MSELoss(), Y),
    (nn.MSELoss("sum"), Y),
    (nn.MAELoss("batchmean"), Y),
    (nn.HuberLoss(delta=0.5), Y),
    (nn.BCEWithLogitsLoss([1.0, 2.0, 0.5], pos_weight=[2.0, 1.0, 1.0]), SIGNS),
    (nn.CrossEntropyLoss(), LABELS),
    (nn.CrossEntropyLoss(label_smoothing=0.1, reduction="sum"), LABELS),
    (nn.CrossEntropyLoss(), np.eye(3, dtype=np.float32)[LABELS]),
    (Quartic(), Y),
    (of_samples, Y),
]


def trainer_of(criterion, **options):
    model = nn.Sequential(nn.Linear(4, 8, rng=0), nn.Tanh(), nn.Linear(8, 3, rng=1)).astype(np.float64)
    return Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.001), **options)


def weights_of(trainer):
    return np.concatenate([parameter.data.ravel() for parameter in trainer.model.parameters()])


def fit(trainer, x=X, y=Y, **options):
    return trainer.fit(x, y, **({"epochs": 1, "batch_size": len(x), "seed": 0, "progress": False} | options))


@pytest.mark.parametrize(("criterion", "y"), LOSSES)
def test_a_weight_counts_as_so_many_copies(criterion, y):
    one, copies = trainer_of(criterion), trainer_of(criterion)
    history = fit(one, y=y, sample_weight=WEIGHTS)
    assert history.engine.startswith("native")
    many = np.repeat(np.arange(30), WEIGHTS.astype(int))
    # The mean over 30 samples, where the copies' is over as many as they are.
    share = 1 if getattr(criterion, "reduction", "mean") == "sum" else len(many) / 30
    copies.optimizer.param_groups[0]["lr"] = 0.001 * share
    of_copies = fit(copies, X[many], y[many])
    np.testing.assert_allclose(weights_of(one), weights_of(copies), rtol=1e-9, atol=1e-12)
    assert history["loss"][0] == pytest.approx(of_copies["loss"][0] * share, rel=1e-9)


@pytest.mark.parametrize(("criterion", "y"), [*LOSSES, (with_model, Y)])
@pytest.mark.parametrize("options", [{"batch_size": 7}, {"batch_size": 7, "accumulate": 2}, {"batch_size": 1}])
def test_native_steps_are_those_node_by_node(monkeypatch, criterion, y, options):
    native, plain = trainer_of(criterion), trainer_of(criterion)
    fit(native, y=y, sample_weight=WEIGHTS, **options)
    monkeypatch.setattr(fit_loop, "engine_for", lambda task, *_: PlainEngine(task, "a test wants it"))
    history = fit(plain, y=y, sample_weight=WEIGHTS, **options)
    np.testing.assert_allclose(weights_of(native), weights_of(plain), rtol=1e-9, atol=1e-12)
    assert native.history["loss"][0] == pytest.approx(history["loss"][0], rel=1e-9)


@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss([1.0, 2.0, 0.5]), nn.CrossEntropyLoss(ignore_index=1)])
def test_what_a_cross_entropy_divides_by_stays(criterion):
    ones, without = trainer_of(criterion), trainer_of(criterion)
    fit(ones, y=LABELS, sample_weight=np.ones(30))
    fit(without, y=LABELS)
    np.testing.assert_allclose(weights_of(ones), weights_of(without), rtol=1e-9, atol=1e-12)
    assert ones.history["loss"][0] == pytest.approx(without.history["loss"][0], rel=1e-9)


def test_metrics_validation_and_evaluate_are_without_weights():
    options = {"metrics": [accuracy]}
    one, without = trainer_of(nn.CrossEntropyLoss(), **options), trainer_of(nn.CrossEntropyLoss(), **options)
    one.optimizer.param_groups[0]["lr"] = without.optimizer.param_groups[0]["lr"] = 0.0
    histories = [
        fit(trainer, y=LABELS, validation_data=(X, LABELS), sample_weight=weights)
        for trainer, weights in ((one, WEIGHTS), (without, None))
    ]
    for name in ("accuracy", "val_loss", "val_accuracy"):
        assert histories[0][name] == histories[1][name]
    assert one.evaluate(X, LABELS) == without.evaluate(X, LABELS)


class Two(nn.Module):
    def __init__(self):
        self.body = nn.Linear(4, 3, rng=0, dtype=np.float64)

    def forward(self, x):
        y = self.body(x)
        return {"a": y, "b": y[:, 0]}


@pytest.mark.parametrize(
    "criterion",
    [
        {"a": nn.MSELoss(), "b": (nn.HuberLoss(), 0.5)},
        lambda output, target: {
            "a": of_samples(output["a"], target["a"]),
            "b": 0.5 * np.where(np.abs(output["b"] - target["b"]) <= 1, (output["b"] - target["b"]) ** 2 / 2, 0.0),
        },
    ],
)
def test_dictionaries_of_targets_and_losses(criterion):
    model, y = Two(), {"a": Y, "b": X[:, 0]}
    trainer = Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.0))
    found = fit(trainer, y=y, sample_weight=WEIGHTS)
    output = X.astype(np.float64) @ model.body.weight.data.T + model.body.bias.data
    assert found["a"][0] == pytest.approx(np.mean(WEIGHTS * np.mean((output - Y) ** 2, axis=1)), rel=1e-5)
    assert found.engine.startswith("native")


def test_a_loss_of_outputs_alone_and_tuples_of_targets():
    weights = WEIGHTS / 3
    alone = trainer_of(lambda output: np.sum(output**2, axis=1))
    tuples = trainer_of(lambda output, target: np.sum((output - target[0] + target[1]) ** 2, axis=1))
    fit(alone, y=None, sample_weight=weights)
    fit(tuples, y=(Y, Y), sample_weight=weights)
    np.testing.assert_allclose(weights_of(alone), weights_of(tuples), rtol=1e-6)


def test_plans_are_kept_and_follow_options_and_the_criterion():
    def results(criterion, change):
        trainer = trainer_of(criterion)
        fit(trainer, sample_weight=WEIGHTS)
        engines = dict(trainer._fit_engines)
        fit(trainer, sample_weight=WEIGHTS / 2)
        assert dict(trainer._fit_engines) == engines
        change(trainer)
        fit(trainer, sample_weight=WEIGHTS)
        return trainer.history["loss"]

    delta = results(nn.HuberLoss(), lambda trainer: setattr(trainer.criterion, "delta", 0.01))
    other = results(nn.HuberLoss(), lambda trainer: setattr(trainer, "criterion", nn.HuberLoss(delta=0.01)))
    assert delta == other
    assert delta != results(nn.HuberLoss(), lambda trainer: None)
    trainer = trainer_of(nn.MSELoss())
    fit(trainer, sample_weight=WEIGHTS)
    assert fit(trainer)["loss"][0] == pytest.approx(np.mean((trainer.predict(X) - Y) ** 2), rel=1e-2)


def test_the_same_bits_for_a_seed_and_any_number_of_threads(threads):
    found = []
    for n in (1, 2, 3):
        fastdl.set_num_threads(n)
        trainer = trainer_of(nn.CrossEntropyLoss())
        fit(trainer, y=LABELS, batch_size=8, epochs=3, sample_weight=WEIGHTS)
        found.append(weights_of(trainer))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


class OwnBackward:
    def __call__(self, output, target):
        self.gap = output - target
        return float(np.mean(self.gap**2))

    def backward(self):
        return 2 * self.gap / self.gap.size


@pytest.mark.parametrize(
    ("criterion", "given", "kind", "message"),
    [
        (
            nn.MSELoss(),
            {"sample_weight": [1.0]},
            ValueError,
            r"sample_weight of shape \(30,\), one for each sample, got",
        ),
        (nn.MSELoss(), {"sample_weight": np.ones((30, 1))}, ValueError, r"sample_weight of shape \(30,\)"),
        (
            nn.MSELoss(),
            {"sample_weight": np.r_[-1.0, np.ones(29)]},
            ValueError,
            r"finite numbers >= 0 as sample_weight",
        ),
        (nn.MSELoss(), {"sample_weight": np.r_[np.nan, np.ones(29)]}, ValueError, r"finite numbers >= 0"),
        (nn.MSELoss(), {"sample_weight": ["a"] * 30}, TypeError, "sample_weight"),
        (nn.MSELoss(), {"sample_weight": 1.0}, ValueError, r"sample_weight of shape \(30,\)"),
        (lambda o, t: np.mean((o - t) ** 2), {"sample_weight": WEIGHTS}, ValueError, "one loss for each sample"),
        (OwnBackward(), {"sample_weight": WEIGHTS}, TypeError, "a criterion whose gradient is derived"),
        (nn.MSELoss(), {"x": iter([]), "y": None, "sample_weight": WEIGHTS}, TypeError, "expected"),
        (of_samples, {"x": iter([]), "y": None, "sample_weight": WEIGHTS}, TypeError, "arrays x and y beside"),
    ],
)
def test_what_is_refused_changes_nothing(criterion, given, kind, message):
    trainer = trainer_of(criterion)
    before = weights_of(trainer)
    given = {"x": X, "y": Y, "batch_size": 5 if "x" not in given else None} | given
    with pytest.raises(kind, match=message):
        trainer.fit(**given, epochs=1, progress=False)
    np.testing.assert_array_equal(weights_of(trainer), before)
    assert not trainer._weighs


def test_options_of_losses_in_a_dictionary_are_followed():
    def losses(change):
        model, y = Two(), {"a": Y, "b": X[:, 0]}
        huber = nn.HuberLoss()
        trainer = Trainer(model, {"a": huber}, optim.SGD(model.parameters(), lr=0.0))
        first = fit(trainer, y=y)["loss"]
        change(huber)
        return first, fit(trainer, y=y)["loss"]

    first, changed = losses(lambda huber: setattr(huber, "delta", 0.01))
    assert first != changed
    first, same = losses(lambda huber: None)
    assert first == same


def test_a_plain_fit_within_no_grad_is_no_other(monkeypatch):
    monkeypatch.setattr(fit_loop, "engine_for", lambda task, *_: PlainEngine(task, "a test wants it"))
    within, outside = trainer_of(nn.MSELoss()), trainer_of(nn.MSELoss())
    with fastdl.no_grad():
        fit(within)
    fit(outside)
    np.testing.assert_array_equal(weights_of(within), weights_of(outside))
