"""Callbacks: when they are called, and what those of fastdl do."""

import copy
import csv
import io
import pickle
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fastdl.callbacks import Callback, CSVLog, EarlyStopping, ProgressBar, bar
from tests.callbacks.fits import fit, make_trainer


class Diary(Callback):
    def __init__(self):
        self.lines = []

    def on_fit_begin(self, trainer, epochs):
        self.lines.append(f"begin {epochs}")

    def on_step_end(self, trainer, step, loss):
        self.lines.append(f"step {step}")

    def on_epoch_end(self, trainer, record):
        assert record is trainer.history[-1]
        self.lines.append(f"epoch {len(trainer.history)}")

    def on_fit_end(self, trainer):
        self.lines.append("end")


class Raising(Callback):
    def on_epoch_end(self, trainer, record):
        raise ArithmeticError("enough")


class Scripted(Callback):
    """Puts values of one's own in place of a record's, before the callbacks after it."""

    def __init__(self, **values):
        self.values = values
        self.states = []

    def on_epoch_end(self, trainer, record):
        self.states.append(trainer.model.state_dict())
        for name, values in self.values.items():
            record[name] = values[len(trainer.history) - 1]


def same_weights(state, other):
    return all((state[name] == other[name]).all() for name in state)


def test_a_callback_is_called_at_the_begin_each_step_each_epoch_and_the_end():
    fit(make_trainer(), diary := Diary(), epochs=2)
    assert diary.lines == ["begin 2", "step 1", "step 2", "epoch 1", "step 1", "step 2", "epoch 2", "end"]


def test_a_base_callback_does_nothing():
    plain, called = make_trainer(), make_trainer()
    fit(plain)
    fit(called, Callback())
    assert same_weights(plain.model.state_dict(), called.model.state_dict())


def test_every_callback_that_began_ends_when_one_raises():
    first, last = Diary(), Diary()
    with pytest.raises(ArithmeticError, match="enough"):
        fit(make_trainer(), first, Raising(), last)
    assert first.lines[-1] == last.lines[-1] == "end"


def test_a_callback_that_did_not_begin_does_not_end(tmp_path):
    first, last = Diary(), Diary()
    with pytest.raises(OSError, match="CSVLog"):
        fit(make_trainer(), first, CSVLog(tmp_path / "no" / "log.csv"), last)
    assert first.lines == ["begin 3", "end"]
    assert last.lines == []


def test_early_stopping_stops_after_patience_epochs_and_restores_the_best_weights():
    trainer = make_trainer()
    script = Scripted(loss=[3.0, 1.0, 2.0, 1.0, 0.5])
    history = fit(trainer, script, stop := EarlyStopping("loss", patience=2), epochs=5)
    assert len(history) == 4
    assert (stop.best_epoch, stop.best) == (2, 1.0)
    assert same_weights(trainer.model.state_dict(), script.states[1])
    assert not same_weights(script.states[1], script.states[3])


def test_early_stopping_restores_the_best_weights_of_a_fit_that_ends_by_itself():
    trainer = make_trainer()
    script = Scripted(loss=[1.0, 2.0, 3.0])
    fit(trainer, script, EarlyStopping("loss", patience=9))
    assert same_weights(trainer.model.state_dict(), script.states[0])


def test_early_stopping_restores_the_best_weights_of_a_fit_that_an_error_ends():
    trainer = make_trainer()
    script = Scripted(loss=[1.0, 2.0, 3.0])

    class RaisingThird(Callback):
        def on_epoch_end(self, trainer, record):
            if len(trainer.history) == 3:
                raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fit(trainer, script, EarlyStopping("loss", patience=9), RaisingThird())
    assert same_weights(trainer.model.state_dict(), script.states[0])


def test_without_restore_best_the_latest_weights_stay():
    trainer = make_trainer()
    script = Scripted(loss=[1.0, 2.0, 3.0])
    fit(trainer, script, EarlyStopping("loss", patience=2, restore_best=False))
    assert same_weights(trainer.model.state_dict(), script.states[2])


@pytest.mark.parametrize(
    ("arguments", "values", "epochs"),
    [
        ({"monitor": "loss", "patience": 1}, [3.0, 2.0, 2.0, 1.0], 3),
        ({"monitor": "loss", "patience": 1, "min_delta": 0.5}, [3.0, 2.4, 2.0, 1.0], 3),
        ({"monitor": "loss", "patience": 1, "mode": "max"}, [1.0, 2.0, 1.5, 3.0], 3),
        ({"monitor": "loss", "patience": 2}, [np.nan, 2.0, np.nan, np.nan], 4),
        ({"monitor": "loss", "patience": 2}, [np.nan, np.nan, 1.0, 1.0], 2),
    ],
)
def test_what_counts_as_an_improvement(arguments, values, epochs):
    assert len(fit(make_trainer(), Scripted(loss=values), EarlyStopping(**arguments), epochs=4)) == epochs


