"""CIFAR-10's binary batches: records, files, folders."""

import numpy as np
import pytest

from fastdl.data import cifar10, load_data, read_cifar10
from fastdl.data.cifar import CLASSES


def record(label, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, 3072, np.uint8)
    return bytes([label]) + pixels.tobytes(), pixels


def write_batch(path, *labels):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(record(label, label)[0] for label in labels))
    return path


def test_a_record_is_a_label_and_three_planes_of_pixels(tmp_path):
    content, pixels = record(6)
    (tmp_path / "batch").write_bytes(content)
    x, y = read_cifar10(tmp_path / "batch")
    assert (x.shape, x.dtype, y.tolist(), y.dtype) == ((1, 3, 32, 32), np.uint8, [6], np.int64)
    assert x[0, 1, 2, 3] == pixels[1024 + 2 * 32 + 3]
    assert (x.ravel() == pixels).all()
    assert CLASSES[6] == "frog"


def test_files_follow_each_other(tmp_path):
    first, second = write_batch(tmp_path / "a", 1, 2), write_batch(tmp_path / "b", 9)
    x, y = read_cifar10(second, first)
    assert y.tolist() == [9, 1, 2]
    assert (x[1] == read_cifar10(first)[0][0]).all()


@pytest.mark.parametrize("place", ["", "cifar-10-batches-bin"])
def test_the_folder_holds_a_train_and_a_test_part(tmp_path, place):
    for i in range(1, 6):
        write_batch(tmp_path / place / f"data_batch_{i}.bin", i)
    write_batch(tmp_path / place / "test_batch.bin", 8, 9)
    x, y = cifar10(tmp_path)
    assert y.tolist() == [1, 2, 3, 4, 5]
    assert (x.dtype, x.shape, x.flags.c_contiguous) == (np.float32, (5, 3, 32, 32), True)
    assert (x[0].ravel() == record(1, 1)[1].astype(np.float32) / 255).all()
    assert cifar10(tmp_path, "test", np.float64)[0].dtype == np.float64
    assert cifar10(tmp_path, "test")[1].tolist() == [8, 9]


def test_the_folder_may_be_named_by_the_environment(tmp_path, monkeypatch):
    write_batch(tmp_path / "test_batch.bin", 4)
    monkeypatch.setenv("FASTDL_DATA", str(tmp_path))
    assert cifar10(part="test")[1].tolist() == [4]


def test_a_batch_that_is_missing_is_reported(tmp_path):
    write_batch(tmp_path / "data_batch_1.bin", 1)
    with pytest.raises(FileNotFoundError, match=r"cifar10: expected data_batch_1\.bin, .*data_batch_5\.bin in "):
        cifar10(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected records of 3073 bytes in .*bad, got an empty file"),
        (record(1)[0][:-1], "got 0 records and 3072 bytes"),
        (record(1)[0] + b"\x01", "got 1 records and 1 bytes"),
        (record(1)[0] + record(10)[0] + record(11)[0], "expected labels from 0 to 9 in .*bad, got 10 in record 1"),
    ],
)
def test_wrong_sizes_and_labels_are_reported(tmp_path, content, message):
    good, bad = write_batch(tmp_path / "good", 1), tmp_path / "bad"
    bad.write_bytes(content)
    with pytest.raises(ValueError, match=f"^read_cifar10: .*{message}"):
        read_cifar10(good, bad)


def test_a_path_leads_to_a_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_cifar10(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="expected a file, got the folder"):
        read_cifar10(tmp_path)
    with pytest.raises(TypeError, match="expected a path"):
        read_cifar10(7)


def test_a_batch_is_known_by_its_name_whatever_its_first_bytes_are(tmp_path):
    record = np.zeros(3073, np.uint8)
    record[:4] = 0, 0, 8, 3  # as an IDX file begins
    path = tmp_path / "batch.bin"
    path.write_bytes(record.tobytes())
    found = load_data(path)
    assert (found.x.shape, found.y.tolist()) == ((1, 3, 32, 32), [0])
