"""Callbacks that write while a fit runs: checkpoints, curves for TensorBoard, learning rates."""

import contextlib
import copy
import errno
import os
import pickle
import stat
import sys
import tempfile

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, data, nn, optim
from fastdl.callbacks import Callback, CSVLog, LearningRateLog, ModelCheckpoint, TensorBoard
from fastdl.callbacks.file_name import FileName
from fastdl.metrics import accuracy
from tests.callbacks.fits import Script, X, Y, fit, make_trainer


class Stop(Callback):
    def __init__(self, at):
        self.at = at

    def on_epoch_end(self, trainer, record):
        if len(trainer.history) == self.at:
            trainer.stop()


def epochs_in(folder):
    """The epochs that the files in a folder, named by theirs, stand at."""
    found = []
    for path in sorted(folder.iterdir(), key=lambda path: int(path.stem)):
        trainer = make_trainer()
        trainer.load(path)
        assert len(trainer.history) == int(path.stem)
        found.append(len(trainer.history))
    return found


@pytest.mark.parametrize(("every", "epochs"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (3, [3, 5]), (9, [5])])
def test_a_checkpoint_is_written_every_n_epochs_and_after_the_last(tmp_path, every, epochs):
    fit(make_trainer(), ModelCheckpoint(tmp_path / "{epoch}.safetensors", every=every), epochs=5)
    assert epochs_in(tmp_path) == epochs


def test_a_checkpoint_is_written_when_the_fit_is_stopped(tmp_path):
    fit(make_trainer(), ModelCheckpoint(tmp_path / "{epoch}.safetensors", every=4), Stop(2), epochs=9)
    assert epochs_in(tmp_path) == [2]


def test_without_a_place_for_the_epoch_the_file_is_replaced(tmp_path):
    fit(make_trainer(), ModelCheckpoint(tmp_path / "3.safetensors"))
    assert epochs_in(tmp_path) == [3]


def test_with_a_monitor_only_the_best_so_far_are_written(tmp_path):
    best = ModelCheckpoint(tmp_path / "{epoch}.safetensors", monitor="loss")
    fit(make_trainer(), Script(0.5, 0.7, 0.4, float("nan"), 0.4, 0.3, 0.9), best, epochs=7)
    assert epochs_in(tmp_path) == [1, 3, 6]
    assert (best.best, best.best_epoch) == (0.3, 6)


def test_with_mode_max_the_highest_are_the_best(tmp_path):
    fit(make_trainer(), Script(0.5, 0.7, 0.4), ModelCheckpoint(tmp_path / "{epoch}", monitor="loss", mode="max"))
    assert epochs_in(tmp_path) == [1, 2]


def test_the_file_holds_the_epochs_weights_for_load(tmp_path):
    trainer = make_trainer()
    fit(trainer, ModelCheckpoint(tmp_path / "model.safetensors"))
    found = fastdl.load(tmp_path / "model.safetensors").model
    assert (found(X) == trainer.model(X)).all()


def test_a_folder_that_is_not_there_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        fit(make_trainer(), ModelCheckpoint(tmp_path / "nowhere" / "model.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"path": 3}, TypeError, "expected a path, got int"),
        ({"every": 0}, ValueError, "expected a positive integer for every"),
        ({"every": 2, "monitor": "loss"}, ValueError, "expected every=1 beside a monitor"),
        ({"mode": "min"}, ValueError, "expected a monitor beside mode"),
        ({"monitor": "odd"}, ValueError, "expected mode='min' or mode='max'"),
        ({"monitor": "loss", "mode": "low"}, ValueError, "expected mode 'min' or 'max'"),
        ({"monitor": 3}, TypeError, "expected a name of the history"),
    ],
)
def test_a_checkpoint_refuses_arguments_it_cannot_use(arguments, kind, message):
    with pytest.raises(kind, match=f"ModelCheckpoint: {message}"):
        ModelCheckpoint(**({"path": "model"} | arguments))


def test_an_unknown_monitor_is_said_before_training(tmp_path):
    trainer = make_trainer()
    with pytest.raises(
        ValueError, match=r"ModelCheckpoint: expected a monitor among loss, lr, seconds, got 'val_loss'"
    ):
        fit(trainer, ModelCheckpoint(tmp_path / "model", monitor="val_loss"))
    assert not trainer.history.records


def test_on_checkpoint_comes_when_every_callback_has_seen_the_epoch():
    order = []

    class Noting(Callback):
        def __init__(self, name):
            self.name = name

        def on_epoch_begin(self, trainer, epoch):
            order.append(f"{self.name} begin {epoch}")

        def on_epoch_end(self, trainer, record):
            order.append(f"{self.name} end")

        def on_checkpoint(self, trainer):
            order.append(f"{self.name} checkpoint")

    fit(make_trainer(), Noting("a"), Noting("b"), epochs=1)
    assert order == ["a begin 1", "b begin 1", "a end", "b end", "a checkpoint", "b checkpoint"]


