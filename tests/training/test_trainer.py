"""Trainer: what a fit does, leaves, and refuses."""

import copy
import pickle
import signal

import numpy as np
import pytest

from fastdl import Trainer, nn, optim
from fastdl.callbacks import Callback
from fastdl.data import batches, disk, standardize
from fastdl.metrics import accuracy, error
from fastdl.training import predict

X, Y = disk(90, rng=0)
(X,) = standardize(X)
XV, YV = X[:30] + 0.01, Y[:30]


def network(dtype=np.float32):
    return nn.Sequential(nn.Linear(2, 8, rng=1, dtype=dtype), nn.ReLU(), nn.Linear(8, 2, rng=2, dtype=dtype))


def make_trainer(dtype=np.float32, criterion=None, lr=0.1, **options):
    model = network(dtype)
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    return Trainer(model, criterion or nn.CrossEntropyLoss(), optimizer, **options)


def weights(model):
    return np.concatenate([array.ravel() for array in model.state_dict().values()])


class Call(Callback):
    """Runs a function at the end of each step or epoch."""

    def __init__(self, at_epoch):
        self.at_epoch = at_epoch

    def on_epoch_end(self, trainer, record):
        self.at_epoch(trainer, record)


class CallAtStep(Callback):
    def __init__(self, at_step):
        self.at_step = at_step

    def on_step_end(self, trainer, step, loss):
        self.at_step(trainer, step, loss)


def test_fit_takes_the_steps_of_the_explicit_loop():
    trainer = make_trainer()
    trainer.fit(X, Y, epochs=3, batch_size=16, seed=5)

    model, criterion, rng = network(), nn.CrossEntropyLoss(), np.random.default_rng(5)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        for x, y in batches(X, Y, 16, rng=rng):
            optimizer.zero_grad()
            criterion(model(x), y)
            model.backward(criterion.backward())
            optimizer.step()
    np.testing.assert_allclose(weights(trainer.model), weights(model), rtol=1e-4, atol=1e-6)


def test_the_same_seed_gives_the_same_bits_and_another_gives_others():
    runs = []
    for seed in (7, 7, 8):
        trainer = make_trainer()
        history = trainer.fit(X, Y, epochs=2, batch_size=16, seed=seed)
        runs.append((weights(trainer.model).tobytes(), history["loss"]))
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[2][0]


def test_a_generator_as_seed_goes_on_from_where_it_is():
    trainer, again = make_trainer(), make_trainer()
    rng = np.random.default_rng(7)
    for _ in range(2):
        trainer.fit(X, Y, epochs=1, batch_size=16, seed=rng)
    again.fit(X, Y, epochs=2, batch_size=16, seed=7)
    assert (weights(trainer.model) == weights(again.model)).all()


def test_unshuffled_the_samples_come_in_order():
    seen = []
    trainer = make_trainer(metrics={"rows": lambda output, target: seen.append(target) or 0.0})
    trainer.fit(X, Y, epochs=1, batch_size=40, shuffle=False)
    trainer.fit(X, Y, epochs=1, batch_size=40, seed=0)
    _, ordered, _, shuffled = seen  # each tried before
    assert (ordered == Y).all()
    assert (shuffled != Y).any()
    assert sorted(shuffled) == sorted(Y)


def test_the_last_batch_of_an_epoch_is_what_is_left():
    steps, rows = [], []

    class Counting(nn.CrossEntropyLoss):
        def __call__(self, output, target):
            rows.append(len(target))
            return super().__call__(output, target)

    trainer = make_trainer(criterion=Counting())
    trainer.fit(X, Y, epochs=2, batch_size=40, callbacks=[CallAtStep(lambda trainer, step, loss: steps.append(step))])
    assert steps == [1, 2, 3, 1, 2, 3]
    assert rows[-6:] == [40, 40, 10, 40, 40, 10]


