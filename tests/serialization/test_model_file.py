"""Checkpoints: what is saved comes back, and nothing else is taken for it."""

import errno
import json
import os

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from fastdl import nn
from fastdl.data import Standardize
from fastdl.nn.spec import declared_elements
from fastdl.output_file import write_atomically
from fastdl.serialization.model_file import FORMAT_VERSION, _strings, load, save
from fastdl.testing import CASES

X = np.random.default_rng(0).normal(3, 2, (20, 2)).astype(np.float32)


def network(dtype=np.float32):
    return nn.Sequential(nn.Linear(2, 5, rng=1, dtype=dtype), nn.ReLU(), nn.Linear(5, 3, rng=2, dtype=dtype))


class Doubled(nn.Module):
    """A layer of one's own, which no spec can spell."""

    def __init__(self):
        self.inner = nn.Linear(2, 3)

    def forward(self, x):
        return 2 * self.inner(x)

    def backward(self, grad_output):
        return self.inner.backward(2 * grad_output)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def rewrite(path, entries=None, text=None, **words):
    """Save a network and write it anew with other entries, another metadata text or other words in it."""
    save(network(), path)
    tensors = safetensors.numpy.load_file(path) if entries is None else entries
    text = json.dumps(metadata_words(path) | words) if text is None else text
    safetensors.numpy.save_file(tensors, path, {"fastdl": text} if text else {"format": "pt"})


def metadata_words(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["fastdl"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_comes_back_bit_for_bit(path, dtype):
    model = network(dtype)
    save(model, path)
    found = load(path).model
    assert nn.to_spec(found) == nn.to_spec(model)
    assert {n: a.tobytes() for n, a in found.state_dict().items()} == {
        n: a.tobytes() for n, a in model.state_dict().items()
    }
    assert all(parameter.dtype == dtype for parameter in found.parameters())


def test_scalings_names_and_strings_travel_along(path):
    scaling, target_scaling = Standardize().fit(X), Standardize().fit(3 * X)
    save(
        *(network(), path),
        scaling=scaling,
        target_scaling=target_scaling,
        classes=["a", "b", "ç"],
        features=("length", "ß"),
        metadata={"note": "first", "date": "today"},
    )
    found = load(path)
    assert found.scaling is not None
    assert found.target_scaling is not None
    assert (found.scaling.transform(X) == scaling.transform(X)).all()
    assert (found.target_scaling.inverse(X) == target_scaling.inverse(X)).all()
    assert (found.classes, found.features) == (("a", "b", "ç"), ("length", "ß"))
    assert found.metadata == {"note": "first", "date": "today"}


def test_what_was_not_given_is_not_there(path):
    save(network(), path)
    found = load(path)
    assert (found.scaling, found.target_scaling, found.classes, found.features) == (None, None, None, None)
    assert found.metadata == {}


@pytest.mark.parametrize("per", ["column", "channel"])
def test_the_scaling_of_images_travels_along(path, per):
    images = np.random.default_rng(0).random((5, 3, 4, 4), np.float32)
    scaling = Standardize().fit(images, per)
    save(network(), path, scaling=scaling)
    found = load(path).scaling
    assert (found.mean == scaling.mean).all()
    assert (found.transform(images) == scaling.transform(images)).all()


def test_the_file_is_one_that_safetensors_reads_with_torchs_names(path):
    model = network()
    save(model, path)
    tensors = safetensors.numpy.load_file(path)
    assert set(tensors) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert (tensors["0.weight"] == model.state_dict()["0.weight"]).all()
    assert metadata_words(path) == {
        "format_version": FORMAT_VERSION,
        "spec": ["Linear(2, 5)", "ReLU()", "Linear(5, 3)"],
    }


def test_the_same_model_gives_the_same_bytes(path):
    found = set()
    for _ in range(10):
        save(network(), path, scaling=Standardize().fit(X), classes=["a", "b", "c"], metadata={"x": "1", "y": "2"})
        found.add(path.read_bytes())
    assert len(found) == 1


def test_a_single_layer_is_a_model(path):
    save(nn.Linear(2, 3), path)
    assert nn.to_spec(load(path).model) == "Linear(2, 3)"


def test_weights_can_be_taken_into_a_model_that_stands(path):
    save(network(), path)
    model = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3))
    weight = model[0].weight.data
    assert load(path, model).model is model
    assert model[0].weight.data is weight
    assert (weight == network()[0].weight.data).all()


