"""`fastdl predict`: the classes by their names, values in their own unit, whole files or none."""

import csv
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastdl import nn
from fastdl.commands import saved as saved_models
from fastdl.data import load_inputs, read_csv
from fastdl.serialization.model_file import load, save
from fastdl.training import predict

pytestmark = pytest.mark.usefixtures("no_picture")


@pytest.fixture
def trained(run):
    """Train on files and return where the model is."""

    def trained(*words):
        code, out, err = run("train", *words)
        assert (code, err) == (0, "")
        return Path(next(line.removeprefix("weights: ") for line in out.splitlines() if line.startswith("weights: ")))

    return trained


@pytest.fixture
def kinds(flowers):
    """The kinds in the file of flowers, row by row."""
    found = read_csv(flowers)
    return [found.classes[i] for i in found.y]


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_class_names_come_back(run, trained, flowers, kinds):
    code, out, err = run("predict", trained("--data", flowers), "--data", flowers)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "class,probability"
    found = rows(out)
    assert np.mean([row["class"] == kind for row, kind in zip(found, kinds, strict=True)]) > 0.95
    assert all(1 / 3 <= float(row["probability"]) <= 1 for row in found)


def test_probabilities_are_the_softmax_of_the_models_scores(run, trained, flowers):
    model = trained("--data", flowers, "--epochs", "3")
    found = rows(run("predict", model, "--data", flowers, "--probabilities")[1])
    saved = load(model)
    scores = predict(saved.model, saved.scaling.transform(read_csv(flowers).x)).astype(np.float64)
    powers = np.exp(scores)
    likely = powers / powers.sum(axis=1, keepdims=True)
    names = [f"probability of {name}" for name in ("lily", "rose", "tulip, late")]
    assert list(found[0]) == ["class", "probability", *names]
    written = np.array([[float(row[name]) for name in names] for row in found])
    assert written == pytest.approx(likely, rel=1e-5, abs=1e-12)
    assert [float(row["probability"]) for row in found] == pytest.approx(likely.max(axis=1), rel=1e-5)
    assert [row["class"] for row in found] == [saved.classes[i] for i in likely.argmax(axis=1)]


def test_values_come_in_their_own_unit(run, trained, prices):
    found = rows(run("predict", trained("--data", prices), "--data", prices)[1])
    values, truth = np.array([float(row["value"]) for row in found]), read_csv(prices).y[:, 0]
    assert np.corrcoef(values, truth)[0, 1] > 0.98
    assert values.mean() == pytest.approx(truth.mean(), rel=0.02)


def test_several_values_have_a_column_each(run, trained, tmp_path):
    x = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    np.savez(tmp_path / "two.npz", x=x, y=np.stack([x[:, 0], 100 * x[:, 1]], axis=1))
    found = rows(
        run("predict", trained("--data", tmp_path / "two.npz", "--epochs", "2"), "--data", tmp_path / "two.npz")[1]
    )
    assert list(found[0]) == ["value 0", "value 1"]
    assert len(found) == 50


def test_what_is_written_reads_back_as_the_very_value(run, tmp_path):
    save(nn.Linear(2, 1, rng=0), tmp_path / "m.safetensors")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(99, 2)).astype(np.float32))
    out = run("predict", tmp_path / "m.safetensors", "--data", tmp_path / "x.npy")[1]
    wanted = predict(nn.Linear(2, 1, rng=0), load_inputs(tmp_path / "x.npy"))[:, 0]
    assert (np.array([row["value"] for row in rows(out)], np.float32) == wanted).all()


def test_columns_are_found_by_name_and_the_target_is_left_out(run, trained, flowers, tmp_path):
    model = trained("--data", flowers, "--epochs", "3")
    wanted = run("predict", model, "--data", flowers)
    lines = [line.split(",", 4) for line in flowers.read_text().splitlines()]
    for name, order in {"turned": (4, 3, 1, 0, 2), "asked": (2, 0, 1, 3)}.items():
        copy = tmp_path / f"{name}.csv"
        copy.write_text("\n".join(",".join(row[i] for i in order) for row in lines))
        assert run("predict", model, "--data", copy) == wanted
    bare = tmp_path / "bare.csv"
    bare.write_text("\n".join(",".join(row[:4]) for row in lines[1:]))
    assert run("predict", model, "--data", bare) == wanted


def test_images_come_from_idx_npy_and_npz(run, trained, images, tmp_path):
    model = trained("--data", *images, "--epochs", "8")
    wanted = run("predict", model, "--data", images[0])
    labels = np.frombuffer(images[1].read_bytes()[8:], np.uint8)
    assert np.mean([int(row["class"]) == label for row, label in zip(rows(wanted[1]), labels, strict=True)]) > 0.95
    pixels = np.frombuffer(images[0].read_bytes()[16:], np.uint8).reshape(200, 8, 6)
    np.save(tmp_path / "images.npy", pixels)
    np.savez(tmp_path / "images.npz", x=pixels, y=labels)
    for name in ("images.npy", "images.npz"):
        assert run("predict", model, "--data", tmp_path / name) == wanted


def test_a_file_is_written_as_what_would_be_printed(run, trained, flowers, tmp_path):
    model, out = trained("--data", flowers, "--epochs", "1"), tmp_path / "found.csv"
    printed = run("predict", model, "--data", flowers)[1]
    out.write_text("old")
    assert run("predict", model, "--data", flowers, "--out", out) == (0, f"predictions: {out}\n", "")
    assert out.read_text() == printed