def test_the_loss_of_an_epoch_is_the_mean_over_its_samples():
    losses = []
    trainer = make_trainer()
    keep = CallAtStep(lambda trainer, step, loss: losses.append(loss))
    history = trainer.fit(X, Y, epochs=1, batch_size=40, callbacks=[keep])
    assert history["loss"] == [pytest.approx(np.average(losses, weights=[40, 40, 10]), rel=1e-12)]


def test_a_summing_criterion_gives_the_sum_over_the_epoch():
    losses = []
    trainer = make_trainer(criterion=nn.CrossEntropyLoss(reduction="sum"), lr=1e-4)
    keep = CallAtStep(lambda trainer, step, loss: losses.append(loss))
    history = trainer.fit(X, Y, epochs=1, batch_size=40, callbacks=[keep])
    assert history["loss"] == [pytest.approx(sum(losses), rel=1e-12)]


def test_training_metrics_are_of_the_outputs_that_the_steps_saw():
    trainer = make_trainer(lr=1e-9, metrics=[accuracy, error])
    history = trainer.fit(X, Y, epochs=1, batch_size=7)
    assert history["accuracy"] == [accuracy(predict(trainer.model, X), Y)]
    assert history["error"][0] == 1 - history["accuracy"][0]


def test_validation_comes_after_each_epoch_and_equals_evaluate():
    trainer = make_trainer(metrics=[accuracy])
    history = trainer.fit(X, Y, epochs=2, batch_size=16, validation_data=(XV, YV))
    evaluated = trainer.evaluate(XV, YV)
    assert history[-1]["val_loss"] == evaluated["loss"]
    assert history[-1]["val_accuracy"] == evaluated["accuracy"]


def test_a_second_fit_goes_on_from_the_first():
    trainer, whole = make_trainer(), make_trainer()
    for _ in range(2):
        trainer.fit(X, Y, epochs=2, batch_size=16, shuffle=False)
    whole.fit(X, Y, epochs=4, batch_size=16, shuffle=False)
    assert (weights(trainer.model) == weights(whole.model)).all()


def test_no_epochs_train_nothing():
    trainer = make_trainer()
    before = weights(trainer.model)
    assert len(trainer.fit(X, Y, epochs=0, batch_size=16)) == 0
    assert (weights(trainer.model) == before).all()


def test_the_schedule_steps_once_an_epoch_and_the_history_has_each_epochs_rate():
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    schedule = optim.StepLR(optimizer, step_size=2, gamma=0.5)
    history = Trainer(model, nn.CrossEntropyLoss(), optimizer, schedule=schedule).fit(X, Y, epochs=5, batch_size=45)
    assert history["lr"] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])


def test_a_plateau_schedule_sees_the_validation_loss_or_else_the_loss(monkeypatch):
    seen = []
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    schedule = optim.ReduceLROnPlateau(optimizer)
    monkeypatch.setattr(schedule, "step", seen.append)
    trainer = Trainer(model, nn.CrossEntropyLoss(), optimizer, schedule=schedule)
    assert trainer.fit(X, Y, epochs=2, batch_size=45)["loss"] == seen
    seen.clear()
    assert trainer.fit(X, Y, epochs=2, batch_size=45, validation_data=(XV, YV))["val_loss"] == seen


def test_clip_norm_bounds_the_norm_of_the_whole_gradient():
    trainer = make_trainer(clip_norm=1e-3)
    trainer.fit(100 * X, Y, epochs=1, batch_size=90)
    norm = np.sqrt(sum(float((p.grad.astype(np.float64) ** 2).sum()) for p in trainer.model.parameters()))
    assert norm == pytest.approx(1e-3, rel=1e-4)


def test_clip_value_bounds_each_element_of_the_gradient():
    trainer = make_trainer(clip_value=1e-3)
    trainer.fit(100 * X, Y, epochs=1, batch_size=90)
    assert max(np.abs(p.grad).max() for p in trainer.model.parameters()) == pytest.approx(1e-3)