def test_a_model_with_layers_of_ones_own_is_loaded_into_one(path):
    model, other = Doubled(), Doubled()
    save(model, path)
    with pytest.raises(ValueError, match=r"weights without a spec.* write load\(path, model="):
        load(path)
    assert (load(path, other).model.inner.weight.data == model.inner.weight.data).all()


def test_a_model_that_does_not_fit_is_refused_with_what_differs_and_left_as_it_is(path):
    save(network(), path)
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3, bias=False))
    before = model.state_dict()
    with pytest.raises(ValueError, match=r"0\.weight is float32 of shape \(5, 2\) where .*2\.bias is unexpected"):
        load(path, model)
    assert all((model.state_dict()[name] == before[name]).all() for name in before)
    with pytest.raises(ValueError, match=r"float32 of shape .* where the model has float64"):
        load(path, network(np.float64))


ENTRIES = network().state_dict()
BAD_FILES = {
    "not fastdl's": (
        {"text": ""},
        r"without fastdl's metadata; .* write model\.load_state_dict\(fastdl\.load_torch\(path\)\)",
    ),
    "no JSON": ({"text": "[Linear"}, "expected a JSON object as fastdl's metadata"),
    "no object": ({"text": "[]"}, "expected a JSON object as fastdl's metadata"),
    "nested JSON": ({"text": "[" * 100_000}, "expected a JSON object as fastdl's metadata"),
    "newer": ({"format_version": 999}, "version 1 or older, got 999 .*; update fastdl"),
    "no version": ({"format_version": None}, "expected a format version"),
    "a version in words": ({"format_version": "1"}, "expected a format version"),
    "version 0": ({"format_version": 0}, "expected a format version"),
    "spec is a number": ({"spec": 3}, "the spec in .* cannot be built"),
    "spec of an unknown layer": ({"spec": ["Liner(2, 5)"]}, "cannot be built: .*nearest: Linear"),
    "spec that names a file": ({"spec": "model.toml"}, "cannot be built"),
    "spec of a huge layer": ({"spec": ["Linear(100000, 10000000)"]}, "asks for up to 1000010000000 weights"),
    "spec of a huge layer inside": (
        {"spec": [["Sequential(Linear(in_features=1000000, out_features=1000000))"]]},
        "asks for up to 1000001000000 weights",
    ),
    "spec of a huge kernel": ({"spec": ["Conv2d(1, 1, 100000)"]}, "asks for up to 10000000001 weights"),
    "spec of a huge kernel by name": (
        {"spec": ["Conv2d(1, 1, stride=2, kernel_size=(100000, 90000))"]},
        "asks for up to 9000000001 weights",
    ),
    "spec of a long kernel": ({"spec": ["Conv1d(10, 10, 100000000)"]}, "asks for up to 10000000010 weights"),
    "spec of many channels": ({"spec": ["BatchNorm2d(9000000000)"]}, "asks for up to 36000000001 weights"),
    "spec of a huge norm": ({"spec": ["LayerNorm([90000, 100000])"]}, "asks for up to 18000000000 weights"),
    "spec of signed sizes": ({"spec": ["Linear(+100000, ++10000000)"]}, "asks for up to 1000010000000 weights"),
    "spec of a huge layer before a negative one": (
        {"spec": ["Sequential(Linear(1000000, 1000000), Linear(-1000000, 9000000))"]},
        "asks for up to 1000001000000 weights",
    ),
    "spec of a huge layer before what is none": (
        {"spec": ["Sequential(Linear(1000000, 1000000), 1 + 1)"]},
        "asks for up to 1000001000000 weights",
    ),
    "spec of sizes in words": (
        {"spec": ["Linear('a', 10000000000000)"]},
        "cannot be built: .*expected a positive integer",
    ),
    "spec of fractions": ({"spec": ["Linear(1e30, 2)"]}, "cannot be built: .*expected a positive integer"),
    "spec of no groups": ({"spec": ["Conv2d(1000000, 1000000, 3, groups=0)"]}, "cannot be built: .*for groups, got 0"),
    "spec of a flag that is a number": (
        {"spec": ["BatchNorm1d(3, affine=10000000000000)"]},
        "cannot be built: .*affine",
    ),
    "scaling is a list": ({"scaling": [1, 2]}, "expected mean and std as the scaling"),
    "scaling without std": ({"scaling": {"mean": [1]}}, "expected mean and std as the scaling"),
    "scaling by 0": ({"scaling": {"mean": [1], "std": [0]}}, "expected mean and std as the scaling"),
    "scaling in words": ({"scaling": {"mean": ["a"], "std": [1]}}, "expected mean and std as the scaling"),
    "target scaling is a list": ({"target_scaling": [1]}, "expected mean and std as the target_scaling"),
    "target scaling by 0": ({"target_scaling": {"mean": [1], "std": [0]}}, "mean and std as the target_scaling"),
    "features are numbers": ({"features": [1, 2]}, "expected a list of strings as the features"),
    "features are a word": ({"features": "ab"}, "expected a list of strings as the features"),
    "classes are numbers": ({"classes": [1, 2]}, "expected a list of strings as the classes"),
    "metadata is a list": ({"metadata": []}, "expected a dictionary of strings as the metadata"),
    "missing entry": ({"entries": {k: v for k, v in ENTRIES.items() if k != "2.bias"}}, "2.bias is missing"),
    "entry too many": ({"entries": ENTRIES | {"3.weight": np.ones(2, np.float32)}}, "3.weight is unexpected"),
    "another shape": ({"entries": ENTRIES | {"2.bias": np.ones(4, np.float32)}}, r"2.bias is float32 of shape \(4,\)"),
    "another dtype": ({"entries": ENTRIES | {"2.bias": np.ones(3, np.int64)}}, "2.bias is int64"),
    "a dtype of no use": ({"entries": ENTRIES | {"2.bias": np.ones(3, np.float16)}}, "got 2.bias of F16"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_lies_is_refused_in_one_sentence(path, changes, message):
    rewrite(path, **changes)
    with pytest.raises(ValueError, match=f"^load: .*{message}") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def spelled(case):
    try:
        return nn.to_spec(case.make(np.float32))
    except (TypeError, ValueError):
        return None


@pytest.mark.parametrize("case", [c for c in CASES if issubclass(c.subject, nn.Module) and spelled(c)], ids=str)
def test_what_a_spec_asks_for_is_what_its_layers_weigh(case):
    elements = sum(array.size for array in case.make(np.float32).state_dict().values())
    assert sum(declared_elements(text) for text in _strings(spelled(case))) == elements


@pytest.mark.parametrize(
    "spec",
    [
        "Linear(300, 300)",
        "LayerNorm(90_000, 1e-5, False)",
        "BatchNorm1d(90_000, affine=False)",
        "BatchNorm1d(90_000, affine=False, track_running_stats=False)",
        "Conv2d(64, 64, 5, groups=2)",
        "Linear(1, 100_000, bias=False)",
        "MaxPool2d(100_000)",
    ],
)
def test_a_large_model_is_not_taken_for_a_lie(path, spec):
    save(nn.from_spec(["Linear(2, 3)", spec]), path)
    assert nn.to_spec(load(path).model) == nn.to_spec(nn.from_spec(["Linear(2, 3)", spec]))


def test_a_spec_that_asks_for_a_little_more_than_the_file_has_is_refused(path):
    rewrite(path, spec=["Linear(300, 300)"])
    with pytest.raises(ValueError, match="asks for up to 90300 weights where the file has 33"):
        load(path)


@pytest.mark.parametrize("length", [0, 7, 8, 50, -1])
def test_a_truncated_file_is_refused(path, length):
    save(network(), path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"load: expected a whole safetensors file, got .*model\.safetensors"):
        load(path)


@pytest.mark.parametrize("content", [b"P\x89NG" * 100, b"\xff" * 64, b"text\n"])
def test_a_file_of_another_kind_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="load: expected a whole safetensors file"):
        load(path)


@pytest.mark.parametrize("files", [300, pytest.param(2000, marks=pytest.mark.slow)])
def test_files_with_any_byte_changed_load_or_are_refused(path, files):
    save(network(), path, scaling=Standardize().fit(X), classes=["a", "b", "c"])
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(files):
        changed = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            changed[place] = rng.integers(256)
        path.write_bytes(changed)
        try:
            load(path)
        except ValueError as error:
            assert str(error).startswith("load: ")  # noqa: PT017 (most files load)


def test_missing_files_are_named_by_the_system(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(("above", "kind"), [("none", FileNotFoundError), ("file", NotADirectoryError)])
def test_a_place_that_cannot_be_written_to_is_named_as_it_was_asked_for(tmp_path, above, kind):
    (tmp_path / "file").write_text("")
    place = tmp_path / above / "model.safetensors"
    with pytest.raises(kind) as refusal:
        save(network(), place)
    assert refusal.value.filename == str(place)


@pytest.mark.parametrize(
    ("model", "options", "kind", "message"),
    [
        (print, {}, TypeError, "expected a fastdl Module"),
        (network(), {"scaling": (0, 1)}, TypeError, "expected a Standardize for scaling"),
        (network(), {"scaling": Standardize()}, RuntimeError, "fit"),
        (network(), {"classes": "ab"}, TypeError, "expected a list of strings for classes"),
        (network(), {"classes": [0, 1]}, TypeError, "expected a list of strings for classes"),
        (network(), {"features": "ab"}, TypeError, "expected a list of strings for features"),
        (network(), {"features": [0, 1]}, TypeError, "expected a list of strings for features"),
        (network(), {"target_scaling": 2.0}, TypeError, "expected a Standardize for target_scaling, got float"),
        (network(), {"target_scaling": Standardize()}, RuntimeError, "fit"),
        (network(), {"metadata": {"epoch": 3}}, TypeError, "expected a dictionary of strings for metadata"),
    ],
)
def test_save_refuses_what_it_cannot_write_and_writes_nothing(path, model, options, kind, message):
    with pytest.raises(kind, match=message):
        save(model, path, **options)
    assert not path.exists()


def test_load_wants_a_model_to_load_into(path):
    save(network(), path)
    with pytest.raises(TypeError, match="expected a fastdl Module or None for model, got type"):
        load(path, nn.Linear)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(path, monkeypatch):
    write_atomically(path, b"old", "test")

    def fail(*_):
        raise OSError("no space left")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="no space left"):
                write_atomically(path, b"new", "test")
        assert path.read_bytes() == b"old"
        assert list(path.parent.iterdir()) == [path]


def test_the_bytes_are_on_the_disk_before_the_name_points_to_them(path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: order.append("fsync") or fsync(fd))
    monkeypatch.setattr(os, "replace", lambda *names: order.append("replace") or replace(*names))
    write_atomically(path, b"new", "test")
    assert order == ["fsync", "replace", "fsync"]
    assert path.read_bytes() == b"new"


def test_a_link_goes_on_pointing_to_the_file(path):
    link = path.with_name("link.safetensors")
    link.symlink_to(path)
    save(network(), link)
    assert link.is_symlink()
    assert load(path).classes is None


def test_a_kill_while_a_file_is_written_leaves_nothing_else(tmp_path, python):
    """Killed when the bytes are written and not yet on the disk."""
    if not hasattr(os, "O_TMPFILE"):
        pytest.skip("files without a name are Linux's")
    try:
        os.close(os.open(tmp_path, os.O_TMPFILE | os.O_WRONLY))
    except OSError:
        pytest.skip("this file system has no files without a name")
    path = tmp_path / "file"
    write_atomically(path, b"old", "test")
    code = "import os, sys; from fastdl.output_file import write_atomically; os.fsync = lambda fd: os.kill(os.getpid(), 9);"
    done = python(f"{code} write_atomically({str(path)!r}, b'new' * 10**6, 'test')")
    assert done.returncode == -9
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT])
def test_files_are_written_where_all_need_a_name(tmp_path, monkeypatch, error):
    real = os.open

    def refuse(path, flags, *mode, **options):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(error, os.strerror(error))
        return real(path, flags, *mode, **options)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "O_TMPFILE", getattr(os, "O_TMPFILE", 1 << 30), raising=False)
    write_atomically(tmp_path / "file", b"new", "test")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 1
