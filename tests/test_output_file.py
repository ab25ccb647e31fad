"""Every writer puts its file in place whole, keeps what an older one was allowed, and touches nothing but regular files."""

import errno
import os
import socket
import stat
import sys

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim, output_file
from fastdl.input_file import open_regular
from fastdl.output_file import check_file, continued, replacing, write_atomically


def make_trainer():
    model = nn.Linear(2, 2, rng=0)
    return Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))


def export(path):
    pytest.importorskip("onnx")
    fastdl.onnx.export(nn.Linear(2, 2, rng=0), path, 2)


WRITERS = {
    "save": lambda path: fastdl.save(nn.Linear(2, 2, rng=0), path),
    "Trainer.save": lambda path: make_trainer().save(path),
    "onnx.export": export,
    "write_atomically": lambda path: write_atomically(path, b"content", "writer"),
}
writers = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.fixture
def named(monkeypatch):
    """Let the system have no files without a name."""
    monkeypatch.setattr(output_file, "_unnamed", lambda *_: None)


@pytest.fixture
def unlinked(monkeypatch):
    """Let the system give no name to a file that has none."""

    def refuse(*_, **options):
        raise OSError(errno.ENOENT, "no /proc")

    monkeypatch.setattr(os, "link", refuse)


@pytest.fixture(params=["as it is", "named", "unlinked"])
def system(request):
    """The ways in which files are written."""
    if request.param != "as it is":
        request.getfixturevalue(request.param)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def content(folder):
    return sorted(each.name for each in folder.iterdir())


@writers
@pytest.mark.parametrize("kind", ["FIFO", "socket", "device"])
@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_regular_file_is_refused_and_stays(tmp_path, monkeypatch, write, kind, linked):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "odd"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("odd")
    else:
        path.symlink_to(os.devnull)
    if linked:
        path = tmp_path / "link"
        path.symlink_to("odd")
    before, names = os.stat(path), content(tmp_path)
    with pytest.raises(OSError, match=f"expected a regular file or a new name to write to, got a {kind}: '{path}'"):
        write(path)
    assert os.path.samestat(os.stat(path), before)
    assert content(tmp_path) == names


@writers
def test_a_folder_is_refused_and_stays(tmp_path, write):
    for path in (tmp_path, f"{tmp_path}/new/", f"{tmp_path}/."):
        with pytest.raises(IsADirectoryError):
            write(path)
    with pytest.raises(FileNotFoundError):
        write(f"{tmp_path}/none/file")
    assert content(tmp_path) == []


def test_a_path_without_a_name_is_refused():
    with pytest.raises(FileNotFoundError):
        write_atomically("", b"content", "writer")
    with pytest.raises(TypeError, match="writer: expected a path, got 3"):
        write_atomically(3, b"content", "writer")
    with pytest.raises(ValueError, match="writer: expected the name of a file"):
        write_atomically("a\0b", b"content", "writer")


@pytest.mark.parametrize("old", [False, True])
def test_the_file_has_all_that_was_written(tmp_path, system, old):
    path, parts = tmp_path / "file", [b"first", bytes(range(256)) * 1000, b"last"]
    if old:
        path.write_bytes(b"old" * 10**6)
    with replacing(path, "writer") as file:
        for part in parts:
            file.write(part)
    assert path.read_bytes() == b"".join(parts)
    assert content(tmp_path) == ["file"]


@writers
@pytest.mark.parametrize("bits", [0o600, 0o640, 0o644, 0o664, 0o777])
def test_permissions_are_kept(tmp_path, umask, system, write, bits):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(bits)
    write(path)
    assert path.read_bytes() != b"old"
    assert mode(path) == bits