def test_a_users_own_parts_are_enough():
    class Scale(nn.Module):
        def __init__(self):
            self.factor = nn.Parameter(np.ones(1, dtype=np.float32))

        def forward(self, x):
            self.x = x
            return self.factor.data * x

        def backward(self, grad_output):
            self.factor.grad += np.sum(grad_output * self.x)
            return self.factor.data * grad_output

    class Squares:
        def __call__(self, output, target):
            self.difference = output - target
            return np.mean(self.difference**2)

        def backward(self):
            return 2 * self.difference / self.difference.size

    model = Scale()
    trainer = Trainer(model, Squares(), optim.SGD(model.parameters(), lr=0.1))
    history = trainer.fit(X, 3 * X, epochs=20, batch_size=30, seed=0)
    assert model.factor.data == pytest.approx(3, abs=1e-3)
    assert history.engine.startswith("plain")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_take_the_weights_dtype_when_they_are_passed(dtype):
    trainer = make_trainer(dtype)
    trainer.fit(X.astype(np.float16).tolist(), Y.astype(np.uint8), epochs=1, batch_size=16)
    assert trainer.predict(X.astype(np.float64)).dtype == dtype
    assert trainer.predict(np.asfortranarray(X)[::2]).shape == (45, 2)


def test_floating_targets_take_the_weights_dtype():
    trainer = make_trainer(criterion=nn.MSELoss())
    assert trainer.fit(X, np.eye(2)[Y], epochs=5, batch_size=16, seed=1)["loss"][-1] < 0.25


def test_what_the_caller_passed_in_is_not_changed():
    x, y = X.copy(), Y.copy()
    make_trainer().fit(x, y, epochs=2, batch_size=16)
    assert (x == X).all()
    assert (y == Y).all()


def with_value(array, place, value):
    array = array.copy()
    array[place] = value
    return array


BAD_CALLS = {
    "no samples": ({"x": X[:0], "y": Y[:0]}, ValueError, "expected at least one sample, got none"),
    "lengths": ({"x": X[:5]}, ValueError, "expected as many rows in x as in y, got 5 and 90"),
    "a single value": ({"x": 1.0}, ValueError, "expected x to have rows"),
    "ragged": ({"x": [[1.0, 2.0], [3.0]], "y": [0, 1]}, ValueError, "rows of one length"),
    "strings": ({"x": X.astype(str)}, TypeError, "expected an array of numbers for x"),
    "bools": ({"y": Y.astype(bool)}, TypeError, "got bool; write y.astype"),
    "NaN": ({"x": with_value(X, (7, 1), np.nan)}, ValueError, r"finite values in x, .* \(first in row 7\)"),
    "too large": ({"x": X.astype(np.float64) * 1e300}, ValueError, "finite values in x"),
    "infinite target": ({"y": with_value(np.eye(2)[Y], (3, 0), np.inf)}, ValueError, r"in y, .*row 3\)"),
    "class too high": ({"y": with_value(Y, 60, 2)}, ValueError, r"0 to 1, got 2.*\(tried on rows 0, .*60\)"),
    "class below 0": ({"y": with_value(Y, 60, -1)}, ValueError, "got -1.*60"),
    "columns": ({"x": np.ones((90, 3))}, ValueError, r"Linear\(2, 8\): expected input of shape \(..., 2\)"),
    "batch size 0": ({"batch_size": 0}, ValueError, "batch_size"),
    "batch size 1.5": ({"batch_size": 1.5}, TypeError, "batch_size"),
    "epochs -1": ({"epochs": -1}, ValueError, "expected an integer >= 0 for epochs, got -1"),
    "epochs 2.0": ({"epochs": 2.0}, TypeError, "expected an integer >= 0 for epochs, got 2.0"),
    "seed": ({"seed": -1}, ValueError, r"^Trainer\.fit: seed: expected a seed of at least 0, got -1"),
    "one callback": ({"callbacks": Callback()}, TypeError, r"write callbacks=\[\.\.\.\]"),
    "a callback's class": ({"callbacks": [Callback]}, TypeError, "got the class Callback"),
    "a function": ({"callbacks": [print]}, TypeError, "expected instances of Callback"),
    "validation without y": ({"validation_data": X}, TypeError, r"validation_data=\(x, y\)"),
    "validation lengths": ({"validation_data": (X, Y[:3])}, ValueError, "validation_data: .* got 90 and 3"),
    "validation class": ({"validation_data": (X, Y + 5)}, ValueError, "0 to 1, got [56]"),
    "shuffle": ({"shuffle": "no"}, TypeError, "True or False for shuffle, got 'no'"),
    "progress": ({"progress": "yes"}, TypeError, "show"),
}


