"""External data: read from the model's folder, and from nowhere else."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed (the onnx extra)")

import onnx
from onnx import TensorProto, helper, numpy_helper

import fastdl.onnx

X = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)


def model(location="weights.bin", dtype=TensorProto.FLOAT, **entries):
    """x W^T with W in another file."""
    tensor = numpy_helper.from_array(W, "layer.weight")
    tensor.ClearField("raw_data")
    tensor.data_type = dtype
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": location} | entries).items():
        tensor.external_data.add(key=key, value=str(value))
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "layer.weight"], ["y"], transB=1)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [tensor],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def folder(tmp_path):
    """A folder for a model, with the bytes of W beside it after four others."""
    inside = tmp_path / "model"
    inside.mkdir()
    (inside / "weights.bin").write_bytes(b"\0" * 4 + W.tobytes() + b"\1")
    (tmp_path / "outside.bin").write_bytes(W.tobytes())
    return inside


def load(folder, *arguments, **entries):
    path = folder / "model.onnx"
    path.write_bytes(model(*arguments, **entries).SerializeToString())
    return fastdl.onnx.load(path)


def refusal(folder, *arguments, **entries):
    with pytest.raises(ValueError) as caught:
        load(folder, *arguments, **entries)
    assert str(caught.value).startswith("onnx.load: expected ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return str(caught.value)


@pytest.mark.parametrize(
    "entries", [{"offset": 4, "length": 48}, {"offset": 4}, {"offset": 4, "length": 48, "checksum": "?"}]
)
def test_weights_are_read_from_a_file_beside_the_model(folder, entries):
    found = load(folder, **entries)
    assert list(found.state_dict()) == ["layer.weight"]
    np.testing.assert_allclose(found(X), X @ W.T, rtol=1e-5)


def test_the_file_may_be_in_a_folder_inside_and_a_link_that_stays_there(folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "w.bin").write_bytes(W.tobytes())
    (folder / "link.bin").symlink_to(folder / "deep" / "w.bin")
    for location in ("deep/w.bin", "./deep/../deep/w.bin", "link.bin"):
        np.testing.assert_allclose(load(folder, location)(X), X @ W.T, rtol=1e-5)


def test_a_relative_path_and_the_working_directory_are_no_difference(folder, monkeypatch):
    load(folder, offset=4)
    monkeypatch.chdir(folder)
    assert fastdl.onnx.load("model.onnx")(X).shape == (5, 3)
    monkeypatch.chdir(folder.parent)
    assert fastdl.onnx.load(Path("model") / "model.onnx")(X).shape == (5, 3)


@pytest.mark.parametrize(
    "location",
    [
        "../outside.bin",
        "/etc/passwd",
        "deep/../../outside.bin",
        "..",
        ".",
        "",
        "C:\\weights.bin",
        "\\weights.bin",
        "a\0b",
        "~/w",
    ],
)
def test_what_is_outside_of_the_folder_is_refused(folder, location):
    message = refusal(folder, location)
    assert "the external data of layer.weight in" in message


def test_links_that_lead_outside_are_refused(folder):
    (folder / "link.bin").symlink_to(folder.parent / "outside.bin")
    (folder / "ring.bin").symlink_to(folder / "ring.bin")
    (folder / "linked").symlink_to(folder.parent)
    for location in ("link.bin", "linked/outside.bin"):
        assert "in a file in the model's folder" in refusal(folder, location)
    refusal(folder, "ring.bin")


def test_what_is_no_regular_file_is_refused_and_not_waited_for(folder, monkeypatch):
    os.mkfifo(folder / "fifo")
    (folder / "directory").mkdir()
    monkeypatch.chdir(folder)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        assert "in a regular file, got fifo, which is none" in refusal(folder, "fifo")
        assert "directory" in refusal(folder, "directory")
        assert "socket" in refusal(folder, "socket")
    assert "No such file" in refusal(folder, "missing.bin")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": 4, "length": 44}, "to have the 48 bytes of shape (3, 4), got a length of 44"),
        ({"offset": 4, "length": 52}, "to have the 48 bytes of shape (3, 4), got a length of 52"),
        ({"offset": 8}, "expected 48 bytes of layer.weight at 8 in weights.bin, got a file of 53"),
        ({"offset": 10**18}, "at 1000000000000000000 in weights.bin, got a file of 53"),
        ({"offset": -4}, "a whole number as the offset of the external data of layer.weight, got '-4'"),
        ({"offset": "4.0"}, "got '4.0'"),
        ({"offset": "²"}, "a whole number as the offset"),
        ({"offset": "9" * 5000}, "a whole number as the offset"),
        ({"length": "many"}, "a whole number as the length of the external data of layer.weight, got 'many'"),
        (
            {"dtype": TensorProto.FLOAT16},
            "expected tensors of float32, float64, int64 or bool, got layer.weight of float16",
        ),
    ],
)
def test_bytes_that_are_not_there_are_refused(folder, entries, message):
    assert message in refusal(folder, **entries)


def test_a_file_that_is_cut_while_it_is_read_is_refused(folder, monkeypatch):
    (folder / "weights.bin").write_bytes(W.tobytes()[:-1])
    real = os.fstat

    def before(number):
        status = real(number)
        return os.stat_result((*status[:6], W.nbytes, *status[7:])) if status.st_size == W.nbytes - 1 else status

    monkeypatch.setattr(os, "fstat", before)
    assert "48 bytes of layer.weight in weights.bin, got fewer" in refusal(folder)


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="links can be refused nowhere but where O_NOFOLLOW is")
def test_a_link_that_takes_the_place_of_the_file_is_not_followed(folder, monkeypatch):
    real = os.open

    def linked(path, *arguments, **options):
        if Path(path).name == "weights.bin":
            Path(path).unlink()
            Path(path).symlink_to(folder.parent / "outside.bin")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", linked)
    assert "weights.bin beside the model" in refusal(folder)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are listed on Linux")
def test_refused_files_are_closed(folder):
    os.mkfifo(folder / "fifo")
    refusal(folder, "fifo")
    before = set(os.listdir("/proc/self/fd"))
    refusal(folder, "fifo")
    refusal(folder, length=48, offset=100)
    assert set(os.listdir("/proc/self/fd")) == before


def test_entries_that_come_twice_and_none_are_refused(folder):
    proto = model(offset=4)
    proto.graph.initializer[0].external_data.add(key="offset", value="0")
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ValueError, match=r"each entry of the external data of layer.weight once, got one twice"):
        fastdl.onnx.load(folder / "model.onnx")
    del proto.graph.initializer[0].external_data[:]
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ValueError, match="in a file in the model's folder, got None"):
        fastdl.onnx.load(folder / "model.onnx")


def test_more_bytes_than_a_model_may_have_are_refused_before_they_are_read(folder):
    with (folder / "weights.bin").open("wb") as file:
        file.truncate(2**40)
    proto = model()
    proto.graph.initializer[0].dims[:] = [2**20, 2**18]
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ValueError, match="bytes of external data, got more"):
        fastdl.onnx.load(folder / "model.onnx")


def test_a_model_that_is_no_file_has_no_folder(folder):
    with pytest.raises(
        ValueError, match=r"got layer.weight in another file; write fastdl.onnx.load\(path\) or onnx.load"
    ):
        fastdl.onnx.load(model())
    load(folder, offset=4, length=48)
    assert fastdl.onnx.load(onnx.load(folder / "model.onnx"))(X).shape == (5, 3)


def test_constants_of_nodes_are_read_too(folder):
    tensor = numpy_helper.from_array(np.full(3, 2, np.float32), "two")
    (folder / "two.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="two.bin")
    proto = model(offset=4)
    proto.graph.node[0].output[0] = "z"
    proto.graph.node.extend(
        [helper.make_node("Constant", [], ["two"], value=tensor), helper.make_node("Mul", ["z", "two"], ["y"])]
    )
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    np.testing.assert_allclose(fastdl.onnx.load(folder / "model.onnx")(X), 2 * X @ W.T, rtol=1e-5)