def test_the_rates_of_every_group_are_those_that_the_epochs_were_trained_with():
    model = nn.Linear(2, 2, rng=0)
    groups = [{"params": [model.weight], "lr": 0.4}, {"params": [model.bias]}]
    optimizer = optim.SGD(groups, lr=0.2)
    trainer = Trainer(model, nn.CrossEntropyLoss(), optimizer, schedule=optim.ExponentialLR(optimizer, 0.5))
    log = LearningRateLog()
    history = fit(trainer, log)
    assert log.rates == [[0.4, 0.2], [0.2, 0.1], [0.1, 0.05]]
    assert history["lr"] == [rates[0] for rates in log.rates]


def test_an_epoch_that_was_left_has_no_rates():
    class Leaving(Callback):
        def on_step_end(self, trainer, step, loss):
            if len(trainer.history) == 1:
                raise KeyboardInterrupt

    log = LearningRateLog()
    fit(make_trainer(), log, Leaving())
    assert log.rates == [[0.1]]


def curves(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_reads_a_curve_for_every_name(tmp_path):
    pytest.importorskip("tensorboard")
    history = fit(make_trainer(), TensorBoard(tmp_path / "run"), validation_data=(X, Y))
    found = curves(tmp_path / "run")
    assert set(found) == {"loss", "val_loss", "lr", "seconds"}
    for name, points in found.items():
        assert [step for step, _ in points] == [1, 2, 3]
        assert [value for _, value in points] == [np.float32(value) for value in history[name]]


def test_tensorboard_sees_each_epoch_before_the_next(tmp_path):
    pytest.importorskip("tensorboard")

    class Looking(Callback):
        def on_epoch_begin(self, trainer, epoch):
            seen.append(len(curves(tmp_path).get("loss", ())))

    seen = []
    fit(make_trainer(), TensorBoard(tmp_path), Looking())
    assert seen == [0, 1, 2]


def test_a_resumed_fit_takes_the_place_of_what_a_killed_one_had_written(tmp_path):
    pytest.importorskip("tensorboard")
    first, second = make_trainer(), make_trainer()
    fit(first, ModelCheckpoint(tmp_path / "state", every=2), TensorBoard(tmp_path / "run"), Leaving(at=3), epochs=4)
    assert len(curves(tmp_path / "run")["loss"]) == 3
    second.load(tmp_path / "state")
    history = fit(second, TensorBoard(tmp_path / "run"), epochs=4, resume=True)
    points = curves(tmp_path / "run")["loss"]
    assert [step for step, _ in points] == [1, 2, 3, 4]
    assert [value for _, value in points] == [np.float32(value) for value in history["loss"]]


class Leaving(Callback):
    """Ends a fit in an epoch that TensorBoard has and the checkpoint has not."""

    def __init__(self, at):
        self.at = at

    def on_epoch_end(self, trainer, record):
        if len(trainer.history) == self.at:
            raise KeyboardInterrupt


def test_without_tensorboard_the_extra_is_named_before_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    trainer = make_trainer()
    with pytest.raises(ImportError, match=r'TensorBoard: needs tensorboard; write pip install "\.\[tensorboard\]"'):
        fit(trainer, TensorBoard(tmp_path))
    assert not trainer.history.records


def test_tensorboard_wants_a_folder():
    with pytest.raises(TypeError, match="TensorBoard: expected a path for folder, got int"):
        TensorBoard(3)


def test_tensorboard_is_not_imported_with_fastdl(python):
    assert python("import sys, fastdl.callbacks; print('tensorboard' in sys.modules)").stdout == "False\n"


@pytest.mark.parametrize(
    "make", [LearningRateLog, lambda: ModelCheckpoint("m", monitor="loss"), lambda: TensorBoard("r")]
)
def test_callbacks_copy_and_pickle(make):
    callback = make()
    for twin in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        assert vars(twin) == vars(callback)


class Seen(Callback):
    """Whether an epoch was run."""

    epochs = 0

    def on_epoch_end(self, trainer, record):
        self.epochs += 1


def refused_before_training(kind, match, callback, **options):
    seen = Seen()
    with pytest.raises(kind, match=match):
        fit(make_trainer(**options.pop("trainer", {})), seen, callback, **options)
    assert seen.epochs == 0


def places(tmp_path):
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("pipe")
    return {
        "none/f": (FileNotFoundError, "No such file"),
        "file/f": (NotADirectoryError, "Not a directory"),
        "folder": (IsADirectoryError, "Is a directory"),
        "pipe": (OSError, "regular file"),
        "link": (OSError, "regular file"),
        "/dev/null": (OSError, "regular file"),
        "n" * 300: (OSError, "too long"),
    }


@pytest.mark.parametrize("make", [ModelCheckpoint, lambda path: ModelCheckpoint(path, every=50), CSVLog])
def test_a_place_that_cannot_be_written_to_is_reported_before_training(tmp_path, make):
    for name, (kind, match) in places(tmp_path).items():
        refused_before_training(kind, match, make(tmp_path / name))
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder", "link", "pipe"]


def test_a_folder_of_files_with_places_is_reported_before_training_too(tmp_path):
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "2")
    for name, kind in {
        "none/{epoch}": FileNotFoundError,
        "none/{loss}": FileNotFoundError,
        "file/{loss}/f": NotADirectoryError,
        "none/{epoch}/f": FileNotFoundError,
    }.items():
        refused_before_training(kind, name.partition("/")[0], ModelCheckpoint(tmp_path / name))
    refused_before_training(OSError, "regular file", ModelCheckpoint(tmp_path / "{epoch}", every=2))