@writers
@pytest.mark.parametrize(("mask", "bits"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_what_the_umask_leaves(tmp_path, umask, system, write, mask, bits):
    umask(mask)
    write(tmp_path / "file")
    assert mode(tmp_path / "file") == bits


def test_what_is_to_be_private_is_private_while_it_is_written(tmp_path, umask, named):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o600)
    with replacing(path, "writer") as file:
        file.write(b"new")
        (other,) = set(tmp_path.iterdir()) - {path}
        assert mode(other) == 0o600


@writers
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_is_kept(tmp_path, umask, system, write):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 1234, 4321)
    path.chmod(0o4750)
    write(path)
    status = os.stat(path)
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 4321, 0o4750)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root makes files of others")
@pytest.mark.parametrize(("refused", "bits"), [("both", 0o644), ("owner", 0o664)])
def test_who_could_not_read_a_file_cannot_when_its_owner_cannot_be_kept(tmp_path, monkeypatch, refused, bits):
    path, chown = tmp_path / "file", os.chown
    path.write_bytes(b"old")
    chown(path, 1234, 4321)
    path.chmod(0o6664)

    def refuse(file, owner, group):
        if refused == "both" or owner != -1:
            raise PermissionError(errno.EPERM, "no")
        chown(file, owner, group)

    monkeypatch.setattr(os, "chown", refuse)
    write_atomically(path, b"new", "writer")
    assert mode(path) == bits
    assert path.read_bytes() == b"new"


def test_extended_attributes_are_kept(tmp_path, system):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    try:
        os.setxattr(path, "user.origin", b"here")
    except (AttributeError, OSError):
        pytest.skip("no extended attributes here")
    write_atomically(path, b"new", "writer")
    assert os.getxattr(path, "user.origin") == b"here"


@writers
def test_a_link_stays_and_its_target_is_replaced(tmp_path, umask, system, write):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_bytes(b"old")
    (folder / "file").chmod(0o600)
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("folder/file")
    write(tmp_path / "one")
    assert (tmp_path / "one").is_symlink()
    assert (tmp_path / "two").is_symlink()
    assert (folder / "file").read_bytes() != b"old"
    assert mode(folder / "file") == 0o600
    assert content(folder) == ["file"]


@writers
def test_a_link_to_nothing_makes_its_target(tmp_path, write):
    (tmp_path / "link").symlink_to("file")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").is_file()
    (tmp_path / "lost").symlink_to("none/file")
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "lost")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop"):
        write(tmp_path / "loop")
    assert content(tmp_path) == ["file", "link", "loop", "lost"]


def test_of_hard_links_only_the_one_written_to_changes(tmp_path):
    (tmp_path / "one").write_bytes(b"old")
    os.link(tmp_path / "one", tmp_path / "two")
    write_atomically(tmp_path / "one", b"new", "writer")
    assert (tmp_path / "one").read_bytes() == b"new"
    assert (tmp_path / "two").read_bytes() == b"old"


def test_what_may_not_be_written_to_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o400)
    monkeypatch.setattr(os, "access", lambda file, _: bool(mode(file) & 0o200))  # root may write to everything
    with pytest.raises(PermissionError, match="file"):
        write_atomically(path, b"new", "writer")
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError, OSError(errno.ENOSPC, "disk full")])
@pytest.mark.parametrize("old", [False, True])
def test_a_failure_in_the_middle_leaves_nothing_and_the_old_file(tmp_path, system, error, old):
    path = tmp_path / "file"
    if old:
        path.write_bytes(b"old")

    def fail():
        with replacing(path, "writer") as file:
            file.write(b"new" * 10**5)
            raise error

    with pytest.raises(type(error) if isinstance(error, OSError) else error):
        fail()
    assert content(tmp_path) == ["file"] * old
    assert not old or path.read_bytes() == b"old"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a full disk is Linux's /dev/full")
