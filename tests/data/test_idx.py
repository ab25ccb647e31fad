"""IDX files: every dtype, plain and gzipped, and MNIST found in its folders."""

import gzip
import io
import math
import os
import struct
import tracemalloc

import numpy as np
import pytest

from fastdl.data import mnist, read_idx
from fastdl.data.source import read_up_to

DTYPES = {0x08: np.uint8, 0x09: np.int8, 0x0B: np.int16, 0x0C: np.int32, 0x0D: np.float32, 0x0E: np.float64}


def header(code, *shape, magic=0):
    return struct.pack(">HBB", magic, code, len(shape)) + struct.pack(f">{len(shape)}I", *shape)


def idx(array):
    code = next(code for code, dtype in DTYPES.items() if array.dtype == dtype)
    return header(code, *array.shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()


def images(n=3, height=28, width=28):
    return np.random.default_rng(0).integers(0, 256, (n, height, width), np.uint8)


def written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some-name"


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=lambda dtype: dtype.__name__)
def test_an_array_of_each_dtype_comes_back(path, dtype, pack):
    limits = np.finfo(dtype) if np.issubdtype(dtype, np.floating) else np.iinfo(dtype)
    array = np.array([[limits.min, 0, 1], [2, 3, limits.max]], dtype)
    path.write_bytes(pack(idx(array)))
    found = read_idx(path)
    assert found.dtype == dtype
    assert found.dtype.isnative
    assert found.flags.c_contiguous
    assert found.flags.writeable
    assert (found == array).all()


def test_the_bytes_of_a_short_are_the_high_one_first(path):
    path.write_bytes(header(0x0B, 2) + b"\x01\x02\xff\xfe")
    assert read_idx(path).tolist() == [258, -2]


@pytest.mark.parametrize("shape", [(5,), (0,), (0, 28, 28), (2, 1, 3, 2), (1,) * 64])
def test_any_shape_comes_back(path, shape):
    array = np.arange(math.prod(shape), dtype=np.uint8).reshape(shape)
    path.write_bytes(idx(array))
    assert read_idx(path).shape == shape
    assert (read_idx(path) == array).all()


def test_gzip_is_known_by_its_content_whatever_the_name(tmp_path):
    packed = written(tmp_path / "images", gzip.compress(idx(images())))
    plain = written(tmp_path / "images.gz", idx(images()))
    assert (read_idx(packed) == read_idx(str(plain))).all()


