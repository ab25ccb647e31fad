""".npz and .npy files: what is taken for inputs and targets, and what is refused before it takes memory."""

import io
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from fastdl.data import read_npy, read_npz

X, Y = np.random.default_rng(0).normal(size=(5, 3)), np.array([0, 1, 2, 1, 0])


def npy(array, version=None):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), version)
    return file.getvalue()


def with_header(text, data=b"", version=(1, 0)):
    head = text.encode("latin-1") + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(head)) + head + data


def promising(shape, descr="<f8"):
    return with_header(f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}", bytes(24))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "set.npz"


@pytest.fixture
def pair(tmp_path):
    return tmp_path / "x.npy", tmp_path / "y.npy"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("names", [("x", "y"), ("X", "Y"), ("X", "y"), ("images", "labels"), ("data", "target")])
def test_two_arrays_come_back_under_each_pair_of_names(path, save, names):
    save(path, **{names[1]: Y, names[0]: X})
    x, y = read_npz(path)
    assert (x == X).all()
    assert (y == Y).all()
    assert (x.dtype, y.dtype) == (X.dtype, Y.dtype)


def test_two_arrays_without_names_are_taken_in_order(path):
    np.savez(path, X, Y)
    x, y = read_npz(str(path))
    assert (x == X).all()
    assert (y == Y).all()


