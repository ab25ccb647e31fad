"""The command line: what it does, prints, and refuses in one line."""

import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest

import fastdl
from fastdl import cli, nn
from fastdl._kernels.threads import threads_reason
from fastdl.commands import info, task, train
from fastdl.commands.start import is_command
from fastdl.data import disk
from fastdl.metrics import accuracy
from fastdl.serialization.model_file import load
from fastdl.training import Trainer, predict

SMALL = ["--epochs", "2", "--batch-size", "100"]


def without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


def test_train_alone_reaches_97_percent_on_the_disk_within_seconds(run, tmp_path):
    start = time.process_time()  # not of other work on the machine
    code, out, err = run("train")
    assert code == 0
    assert err == ""
    assert time.process_time() - start < 60
    last = re.fullmatch(r"test accuracy (\d+\.\d) %", out.splitlines()[-1])
    assert last is not None
    assert float(last[1]) >= 97
    assert f"weights: {tmp_path / 'out' / 'disk.safetensors'}" in out


@pytest.mark.parametrize("seed", range(1, 4))
def test_other_seeds_reach_97_percent_too(run, monkeypatch, seed):
    without_matplotlib(monkeypatch)
    code, out, _ = run("train", "--seed", str(seed))
    assert code == 0
    assert float(out.split()[-2]) >= 97


def test_what_train_saved_is_the_model_that_it_measured(run, tmp_path):
    _, out, _ = run("train", "--epochs", "20")
    saved = load(tmp_path / "out" / "disk.safetensors")
    assert nn.to_spec(saved.model) == [f"{name}()" if name == "ReLU" else name for name in task.DISK_NET]
    assert saved.classes == ("outside", "inside")
    rng = np.random.default_rng(0)
    disk(1000, rng)
    x, y = disk(1000, rng)
    assert f"{100 * accuracy(predict(saved.model, saved.scaling.transform(x)), y):.1f} %" in out


def test_the_picture_is_drawn_where_matplotlib_is(run, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the plot extra)")
    _, out, _ = run("train", *SMALL)
    assert f"picture: {tmp_path / 'out' / 'disk.png'}" in out
    assert (tmp_path / "out" / "disk.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_train_says_what_would_draw_the_picture(run, tmp_path, monkeypatch):
    without_matplotlib(monkeypatch)
    code, out, _ = run("train", *SMALL)
    assert code == 0
    assert 'pip install ".[plot]"' in out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"disk.safetensors", "disk-history.csv"}


def test_the_same_seed_saves_the_same_bits(run, tmp_path, monkeypatch):
    without_matplotlib(monkeypatch)
    found = []
    for seed in ("3", "3", "4"):
        run("train", *SMALL, "--seed", seed)
        found.append((tmp_path / "out" / "disk.safetensors").read_bytes())
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("name", train.OPTIMIZERS)
def test_every_optimizer_reaches_97_percent_at_its_own_rate(run, monkeypatch, name):
    without_matplotlib(monkeypatch)
    code, out, _ = run("train", "--optimizer", name)
    assert code == 0
    assert float(out.split()[-2]) >= 97


def test_the_options_reach_the_fit(run, monkeypatch):
    without_matplotlib(monkeypatch)
    seen = {}
    fit = Trainer.fit

    def spy(self, *arrays, **options):
        seen.update(options, lr=self.optimizer.param_groups[0]["lr"], optimizer=type(self.optimizer).__name__)
        return fit(self, *arrays, **options)

    monkeypatch.setattr(Trainer, "fit", spy)
    run("train", "--epochs", "3", "--batch-size", "77", "--optimizer", "sgd", "--lr", "0.02")
    assert (seen["epochs"], seen["batch_size"], seen["optimizer"], seen["lr"]) == (3, 77, "SGD", 0.02)


def test_a_model_is_given_inline_or_as_a_toml_file(run, tmp_path):
    toml = tmp_path / "model.toml"
    toml.write_text('model = ["Linear(2, 7)", "ReLU", "Linear(7, 2)"]')
    for spec in ("Linear(2, 7); ReLU; Linear(7, 2)", str(toml)):
        assert run("train", *SMALL, "--model", spec)[0] == 0
        saved = load(tmp_path / "out" / "disk.safetensors")
        assert nn.to_spec(saved.model) == ["Linear(2, 7)", "ReLU()", "Linear(7, 2)"]


def test_info_prints_version_level_threads_and_build(run):
    code, out, err = run("info")
    assert (code, err) == (0, "")
    lines = dict(line.split(":", 1) for line in out.splitlines())
    assert lines["fastdl"].strip() == fastdl.__version__
    assert lines["CPU level"].strip() == fastdl.cpu_level()
    assert lines["threads"].strip() == f"{fastdl.get_num_threads()} ({threads_reason()})"
    assert {name: lines[name].strip() for name in fastdl.build_info()} == {
        name: str(value) for name, value in fastdl.build_info().items()
    }


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["info", "--help"], ["--version"]])
def test_help_is_no_error(capsys, words):
    assert cli.main(words) == 0
    assert "fastdl" in capsys.readouterr().out