GOOD = idx(images(2, 2, 2))  # 16 bytes of header, 8 of data
BAD = {
    "empty": (b"", "expected an IDX file of at least 8 bytes, got none in"),
    "three bytes": (GOOD[:3], "got 3 in"),
    "magic": (header(8, 1, magic=0x1234) + b"a", "expected zeros in bytes 0 and 1 of an IDX file, got 0x1234 in"),
    "dtype": (header(0x0A, 1) + b"a", "one of the dtypes 0x08, 0x09, 0x0b, 0x0c, 0x0d, 0x0e in byte 2, got 0x0a in"),
    "no dimensions": (header(8) + b"abcd", "expected 1 to 64 dimensions in byte 3, got 0 in"),
    "65 dimensions": (header(8, *[1] * 65) + b"a", "expected 1 to 64 dimensions in byte 3, got 65 in"),
    "header cut": (GOOD[:10], "expected the 3 dimensions in bytes 4 to 15, got 10 bytes in"),
    "data cut": (GOOD[:-1], r"a header of 16 bytes and 8 of \(2, 2, 2\) uint8 in .*, got 23 bytes"),
    "no data": (GOOD[:16], "got 16 bytes"),
    "one byte more": (GOOD + b"\0", r"8 of \(2, 2, 2\) uint8 in .*, got (25 bytes$|more$)"),
    "too large": (header(8, 2**30) + b"a", r"a header of 8 bytes and 1073741824 of \(1073741824,\) uint8"),
    "product overflows": (header(14, *[2**32 - 1] * 3), "dimensions that fit into memory in bytes 4 to 15 of"),
    "wraps to 8": (header(8, 2**32 - 1, 2**32 - 1, 2**31, 2**31 + 8), "dimensions that fit into memory"),
    "empty but huge": (header(8, 0, *[2**32 - 1] * 2), "dimensions that fit into memory in bytes 4 to 15 of"),
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_a_damaged_file_is_reported_by_what_is_wrong_where(path, content, message, pack):
    path.write_bytes(pack(content))
    with pytest.raises(ValueError, match=f"^read_idx: .*{message}") as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [gzip.compress(GOOD)[:-1], gzip.compress(GOOD)[:15], b"\x1f\x8b", b"\x1f\x8b\x07abc"],
    ids=["the last byte", "half of it", "all but two", "an unknown method"],
)
def test_a_cut_or_unknown_gzip_is_reported(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^read_idx: expected a whole gzip file, got {path}: "):
        read_idx(path)


@pytest.mark.parametrize("place", [-1, -5, -6, 12])
def test_a_corrupt_gzip_is_reported(path, place):
    content = bytearray(gzip.compress(GOOD, mtime=0))
    content[place] ^= 0x5A
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^read_idx: expected a whole gzip file"):
        read_idx(path)


@pytest.mark.parametrize(
    "content",
    [
        header(8, 2**31, 2**31),
        gzip.compress(header(8, 2**31, 2**31)),
        gzip.compress(header(8, 40_000_000)),
        gzip.compress(header(8, 2, 2, 2) + bytes(100_000_000), 1),
        gzip.compress(bytes(100_000_000), 1),
    ],
    ids=["plain", "gzip", "what a gzip can hold", "bomb behind a header", "bomb of zeros"],
)
def test_no_lie_takes_memory(path, content):
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"^read_idx: expected "):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


def test_a_path_leads_to_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="read_idx: expected a file, got the folder"):
        read_idx(tmp_path)
    with pytest.raises(ValueError, match="read_idx: expected a file, got the device /dev/zero"):
        read_idx("/dev/zero")
    with pytest.raises(ValueError, match="read_idx: expected the name of a file"):
        read_idx("a\0b")
    for path in (3, None, b"bytes"):
        with pytest.raises(TypeError, match="read_idx: expected a path, got "):
            read_idx(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="got the FIFO"):
        read_idx(tmp_path / "pipe")


def test_the_size_of_the_file_is_reported_where_it_is_known(path):
    path.write_bytes(GOOD + b"\0")
    with pytest.raises(ValueError, match=r"got 25 bytes$"):
        read_idx(path)
    path.write_bytes(gzip.compress(header(8, 1_000_000), mtime=0))
    with pytest.raises(ValueError, match=r"got \d\d bytes of gzip, which hold at most \d{5}$"):
        read_idx(path)


def test_no_more_is_read_than_is_asked_for():
    file = io.BytesIO(bytes(5_000_000))
    assert len(read_up_to(file, 3_000_001)) == file.tell() == 3_000_001
    assert len(read_up_to(file, 10**18)) == 1_999_999


def write_pair(folder, stem="t10k", dot="-", pack=bytes, end="", x=None, y=None):
    x, y = images() if x is None else x, np.array([7, 0, 9], np.uint8) if y is None else y
    written(folder / f"{stem}-images{dot}idx3-ubyte{end}", pack(idx(x)))
    written(folder / f"{stem}-labels{dot}idx1-ubyte{end}", pack(idx(y)))


