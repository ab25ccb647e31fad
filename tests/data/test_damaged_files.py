"""Files with bytes changed, missing or added: each reader gives sound arrays or one sentence that names the file."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastdl.data import load_data, load_inputs, read_cifar10, read_columns, read_csv, read_idx, read_npy, read_npz

# What is guessed of a damaged table is said in a warning.
pytestmark = pytest.mark.filterwarnings("ignore:read_csv:", "ignore:read_columns:", "ignore:load_data:")


def idx(array, code):
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def npz(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def npy(array, version=None):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()


rng = np.random.default_rng(0)
IMAGES, LABELS = rng.integers(0, 256, (3, 4, 5), np.uint8), np.array([0, 2, 1], np.uint8)
X, Y = rng.normal(size=(4, 3)), np.array([1, 0, 2, 1])
RECORDS = b"".join(bytes([label]) + bytes([label]) * 3072 for label in (3, 9))
COMMAS = b"a,b,kind\n1,2.5,cat\n-3,4e-1,dog\n\n0,1,cat\n7,7,owl\n"
QUOTED = b'\xef\xbb\xbf"a ""x"""; "b";"the\ntarget"\r\n1;2;0\r\n"3"; 4;1\r\n5;6;1\r\n'
GOOD = {
    "idx": (read_idx, idx(IMAGES, 8)),
    "floats.idx": (read_idx, idx(X, 14)),
    "idx.gz": (read_idx, gzip.compress(idx(IMAGES, 8), mtime=0)),
    "members.gz": (
        read_idx,
        b"".join(gzip.compress(part, mtime=0) for part in (idx(IMAGES, 8)[:20], idx(IMAGES, 8)[20:])),
    ),
    "pair": (lambda path: load_data(path.with_name("labels"), path), idx(IMAGES, 8)),
    "labels.gz": (lambda path: load_data(path, path.with_name("images")), gzip.compress(idx(LABELS, 8), mtime=0)),
    "cifar.bin": (read_cifar10, RECORDS),
    "inputs.idx": (load_inputs, idx(X, 14)),
    "inputs.npy": (load_inputs, npy(IMAGES)),
    "inputs.npz": (load_inputs, npz(x=X, y=Y)),
    "comma.csv": (read_csv, COMMAS),
    "quoted.csv": (read_csv, QUOTED),
    "columns.csv": (lambda path: read_columns(path, [0, 1]), COMMAS),
    "stored.npz": (read_npz, npz(x=X, y=Y)),
    "deflated.npz": (read_npz, npz(np.savez_compressed, images=IMAGES, labels=LABELS)),
    "one.npy": (lambda path: read_npy(path, path), npy(np.asfortranarray(X))),
    "two.npy": (lambda path: read_npy(path, path), npy(X.astype(">f4"), (2, 0))),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "images").write_bytes(idx(IMAGES, 8))
    (folder / "labels").write_bytes(idx(LABELS, 8))
    return folder


@st.composite
def damaged(draw, good):
    content = bytearray(good)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.integers(1, 8))
        kind = draw(st.sampled_from(["bit", "bytes", "cut", "delete", "insert", "append", "repeat"]))
        if kind == "bit" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "bytes":
            content[at : at + length] = draw(st.binary(min_size=length, max_size=length))
        elif kind == "cut":
            del content[at:]
        elif kind == "delete":
            del content[at : at + length]
        elif kind == "insert":
            content[at:at] = draw(
                st.binary(max_size=8) | st.sampled_from([b"\n", b",", b'"', b"\0", b"nan", b"1e999", b"\xff"])
            )
        elif kind == "append":
            content += draw(st.binary(min_size=1, max_size=8))
        else:
            content += content[at:]
    return bytes(content)


def is_sound_or_one_sentence(read, path):
    try:
        found = read(path)
    except (ValueError, OSError) as error:
        message = str(error)
        assert "\n" not in message
        assert "expected" in message
        assert str(path) in message
        assert len(message) < 600
        return
    if isinstance(found, np.ndarray):
        assert found.dtype.isnative
        return
    if not isinstance(found, tuple):
        found = found.x, found.y
    x, y = found
    assert x.dtype.kind in "fiu"
    assert x.dtype.isnative
    assert y is None or isinstance(y, tuple) or len(x) == len(y)
    assert np.isfinite(x).all()


def test_the_good_files_are_good(folder):
    for name, (read, content) in GOOD.items():
        path = folder / name
        path.write_bytes(content)
        assert read(path) is not None
        if name.endswith(("csv", "npz")):
            assert len(load_data(path).x) in (3, 4)


def holds(count, **strategies):
    """Try a property on so many examples."""
    quick = settings(max_examples=count, suppress_health_check=[HealthCheck.too_slow])
    return lambda check: quick(given(**strategies)(check))()


counts = pytest.mark.parametrize("count", [30, pytest.param(100, marks=pytest.mark.slow)])


@counts
@pytest.mark.parametrize("name", GOOD)
def test_damage_is_reported_in_one_sentence(name, folder, count):
    read, good = GOOD[name]
    path = folder / f"damaged-{name}"

    @holds(count, content=damaged(good))
    def check(content):
        path.write_bytes(content)
        is_sound_or_one_sentence(read, path)
        if name not in ("columns.csv", "one.npy", "two.npy"):
            is_sound_or_one_sentence(load_data, path)


@counts
def test_damage_inside_a_gzip_is_reported_as_well(folder, count):
    path = folder / "inside.gz"

    @holds(count, content=damaged(idx(IMAGES, 8)))
    def check(content):
        path.write_bytes(gzip.compress(content, mtime=0))
        is_sound_or_one_sentence(read_idx, path)


@counts
def test_damage_inside_a_zip_is_reported_as_well(folder, count):
    path = folder / "inside.npz"

    @holds(count, content=damaged(npy(X)), method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    def check(content, method):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("x.npy", content)
            archive.writestr("y.npy", npy(Y))
        is_sound_or_one_sentence(read_npz, path)


JUNK = (
    st.binary(max_size=200)
    | st.text(max_size=100).map(str.encode)
    | st.text('0123456789.,;eE+-"\n\r\t ab_', max_size=80).map(str.encode)
)


@counts
def test_junk_is_no_data_set(folder, count):
    path = folder / "junk"
    readers = read_idx, read_cifar10, read_csv, read_npz, load_data, read_columns, lambda path: read_npy(path, path)

    @holds(count, content=JUNK)
    def check(content):
        path.write_bytes(content)
        for read in readers:
            is_sound_or_one_sentence(read, path)