def test_a_folder_for_curves_is_reported_before_training(tmp_path):
    pytest.importorskip("tensorboard")
    for name in ("file", "file/f", "pipe"):
        (tmp_path / "file").write_text("")
        with contextlib.suppress(FileExistsError):
            os.mkfifo(tmp_path / "pipe")
        refused_before_training(OSError, name.partition("/")[0], TensorBoard(tmp_path / name))


def test_a_folder_without_permission_is_reported_before_training(tmp_path, monkeypatch):
    def refuse(*_, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(options.get("dir")))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)  # root may write anywhere
    for name in ("f", "{loss}"):
        refused_before_training(PermissionError, str(tmp_path), ModelCheckpoint(tmp_path / name))


def test_epoch_and_numbers_of_the_history_are_filled_in(tmp_path):
    trainer = make_trainer(metrics=[accuracy])
    name = "w-{epoch:02d}-{loss:.2f}-{accuracy:.3f}-{val_loss:+.1e}-{val_accuracy}-{lr:g}-{{b}}.safetensors"
    history = fit(trainer, ModelCheckpoint(tmp_path / name), validation_data=(X, Y))
    wanted = [
        f"w-{epoch:02d}-{r['loss']:.2f}-{r['accuracy']:.3f}-{r['val_loss']:+.1e}-{r['val_accuracy']}-{r['lr']:g}-{{b}}.safetensors"
        for epoch, r in enumerate(history, 1)
    ]
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(wanted)
    trainer.load(tmp_path / wanted[1])
    assert len(trainer.history) == 2


def test_a_folder_named_by_places_is_made(tmp_path):
    fit(make_trainer(), ModelCheckpoint(tmp_path / "{epoch}" / "{lr}" / "w"), epochs=2)
    assert (tmp_path / "2" / "0.1" / "w").is_file()


@pytest.mark.parametrize(
    "name",
    [
        "{step}",
        "{val_loss:.2f}",
        "{}",
        "{0}",
        "{epoch.real}",
        "{loss[0]}",
        "{Loss}",
        "{epoch",
        "epoch}",
        "{loss:.{epoch}f}",
    ],
)
def test_an_unknown_place_is_reported_before_training_with_those_that_there_are(tmp_path, name):
    refused_before_training(
        ValueError,
        r"ModelCheckpoint: expected places among \{epoch\}, \{loss\}, \{lr\}, \{seconds\} in the path",
        ModelCheckpoint(tmp_path / f"w-{name}"),
    )


@pytest.mark.parametrize("name", ["{loss:d}", "{epoch:q}", "{loss!x}", "{lr:.99999999999999999999f}", "{epoch:.2s}"])
def test_a_bad_format_is_reported_before_training(tmp_path, name):
    message = r"ModelCheckpoint: expected (formats such as \{epoch:02d\}|places among \{epoch\})"
    refused_before_training(ValueError, message, ModelCheckpoint(tmp_path / f"w-{name}"))


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("w-{epoch}", "."),
        ("run/w-{epoch}", "run"),
        ("run/{epoch}/w-{loss}", "run"),
        ("{epoch}/w", "."),
        ("/{epoch}", "/"),
        ("a{{b}}/w", "a{b}"),
        ("a{{b}}/w-{epoch}", "a{b}"),
        ("{{a}}/b/{{{epoch}}}/w", "{a}/b"),
    ],
)
def test_a_files_folder_is_known_up_to_the_first_place_in_it(path, folder):
    assert FileName(path, ("loss",), "example").folder == folder


def test_a_name_longer_than_memory_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match=r"^example: expected formats such as .*, got one with the error: "):
        FileName(f"w-{{epoch:{10**15}d}}", (), "example")


def test_messages_on_paths_are_short(tmp_path):
    with pytest.raises(ValueError) as refusal:
        fit(make_trainer(), ModelCheckpoint(f"{'x' * 5000}{{{'y' * 5000}}}"))
    assert len(str(refusal.value)) < 400


def test_a_missing_folder_is_reported_before_60_epochs_and_names_are_filled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y = data.disk(200, rng=0)
    m = nn.Sequential(nn.Linear(2, 2))
    t = Trainer(m, nn.CrossEntropyLoss(), optim.Adam(m.parameters()))
    with pytest.raises(FileNotFoundError):
        t.fit(x, y, epochs=60, batch_size=50, callbacks=[ModelCheckpoint("no/s.safetensors", every=50)])
    assert len(t.history) == 0
    checkpoint = ModelCheckpoint("w-{epoch:02d}-{loss:.2f}.safetensors")
    history = t.fit(x, y, epochs=4, batch_size=50, callbacks=[checkpoint])
    found = sorted(each.name for each in tmp_path.iterdir())
    assert found == [f"w-{epoch:02d}-{loss:.2f}.safetensors" for epoch, loss in enumerate(history["loss"], 1)]