BAD_WORDS = {
    "nothing": ([], "expected a command, got none"),
    "unknown command": (["tarin"], "tarin"),
    "unknown option": (["train", "--rate", "1"], "unknown option --rate; fastdl train --help tells more"),
    "unknown option before a command": (["--rate=1"], "unknown option --rate; fastdl --help tells more"),
    "one word too many": (["info", "cpu"], "unexpected argument 'cpu'; fastdl info --help tells more"),
    "unknown optimizer": (["train", "--optimizer", "lion"], "'lion' .*sgd"),
    "no epochs": (["train", "--epochs", "0"], "--epochs: expected a whole number above 0, got '0'"),
    "half a batch": (["train", "--batch-size", "1.5"], "--batch-size: .*got '1.5'"),
    "a rate of nan": (["train", "--lr", "nan"], "--lr: expected a number above 0, got 'nan'"),
    "a negative rate": (["train", "--lr=-1"], "--lr: expected a number above 0"),
    "a negative seed": (["train", "--seed=-1"], "--seed: expected a whole number of at least 0"),
    "an unknown layer": (["train", "--model", "Liner(2, 2)"], "--model: .*'Liner'; nearest: Linear"),
    "a malformed layer": (["train", "--model", "Linear(2, 2"], "--model: .*Linear"),
    "other inputs": (["train", "--model", "Linear(3, 2)"], r"--model: Linear\(3, 2\): expected input"),
    "other outputs": (["train", "--model", "Linear(2, 3)"], "--model: .*2 outputs, got outputs of shape"),
    "no layers": (["train", "--model", ";"], "with parameters"),
    "no file": (["train", "--model", "none.toml"], "--model none.toml: No such file"),
    "divergence": (["train", "--lr", "1e30", "--optimizer", "sgd"], "the loss is .* write a smaller lr"),
}


@pytest.mark.parametrize(("words", "message"), BAD_WORDS.values(), ids=BAD_WORDS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_error_is_one_line_and_code_2(run, words, message):
    code, out, err = run(*words)
    assert code == 2
    assert out == ""
    assert re.fullmatch(f"fastdl: .*{message}.*\n", err)
    assert re.search(r"; fastdl( train| info)? --help tells more\n$", err)


def test_a_folder_that_cannot_be_written_is_said_before_training(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("trained"))
    (tmp_path / "file").write_text("")
    for out in ("file", "file/inside"):
        code, _, err = run("train", "--out", str(tmp_path / out))
        assert code == 2
        assert re.fullmatch(r"fastdl: --out .*file.*: cannot be written to: .*\n", err)


@pytest.mark.parametrize("name", ["disk.safetensors", "disk-history.csv", "disk.png"])
def test_a_file_in_the_folder_that_cannot_be_replaced_is_said_before_training(run, tmp_path, monkeypatch, name):
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("trained"))
    os.mkfifo(tmp_path / name)
    code, out, err = run("train", "--out", tmp_path, "--overwrite")
    assert (code, out) == (2, "")
    assert (
        err
        == f"fastdl: --out {tmp_path / name}: expected the name of a file, got a FIFO; fastdl train --help tells more\n"
    )
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_an_unforeseen_error_is_one_line_too(run, monkeypatch):
    monkeypatch.setattr(info, "cpu_level", lambda: [][0])
    message = "fastdl: IndexError: list index out of range; fastdl info --help tells more\n"
    assert run("info") == (2, "", message)


def test_python_m_fastdl_is_the_command(tmp_path):
    words = [sys.executable, "-P", "-m", "fastdl", "train", *SMALL]
    found = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True, env=os.environ)
    assert re.search(r"\ntest accuracy \d+\.\d %\n$", found.stdout)
    assert found.stderr == ""
    assert (tmp_path / "fastdl-out" / "disk.safetensors").exists()
    failed = subprocess.run([*words, "--epochs", "x"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "study", "info"])
def test_help_of_a_command_is_written_as_sentences(capsys, command):
    assert cli.main([command, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "cpu level" not in said
    assert ("stands in parentheses" in said) is (command != "info")


@pytest.mark.parametrize(
    ("argv", "words", "found"),
    [
        (["/usr/bin/fastdl", "train"], ["python", "/usr/bin/fastdl", "train"], True),
        (["-m", "train"], ["python", "-m", "fastdl", "train"], True),
        (["-m"], ["python", "-m", "pytest", "fastdl"], False),
        (["/usr/bin/fastdl"], ["python", "-c", "from multiprocessing ...", "--multiprocessing-fork"], False),
        (["fastdl.py"], ["python", "fastdl.py"], False),
        (["-c"], ["python", "-c", "import fastdl"], False),
        ([], [], False),
    ],
)
def test_processes_of_the_command_are_distinguished_from_others_by_their_words(monkeypatch, argv, words, found):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", words)
    assert is_command() == found