def test_the_mode_follows_from_the_usual_names():
    assert [EarlyStopping(name).mode for name in ("loss", "val_error", "val_accuracy")] == ["min", "min", "max"]
    with pytest.raises(ValueError, match="mode='min' or mode='max' for monitor 'val_f1'"):
        EarlyStopping("val_f1")
    assert EarlyStopping("val_f1", mode="max").mode == "max"


def test_early_stopping_starts_afresh_in_each_fit():
    trainer, stop = make_trainer(), EarlyStopping("loss", patience=1)
    fit(trainer, Scripted(loss=[1.0, 2.0]), stop)
    assert len(fit(trainer, Scripted(loss=[9.0, 8.0, 7.0]), stop)) == 3


def test_an_unknown_monitor_is_said_before_training():
    trainer = make_trainer()
    before = trainer.model.state_dict()
    with pytest.raises(ValueError, match=r"among loss, lr, seconds, got 'val_loss'; write fit\(.*validation_data"):
        fit(trainer, EarlyStopping())
    assert same_weights(trainer.model.state_dict(), before)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"monitor": 3}, TypeError),
        ({"patience": 0}, ValueError),
        ({"patience": 1.5}, TypeError),
        ({"min_delta": -1}, ValueError),
        ({"mode": "least"}, ValueError),
    ],
)
def test_early_stopping_refuses_arguments_it_cannot_use(arguments, kind):
    with pytest.raises(kind, match="EarlyStopping: expected"):
        EarlyStopping(**arguments)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_log_has_a_line_an_epoch_with_the_histories_numbers(tmp_path):
    history = fit(make_trainer(), CSVLog(tmp_path / "log.csv"))
    assert [int(row["epoch"]) for row in rows(tmp_path / "log.csv")] == [1, 2, 3]
    for name in history.names:
        assert [float(row[name]) for row in rows(tmp_path / "log.csv")] == history[name]


def test_each_line_is_in_the_file_before_the_next_epoch(tmp_path):
    class Reader(Callback):
        def on_epoch_end(self, trainer, record):
            assert len(rows(tmp_path / "log.csv")) == len(trainer.history)

    fit(make_trainer(), CSVLog(tmp_path / "log.csv"), Reader())


def test_a_log_is_continued_after_a_line_that_was_cut_off(tmp_path):
    log = CSVLog(tmp_path / "log.csv")
    fit(make_trainer(), log)
    whole = Path(log.path).read_text()
    Path(log.path).write_text(whole[:-5])
    fit(make_trainer(), log)
    lines = Path(log.path).read_text().splitlines()
    assert lines[0].startswith("epoch,loss,")
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2", "3", "1", "2", "3"]
    assert "\n".join(lines).count("epoch") == 1


def test_a_file_with_another_header_is_refused_before_training_and_left_alone(tmp_path):
    (tmp_path / "log.csv").write_text("name,price\n")
    trainer = make_trainer()
    before = trainer.model.state_dict()
    with pytest.raises(ValueError, match=r"to begin with epoch,loss,lr,seconds, got name,price"):
        fit(trainer, CSVLog(tmp_path / "log.csv"))
    assert (tmp_path / "log.csv").read_text() == "name,price\n"
    assert same_weights(trainer.model.state_dict(), before)


def test_a_path_that_cannot_be_written_is_said_before_training(tmp_path):
    trainer = make_trainer()
    before = trainer.model.state_dict()
    with pytest.raises(IsADirectoryError, match=r"CSVLog: cannot write to .*: Is a directory"):
        fit(trainer, CSVLog(tmp_path))
    assert same_weights(trainer.model.state_dict(), before)
    with pytest.raises(TypeError, match="expected a path, got int"):
        CSVLog(3)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "progress", "drawn"),
    [(Terminal, None, True), (Terminal, False, False), (io.StringIO, None, False), (io.StringIO, True, True)],
)
def test_a_bar_is_drawn_on_a_terminal_or_when_asked_for(monkeypatch, stream, progress, drawn):
    monkeypatch.setattr(sys, "stderr", stream())
    fit(make_trainer(), progress=progress)
    text = sys.stderr.getvalue()
    assert ("3/3" in text and "loss 0." in text) is drawn
    assert bool(text) is drawn


class ZMQInteractiveShell:
    """IPython's shell in a kernel of Jupyter's has this name."""


class TerminalInteractiveShell:
    """IPython's shell in a terminal."""


class HostedShell(ZMQInteractiveShell):
    """Hosts of notebooks derive their own."""


def in_a_shell(monkeypatch, shell):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(sys, "stderr", io.StringIO())


