"""Ctrl-C, SIGTERM and SIGHUP: `fastdl train` saves what it has learned, and every command ends with one line."""

import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from fastdl.commands import predict, results, train
from fastdl.commands.interruption import SIGNALS, Interruption, handled
from fastdl.optim import CosineAnnealingLR
from fastdl.serialization import model_file
from fastdl.serialization.model_file import load
from fastdl.training.fit_loop import Fitting

pytestmark = pytest.mark.usefixtures("no_picture")
SHORT = ["--epochs", "4"]
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "ended by SIGTERM", signal.SIGHUP: "ended by SIGHUP"}


@pytest.fixture(autouse=True)
def signals_as_a_terminal_leaves_them():
    """A signal that the tests were started to ignore, as under nohup, would be ignored by the commands, too."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def send(monkeypatch):
    """Send a signal before a function is called, once it was called so often."""

    def send(owner, name, *numbers, calls=0):
        function, seen = getattr(owner, name), []

        def sending(*arguments, **options):
            seen.append(name)
            if len(seen) == calls + 1:
                for number in numbers:
                    signal.raise_signal(number)
            return function(*arguments, **options)

        monkeypatch.setattr(owner, name, sending)

    return send


def saved_after(epochs, folder, total=4):
    paths = [folder / "disk.safetensors", folder / "disk-history.csv"]
    assert sorted(folder.iterdir()) == sorted(paths)
    lines = paths[1].read_text().splitlines()
    assert lines[0] == "epoch,loss,accuracy,val_loss,val_accuracy,lr,seconds"
    assert [int(line.split(",")[0]) for line in lines[1:]] == list(range(1, epochs + 1))
    load(paths[0])
    return f"after {epochs} of {total} epochs; saved what was learned: weights {paths[0]}, history {paths[1]}\n"


@pytest.mark.parametrize(
    ("owner", "name", "calls", "epochs"),
    [
        (Fitting, "_follow", 0, 0),
        (Fitting, "_epoch", 0, 0),
        (Fitting, "_in_one_call", 2, 2),
        (CosineAnnealingLR, "step", 2, 3),
        (train._Training, "on_fit_end", 0, 4),
        (model_file, "model_words", 0, 4),
        (results, "csv_text", 0, 4),
        (train, "score", 0, 4),
        (train, "_picture", 0, 4),
    ],
)
def test_what_was_learned_is_saved_whenever_ctrl_c_comes(run, tmp_path, send, owner, name, calls, epochs):
    send(owner, name, signal.SIGINT, calls=calls)
    code, _, err = run("train", *SHORT)
    assert code == 130
    assert err == f"fastdl: interrupted {saved_after(epochs, tmp_path / 'out')}"


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_what_was_learned_is_saved_on_every_signal(run, tmp_path, send, number):
    send(Fitting, "_epoch", number, calls=2)
    code, _, err = run("train", *SHORT)
    assert code == 128 + number
    assert err == f"fastdl: {WORDS[number]} {saved_after(2, tmp_path / 'out')}"


def test_the_weights_saved_are_those_that_stand(run, tmp_path, monkeypatch):
    epoch, left = Fitting._epoch, {}

    def interrupted(self):
        if len(self.trainer.history) == 2:
            left.update({name: array.copy() for name, array in self.trainer.model.state_dict().items()})
            signal.raise_signal(signal.SIGINT)
        epoch(self)

    monkeypatch.setattr(Fitting, "_epoch", interrupted)
    run("train", *SHORT)
    saved = load(tmp_path / "out" / "disk.safetensors").model.state_dict()
    assert saved.keys() == left.keys()
    for name, array in saved.items():
        np.testing.assert_array_equal(array, left[name])


@pytest.mark.parametrize("name", ["asked_for", "_model", "Results", "Trainer"])
def test_before_training_began_nothing_is_written(run, tmp_path, send, name):
    send(train, name, signal.SIGTERM)
    assert run("train", *SHORT) == (
        143,
        "",
        "fastdl: ended by SIGTERM before training began; nothing was written\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_the_check_before_the_first_step_is_not_training(run, tmp_path, send):
    send(Fitting, "run", signal.SIGINT)
    code, _, err = run("train", *SHORT)
    assert (code, err) == (130, "fastdl: interrupted before training began; nothing was written\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("owner", "function"), [(model_file, "model_words"), (os, "fsync"), (os, "replace")])
def test_a_second_signal_while_saving_changes_nothing(run, tmp_path, send, owner, function):
    send(Fitting, "_epoch", signal.SIGINT, calls=2)
    send(owner, function, signal.SIGINT, signal.SIGTERM, signal.SIGINT)
    code, _, err = run("train", *SHORT)
    assert code == 130
    assert err == f"fastdl: interrupted {saved_after(2, tmp_path / 'out')}"


def test_a_signal_that_python_drops_ends_training_after_its_epoch(run, tmp_path, monkeypatch):
    """An exception in a finalizer is dropped."""
    epoch = Fitting._epoch

    class Finalized:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def dropping(self):
        if len(self.trainer.history) == 1:
            Finalized()
        epoch(self)

    monkeypatch.setattr(Fitting, "_epoch", dropping)
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)
    code, _, err = run("train", *SHORT)
    assert (code, err) == (130, f"fastdl: interrupted {saved_after(2, tmp_path / 'out')}")


def test_a_fit_that_fails_after_a_signal_says_why(run, tmp_path, send, monkeypatch):
    send(Fitting, "_epoch", signal.SIGINT, calls=2)

    def full(*_, **__):
        raise OSError(28, "No space left on device", "disk.safetensors")

    monkeypatch.setattr(results, "save", full)
    code, _, err = run("train", *SHORT)
    assert (code, err) == (2, "fastdl: disk.safetensors: No space left on device; fastdl train --help tells more\n")
    assert not (tmp_path / "out").exists()


def test_other_commands_end_with_a_line(run, tmp_path, flowers, send):
    run("train", "--data", flowers, "--epochs", "1")
    send(predict, "read_inputs", signal.SIGTERM)
    place = tmp_path / "kinds.csv"
    words = ["predict", tmp_path / "out" / "flowers.safetensors", "--data", flowers, "--out", place]
    assert run(*words) == (143, "", "fastdl: ended by SIGTERM\n")
    assert not place.exists()


def test_handlers_are_put_back_and_those_of_others_left():
    before = [signal.getsignal(number) for number in SIGNALS]
    mine = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with handled() as interruption:
            assert signal.getsignal(signal.SIGINT) is interruption
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, mine)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_an_interruption_is_raised_once_where_asked_and_released_later():
    interruption = Interruption()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            interruption(signal.SIGTERM, None)
    interruption.once = True
    with pytest.raises(KeyboardInterrupt):
        interruption(signal.SIGINT, None)
    interruption(signal.SIGINT, None)
    assert (interruption.number, interruption.code) == (signal.SIGTERM, 143)
    with pytest.raises(KeyboardInterrupt):
        interruption.release()


def started(tmp_path, *words):
    command = [sys.executable, "-P", "-m", "fastdl", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_process_is_interrupted_in_the_midst_of_its_training(tmp_path, flowers, number):
    process = started(tmp_path, "train", "--data", str(flowers), "--epochs", "1000000")
    try:
        assert process.stdout.readline().startswith("data: ")  # right before training
        process.send_signal(number)
        out, err = process.communicate(timeout=600)
    finally:
        process.kill()
    assert (process.returncode, out) == (128 + number, "")
    assert re.fullmatch(
        f"fastdl: {WORDS[number]} (before training began; nothing|after .* 1000000 epochs; saved).*\n", err
    )
    if "saved" in err:
        load(tmp_path / "fastdl-out" / "flowers.safetensors")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_process_is_interrupted_while_it_imports(tmp_path, number):
    """NumPy is the first that is imported: another one stands for it, which sends the signal."""
    (tmp_path / "numpy.py").write_text(f"import signal; signal.raise_signal({int(number)}); raise OSError")
    (tmp_path / "fastdl").symlink_to(os.path.dirname(train.__file__).removesuffix("/commands"))
    found = subprocess.run(
        [sys.executable, "-P", "-m", "fastdl", "train"],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        timeout=600,
    )
    assert (found.returncode, found.stdout, found.stderr) == (128 + number, "", f"fastdl: {WORDS[number]}\n")


def test_the_exit_code_is_that_of_the_command_where_executed_text_was_interrupted(tmp_path):
    """Python would end by SIGINT there."""
    code = (
        "import runpy, signal, sys\n"
        "from fastdl.commands import info\n"
        "info.run.__code__ = (lambda arguments: exec('import signal; signal.raise_signal(signal.SIGTERM)')).__code__\n"
        "sys.argv = ['fastdl', 'info']\n"
        "runpy.run_module('fastdl', run_name='__main__')\n"
    )
    (tmp_path / "executed.py").write_text(code)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])),
    }
    command = [sys.executable, "-P", "-m", "executed"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=600)
    assert (found.returncode, found.stderr) == (143, "fastdl: ended by SIGTERM\n")
