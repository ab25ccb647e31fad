"""Every reader takes regular files alone: it neither reads a device for ever nor waits for a FIFO."""

import os
import signal
import socket
import sys
import warnings

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, data, nn, optim
from fastdl.input_file import open_regular, read_whole, size_of


def load_onnx(path):
    pytest.importorskip("onnx")
    return fastdl.onnx.load(path)


def load_state(path):
    model = nn.Linear(2, 2)
    Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1)).load(path)


READERS = {
    "load": fastdl.load,
    "load into a model": lambda path: fastdl.load(path, nn.Linear(2, 2)),
    "load_torch": fastdl.load_torch,
    "Trainer.load": load_state,
    "onnx.load": load_onnx,
    "from_spec": nn.from_spec,
    "load_data": data.load_data,
    "load_inputs": data.load_inputs,
    "read_csv": data.read_csv,
    "read_columns": data.read_columns,
    "read_idx": data.read_idx,
    "read_npz": data.read_npz,
    "read_npy": lambda path: data.read_npy(path, path),
    "read_cifar10": data.read_cifar10,
}
KINDS = ("FIFO", "socket", "device", "folder", "link to a FIFO", "link to a device")


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """Make a path of some kind."""
    monkeypatch.chdir(tmp_path)  # a socket's name has few characters

    def odd(kind, name="odd.toml"):
        path = tmp_path / name
        if kind == "FIFO":
            os.mkfifo(path)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(name)
        elif kind == "device":
            path.symlink_to(os.devnull)
        elif kind == "folder":
            path.mkdir()
        else:
            target = os.devnull if kind.endswith("device") else odd("FIFO", "pipe")
            path.symlink_to(target)
        return path

    return odd


@pytest.fixture(autouse=True)
def never_waits():
    """Let a reader that waits for a FIFO fail."""

    def ring(*_):
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(600)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_regular_file_is_refused_in_one_sentence(odd, reader, kind):
    path = odd(kind)
    with pytest.raises(ValueError, match=rf"^[\w.]+: expected a file, got the {kind.split()[-1]} .*odd\.toml$"):
        READERS[reader](path)


@pytest.mark.parametrize("command", ["evaluate", "predict"])
@pytest.mark.parametrize("kind", KINDS)
def test_commands_refuse_it_too(run, odd, kind, command):
    path = odd(kind)
    words = [] if command == "evaluate" else ["--data", path]
    code, _, error = run(command, path, *words)
    assert code == 2
    assert error.startswith(f"fastdl: load: expected a file, got the {kind.split()[-1]} {path}")
    assert error.count("\n") == 1


def test_an_endless_device_is_not_read(python):
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (4 << 30,) * 2);"
        "from fastdl.cli import main; sys.exit(main(['evaluate', '/dev/zero']))"
    )
    done = python(code)
    assert done.returncode == 2
    assert done.stderr.startswith("fastdl: load: expected a file, got the device /dev/zero")


def test_a_file_that_another_one_replaces_between_look_and_opening_is_looked_at_again(tmp_path, monkeypatch):
    path, real, opened = tmp_path / "file", os.open, []
    path.write_bytes(b"content")

    def replaced(name, *arguments, **options):
        path.unlink()
        os.mkfifo(path)
        opened.append(real(name, *arguments, **options))
        return opened[0]

    monkeypatch.setattr(os, "open", replaced)
    with pytest.raises(ValueError, match="reader: expected a file, got the FIFO"):
        open_regular(path, "reader")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


def test_refused_files_are_closed(odd):
    path = odd("FIFO")
    before = set(os.listdir("/proc/self/fd")) if sys.platform == "linux" else None
    for _ in range(3):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ValueError):
                read_whole(path, "reader")
    assert before is None or set(os.listdir("/proc/self/fd")) == before


def test_a_file_is_read_up_to_its_size(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert read_whole(path, "reader") == read_whole(path, "reader", 7) == b"content"
    with pytest.raises(ValueError, match="reader: expected a file of at most 6 bytes, got 7 in"):
        read_whole(path, "reader", 6)
    for change in (-1, 1):
        monkeypatch.setattr("fastdl.input_file.size_of", lambda file, change=change: size_of(file) + change)
        with pytest.raises(ValueError, match=r"reader: expected \d bytes in .*, got a file that changes"):
            read_whole(path, "reader")


def test_missing_files_are_named_by_the_system(tmp_path):
    for read in READERS.values():
        with pytest.raises(FileNotFoundError, match=r"none\.toml"):
            read(tmp_path / "none.toml")


@pytest.mark.parametrize("reader", ["load", "load_torch", "Trainer.load", "read_npz", "read_csv"])
def test_paths_are_paths(reader):
    for path in (3, None, b"bytes", np.zeros(10**4)):
        with pytest.raises(TypeError, match=f"^{reader}: expected a path, got .{{1,80}}$"):
            READERS[reader](path)
    with pytest.raises(ValueError, match=f"^{reader}: expected the name of a file, got 'a"):
        READERS[reader]("a\0b")
