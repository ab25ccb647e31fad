"""What torch wrote, read without it."""

import struct

import numpy as np
import pytest
import safetensors.numpy

import fastdl
from fastdl import nn


@pytest.fixture
def path(tmp_path):
    return tmp_path / "torch.safetensors"


def test_a_network_of_torchs_gives_the_same_outputs(path):
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(108, 2)
    )
    x = np.random.default_rng(0).normal(size=(5, 1, 8, 8)).astype(np.float32)
    theirs(torch.from_numpy(x))
    theirs.eval()
    save_file(theirs.state_dict(), path)
    ours = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2))
    found = ours.load_state_dict(fastdl.load_torch(path))
    assert not found.missing_keys
    assert not found.unexpected_keys
    np.testing.assert_allclose(ours.eval()(x), theirs(torch.from_numpy(x)).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_what_fastdl_saves_torch_loads(path):
    torch = pytest.importorskip("torch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    ours = nn.Sequential(nn.Linear(3, 4, rng=0), nn.BatchNorm1d(4), nn.Tanh())
    fastdl.save(ours, path)
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Tanh())
    theirs.load_state_dict(load_file(path))
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(
        ours.eval()(x), theirs.eval()(torch.from_numpy(x)).detach().numpy(), rtol=1e-5, atol=1e-6
    )


def test_every_dtype_comes_as_it_is_and_bfloat16_as_float32(path):
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    kinds = (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int8,
        torch.uint8,
        torch.bool,
    )
    entries = {str(kind): torch.tensor([[0.0, 1.0, 3.0]]).to(kind) for kind in kinds}
    entries["odd"] = torch.tensor([1.5, -3.140625, float("inf"), 1e-38]).to(torch.bfloat16)
    save_file(entries, path)
    found = fastdl.load_torch(path)
    assert found.keys() == entries.keys()
    for name, tensor in entries.items():
        wanted = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        assert (found[name].dtype, found[name].shape) == (wanted.dtype, wanted.shape)
        assert found[name].tobytes() == wanted.tobytes()


def test_scalars_and_empty_entries_come(path):
    safetensors.numpy.save_file({"n": np.array(3), "none": np.zeros((0, 4), np.float32)}, path)
    found = fastdl.load_torch(path)
    assert found["n"] == 3
    assert found["n"].shape == ()
    assert found["none"].shape == (0, 4)


def test_the_arrays_may_be_written_to(path):
    safetensors.numpy.save_file({"w": np.zeros(3, np.float32)}, path)
    fastdl.load_torch(path)["w"][...] = 1


def test_other_files_are_reported(path):
    for content in (b"", b"PK\x03\x04 a pickle in a zip", struct.pack("<Q", 2**60) + b"{}"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="load_torch: expected a whole safetensors file"):
            fastdl.load_torch(path)
    path.write_bytes(b"PK\x03\x04 a pickle in a zip")
    with pytest.raises(ValueError, match=r"looks like one of torch\.save; write safetensors\.torch\.save_file"):
        fastdl.load_torch(path)
    with pytest.raises(FileNotFoundError):
        fastdl.load_torch(path.with_name("nowhere"))


def test_numbers_that_numpy_does_not_have_are_reported(path):
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file({"w": torch.zeros(4).to(torch.float8_e5m2)}, path)
    with pytest.raises(ValueError, match="got w of F8_E5M2"):
        fastdl.load_torch(path)