@pytest.mark.parametrize(("changes", "kind", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_a_bad_call_says_so_before_anything_changes(changes, kind, message):
    trainer = make_trainer()
    trainer.fit(X, Y, epochs=1, batch_size=16, seed=0)
    before, state = weights(trainer.model), pickle.dumps(trainer.optimizer.state_dict())
    history = trainer.history
    arguments = {"x": X, "y": Y, "epochs": 1, "batch_size": 16} | changes
    with pytest.raises(kind, match=message) as caught:
        trainer.fit(arguments.pop("x"), arguments.pop("y"), **arguments)
    assert "\n" not in str(caught.value)
    assert (weights(trainer.model) == before).all()
    assert pickle.dumps(trainer.optimizer.state_dict()) == state
    assert trainer.history is history
    assert trainer.model.training


def test_a_wrong_class_beside_ignore_index_is_found_before_the_first_step():
    trainer = make_trainer(criterion=nn.CrossEntropyLoss(ignore_index=-100))
    before = weights(trainer.model)
    target = with_value(with_value(Y, 10, -100), 60, -3)
    with pytest.raises(ValueError, match="got -3"):
        trainer.fit(X, target, epochs=1, batch_size=16)
    assert (weights(trainer.model) == before).all()
    trainer.fit(X, with_value(Y, 10, -100), epochs=1, batch_size=16)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"model": print}, TypeError, "fastdl Module for model"),
        (
            {"criterion": nn.MSELoss},
            TypeError,
            r"a loss, or a function of outputs and targets for criterion, got the class MSELoss",
        ),
        ({"criterion": nn.CrossEntropyLoss(reduction="none")}, ValueError, "reduction='none'; write 'mean'"),
        ({"optimizer": optim.SGD}, TypeError, "expected an optimizer, got the class SGD"),
        ({"optimizer": optim.SGD(network().parameters(), lr=1)}, ValueError, r"write SGD\(model.parameters\(\)"),
        ({"model": nn.ReLU()}, ValueError, "expected a model with parameters"),
        ({"schedule": 0.1}, TypeError, "schedule"),
        ({"clip_norm": 0}, ValueError, "clip_norm"),
        ({"clip_value": np.nan}, ValueError, "clip_value"),
        ({"clip_value": "1"}, TypeError, "clip_value"),
        ({"metrics": "accuracy"}, TypeError, "list or dictionary of functions"),
        ({"metrics": ["accuracy"]}, TypeError, "functions of"),
        ({"metrics": [lambda output, target: 0]}, ValueError, "a name for each metric"),
        ({"metrics": {"loss": accuracy}}, ValueError, "got 'loss'"),
        ({"metrics": [accuracy, accuracy]}, ValueError, "got 'accuracy'"),
    ],
)
def test_a_trainer_is_made_of_parts_that_fit(change, kind, message):
    model = network()
    parts = {
        "model": model,
        "criterion": nn.CrossEntropyLoss(),
        "optimizer": optim.SGD(model.parameters(), lr=0.1),
    } | change
    with pytest.raises(kind, match=message):
        Trainer(**parts)


@pytest.mark.parametrize("batch_size", [1, 7, 90, 1000])
def test_evaluate_is_exact_over_unequal_batches(batch_size):
    trainer = make_trainer(np.float64, metrics=[accuracy])
    output = trainer.model(X.astype(np.float64))
    found = trainer.evaluate(X, Y, batch_size=batch_size)
    assert found["loss"] == pytest.approx(nn.CrossEntropyLoss()(output, Y), rel=1e-12)
    assert found["accuracy"] == accuracy(output, Y)


