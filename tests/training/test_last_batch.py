"""The last batch of an epoch: one row alone, which a batch normalization cannot train on, and drop_last."""

import numpy as np
import pytest

from fastdl import Trainer, data, nn, optim
from fastdl.callbacks import Callback
from fastdl.metrics import accuracy

X, Y = data.disk(101, rng=0)


def make_trainer(*layers, **options):
    model = nn.Sequential(*(layers or (nn.Linear(2, 8, rng=1), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2, rng=2))))
    return Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), **options)


class Losses(Callback):
    """Keeps the loss of each step."""

    def __init__(self):
        self.seen = []

    def on_step_end(self, trainer, step, loss):
        self.seen.append(loss)


@pytest.mark.parametrize(
    ("n", "batch_size", "message"),
    [
        (
            101,
            50,
            "of 101 samples one is left for the last batch; write another batch_size than 50, or drop_last=True: ",
        ),
        (101, 100, "write another batch_size than 100, or drop_last=True: "),
        (5, 1, "write another batch_size than 1: "),
    ],
)
def test_one_row_left_for_a_batch_normalization_is_reported_before_anything_changes(n, batch_size, message):
    trainer = make_trainer(nn.Linear(2, 8, rng=1), nn.Dropout(), nn.BatchNorm1d(8), nn.Linear(8, 2, rng=2))
    before, losses = trainer.model.state_dict(), Losses()
    with pytest.raises(
        ValueError, match=rf"^Trainer\.fit: .*{message}.*BatchNorm1d\(8\): expected more than one value"
    ):
        trainer.fit(X[:n], Y[:n], epochs=1, batch_size=batch_size, callbacks=[losses])
    for name, array in trainer.model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert not losses.seen
    assert trainer.model.training


@pytest.mark.parametrize("training", [True, False])
def test_trying_the_last_batch_leaves_no_trace(training):
    layers = nn.Conv1d(1, 3, 1, rng=1), nn.BatchNorm1d(3), nn.Dropout(), nn.Flatten(), nn.Linear(6, 2, rng=2)
    trainer = make_trainer(*layers)
    trainer.model.train(training)
    before = trainer.model.state_dict()
    trainer.fit(X[:, None], Y, epochs=0, batch_size=50)
    for name, array in trainer.model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    trainer.fit(X[:, None], Y, epochs=1, batch_size=50)
    assert trainer.model.state_dict()["1.num_batches_tracked"] == 3
    assert {module.training for module in trainer.model.modules()} == {training}


def test_a_batch_normalization_in_evaluation_mode_trains_on_one_row():
    trainer = make_trainer()
    trainer.model[1].eval()
    assert len(trainer.fit(X, Y, epochs=1, batch_size=50)) == 1


def test_drop_last_leaves_the_smaller_batch_out_of_steps_and_averages():
    trainer, losses = make_trainer(metrics=[accuracy]), Losses()
    history = trainer.fit(X, Y, epochs=2, batch_size=50, drop_last=True, callbacks=[losses], seed=0)
    assert len(losses.seen) == 4
    assert history["loss"] == pytest.approx([np.mean(losses.seen[:2]), np.mean(losses.seen[2:])])
    assert all(value * 100 == pytest.approx(round(value * 100)) for value in history["accuracy"])


class Plain(nn.Module):
    """Passes on what it is given, as a module in Python."""

    def forward(self, x):
        return x

    def backward(self, grad_output):
        return grad_output


@pytest.mark.parametrize("shuffle", [True, False])
def test_drop_last_takes_the_same_steps_in_every_engine(shuffle):
    results = []
    for layers, callbacks in (((), []), ((), [Losses()]), ((Plain(),), [])):
        trainer = make_trainer(nn.Linear(2, 8, rng=1), nn.Tanh(), *layers, nn.Linear(8, 2, rng=2), metrics=[accuracy])
        options = {"batch_size": 30, "drop_last": True, "shuffle": shuffle, "seed": 0, "callbacks": callbacks}
        history = trainer.fit(X, Y, epochs=3, **options)
        results.append((history["loss"], history["accuracy"], trainer.predict(X)))
    by_hand = make_trainer(nn.Linear(2, 8, rng=1), nn.Tanh(), nn.Linear(8, 2, rng=2), metrics=[accuracy])
    rng = np.random.default_rng(0)
    for _ in range(3):
        for xb, yb in data.batches(X, Y, 30, shuffle=shuffle, rng=rng, drop_last=True):
            by_hand.fit(xb, yb, epochs=1, batch_size=30, shuffle=False)
    results.append((*results[0][:2], by_hand.predict(X)))
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_drop_last_changes_nothing_where_batches_come_out_even():
    results = []
    for drop_last in (True, False):
        trainer = make_trainer()
        trainer.fit(X[:100], Y[:100], epochs=2, batch_size=50, seed=0, drop_last=drop_last)
        results.append(trainer.predict(X))
    np.testing.assert_array_equal(*results)


def test_drop_last_wants_a_whole_batch_and_a_bool():
    with pytest.raises(ValueError, match="expected at least batch_size=102 samples with drop_last=True, got 101"):
        make_trainer().fit(X, Y, epochs=1, batch_size=102, drop_last=True)
    with pytest.raises(TypeError, match=r"Trainer\.fit: expected True or False for drop_last, got 1"):
        make_trainer().fit(X, Y, epochs=1, batch_size=50, drop_last=1)