@pytest.mark.parametrize(
    ("shell", "progress", "drawn"),
    [
        (ZMQInteractiveShell(), None, True),
        (HostedShell(), None, True),
        (ZMQInteractiveShell(), False, False),
        (TerminalInteractiveShell(), None, False),
        (None, None, False),
    ],
)
def test_a_bar_is_drawn_in_a_notebook_though_its_stream_is_no_terminal(monkeypatch, shell, progress, drawn):
    in_a_shell(monkeypatch, shell)
    monkeypatch.setitem(sys.modules, "tqdm.notebook", SimpleNamespace(IProgress=None, tqdm=None))
    fit(make_trainer(), progress=progress)
    assert ("3/3" in sys.stderr.getvalue()) is drawn
    assert bool(sys.stderr.getvalue()) is drawn


def test_a_notebook_with_ipywidgets_has_the_bar_as_a_widget(monkeypatch):
    made = []

    class Widget:
        def __init__(self, **options):
            made.append(self)
            self.total, self.n = options["total"], 0

        def set_postfix_str(self, text, refresh):
            self.text = text

        def update(self):
            self.n += 1

        def close(self):
            self.closed = True

    in_a_shell(monkeypatch, ZMQInteractiveShell())
    monkeypatch.setitem(sys.modules, "tqdm.notebook", SimpleNamespace(IProgress=object, tqdm=Widget))
    fit(make_trainer())
    (bar,) = made
    assert (bar.n, bar.total, bar.closed) == (3, 3, True)
    assert bar.text.startswith("loss 0.")
    assert sys.stderr.getvalue() == ""


RECORD = {"loss": 0.095831234, "accuracy": 0.98765, "val_loss": 0.0931123, "val_accuracy": 0.99}
LONG = {"root_mean_squared_error": 12345.678, "val_root_mean_squared_error": 0.1234567, "mean_absolute_error": 1.5}


@pytest.mark.parametrize(
    "record", [RECORD, RECORD | LONG, dict(list(RECORD.items())[:1])], ids=["usual", "long", "loss"]
)
@pytest.mark.parametrize("columns", [20, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("epochs", [1, 100, 100_000])
def test_a_bar_is_one_line_with_whole_numbers_in_any_terminal(monkeypatch, record, columns, epochs):
    """What tqdm itself would cut at the edge is shortened: names first, then the last values are left out."""
    stream = Terminal()
    drawn = bar.bar_class(False)(total=epochs, file=stream, ncols=columns - 1, mininterval=0, leave=True)
    drawn.show_record(record)
    drawn.update(epochs)
    drawn.close()
    line = stream.getvalue().split("\r")[-1].rstrip("\n ")
    assert len(line) < columns
    assert line.startswith("100%|")
    numbers = {f"{value:.{digits}g}" for value in record.values() for digits in (3, 4)}
    if columns >= 60:
        assert f"{epochs}/{epochs}" in line
    shown = [
        words.split()[-1].rstrip("]") for words in line.split(", ")[1:] if "epoch" not in words and "it/s" not in words
    ]
    assert set(shown) <= numbers
    if columns >= 80 and (record is RECORD or len(record) == 1) and epochs < 1000:
        assert len(shown) == len(record)
        assert re.search("loss? 0.095", line)


def test_names_stay_apart_when_they_are_shortened():
    record = {"precision_macro": 1.0, "precision_micro": 2.0, "recall": 3.0}
    assert bar.words(record, 2, 3) == "pr_ma 1, pr_mi 2, re 3"
    assert bar.words({"precision": 1.0, "precise": 2.0}, 4, 3) == "precision 1, precise 2"


def test_a_bar_in_a_file_is_whole(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    fit(make_trainer(), progress=True)
    assert re.search(r"3/3 \[.*epoch/s, loss 0\.\d+\]", sys.stderr.getvalue())


class Gone(Terminal):
    """A terminal that goes away once so much was written."""

    def __init__(self, error, after):
        super().__init__()
        self.error, self.after = error, after

    def write(self, text):
        self.after -= 1
        if self.after < 0:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize("after", range(6))
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("I/O operation on closed file")])
def test_a_terminal_that_goes_away_ends_the_bar_not_the_fit(monkeypatch, error, after):
    monkeypatch.setattr(sys, "stderr", Gone(error, after))
    history = fit(make_trainer())
    assert (len(history), history.interrupted) == (3, False)


def test_a_standard_error_that_is_closed_has_no_bar(monkeypatch):
    stream = Terminal()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(Terminal, "isatty", io.StringIO.isatty)
    assert len(fit(make_trainer())) == 3


def test_a_bar_of_ones_own_is_the_only_one(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    fit(make_trainer(), ProgressBar(show=False))
    assert sys.stderr.getvalue() == ""


def test_a_missing_tqdm_is_named_to_those_who_asked_for_a_bar(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(ImportError, match="pip install tqdm"):
        fit(make_trainer(), progress=True)
    assert len(fit(make_trainer())) == 3
    assert sys.stderr.getvalue() == ""


@pytest.mark.parametrize("make", [ProgressBar, EarlyStopping, lambda: CSVLog("log.csv")])
def test_callbacks_copy_and_pickle(make):
    callback = make()
    for twin in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        assert vars(twin) == vars(callback)
