"""A fit that was left and resumed ends with the bits of one that never stopped."""

import signal
import textwrap

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, data, nn, optim
from fastdl.callbacks import Callback, CSVLog, EarlyStopping, LearningRateLog, ModelCheckpoint
from fastdl.data.augment import Noise
from fastdl.metrics import accuracy
from tests.callbacks.fits import Script
from tests.nn.python_layer import Untraced

X, Y = data.disk(90, rng=0)
EPOCHS = 5
OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.05),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "nesterov": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "Adam": lambda p: optim.Adam(p, lr=0.02, eps_inside_sqrt=True),
    "amsgrad": lambda p: optim.Adam(p, lr=0.02, betas=(0.8, 0.99), amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, lr=0.02),
}
SCHEDULES = {
    "none": lambda o: None,
    "StepLR": lambda o: optim.StepLR(o, 2, 0.5),
    "ExponentialLR": lambda o: optim.ExponentialLR(o, 0.8),
    "CosineAnnealingLR": lambda o: optim.CosineAnnealingLR(o, 5, warmup=1),
    "ReduceLROnPlateau": lambda o: optim.ReduceLROnPlateau(o, patience=0, threshold=0.2, cooldown=1),
}


def trainer_of(optimizer="Adam", schedule="none", engine="native", dtype=np.float32, **options):
    layers = [nn.Linear(2, 12, rng=1), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 2, rng=2)]
    if engine == "plain":
        layers.append(Untraced())
    model = nn.Sequential(*layers).astype(dtype)
    made = OPTIMIZERS[optimizer](model.parameters())
    return Trainer(
        *(model, nn.CrossEntropyLoss(), made), schedule=SCHEDULES[schedule](made), metrics=[accuracy], **options
    )


def fit(trainer, epochs, *callbacks, **options):
    options = {"batch_size": 20, "seed": 7, "validation_data": (X[:30], Y[:30])} | options
    return trainer.fit(X, Y, epochs=epochs, callbacks=callbacks, **options)


def everything(trainer):
    """All that has to be the same, in bytes and plain values."""
    state = trainer.optimizer.state_dict()
    numbers = [{n: np.asarray(v).tobytes() for n, v in entry.items()} for entry in state["state"].values()]
    return {
        "weights": {name: array.tobytes() for name, array in trainer.model.state_dict().items()},
        "optimizer": (numbers, state["param_groups"]),
        "schedule": trainer.schedule and trainer.schedule.state_dict(),
        "history": [{n: v for n, v in record.items() if n != "seconds"} for record in trainer.history],
        "draws": (trainer.rng.bit_generator.state, trainer._position.stream.state_dict()),
    }


def resumed(path, make, stop, *callbacks, epochs=EPOCHS, **options):
    """A trainer that was made anew, and went on from what another one had saved after `stop` epochs."""
    first = make()
    fit(first, stop, *(c() for c in callbacks), **options)
    first.save(path)
    second = make()
    second.load(path)
    fit(second, epochs, *(c() for c in callbacks), resume=True, **options)
    return second


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.safetensors"


