"""load_data: every kind of file, recognized by its content, as one kind of data set."""

import gzip
import struct

import numpy as np
import pytest

from fastdl.data import load_data, load_inputs
from fastdl.data.cifar import CLASSES

IMAGES, LABELS = np.random.default_rng(0).integers(0, 256, (3, 8, 6), np.uint8), np.array([2, 0, 2], np.uint8)


def idx(array, code=8):
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("swapped", [False, True])
def test_an_idx_pair_in_either_order(write, pack, swapped, dtype):
    paths = [write("first", pack(idx(IMAGES))), write("second", pack(idx(LABELS)))]
    found = load_data(*(reversed(paths) if swapped else paths), dtype=dtype)
    assert (found.x.shape, found.x.dtype) == ((3, 1, 8, 6), dtype)
    assert (found.x[:, 0] == IMAGES.astype(dtype) / dtype(255)).all()
    assert (found.y.tolist(), found.y.dtype, found.classes, found.features) == (
        [2, 0, 2],
        np.int64,
        ("0", "1", "2"),
        None,
    )


def test_cifar_batches(write):
    paths = [write(f"batch{label}.BIN", bytes([label]) + bytes([255]) * 3072) for label in (1, 9)]
    found = load_data(*paths)
    assert (found.x.shape, found.x.dtype, found.x.min()) == ((2, 3, 32, 32), np.float32, 1)
    assert (found.y.tolist(), found.classes) == ([1, 9], CLASSES)


def test_a_csv_file_with_its_target_and_classes(write):
    path = write("anything", b"a,b\n1,2\n3,4\n")
    assert load_data(path).features == ("a",)
    assert load_data(path, target="a").x.tolist() == [[2], [4]]
    assert load_data(path, target=0, classes=False, dtype=np.float64).y.tolist() == [[1], [3]]
    assert load_data(path, classes=["4", "2"]).y.tolist() == [1, 0]
    assert load_data(write("three", b"a,b,c\n1,2,w\n3,4,v\n"), target="c", columns=["b"]).x.tolist() == [[2], [4]]


def test_an_npz_whatever_its_name(tmp_path):
    with (tmp_path / "no-name").open("wb") as file:
        np.savez(file, x=np.arange(6).reshape(3, 2), y=np.array([0, 1, 3], np.uint16))
    found = load_data(tmp_path / "no-name")
    assert (found.x.tolist(), found.x.dtype) == ([[0, 1], [2, 3], [4, 5]], np.float32)
    assert (found.y.tolist(), found.y.dtype, found.classes) == ([0, 1, 3], np.int64, ("0", "1", "2", "3"))


@pytest.mark.parametrize("content", [b"", b"junk\n", b"\x80\x00\xff" * 50])
def test_what_is_no_npz_but_called_one_is_reported_as_such(write, content):
    with pytest.raises(ValueError, match=r"read_npz: expected a sound \.npz file, got .*set\.NPZ"):
        load_data(write("set.NPZ", content))
    with pytest.raises(ValueError, match=r"read_npy: expected .*x\.npy"):
        load_data(write("x.npy", content), write("y.npy", content))


def test_two_npy_files_are_inputs_and_targets(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3.0))
    np.save(tmp_path / "b.npy", np.array([0.5, 1, 2]))
    found = load_data(tmp_path / "a.npy", tmp_path / "b.npy")
    assert found.x.tolist() == [[0], [1], [2]]
    assert (found.y.tolist(), found.classes) == ([[0.5], [1], [2]], None)
    assert found.x.dtype == found.y.dtype == np.float32


@pytest.mark.parametrize(
    ("x", "shape", "highest"),
    [
        (IMAGES, (3, 1, 8, 6), 1),
        (np.full((3, 3, 8, 6), 255, np.uint8), (3, 3, 8, 6), 1),
        (np.full((3, 48), 255, np.uint8), (3, 48), 255),
        (np.full((3, 8, 6), 255.0), (3, 8, 6), 255),
    ],
)
def test_only_8_bit_images_are_scaled(tmp_path, x, shape, highest):
    np.savez(tmp_path / "set.npz", x=x, y=LABELS)
    found = load_data(tmp_path / "set.npz")
    assert found.x.shape == shape
    assert found.x.max() == pytest.approx(highest, abs=0.05)


@pytest.mark.parametrize(
    "names", [("a", "b", "c"), ("n.npz", "n.npz"), ("y.npy",), ("x.npy", "n.npz"), ("i",), ("i", "c"), ("g", "a")]
)
def test_files_that_do_not_belong_together_are_listed(write, tmp_path, names):
    for name in "abc":
        write(name, b"1,2\n3,4\n")
    write("i", idx(IMAGES))
    write("g", gzip.compress(b"1,2\n3,4\n"))
    np.savez(tmp_path / "n.npz", x=IMAGES, y=LABELS)
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "y.npy", LABELS)
    with pytest.raises(
        ValueError, match=r"^load_data: expected one CSV or \.npz, two IDX or \.npy, or CIFAR-10 \.bin"
    ) as e:
        load_data(*(tmp_path / name for name in names))
    assert all(str(tmp_path / name) in str(e.value) for name in names)