@pytest.mark.parametrize(
    "array",
    [
        X.astype(">f4"),
        X.astype(np.float16),
        np.asfortranarray(X),
        np.arange(5, dtype=np.uint8),
        np.arange(5, dtype=">i8"),
        np.zeros((5, 0)),
        np.zeros((5, 2, 3, 4), np.int16),
    ],
    ids=lambda a: f"{a.dtype.str}{a.shape}",
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_layouts_and_byte_orders_come_back_native_and_contiguous(pair, array, version):
    pair[0].write_bytes(npy(array, version))
    pair[1].write_bytes(npy(Y))
    x, y = read_npy(*pair)
    assert x.dtype == array.dtype.newbyteorder("=")
    assert x.dtype.isnative
    assert x.flags.c_contiguous
    assert x.flags.writeable
    assert x.shape == array.shape
    assert (x == array).all()
    assert (y == Y).all()


@pytest.mark.parametrize(
    ("arrays", "names"),
    [
        ({"x": X}, "'x'"),
        ({"x": X, "y": Y, "z": Y}, "'x', 'y', 'z'"),
        ({"x": X, "labels": Y}, "'x', 'labels'"),
        ({"a\nb": X, "y": Y}, r"'a\\nb', 'y'"),
        ({}, "none"),
    ],
)
def test_other_arrays_are_listed(path, arrays, names):
    np.savez(path, **arrays)
    with pytest.raises(
        ValueError, match=rf"read_npz: expected two arrays in .*, called x and y, got .*{names}"
    ) as caught:
        read_npz(path)
    assert "\n" not in str(caught.value)


def test_a_name_twice_is_no_pair(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", npy(X))
        archive.writestr("y.npy", npy(Y))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.npy", npy(X))
    with pytest.raises(ValueError, match="expected two arrays"):
        read_npz(path)


BAD_ARRAYS = {
    "objects": (np.array([1, "a", None, [], {}], object), "expected numbers of at most 8 bytes in x of .*, got object"),
    "text": (np.array(["a"] * 5), "got <U1"),
    "complex": (X.astype(complex), "got complex128"),
    "bools": (Y > 0, r"got bool; write .astype\(np.int64\)"),
    "dates": (np.array(["2020-01-01"] * 5, "M8[D]"), "got datetime64"),
    "records": (np.zeros(5, [("a", "f4"), ("b", "i4")]), "expected numbers"),
    "long doubles": (X.astype(np.longdouble), "got (float128|longdouble)"),
    "a single value": (np.array(3.0), "expected x of .* to have rows, got a single value"),
    "NaN": (np.where(X[3, 1] == X, np.nan, X), r"expected finite values in x of .* \(first in row 3\)"),
    "infinite": (np.where(X[2, 0] == X, -np.inf, X), r"\(first in row 2\)"),
    "lengths": (X[:4], "expected as many rows in x as in y, got 4 in x of .* and 5 in y of "),
}


@pytest.mark.parametrize(("array", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_arrays_that_are_no_data_are_refused(path, array, message):
    np.savez(path, x=array, y=Y)
    with pytest.raises(ValueError, match=f"^read_npz: .*{message}"):
        read_npz(path)


def test_nothing_is_unpickled(pair):
    class Boom:
        def __reduce__(self):
            return os.system, ("exit 1",)

    np.save(pair[0], np.array([Boom()], object), allow_pickle=True)
    pair[1].write_bytes(npy(Y))
    with pytest.raises(ValueError, match="got object"):
        read_npy(*pair)


BAD_FILES = {
    "empty": b"",
    "magic": b"\x93NUMPX" + npy(X)[6:],
    "version": npy(X)[:6] + b"\x09" + npy(X)[7:],
    "cut in the header": npy(X)[:50],
    "no dictionary": with_header("[1, 2]"),
    "no literal": with_header("__import__('os')"),
    "keys": with_header("{'descr': '<f8', 'shape': (3,)}"),
    "dtype": with_header("{'descr': '<q99', 'fortran_order': False, 'shape': (3,)}"),
    "negative size": promising("(-3,)"),
    "65 dimensions": promising("(" + "1," * 65 + ")"),
    "deep": with_header("(" * 5000),
    "long": with_header(" " * 60000 + "{}"),
    "four gigabytes of header": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}",
    "cut": npy(X)[:-1],
    "one byte more": npy(X) + b"\0",
    "less than promised": promising("(3, 2)"),
    "huge": promising("(1000000000000,)"),
    "product overflows": promising("(4294967296, 4294967296)"),
    "empty but huge": promising("(0, 9223372036854775807, 3)"),
    "larger than an integer": promising(f"({10**30},)"),
    "structured": promising("(3,)", [("a", "<f8")]),
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES)
def test_a_damaged_npy_is_reported_in_one_sentence_and_takes_no_memory(pair, path, content):
    pair[0].write_bytes(content)
    pair[1].write_bytes(npy(Y))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content)
        archive.writestr("y.npy", npy(Y))
    for read, where in ((lambda: read_npy(*pair), pair[0]), (lambda: read_npz(path), f"x of {path}")):
        tracemalloc.start()
        with pytest.raises(ValueError, match=r"^read_np[yz]: expected ") as caught:
            read()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4_000_000
        assert str(where) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_size_of_an_npy_is_reported(pair):
    pair[0].write_bytes(npy(X) + b"\0")
    pair[1].write_bytes(npy(Y))
    with pytest.raises(ValueError, match=r"a header of 128 bytes and 120 of \(5, 3\) float64 in .*, got 249 bytes$"):
        read_npy(*pair)


def zipped(**changes):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", changes.pop("method", zipfile.ZIP_STORED)) as archive:
        archive.writestr("x.npy", npy(X))
        archive.writestr("y.npy", npy(Y))
    content = bytearray(file.getvalue())
    for place, value in changes.pop("at", {}).items():
        content[place] = value
    return bytes(content)


CENTRAL = zipped().index(b"PK\x01\x02")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a sound .npz file"),
        (b"PK\x03\x04", "a sound .npz file"),
        (zipped()[:-10], "a sound .npz file"),
        (zipped(method=zipfile.ZIP_BZIP2), "expected x of .* to be stored or deflated, got method 12"),
        (zipped(method=zipfile.ZIP_LZMA), "stored or deflated, got method 14"),
        (zipped(at={200: 0x5A}), "a sound .npz file, got .*CRC"),
        (zipped(at={CENTRAL + 8: 1}), "a sound .npz file, got .*(encrypted|password)"),
        (zipped(at={CENTRAL + 27: 0x7F}), "expected x of .* to lie in the .* bytes of the file|a sound .npz file"),
        (zipped(at={CENTRAL + 42: 5}), "a sound .npz file"),
    ],
    ids=["empty", "start", "end", "bzip2", "lzma", "data", "encrypted", "size", "offset"],
)
def test_a_damaged_archive_is_reported_in_one_sentence(path, content, message):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^read_npz: .*{message}") as caught:
        read_npz(path)
    assert "\n" not in str(caught.value)


def test_an_archive_that_lies_about_sizes_takes_no_memory(path):
    content = bytearray(zipped())
    content[CENTRAL + 24 : CENTRAL + 28] = b"\xf0\xff\xff\xff"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"expected x of .* to lie in the \d+ bytes of the file, got 4294967280 bytes"):
        read_npz(path)


def test_paths_lead_to_files(tmp_path, pair):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_npz(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="read_npz: expected a file, got the folder"):
        read_npz(tmp_path)
    with pytest.raises(TypeError, match="read_npy: expected a path, got 3"):
        read_npy(3, pair[1])
