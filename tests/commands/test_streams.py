"""Standard streams that are closed, full, without a reader or of few letters: no command ends in a traceback."""

import io
import os
import subprocess
import sys

import pytest

from fastdl.commands.streams import say, standard_streams

FULL = "/dev/full"
needs_full = pytest.mark.skipif(not os.path.exists(FULL), reason="no full device here")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table whose classes have letters beyond ASCII, and a model of it."""
    folder = tmp_path_factory.mktemp("streams")
    (folder / "no pictures").mkdir()
    (folder / "no pictures" / "matplotlib.py").write_text("raise ImportError")
    rows = "\n".join(f"{i},{i % 7},é{i % 2}" for i in range(20))
    (folder / "u.csv").write_text(f"a,b,kind\n{rows}\n", encoding="utf-8")
    done = shell(folder, "train --data u.csv --epochs 1 --out model", PYTHONUTF8="1")
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def without_pictures(folder):
    """Environment variables with which matplotlib, which takes longer than all else, seems not to be installed."""
    return {"PYTHONPATH": os.pathsep.join([str(folder / "no pictures"), *filter(None, [os.environ.get("PYTHONPATH")])])}


def shell(folder, words, redirections="", pictures=False, **environment):
    """Run `fastdl WORDS` in a shell."""
    line = f'set -o pipefail; "{sys.executable}" -P -m fastdl {words} {redirections}'
    without = {name: value for name, value in os.environ.items() if name not in ("PYTHONIOENCODING", "PYTHONUTF8")}
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={**without, **({} if pictures else without_pictures(folder)), **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=600,
    )


EVERY = {
    "help": "--help",
    "info": "info",
    "train": "train --epochs 1 --overwrite",
    "train on a file": "train --data u.csv --epochs 1 --out again --overwrite",
    "evaluate": "evaluate model/u.safetensors --data u.csv",
    "predict": "predict model/u.safetensors --data u.csv",
    "study": "study",
}


# All commands write through the same streams: these stand for the others.
SHORT = ("help", "train on a file", "predict")
slow = pytest.mark.slow
commands = [pytest.param(words, id=name, marks=() if name in SHORT else slow) for name, words in EVERY.items()]


@pytest.mark.parametrize("words", commands)
def test_what_is_closed_is_not_written_to(folder, words):
    done = shell(folder, words, ">&-")
    if words == EVERY["predict"]:
        assert done.returncode == 2
        assert done.stderr.startswith("fastdl: standard output: it is closed; write --out FILE; ")
    else:
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_all_three_may_be_closed(folder):
    done = shell(folder, "train --epochs 1 --out closed", "<&- >&- 2>&-", pictures=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name for path in (folder / "closed").iterdir()} >= {"disk.safetensors", "disk-history.csv"}


@pytest.mark.parametrize("words", [*commands, "train --epochs x", pytest.param("evaluate none", marks=slow)])
def test_a_closed_or_full_standard_error_changes_nothing(folder, words):
    wanted = shell(folder, words)
    for redirection in ["2>&-", *[f"2>{FULL}"] * os.path.exists(FULL)]:
        done = shell(folder, words, redirection)
        assert (done.returncode, done.stdout, done.stderr) == (wanted.returncode, wanted.stdout, "")


@needs_full
@pytest.mark.parametrize("words", [*commands, "train --help", "--version"])
@pytest.mark.parametrize("buffered", ["", pytest.param("1", marks=slow)], ids=["buffered", "unbuffered"])
def test_a_full_device_is_one_line(folder, words, buffered):
    done = shell(folder, words, f">{FULL}", PYTHONUNBUFFERED=buffered)
    assert done.returncode == 2
    assert done.stderr.startswith("fastdl: standard output: No space left on device; fastdl ")
    assert done.stderr.count("\n") == 1


@needs_full
def test_a_full_device_is_one_line_without_buffers_too(folder):
    done = shell(folder, EVERY["predict"], f">{FULL}", PYTHONUNBUFFERED="1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("fastdl: standard output: No space left on device; fastdl ")


@needs_full
def test_weights_are_saved_where_standard_output_is_full(folder):
    shell(folder, "train --epochs 1 --out full", f">{FULL}")
    assert {path.name for path in (folder / "full").iterdir()} >= {"disk.safetensors", "disk-history.csv"}


@pytest.mark.parametrize("words", [*commands, "train --help"])
def test_a_reader_that_has_gone_is_no_traceback(folder, words):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-P", "-m", "fastdl", *words.split()]
    try:
        done = subprocess.run(
            command,
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=folder,
            env={**os.environ, **without_pictures(folder)},
            timeout=600,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


POOR = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "coerced C": {"LC_ALL": "", "LANG": "C"},
    "latin-1": {"PYTHONIOENCODING": "latin-1:strict", "PYTHONUTF8": "1"},
}


@pytest.mark.parametrize("environment", POOR.values(), ids=POOR)
def test_a_poor_encoding_is_no_error(folder, environment):
    for words in ("train on a file", "evaluate"):
        command = f'set -o pipefail; "{sys.executable}" -P -m fastdl {EVERY[words]}'
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env={**os.environ, **without_pictures(folder), **environment},
            capture_output=True,
            check=False,
            timeout=600,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"\\xe90" in done.stdout or "é0".encode() in done.stdout or "é0".encode("latin-1") in done.stdout


def test_predictions_are_exact_or_refused(folder):
    words = EVERY["predict"]
    done = shell(folder, words, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (2, "")
    expected = "expected an encoding that has '\\xe9', got ascii; write --out FILE, or set PYTHONIOENCODING=utf-8"
    assert done.stderr == f"fastdl: standard output: {expected}; fastdl predict --help tells more\n"
    assert "é0," in shell(folder, words, PYTHONIOENCODING="utf-8").stdout
    assert shell(folder, f"{words} --out kinds.csv", PYTHONIOENCODING="ascii").returncode == 0
    assert "é0," in (folder / "kinds.csv").read_text(encoding="utf-8")


def test_streams_are_put_back(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", None)
    with standard_streams():
        say("é")
        print("dropped", file=sys.stderr)
    assert (stream.buffer.getvalue(), stream.errors, sys.stderr) == (b"\\xe9\n", "strict", None)