@pytest.mark.parametrize("engine", ["native", "plain"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_goes_on_at_any_epoch(path, optimizer, engine):
    whole = trainer_of(optimizer, engine=engine)
    fit(whole, EPOCHS)
    assert whole.history.engine.startswith(engine)
    for stop in range(EPOCHS + 1):
        again = resumed(path, lambda: trainer_of(optimizer, engine=engine), stop)
        assert everything(again) == everything(whole)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_goes_on_at_any_epoch(path, schedule):
    whole = trainer_of("momentum", schedule)
    fit(whole, EPOCHS)
    for stop in range(EPOCHS + 1):
        assert everything(resumed(path, lambda: trainer_of("momentum", schedule), stop)) == everything(whole)


class Halve(Callback):
    """Halves the rate of each group after the second epoch, and counts nothing itself."""

    def on_epoch_end(self, trainer, record):
        if len(trainer.history) == 2:
            for group in trainer.optimizer.param_groups:
                group["lr"] /= 2


@pytest.mark.parametrize("engine", ["native", "plain"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_rate_that_a_callback_sets_lasts_and_is_resumed(path, schedule, engine):
    whole, undisturbed = (trainer_of("momentum", schedule, engine) for _ in range(2))
    fit(whole, EPOCHS, Halve())
    for stop in range(EPOCHS + 1):
        again = resumed(path, lambda: trainer_of("momentum", schedule, engine), stop, Halve)
        assert everything(again) == everything(whole)
    if schedule != "ReduceLROnPlateau":  # whose metrics are others with another rate
        fit(undisturbed, EPOCHS)
        factors = [1, 1, 0.5, 0.5, 0.5]
        np.testing.assert_allclose(whole.history["lr"], factors * np.array(undisturbed.history["lr"]), rtol=1e-12)


@pytest.mark.parametrize("engine", ["native", "plain"])
@pytest.mark.parametrize("threads_before", [1, 2])
@pytest.mark.parametrize("threads_after", [1, 2])
def test_the_number_of_threads_makes_no_difference(path, threads, threads_before, threads_after, engine):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(600, 64)), rng.integers(0, 2, 600)

    def make():
        layers = [nn.Linear(64, 512, rng=1), nn.BatchNorm1d(512), nn.Dropout(0.3), nn.ReLU(), nn.Linear(512, 2, rng=2)]
        model = nn.Sequential(*layers, *([Untraced()] if engine == "plain" else []))
        return Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))

    def run(trainer, epochs, **options):
        trainer.fit(x, y, epochs=epochs, batch_size=256, seed=1, **options)
        return trainer

    fastdl.set_num_threads(1)
    whole = run(make(), 3)
    for stop in range(4):
        fastdl.set_num_threads(threads_before)
        run(make(), stop).save(path)
        second = make()
        second.load(path)
        fastdl.set_num_threads(threads_after)
        assert everything(run(second, 3, resume=True)) == everything(whole)


@pytest.mark.parametrize(
    "options",
    [
        {"augment": Noise(0.1)},
        {"shuffle": False},
        {"drop_last": True},
        {"validation_data": None},
        {"batch_size": 90},
    ],
    ids=str,
)
def test_every_way_of_fitting_goes_on_at_any_epoch(path, options):
    whole = trainer_of()
    fit(whole, EPOCHS, **options)
    for stop in range(EPOCHS + 1):
        assert everything(resumed(path, trainer_of, stop, **options)) == everything(whole)


@pytest.mark.parametrize("options", [{"clip_norm": 0.1}, {"clip_value": 0.01}, {"dtype": np.float64}], ids=str)
def test_every_trainer_goes_on_at_any_epoch(path, options):
    whole = trainer_of(**options)
    fit(whole, EPOCHS)
    for stop in range(EPOCHS + 1):
        assert everything(resumed(path, lambda: trainer_of(**options), stop)) == everything(whole)


@pytest.mark.parametrize("bits", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_every_generator_of_numpys_goes_on(path, bits):
    def seed():
        rng = np.random.Generator(getattr(np.random, bits)(3))
        rng.integers(2**32, dtype=np.uint32)  # half a draw is left over
        return rng

    whole = trainer_of()
    fit(whole, EPOCHS, seed=seed(), augment=Noise(0.1))
    for stop in (1, 3):
        first = trainer_of()
        fit(first, stop, seed=seed(), augment=Noise(0.1))
        first.save(path)
        second = trainer_of()
        second.load(path)
        fit(second, EPOCHS, augment=Noise(0.1), resume=True)
        assert everything(second)["weights"] == everything(whole)["weights"]
        assert str(everything(second)["draws"]) == str(everything(whole)["draws"])


def test_batches_from_a_function_go_on(path):
    def batches():
        return data.batches(X, Y, 20, rng=5)

    def run(trainer, epochs, **options):
        trainer.fit(batches, epochs=epochs, seed=7, **options)
        return trainer

    whole = run(trainer_of(), EPOCHS)
    for stop in range(EPOCHS + 1):
        run(trainer_of(), stop).save(path)
        second = trainer_of()
        second.load(path)
        assert everything(run(second, EPOCHS, resume=True)) == everything(whole)


def test_a_step_callback_goes_on(path):
    class Steps(Callback):
        def on_step_end(self, trainer, step, loss):
            pass

    whole = trainer_of()
    fit(whole, EPOCHS, Steps())
    assert everything(resumed(path, trainer_of, 2, Steps)) == everything(whole)


def losses():
    return Script(0.9, 0.5, 0.6, 0.4, 0.7, 0.45, 0.8, 0.3, name="val_loss")


@pytest.mark.parametrize("stop", range(1, 9))
@pytest.mark.parametrize("patience", [1, 2, 3])
def test_early_stopping_stops_at_the_same_epoch_with_the_same_best_weights(path, patience, stop):
    def stopping():
        return EarlyStopping(patience=patience)

    whole, its = trainer_of(), stopping()
    fit(whole, 8, losses(), its)
    first, second, again = trainer_of(), trainer_of(), stopping()
    fit(first, stop, losses(), stopping(), ModelCheckpoint(path))
    second.load(path)
    fit(second, 8, losses(), again, resume=True)
    assert everything(second) == everything(whole)
    assert (again.best, again.best_epoch) == (its.best, its.best_epoch)


@pytest.mark.parametrize("stop", range(1, 9))
def test_the_best_checkpoint_stays_the_best(tmp_path, stop):
    def callbacks(name):
        return (
            losses(),
            ModelCheckpoint(tmp_path / f"{name}-last"),
            ModelCheckpoint(tmp_path / name, monitor="val_loss"),
        )

    whole = trainer_of()
    fit(whole, 8, *callbacks("whole"))
    fit(trainer_of(), stop, *callbacks("parts"))
    second = trainer_of()
    second.load(tmp_path / "parts-last")
    mine = callbacks("parts")
    fit(second, 8, *mine, resume=True)
    assert (mine[2].best, mine[2].best_epoch) == (0.3, 8)
    one, other = (fastdl.load(tmp_path / name).model.state_dict() for name in ("whole", "parts"))
    assert all((one[name] == other[name]).all() for name in one)


def test_a_best_checkpoint_is_not_overwritten_by_a_worse_epoch_after_resuming(tmp_path):
    def callbacks():
        return losses(), ModelCheckpoint(tmp_path / "last"), ModelCheckpoint(tmp_path / "best", monitor="val_loss")

    fit(trainer_of(), 4, *callbacks())
    best = (tmp_path / "best").read_bytes()
    second = trainer_of()
    second.load(tmp_path / "last")
    fit(second, 7, *callbacks(), resume=True)
    assert (tmp_path / "best").read_bytes() == best


def test_the_log_of_rates_goes_on(path):
    log, again = LearningRateLog(), LearningRateLog()
    fit(trainer_of(schedule="StepLR"), EPOCHS, log)
    first, second = (trainer_of(schedule="StepLR") for _ in range(2))
    fit(first, 2, LearningRateLog())
    first.save(path)
    second.load(path)
    fit(second, EPOCHS, again, resume=True)
    assert again.rates == log.rates == [[0.02], [0.02], [0.01], [0.01], [0.005]]


def test_the_csv_file_goes_on_where_the_state_stands(tmp_path, path):
    log = tmp_path / "log.csv"
    fit(trainer_of(), 4, CSVLog(log), ModelCheckpoint(path, every=3), Leaving(at=4))
    assert [line.split(",")[0] for line in log.read_text().splitlines()] == ["epoch", "1", "2", "3", "4"]
    with log.open("a") as file:
        file.write("5,0.123")  # a line that was being written when the process was killed
    second = trainer_of()
    second.load(path)
    fit(second, EPOCHS, CSVLog(log), resume=True)
    lines = [line.split(",") for line in log.read_text().splitlines()]
    assert [line[0] for line in lines] == ["epoch", "1", "2", "3", "4", "5"]
    assert [float(line[1]) for line in lines[1:]] == second.history["loss"]


class Leaving(Callback):
    """Keeps an epoch from being written, as a kill before it would."""

    def __init__(self, at):
        self.at = at

    def on_epoch_end(self, trainer, record):
        if len(trainer.history) == self.at:
            raise KeyboardInterrupt


def test_a_callback_of_ones_own_gets_its_state_back(path):
    class Counting(Callback):
        def __init__(self):
            self.seen = np.zeros(3, np.int64)

        def on_epoch_end(self, trainer, record):
            self.seen += len(trainer.history)

        def state_dict(self):
            return {"seen": self.seen, "odd": [float("inf"), None, True, "ß", (1, -0.0)]}

        def on_resume(self, trainer, state):
            self.seen, self.odd = state["seen"], state["odd"]

    first, second, counting = trainer_of(), trainer_of(), Counting()
    fit(first, 2, Counting())
    first.save(path)
    second.load(path)
    fit(second, 4, counting, resume=True)
    assert counting.seen.tolist() == [10, 10, 10]
    assert repr(counting.odd) == "[inf, None, True, 'ß', [1, -0.0]]"


def test_the_same_trainer_goes_on_in_memory():
    whole, parts = trainer_of("RMSprop", "ReduceLROnPlateau"), trainer_of("RMSprop", "ReduceLROnPlateau")
    fit(whole, EPOCHS)
    for epochs in range(EPOCHS + 1):
        fit(parts, epochs, resume=True)
        assert len(parts.history) == epochs
    assert everything(parts) == everything(whole)


def test_resume_begins_where_there_is_nothing_to_resume():
    one, other = trainer_of(), trainer_of()
    fit(one, 3)
    fit(other, 3, resume=True)
    assert everything(other) == everything(one)


def test_epochs_count_from_the_first_fits_beginning(path):
    again = resumed(path, trainer_of, 3, epochs=2)
    assert len(again.history) == 3
    assert again.history.engine == "none: no epoch was run since the state was loaded"


@pytest.mark.parametrize("engine", ["native", "plain"])
def test_after_ctrl_c_in_the_midst_of_an_epoch_the_file_holds_the_epoch_before(path, engine):
    class Pressed(Callback):
        def on_step_end(self, trainer, step, loss):
            if (len(trainer.history), step) == (2, 3):
                signal.raise_signal(signal.SIGINT)

    whole = trainer_of(engine=engine)
    fit(whole, EPOCHS)
    first, second = trainer_of(engine=engine), trainer_of(engine=engine)
    assert fit(first, EPOCHS, ModelCheckpoint(path), Pressed()).interrupted
    assert len(first.history) == 2
    with pytest.raises(RuntimeError, match="between two epochs, but epoch 3 was not finished"):
        first.save(path)
    with pytest.raises(RuntimeError, match="ended between two epochs, but epoch 3 was not finished"):
        fit(first, EPOCHS, resume=True)
    second.load(path)
    fit(second, EPOCHS, resume=True)
    assert everything(second) == everything(whole)
    first.load(path)
    fit(first, EPOCHS, resume=True)
    assert everything(first) == everything(whole)


def test_a_state_cannot_be_saved_while_other_callbacks_are_behind(path):
    class Hasty(Callback):
        def on_epoch_end(self, trainer, record):
            trainer.save(path)

    with pytest.raises(RuntimeError, match=r"epoch 1 was not finished; .*ModelCheckpoint"):
        fit(trainer_of(), 2, Hasty())
    assert not path.exists()


def test_weights_that_early_stopping_went_back_to_are_no_place_to_go_on_from(path):
    trainer = trainer_of()
    fit(trainer, 5, losses(), EarlyStopping(patience=9))
    with pytest.raises(RuntimeError, match="EarlyStopping went back to the weights of epoch 4"):
        trainer.save(path)


def test_a_process_that_is_killed_goes_on_in_another(tmp_path, python):
    script = textwrap.dedent("""
        import os, pathlib, sys
        from fastdl import Trainer, data, nn, optim
        from fastdl.callbacks import Callback, ModelCheckpoint

        class Killed(Callback):
            def on_step_end(self, trainer, step, loss):
                if len(trainer.history) == int(sys.argv[2]) and step == 2:
                    os.kill(os.getpid(), 9)

        x, y = data.disk(90, rng=0)
        model = nn.Sequential(nn.Linear(2, 8, rng=1), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 2, rng=2))
        trainer = Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
        path = pathlib.Path(sys.argv[1])
        if path.exists():
            trainer.load(path)
        trainer.fit(x, y, epochs=4, batch_size=20, seed=0, resume=True, callbacks=[Killed(), ModelCheckpoint(path)])
        print(trainer.history["loss"], [a.tobytes().hex() for a in model.state_dict().values()])
    """)

    def run(name, kill):
        return python(f"import sys; sys.argv = ['fit', {str(tmp_path / name)!r}, {kill}]\n{script}")

    whole = run("whole", -1)
    assert whole.returncode == 0
    for kill in range(4):
        assert run(f"parts{kill}", kill).returncode == -9
        assert run(f"parts{kill}", -1).stdout == whole.stdout