def test_a_full_disk_is_reported_with_the_files_name(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(output_file, "_unnamed", lambda *_: os.fdopen(os.open("/dev/full", os.O_RDWR), "r+b", 0))
    for write in WRITERS.values():
        with pytest.raises(OSError, match=rf"No space left on device: '{path}'"):
            write(path)
    assert content(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["replace", "fsync", "chmod"])
def test_a_step_that_fails_or_is_interrupted_leaves_nothing(tmp_path, monkeypatch, system, name):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    for error in (KeyboardInterrupt(), OSError(errno.EIO, "broken")):
        with monkeypatch.context() as patch:

            def fail(*_, error=error):
                raise error

            patch.setattr(os, name, fail)
            with pytest.raises(type(error)):
                write_atomically(path, b"new", "writer")
        assert content(tmp_path) == ["file"]
        assert path.read_bytes() == b"old"


def test_a_folder_that_cannot_be_forced_to_the_disk_is_no_failure(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(output_file, "_sync_folder", fail)
    write_atomically(tmp_path / "file", b"new", "writer")
    assert content(tmp_path) == ["file"]


def test_whether_a_file_can_be_written_is_found_out_without_writing(tmp_path):
    check_file(tmp_path / "file", "writer")
    (tmp_path / "old").write_bytes(b"old")
    check_file(tmp_path / "old", "writer")
    os.mkfifo(tmp_path / "pipe")
    for name, kind in (("pipe", OSError), ("none/file", FileNotFoundError), ("old/file", NotADirectoryError)):
        with pytest.raises(kind, match=name):
            check_file(tmp_path / name, "writer")
    with pytest.raises(IsADirectoryError):
        check_file(tmp_path, "writer")
    assert content(tmp_path) == ["old", "pipe"]
    assert (tmp_path / "old").read_bytes() == b"old"


def test_a_file_is_continued_at_its_end(tmp_path, umask):
    (tmp_path / "link").symlink_to("file")
    for part in (b"one", b"two"):
        with continued(tmp_path / "link", "writer") as file:
            file.write(part)
    assert (tmp_path / "file").read_bytes() == b"onetwo"
    assert mode(tmp_path / "file") == 0o644
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ""):
        with pytest.raises(OSError):
            continued(tmp_path / name, "writer")
    with pytest.raises(OSError, match="got a device"):
        continued(os.devnull, "writer")


def test_what_takes_the_place_of_a_file_to_be_continued_is_looked_at_again(tmp_path, monkeypatch):
    path, real, opened = tmp_path / "file", os.open, []
    path.write_bytes(b"one")

    def replaced(name, *arguments):
        path.unlink()
        os.mkfifo(path)
        opened.append(real(name, *arguments))
        return opened[0]

    monkeypatch.setattr(os, "open", replaced)
    with pytest.raises(OSError, match="got a FIFO"):
        continued(path, "writer")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


def test_saving_over_a_fifo_is_an_error_and_0600_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    m = nn.Linear(2, 2)
    os.mkfifo("f")
    with pytest.raises(OSError, match="got a FIFO"):
        fastdl.save(m, "f")
    assert stat.S_ISFIFO(os.stat("f").st_mode)
    fastdl.save(m, "p")
    os.chmod("p", 0o600)
    fastdl.save(m, "p")
    assert mode("p") == 0o600
    assert (fastdl.load("p").model.weight.data == m.weight.data).all()
    assert np.isfinite(m.weight.data).all()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("write", [False, True])
def test_an_exception_of_a_signal_handler_at_any_moment_of_opening_is_the_users(tmp_path, write):
    """Nobody closes a descriptor twice: it may be another file's by then."""
    path = tmp_path / "file"
    path.write_bytes(b"content")

    def raise_at(number):
        events = []

        def at_event(frame, event, value):
            del value  # which the exception would keep, and the file with it
            events.append(event)
            if len(events) == number:
                raise KeyError  # as a handler would
            return at_event

        return at_event

    raised = 0
    for number in range(1, 5000):
        before = sys.gettrace()
        sys.settrace(raise_at(number))
        try:
            file = continued(path, "writer") if write else open_regular(path, "reader")
        except KeyError:
            raised += 1
        else:
            break
        finally:
            sys.settrace(before)
    file.close()
    assert raised > 20