def test_evaluate_is_exact_for_a_mean_over_class_weights():
    criterion = nn.CrossEntropyLoss(weight=np.array([0.1, 3.0]))
    trainer = make_trainer(np.float64, criterion)
    expected = criterion(trainer.model(X.astype(np.float64)), Y)
    assert trainer.evaluate(X, Y, batch_size=7)["loss"] == pytest.approx(expected, rel=1e-12)


def test_predict_gives_the_models_outputs_in_order():
    model = network()
    assert predict(model, X, batch_size=7) == pytest.approx(model(X), rel=1e-5)
    assert predict(model, X[:0]).shape == (0, 2)


class Witness(nn.Module):
    """Notes the mode of each forward."""

    def __init__(self):
        self.modes = []

    def forward(self, x):
        self.modes.append((self.training, nn.is_grad_enabled()))
        return x

    def backward(self, grad_output):
        return grad_output


@pytest.mark.parametrize("mode", [True, False])
def test_evaluate_and_predict_run_in_evaluation_mode_and_restore_every_part(mode):
    witness = Witness()
    model = nn.Sequential(nn.Linear(2, 2), witness)
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    model.train(mode)
    model[0].training = not mode
    trainer.evaluate(X, Y)
    trainer.predict(X)
    assert witness.modes == [(False, False), (False, False)]
    assert [module.training for module in model.modules()] == [mode, not mode, mode]


@pytest.mark.parametrize("mode", [True, False])
def test_fit_trains_in_training_mode_and_restores_the_mode(mode):
    witness = Witness()
    model = nn.Sequential(nn.Linear(2, 2), witness)
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    model.train(mode)
    trainer.fit(X, Y, epochs=1, batch_size=90, validation_data=(XV, YV))
    tried, tried_validation, step, validation = witness.modes
    assert step == (True, True)
    assert tried == tried_validation == validation == (False, False)
    assert all(module.training is mode for module in model.modules())


def test_a_part_in_evaluation_mode_inside_a_training_model_stays_so():
    witness = Witness()
    model = nn.Sequential(nn.Linear(2, 2), witness)
    witness.eval()
    Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1)).fit(X, Y, epochs=1, batch_size=90)
    assert witness.modes[-1] == (False, True)
    assert model.training
    assert not witness.training


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda t: t.evaluate(X[:0], Y[:0]), ValueError),
        (lambda t: t.evaluate(X, Y[:3]), ValueError),
        (lambda t: t.evaluate(X, Y, batch_size=0), ValueError),
        (lambda t: t.predict(X, batch_size=2.5), TypeError),
        (lambda t: t.predict(with_value(X, (0, 0), np.nan)), ValueError),
        (lambda t: t.predict(X[:, :1]), ValueError),
        (lambda t: predict(print, X), TypeError),
    ],
)
def test_evaluate_and_predict_refuse_what_they_cannot_use_and_restore_the_mode(call, kind):
    trainer = make_trainer()
    with pytest.raises(kind):
        call(trainer)
    assert all(module.training for module in trainer.model.modules())


def test_ctrl_c_ends_the_fit_and_keeps_the_finished_epochs():
    def interrupt(trainer, step, loss):
        if len(trainer.history) == 2 and step == 2:
            signal.raise_signal(signal.SIGINT)

    trainer = make_trainer()
    trainer.model.eval()
    history = trainer.fit(X, Y, epochs=100, batch_size=16, callbacks=[CallAtStep(interrupt)])
    assert history.interrupted
    assert len(history) == 2
    assert trainer.history is history
    assert not trainer.model.training
    assert np.isfinite(weights(trainer.model)).all()
    assert not trainer.fit(X, Y, epochs=1, batch_size=16).interrupted


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_ends_the_fit_before_its_step(value):
    class Breaking(nn.CrossEntropyLoss):
        broken = False

        def __call__(self, output, target):
            return value if self.broken else super().__call__(output, target)

    def spoil(trainer, step, loss):
        kept[:] = [weights(trainer.model)]
        trainer.criterion.broken = len(trainer.history) == 1 and step == 2

    kept = []
    trainer = make_trainer(criterion=Breaking())
    with pytest.raises(FloatingPointError, match=rf"the loss is {value} in epoch 2, step 3; .* smaller lr than 0\.1"):
        trainer.fit(X, Y, epochs=5, batch_size=16, callbacks=[CallAtStep(spoil)])
    assert len(trainer.history) == 1
    assert (weights(trainer.model) == kept[0]).all()