@pytest.mark.parametrize("option", [{"target": 0}, {"columns": [0]}, {"classes": True}])
def test_target_columns_and_classes_are_for_csv_files(tmp_path, option):
    np.savez(tmp_path / "n.npz", x=IMAGES, y=LABELS)
    with pytest.raises(ValueError, match="load_data: expected target, columns and classes for a CSV file only"):
        load_data(tmp_path / "n.npz", **option)
    with pytest.raises(ValueError, match="load_inputs: expected columns for a CSV file only"):
        load_inputs(tmp_path / "n.npz", columns=[0])


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (
            IMAGES,
            np.array([0, -1, 2]),
            "expected classes from 0 to at most 65535, got -1 in .*; write values as floats",
        ),
        (IMAGES, np.array([0, 2**62, 2]), "got 4611686018427387904 in "),
        (IMAGES, np.array([0, 2**64 - 1, 2], np.uint64), "got 18446744073709551615 in "),
        (np.full((3, 2), 1e39), LABELS, "expected finite values in float32, got NaN or infinite ones in "),
        (np.zeros((3, 2)), np.full(3, 1e39), "expected finite values in float32"),
        (IMAGES[:0], LABELS[:0], "expected at least one row with a target, got y of shape "),
        (IMAGES, LABELS[:2], "expected as many rows in x as in y"),
    ],
)
def test_arrays_that_are_no_data_are_refused(tmp_path, x, y, message):
    np.savez(tmp_path / "n.npz", x=x, y=y)
    with pytest.raises(ValueError, match=message):
        load_data(tmp_path / "n.npz")


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (IMAGES, IMAGES, "load_data: expected labels, whole numbers in one dimension"),
        (LABELS, LABELS, "load_data: expected images of two or more dimensions"),
        (IMAGES, LABELS[:2], "load_data: expected as many labels as images, got 2 in .* and 3 in "),
        (IMAGES[:0], LABELS[:0], "load_data: expected at least one row"),
    ],
)
def test_idx_files_that_are_no_pair_are_reported(write, first, second, message):
    with pytest.raises(ValueError, match=message):
        load_data(write("a", idx(first)), write("b", idx(second)))


@pytest.mark.parametrize("kind", ["idx", "gz", "npy", "npz", "bin", "csv"])
def test_inputs_are_those_of_the_data_set_without_its_targets(write, tmp_path, kind, dtype):
    path, table, images = tmp_path / f"set.{kind}", IMAGES.reshape(3, -1), IMAGES[:, None]
    if kind == "bin":
        images = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), np.uint8)
        write("set.bin", b"".join(b"\5" + image.tobytes() for image in images))
    elif kind == "csv":
        write("set.csv", "\n".join(",".join(map(str, row)) for row in table).encode())
    elif kind in ("npy", "npz"):
        np.save(path, IMAGES) if kind == "npy" else np.savez(path, x=IMAGES, y=LABELS)
    else:
        write(path.name, gzip.compress(idx(IMAGES)) if kind == "gz" else idx(IMAGES))
    found = load_inputs(path, dtype=dtype)
    wanted = table.astype(dtype) if kind == "csv" else images.astype(dtype) / dtype(255)
    assert (found.shape, found.dtype) == (wanted.shape, dtype)
    assert (found == wanted).all()


def test_inputs_of_a_csv_file_are_columns_of_it(write):
    assert load_inputs(write("c", b"a,b,c\n1,2,x\n3,4,y\n"), columns=["b", "a"]).tolist() == [[2, 1], [4, 3]]


def test_files_without_inputs_are_refused(write, tmp_path):
    np.save(tmp_path / "none.npy", IMAGES[:0])
    np.save(tmp_path / "words.npy", np.array(["a"]))
    np.save(tmp_path / "nan.npy", np.array([1, np.nan]))
    for name, message in {
        "none.npy": r"expected at least one row in .*none\.npy, got shape \(0, 8, 6\)",
        "words.npy": "expected numbers of at most 8 bytes in .*words",
        "nan.npy": r"expected finite values in .*nan\.npy, got NaN or infinite ones \(first in row 1\)",
    }.items():
        with pytest.raises(ValueError, match=f"^load_inputs: {message}"):
            load_inputs(tmp_path / name)
    assert load_inputs(write("zip", gzip.compress(b"1,2\n3,4\n"))).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("load", [load_data, load_inputs])
def test_paths_lead_to_files(tmp_path, load):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=f"{load.__name__}: expected a file, got the folder"):
        load(tmp_path)
    with pytest.raises(TypeError, match=f"{load.__name__}: expected a path"):
        load(None)
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ValueError, match=r"read_(csv|columns): expected rows"):
        load(tmp_path / "empty")