@pytest.mark.parametrize("place", ["", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("dot", "-.")
@pytest.mark.parametrize(("pack", "end"), [(bytes, ""), (gzip.compress, ".gz"), (bytes, ".gz")])
@pytest.mark.parametrize(("part", "stem"), [("train", "train"), ("test", "t10k")])
def test_mnist_is_found_under_its_names(tmp_path, place, dot, pack, end, part, stem):
    write_pair(tmp_path / place, stem, dot, pack, end)
    x, y = mnist(tmp_path, part)
    assert (x.shape, x.dtype, x.flags.c_contiguous) == ((3, 1, 28, 28), np.float32, True)
    assert (x[:, 0] == images().astype(np.float32) / 255).all()
    assert (x.min(), x.max()) == (0, 1)
    assert (y.tolist(), y.dtype) == ([7, 0, 9], np.int64)


def test_mnist_comes_in_either_dtype_and_from_the_train_part_by_default(tmp_path):
    write_pair(tmp_path, "train")
    x, _ = mnist(tmp_path, dtype=np.float64)
    assert (x[:, 0] == images() / 255).all()
    with pytest.raises(TypeError, match="mnist: expected dtype float32 or float64"):
        mnist(tmp_path, dtype=np.uint8)


def test_the_folder_may_be_named_by_the_environment(tmp_path, monkeypatch):
    write_pair(tmp_path)
    monkeypatch.setenv("FASTDL_DATA", str(tmp_path))
    assert len(mnist(part="test")[0]) == 3
    monkeypatch.delenv("FASTDL_DATA")
    with pytest.raises(ValueError, match=r"mnist: expected a folder, got none; write folder=.* FASTDL_DATA"):
        mnist(part="test")


def test_images_and_labels_come_from_one_folder(tmp_path):
    write_pair(tmp_path / "mnist", y=np.array([1, 2, 3], np.uint8))
    write_pair(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    assert mnist(tmp_path, "test")[1].tolist() == [1, 2, 3]


def test_mnist_says_what_it_looked_for_and_where(tmp_path):
    write_pair(tmp_path)
    with pytest.raises(
        FileNotFoundError, match="mnist: expected train-images-idx3-ubyte and train-labels-idx1-ubyte"
    ) as caught:
        mnist(tmp_path)
    assert str(tmp_path / "mnist") in str(caught.value)
    with pytest.raises(ValueError, match="mnist: expected one of train, test for part, got 'valid'"):
        mnist(tmp_path, "valid")
    with pytest.raises(TypeError, match="mnist: expected a path or None for folder, got 3"):
        mnist(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.array([1, 2], np.uint8)}, "expected as many labels as images, got 2 in .*labels.* and 3 in .*images"),
        ({"y": np.array([1, 10, 2], np.uint8)}, "expected labels from 0 to 9, got 10 for image 1 in .*labels"),
        ({"y": np.array([1, -3, 2], np.int8)}, "expected labels from 0, got -3 for image 1 in .*labels"),
        (
            {"y": np.array([1, 2, 3], np.float32)},
            r"expected labels, whole numbers in one dimension, got \(3,\) float32",
        ),
        ({"y": images()}, r"expected labels, whole numbers in one dimension, got \(3, 28, 28\) uint8 in .*labels"),
        ({"x": images(3, 28, 27)}, r"expected \(n, 28, 28\) uint8, got \(3, 28, 27\) uint8 in .*images"),
        ({"x": images().astype(np.int16)}, r"got \(3, 28, 28\) int16 in .*images"),
        (
            {"x": np.array([1, 2, 3], np.uint8)},
            r"expected images of two or more dimensions, got shape \(3,\) in .*images",
        ),
    ],
)
def test_a_pair_that_does_not_belong_together_is_reported(tmp_path, change, message):
    write_pair(tmp_path, **change)
    with pytest.raises(ValueError, match=f"^mnist: .*{message}"):
        mnist(tmp_path, "test")


@pytest.mark.skipif("FASTDL_DATA" not in os.environ, reason="FASTDL_DATA names no folder with data sets")
def test_the_real_test_images_are_what_they_are():
    try:
        x, y = mnist(part="test")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert x.shape == (10_000, 1, 28, 28)
    assert y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert x.mean(dtype=np.float64) == pytest.approx(0.1325, abs=1e-4)
