"""Safetensors files as the safetensors package writes and reads them, in little memory and without maps."""

import json
import os

import numpy as np
import pytest
import safetensors
import safetensors.numpy

import fastdl
from fastdl import nn
from fastdl.serialization import tensor_file
from fastdl.serialization.json_arrays import DTYPES

RNG = np.random.default_rng(0)
ODD_NAMES = [
    "b",
    "a",
    "a.b",
    "A",
    "é",
    "😀",
    'quote"',
    "back\\slash",
    "line\nbreak",
    "\x01",
    "\x7f",
    "\u2028",
    "slash/",
    "_",
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.safetensors"


def arrays_of(names, dtype, shape=(2, 3)):
    return {name: (RNG.normal(size=shape) * 9).astype(dtype) for name in names}


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        arrays_of(ODD_NAMES, np.float32),
        {f"{number % 3} {name}": np.full(3, number, dtype) for number, (name, dtype) in enumerate(DTYPES.items())},
        {"scalar": np.array(3.5), "none": np.zeros((0, 4), np.float32), "zero": np.zeros(0, np.bool_)},
        {"columns": np.asfortranarray(RNG.normal(size=(4, 5))), "steps": np.arange(20)[::-3]},
        {"wide": RNG.normal(size=(300, 700)).astype(np.float32), "thin": np.ones(1, np.uint8)},
    ],
    ids=["empty", "names", "dtypes", "sizes", "strides", "large"],
)
def test_a_file_has_the_bytes_that_the_package_gives_it(path, arrays):
    tensor_file.write(path, arrays, 'wo"rds\n', "writer")
    assert path.read_bytes() == safetensors.numpy.save(
        {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()},
        {"fastdl": 'wo"rds\n'},
    )
    with tensor_file.opened(path, "reader") as file:
        assert file.metadata == {"fastdl": 'wo"rds\n'}
        found = {name: file.read(name) for name in file.entries}
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert (found[name] == array).all()
        assert found[name].flags.writeable


def test_numbers_in_the_other_byte_order_are_written_as_the_format_has_them(path):
    array = np.arange(5, dtype=">f4")
    tensor_file.write(path, {"a": array}, "", "writer")
    assert (safetensors.numpy.load_file(path)["a"] == array).all()


def test_what_the_format_does_not_have_is_refused(path):
    for array in (np.zeros(2, complex), np.array(["a"]), np.array([None])):
        with pytest.raises(TypeError, match=r"writer: expected arrays of bool, .*, got odd of "):
            tensor_file.write(path, {"odd": array}, "", "writer")
    assert not path.exists()