def test_a_place_that_cannot_be_written_is_said_before_the_work(run, trained, flowers, tmp_path, monkeypatch):
    model = trained("--data", flowers, "--epochs", "1")
    monkeypatch.setattr(saved_models, "predict", lambda *_: pytest.fail("predicted"))
    os.mkfifo(tmp_path / "pipe")
    places = {
        tmp_path: "expected the name of a file, got a folder",
        tmp_path / "pipe": "expected the name of a file, got a FIFO",
        "/dev/null": "expected the name of a file, got a device",
        tmp_path / "none" / "out.csv": "cannot be written to: No such file or directory",
        flowers / "out.csv": "cannot be written to: Not a directory",
    }
    for place, message in places.items():
        code, out, err = run("predict", model, "--data", flowers, "--out", place)
        assert (code, out) == (2, "")
        assert err == f"fastdl: --out {place}: {message}; fastdl predict --help tells more\n"


@pytest.mark.parametrize("out", ["-", "/dev/stdout"])
def test_standard_output_is_written_to_wherever_it_goes(run, trained, flowers, tmp_path, out):
    model, path = trained("--data", flowers, "--epochs", "1"), tmp_path / "all.csv"
    printed = run("predict", model, "--data", flowers)[1]
    assert run("predict", model, "--data", flowers, "--out", out) == (0, printed, "")
    path.write_text("before\n")
    command = [sys.executable, "-P", "-m", "fastdl", "predict", model, "--data", flowers, "--out", out]
    with path.open("a") as file:
        subprocess.run(command, check=True, stdout=file)
    assert path.read_text() == f"before\n{printed}"


def test_a_failure_leaves_the_old_file(run, trained, flowers, tmp_path):
    model, out = trained("--data", flowers, "--epochs", "1"), tmp_path / "found.csv"
    out.write_text("old")
    flowers.write_text(flowers.read_text() + "1,2,x,4,rose\n")
    code, _, err = run("predict", model, "--data", flowers, "--out", out)
    assert code == 2
    assert "expected a number" in err
    assert out.read_text() == "old"


def test_a_reader_that_has_gone_is_no_traceback(trained, flowers):
    model = trained("--data", flowers, "--epochs", "1")
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-P", "-m", "fastdl", "predict", model, "--data", flowers]
    try:
        found = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(write)
    assert (found.returncode, found.stderr) == (1, "")


BAD_WORDS = {
    "no data": (["MODEL"], "the following arguments are required: --data"),
    "no model": (["none.safetensors", "--data", "flowers.csv"], "none.safetensors: No such file"),
    "a missing file": (["MODEL", "--data", "nowhere.csv"], "nowhere.csv: No such file"),
    "a missing column": (
        ["MODEL", "--data", "missing.csv"],
        "expected the columns 'weight', 'age' in missing.csv, .* got 'length'",
    ),
    "another number of columns": (
        ["MODEL", "--data", "wide.csv"],
        "expected rows of 4 columns, as the model learned from, got 5 columns in wide.csv",
    ),
    "another shape": (
        ["MODEL", "--data", "images-idx3"],
        "expected rows of 4 columns, .* got 1 x 8 x 6 in images-idx3",
    ),
    "labels": (["MODEL", "--data", "labels-idx1"], "expected rows of 4 columns, .* got 1 column in labels-idx1"),
    "a word": (
        ["MODEL", "--data", "word.csv"],
        r"expected a number in word.csv, line 2, column 2 \('width'\), got 'x'",
    ),
    "nothing": (["MODEL", "--data", "empty.csv"], "expected rows in empty.csv, got none"),
    "a column twice": (
        ["MODEL", "--data", "twice.csv"],
        "expected columns to name one column of twice.csv .* got 'age'",
    ),
    "no rows": (["MODEL", "--data", "none.npy"], r"expected at least one row in none.npy, got shape \(0, 4\)"),
}


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(("words", "message"), BAD_WORDS.values(), ids=BAD_WORDS)
def test_what_nothing_can_be_said_of_is_reported_in_one_line(run, trained, flowers, monkeypatch, words, message):
    monkeypatch.chdir(flowers.parent)
    model = trained("--data", "flowers.csv", "--epochs", "1")
    texts = {"missing": "length,width\n1,2\n", "wide": "1,2,3,4,5\n", "empty": ""}
    texts["word"] = "length,width,weight,age\n1,x,3,4\n"
    texts["twice"] = "length,width,weight,age,age\n1,2,3,4,5\n"
    for name, text in texts.items():
        Path(f"{name}.csv").write_text(text)
    np.save("none.npy", np.zeros((0, 4)))
    code, out, err = run("predict", *(model if word == "MODEL" else word for word in words))
    assert (code, out) == (2, "")
    assert re.fullmatch(f"fastdl: .*{message}.*\n", err)


def test_values_have_no_probabilities(run, trained, prices):
    code, _, err = run("predict", trained("--data", prices, "--epochs", "1"), "--data", prices, "--probabilities")
    assert code == 2
    assert err.startswith("fastdl: --probabilities: expected a model of classes, got one of values;")