def test_a_callback_can_stop_the_fit_after_an_epoch():
    trainer = make_trainer()
    stop = Call(lambda trainer, record: trainer.stop() if len(trainer.history) == 3 else None)
    assert len(trainer.fit(X, Y, epochs=10, batch_size=16, callbacks=[stop])) == 3
    assert len(trainer.fit(X, Y, epochs=2, batch_size=16)) == 2


def test_a_history_gives_columns_by_name_and_records_by_number():
    history = make_trainer(metrics=[accuracy]).fit(X, Y, epochs=2, batch_size=16, validation_data=(XV, YV))
    assert history.names == ("loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds")
    assert [tuple(record) for record in history] == [history.names] * 2
    assert history["loss"] == [record["loss"] for record in history]
    assert history[-1] is history.records[1]
    assert all(type(value) is float for record in history for value in record.values())
    assert "val_loss" in history
    assert "val_error" not in history
    assert all(seconds > 0 for seconds in history["seconds"])
    assert not history.interrupted
    with pytest.raises(KeyError, match=r"expected one of loss, accuracy, .* got val_error"):
        history["val_error"]


def test_a_history_pickles():
    history = make_trainer().fit(X, Y, epochs=2, batch_size=16)
    again = pickle.loads(pickle.dumps(history))
    assert again.records == history.records
    assert again.engine == history.engine


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda trainer: pickle.loads(pickle.dumps(trainer))])
def test_a_copied_trainer_trains_on_alike_and_apart(copied):
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    schedule = optim.StepLR(optimizer, step_size=2, gamma=0.5)
    trainer = Trainer(model, nn.CrossEntropyLoss(), optimizer, schedule=schedule, metrics=[accuracy], clip_norm=1.0)
    trainer.fit(X, Y, epochs=3, batch_size=16, seed=0)
    before = weights(model)
    twin = copied(trainer)
    ahead = twin.fit(X, Y, epochs=3, batch_size=16, seed=1)
    assert (weights(model) == before).all()
    history = trainer.fit(X, Y, epochs=3, batch_size=16, seed=1)
    assert (weights(twin.model) == weights(model)).all()
    assert ahead["loss"] == history["loss"]
    assert ahead["lr"] == history["lr"]


def test_a_model_whose_outputs_change_their_shape_amid_an_epoch_has_no_metrics():
    class Widening(Callback):
        def on_step_end(self, trainer, step, loss):
            if len(trainer.model) == 2:
                trainer.model.append(nn.Linear(4, 5, rng=0))

    model = nn.Sequential(nn.Linear(2, 8, rng=0), nn.Linear(8, 4, rng=1))
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters()), metrics=[accuracy])
    x, y = np.zeros((6, 2), np.float32), np.zeros(6, int)
    with pytest.raises(ValueError, match=r"expected outputs of one shape .* got samples of \(4,\) and of \(5,\)"):
        trainer.fit(x, y, epochs=1, batch_size=2, callbacks=[Widening()])


def test_a_model_whose_samples_change_their_shape_between_batches_cannot_predict():
    class Growing(nn.Module):
        widths = (2, 2, 3)

        def forward(self, x):
            seen.append(len(x))
            return np.zeros((len(x), self.widths[len(seen) - 1]), np.float32)

        def backward(self, grad_output):
            return grad_output

    seen = []
    with pytest.raises(ValueError, match=r"one shape from Growing, got samples of \(2,\) and of \(3,\)"):
        predict(Growing(), np.zeros((5, 4)), batch_size=2)