def entry(dtype="F32", shape=(2,), data_offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": data_offsets, **more}


def raw(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


EIGHT = bytes(8)
BROKEN = {
    "nothing": b"",
    "seven bytes": bytes(7),
    "no header": bytes(8),
    "header beyond the file": raw(b"{}", length=3),
    "endless header": raw(b"{}", length=2**64 - 1),
    "no object": raw(b"[]"),
    "space first": raw(b" {}"),
    "no JSON": raw(b"{"),
    "no text": raw(b'{"\xff":1}'),
    "deep": raw(b'{"a":' + b"[" * 10**5),
    "number": raw(b'{"a":' + b"9" * 10**4 + b"}"),
    "twice": raw(b'{"a":%b,"a":%b}' % ((json.dumps(entry()).encode(),) * 2), EIGHT),
    "metadata": raw({"__metadata__": 3}),
    "metadata of numbers": raw({"__metadata__": {"fastdl": 3}}),
    "entry": raw({"a": 3}),
    "list": raw({"a": []}),
    "too much": raw({"a": entry(more=1)}, EIGHT),
    "dtype": raw({"a": entry(dtype=3)}, EIGHT),
    "shape": raw({"a": entry(shape=2)}, EIGHT),
    "negative": raw({"a": entry(shape=(-2,))}, EIGHT),
    "fraction": raw({"a": entry(shape=(2.0,))}, EIGHT),
    "true": raw({"a": entry(shape=(True, 2))}, EIGHT),
    "huge": raw({"a": entry(shape=(2**64, 2))}, EIGHT),
    "other size": raw({"a": entry(shape=(3,))}, EIGHT),
    "backwards": raw({"a": entry(data_offsets=(8, 0))}, EIGHT),
    "unknown backwards": raw({"a": entry("F8_E5M2", data_offsets=(8, 0))}, EIGHT),
    "one offset": raw({"a": entry(data_offsets=(8,))}, EIGHT),
    "gap before": raw({"a": entry(data_offsets=(8, 16))}, EIGHT * 2),
    "gap between": raw({"a": entry(), "b": entry(data_offsets=(16, 24))}, EIGHT * 3),
    "overlap": raw({"a": entry(), "b": entry(data_offsets=(4, 12))}, bytes(12)),
    "same place": raw({"a": entry(), "b": entry()}, EIGHT),
    "cut": raw({"a": entry()}, bytes(7)),
    "more": raw({"a": entry()}, bytes(9)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_reported_in_one_sentence(path, name):
    path.write_bytes(BROKEN[name])
    sentence = rf"expected a whole safetensors file, got {path}: [^\n]{{1,200}}$"
    for owner, read in (("load", fastdl.load), ("load_torch", fastdl.load_torch)):
        with pytest.raises(ValueError, match=f"^{owner}: {sentence}"):
            read(path)


def test_what_the_package_reads_is_read(path):
    for content in (
        raw({}),
        raw(b"{}      "),
        raw({"a": entry()}, EIGHT),
        raw({"a": entry(shape=[0], data_offsets=[0, 0])}),
    ):
        path.write_bytes(content)
        theirs, ours = safetensors.numpy.load_file(path), fastdl.load_torch(path)
        assert {name: array.tolist() for name, array in theirs.items()} == {n: a.tolist() for n, a in ours.items()}


def test_a_shape_that_no_array_has_is_reported(path):
    path.write_bytes(raw({"a": entry(shape=(0, 2**62, 2**62), data_offsets=(0, 0))}))
    with pytest.raises(ValueError, match=r"load_torch: the entry a of .* cannot be read"):
        fastdl.load_torch(path)


def test_a_file_that_is_cut_while_it_is_read_is_an_error(path):
    """A mapped one would end the process."""
    tensor_file.write(path, {"a": np.ones((1000, 1000)), "b": np.ones(3, np.float32)}, "", "writer")
    with tensor_file.opened(path, "reader") as file:
        os.truncate(path, 5000)
        with pytest.raises(ValueError, match=r"expected 8000000 bytes, got .* changes while it is read"):
            file.read("a")


LITTLE = """
import resource, sys, numpy as np, fastdl, fastdl.serialization.model_file
from fastdl import Trainer, nn, optim
path = sys.argv[1]
model = nn.Sequential(nn.Linear(2048, 4096, rng=0), nn.Linear(4096, 2048, rng=0))  # 64 MiB
trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
fastdl.save(model, path)
trainer.save(path + ".state")
size = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (size + (16 << 20),) * 2)
fastdl.save(model, path)
trainer.save(path + ".state")
for read in (fastdl.load, fastdl.load_torch, lambda path: fastdl.load(path, model), lambda path: trainer.load(path + ".state")):
    try:
        read(path)
    except MemoryError:
        print("MemoryError")
"""


LITTLE_FOR_ONNX = """
import resource, sys, fastdl, fastdl.onnx, fastdl.onnx.reading, fastdl.onnx.writing
from fastdl import nn
path = sys.argv[1]
model = nn.Linear(2048, 4400, bias=False, weight_init=nn.init.constant(0.5))  # 34 MiB
fastdl.onnx.export(model, path, 2048)
size = int(open("/proc/self/statm").read().split()[0]) * 4096
for work in (lambda: fastdl.onnx.export(model, path, 2048), lambda: fastdl.onnx.load(path)):
    for slack in (10, 45, 80, 115):
        resource.setrlimit(resource.RLIMIT_AS, (size + (slack << 20), resource.RLIM_INFINITY))
        try:
            work()
        except MemoryError:
            print("MemoryError")
            continue
        print("done")
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the size of a process is in Linux's /proc")
def test_little_memory_is_a_memory_error_of_onnx_files_too(path, python):
    pytest.importorskip("onnx")
    done = python(f"import sys; sys.argv[1:] = [{str(path)!r}]\n{LITTLE_FOR_ONNX}")
    assert done.returncode == 0, done.stderr
    assert {done.stdout.split()[0], done.stdout.split()[4]} == {"MemoryError"}


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the size of a process is in Linux's /proc")
def test_little_memory_suffices_to_save_and_is_a_memory_error_to_load(path, python):
    done = python(f"import sys; sys.argv[1:] = [{str(path)!r}]\n{LITTLE}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["MemoryError"] * 4
    assert sorted(each.name for each in path.parent.iterdir()) == ["file.safetensors", "file.safetensors.state"]
    assert isinstance(fastdl.load(path).model, nn.Sequential)
