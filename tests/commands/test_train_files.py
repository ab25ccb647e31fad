"""`fastdl train --data` and `fastdl train digits`: what is found in files, learned, saved and refused."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from fastdl import nn
from fastdl.data import digits
from fastdl.serialization.model_file import load
from fastdl.training import Trainer, predict

pytestmark = pytest.mark.usefixtures("no_picture")
SHORT = ["--epochs", "1"]


def last_number(out):
    return float(re.findall(r"-?\d+\.\d+", out.splitlines()[-1])[0])


def weights(out):
    return next(line.removeprefix("weights: ") for line in out.splitlines() if line.startswith("weights: "))


def npz(path, x, y):
    np.savez(path, x=x, y=y)
    return path


def test_a_table_with_classes_in_words_is_learned(run, flowers, tmp_path):
    code, out, err = run("train", "--data", flowers)
    assert (code, err) == (0, "")
    found, saved, history, picture, accuracy = out.splitlines()
    classes = "3 classes ('lily', 'rose', 'tulip, late')"
    assert found == f"data: 4 columns, {classes}; 120 rows to learn from, 30 to test with"
    assert saved == f"weights: {tmp_path / 'out' / 'flowers.safetensors'}"
    assert history == f"history: {tmp_path / 'out' / 'flowers-history.csv'}"
    assert picture.startswith("picture: none, as matplotlib is not installed")
    assert re.fullmatch(r"test accuracy (9\d\.\d|100\.0) %", accuracy)


def test_what_was_saved_says_all_that_it_takes_to_use_the_model(run, flowers):
    saved = load(weights(run("train", "--data", flowers, "--target", "kind")[1]))
    assert nn.to_spec(saved.model)[0] == "Linear(4, 64)"
    assert saved.classes == ("lily", "rose", "tulip, late")
    assert saved.features == ("length", "width", "weight", "age")
    assert saved.metadata == {"target": "kind"}
    assert saved.scaling.mean[2] == pytest.approx(1167, abs=30)
    assert saved.target_scaling is None


def test_values_are_learned_and_given_back_in_their_own_unit(run, prices):
    code, out, _ = run("train", "--data", prices)
    assert code == 0
    assert out.startswith("data: 3 columns, 1 value to tell; 240 rows to learn from, 60 to test with")
    r2, error = map(float, re.findall(r"-?\d+\.?\d*", out.splitlines()[-1].removeprefix("test R2")))
    assert r2 > 0.97
    assert 10 < error < 2000
    saved = load(weights(out))
    assert saved.classes is None
    assert saved.target_scaling.mean == pytest.approx([61_000], rel=0.05)
    x = np.array([[5, 5, 5]], np.float32)
    value = saved.target_scaling.inverse(predict(saved.model, saved.scaling.transform(x)))
    assert value == pytest.approx(60_000, rel=0.05)


@pytest.mark.parametrize(("target", "inputs"), [("age", 4), ("3", 4), ("-2", 4), ("0", 4)])
def test_the_target_is_a_column_by_name_or_number(run, flowers, tmp_path, target, inputs):
    numbers = tmp_path / "numbers.csv"
    numbers.write_text(re.sub('"(lily|rose|tulip, late)"', lambda m: str(len(m[1])), flowers.read_text()))
    out = run("train", "--data", numbers, "--target", target, *SHORT)[1]
    assert f"data: {inputs} columns, 1 value to tell" in out
    assert load(weights(out)).metadata["target"] == ("length" if target == "0" else "age")


def test_whole_numbers_are_classes_or_values_as_they_are_called(run, tmp_path):
    path = tmp_path / "grades.csv"
    path.write_text("many,b,grade\n" + "".join(f"{i % 25},{i * i % 7},{i % 5}\n" for i in range(50)))
    assert "5 classes" in run("train", "--data", path, *SHORT)[1]
    assert "1 value to tell" in run("train", "--data", path, "--kind", "values", *SHORT)[1]
    assert "1 value to tell" in run("train", "--data", path, "--target", "many", *SHORT)[1]
    assert "25 classes" in run("train", "--data", path, "--kind", "classes", "--target", "many", *SHORT)[1]
    test = path.with_name("test.csv")
    test.write_text(path.read_text())
    code, out, _ = run("train", "--data", path, "--kind", "values", "--test-data", test, *SHORT)
    assert (code, "test R2" in out) == (0, True)


def test_columns_of_one_name_are_named_by_their_order(run, tmp_path):
    path = tmp_path / "twins.csv"
    path.write_text("a,a,kind\n" + "1,2,u\n3,4,v\n" * 5)
    code, out, err = run("train", "--data", path, *SHORT)
    assert (code, err.partition(" two")[0]) == (0, "fastdl: note:")
    assert load(weights(out)).features == ("a", "a.1")


def test_a_file_without_names_has_none(run, tmp_path):
    path = tmp_path / "bare.csv"
    path.write_text("1,2,u\n3,4,v\n" * 5)
    saved = load(weights(run("train", "--data", path, *SHORT)[1]))
    assert (saved.features, saved.classes) == (None, ("u", "v"))
    assert saved.metadata == {"table": '{"width": 3, "places": [0, 1], "answers": 2}'}


def test_images_are_learned_by_convolutions(run, images):
    code, out, err = run("train", "--data", *images, "--epochs", "10")
    assert (code, err) == (0, "")
    assert "data: 1 x 8 x 6, 3 classes ('0', '1', '2'); 160 rows to learn from, 40 to test with\n" in out
    assert last_number(out) >= 95
    saved = load(weights(out))
    assert nn.to_spec(saved.model)[0] == "Conv2d(1, 32, 3, padding=1)"
    assert saved.scaling.mean.shape == (1, 8, 6)


def test_images_are_standardized_by_channel(run, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 50, (40, 3, 8, 8), np.uint8) + np.array([0, 100, 200], np.uint8)[:, None, None]
    path = npz(tmp_path / "colours.npz", x, np.arange(40) % 2)
    scaling = load(weights(run("train", "--data", path, *SHORT)[1])).scaling
    assert [np.unique(channel).size for channel in scaling.mean] == [1, 1, 1]
    assert scaling.mean[:, 0, 0] == pytest.approx(np.array([24.5, 124.5, 224.5]) / 255, abs=0.01)


@pytest.mark.parametrize(
    ("shape", "targets", "words"),
    [
        ((5,), np.int64, "5 columns, 2 classes"),
        ((5,), np.float64, "5 columns, 1 value to tell"),
        ((), np.int64, "1 column, 2 classes"),
        ((4, 6), np.int64, "4 x 6, 2 classes"),
        ((2, 5, 5), np.int64, "2 x 5 x 5, 2 classes"),
        ((2, 9, 5), np.float32, "2 x 9 x 5, 1 value to tell"),
        ((2, 3, 4, 5), np.int64, "2 x 3 x 4 x 5, 2 classes"),
    ],
)
@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_arrays_of_any_rank_are_learned(run, tmp_path, shape, targets, words, kind):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, *shape)), (np.arange(30) % 2).astype(targets)
    files = [npz(tmp_path / "a.npz", x, y)]
    if kind == "npy":
        files = [tmp_path / "x.npy", tmp_path / "y.npy"]
        np.save(files[0], x)
        np.save(files[1], y)
    code, out, err = run("train", "--data", *files, *SHORT)
    assert (code, err) == (0, "")
    assert out.startswith(f"data: {words}")
    assert load(weights(out)).scaling.mean.shape == (shape or (1,))


def test_several_values_are_reported_together(run, tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 2))
    path = npz(tmp_path / "two.npz", x, np.stack([100 * x[:, 0], x[:, 1] - 7, x.sum(axis=1)], axis=1))
    code, out, _ = run("train", "--data", path)
    assert code == 0
    assert "3 values to tell" in out
    assert last_number(out) > 0.9


def test_cifar_batches_have_names_for_their_classes(run, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "batch.bin"
    path.write_bytes(b"".join(bytes([i % 10]) + rng.bytes(3072) for i in range(30)))
    out = run("train", "--data", path, *SHORT)[1]
    assert out.startswith("data: 3 x 32 x 32, 10 classes ('airplane', ")
    assert load(weights(out)).classes[3] == "cat"


def test_the_test_rows_may_be_a_part_or_files_of_their_own(run, flowers, tmp_path):
    assert (
        "75 rows to learn from, 75 to test with\n"
        in run("train", "--data", flowers, "--test-fraction", "0.5", *SHORT)[1]
    )
    lines = flowers.read_text().splitlines()
    test = tmp_path / "test.csv"
    turned = [",".join(line.split(",", 4)[::-1]) for line in lines]
    test.write_text("\n".join([turned[0], *turned[1:20]]))
    out = run("train", "--data", flowers, "--test-data", test)[1]
    assert f"150 rows to learn from, 19 to test with from {test}\n" in out
    assert last_number(out) >= 90


def test_the_target_by_number_means_the_same_column_in_the_test_file(run, flowers, tmp_path):
    test = tmp_path / "test.csv"
    test.write_text("\n".join(",".join(line.split(",", 4)[::-1]) for line in flowers.read_text().splitlines()))
    code, out, _ = run("train", "--data", flowers, "--target", "4", "--test-data", test)
    assert code == 0
    assert last_number(out) >= 90


def test_the_same_seed_saves_the_same_bits(run, images):
    found = []
    for seed in ("3", "3", "4"):
        path = weights(run("train", "--data", *images, *SHORT, "--seed", seed)[1])
        found.append(Path(path).read_bytes())
    assert found[0] == found[1] != found[2]


def test_a_model_of_ones_own_is_tried_and_trained(run, images):
    spec = "Conv2d(1, 4, 3); ReLU; Flatten; Linear(96, 3)"
    code, out, _ = run("train", "--data", *images, "--model", spec, *SHORT)
    assert code == 0
    assert nn.to_spec(load(weights(out)).model)[-1] == "Linear(96, 3)"


def test_the_options_reach_the_fit(run, flowers, monkeypatch):
    seen = []
    fit = Trainer.fit

    def spy(self, *arrays, **options):
        group = self.optimizer.param_groups[0]
        seen.append(
            (
                type(self.optimizer).__name__,
                group["lr"],
                group["weight_decay"],
                options["epochs"],
                options["batch_size"],
            )
        )
        return fit(self, *arrays, **options)

    monkeypatch.setattr(Trainer, "fit", spy)
    run("train", "--data", flowers)
    run("train", "--data", flowers, "--optimizer", "sgd", "--lr", "0.3", "--epochs", "2", "--batch-size", "7")
    assert seen == [("AdamW", 0.01, 1.0, 100, 8), ("SGD", 0.3, 0, 2, 7)]


def test_the_picture_shows_a_confusion_matrix_for_classes(run, flowers, prices, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the plot extra)")
    monkeypatch.undo()
    from fastdl import plot

    drawn = []
    for name in ("loss_curves", "confusion_matrix", "decision_regions"):
        draw = getattr(plot, name)
        monkeypatch.setattr(plot, name, lambda *a, name=name, draw=draw, **k: drawn.append(name) or draw(*a, **k))
    for path in (flowers, prices):
        out = run("train", "--data", path, *SHORT)[1]
        assert f"picture: {tmp_path / 'out' / path.stem}.png" in out
        assert (tmp_path / "out" / f"{path.stem}.png").read_bytes().startswith(b"\x89PNG")
    assert drawn == ["loss_curves", "confusion_matrix", "loss_curves"]


@pytest.mark.parametrize(("words", "least"), [(["--epochs", "5"], 95), pytest.param([], 98, marks=pytest.mark.slow)])
def test_the_digits_are_classified_within_a_minute(run, words, least):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")
    code, out, err = run("train", "digits", *words)
    assert (code, err) == (0, "")
    assert "data: 1 x 8 x 8, 10 classes" in out
    assert "1438 rows to learn from, 359 to test with\n" in out
    assert last_number(out) >= least
    assert len(digits()[0]) == 1438 + 359


def test_without_scikit_learn_its_extra_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    code, out, err = run("train", "digits")
    assert (code, out) == (2, "")
    assert err.startswith('fastdl: digits: needs scikit-learn; write pip install ".[sklearn]"')


CSV = "a,b,kind\n" + "1,2,u\n3,4,v\n" * 5
BAD_WORDS = {
    "task and files": (["digits", "--data", "good.csv"], "expected digits or --data, got both"),
    "a file as a task": (["good.csv"], "expected disk or digits, got 'good.csv'; write --data good.csv to read a file"),
    "target of the disk": (["--target", "kind"], "--target: expected --data FILE beside it"),
    "test files of digits": (["digits", "--test-data", "good.csv"], "--test-data: expected --data FILE beside it"),
    "a part of the disk": (["--test-fraction", "0.5"], "--test-fraction: expected digits or --data FILE beside it"),
    "two sources of test rows": (
        ["--data", "good.csv", "--test-data", "good.csv", "--test-fraction", "0.5"],
        "expected --test-data or --test-fraction, got both",
    ),
    "all rows to test": (
        ["--data", "good.csv", "--test-fraction", "1"],
        "--test-fraction: expected a number between 0",
    ),
    "no file": (["--data", "nowhere.csv"], "nowhere.csv: No such file or directory"),
    "no files": (["--data"], "--data: expected at least one argument"),
    "a folder": (["--data", "."], "expected a file, got the folder"),
    "files of two kinds": (["--data", "good.csv", "good.npz"], "expected one CSV or .npz, .* got .*good.csv"),
    "no such column": (
        ["--data", "good.csv", "--target", "c"],
        r"expected target to name one column of .*'kind'.*got 'c'",
    ),
    "no such number": (["--data", "good.csv", "--target", "3"], "expected a column from -3 to 2"),
    "target of an npz": (["--data", "good.npz", "--target", "0"], "expected target.* for a CSV file only"),
    "kind of an npz": (["--data", "good.npz", "--kind", "values"], "expected target.* for a CSV file only"),
    "kind of the disk": (["--kind", "values"], "--kind: expected --data FILE beside it"),
    "words as values": (
        ["--data", "good.csv", "--kind", "values"],
        "expected a number in .*good.csv, line 2, .* got 'u'",
    ),
    "words and numbers": (
        ["--data", "mixed.csv"],
        r"expected a number .*\(write --kind classes to make classes of both\)",
    ),
    "names among numbers": (["--data", "index.csv"], "line 1, column 1, .*; write --header yes if these are names"),
    "negative classes": (["--data", "negative.npz"], "expected classes from 0 .* got -1 in .*; save values as floats"),
    "an empty file": (["--data", "empty.csv"], "expected rows in .*empty.csv, got none"),
    "a word among numbers": (
        ["--data", "word.csv"],
        r"expected a number in .*word.csv, line 2, column 1 \('a'\), got 'x'",
    ),
    "one class": (["--data", "one.csv"], "expected at least two classes in .*one.csv, got 'u' alone"),
    "a class a row": (["--data", "own.csv"], "expected classes of several rows .* write --target with another column"),
    "one row": (["--data", "row.csv"], "expected at least two rows in .*row.csv, one of them to test with, got 1"),
    "classes in two columns": (
        ["--data", "pairs.npz"],
        r"expected one class a row in .*pairs.npz, got y of shape \(4, 2\)",
    ),
    "values in three dimensions": (["--data", "deep.npz"], r"rows of values to tell in .*, got y of shape \(4, 2, 2\)"),
    "rows of nothing": (
        ["--data", "nothing.npz"],
        "expected inputs in the rows of .*nothing.npz, got rows of 0 columns",
    ),
    "unknown test classes": (
        ["--data", "good.csv", "--test-data", "other.csv"],
        "expected one of the classes 'u', 'v' in .*other.csv, line 3, .* got 'w'",
    ),
    "other test columns": (
        ["--data", "good.csv", "--test-data", "columns.csv"],
        "expected the column 'b' in .*columns.csv, as the model learned from, got 'a', 'c', 'kind'",
    ),
    "another test shape": (
        ["--data", "good.npz", "--test-data", "pairs.npz"],
        "expected rows of 2 columns, as the model learned from, got 3 columns in .*pairs.npz",
    ),
    "values to test classes": (
        ["--data", "good.npz", "--test-data", "values.npz"],
        "expected classes to tell, as the model learned, got values in .*values.npz",
    ),
    "other inputs of a model": (
        ["--data", "good.csv", "--model", "Linear(3, 2)"],
        r"--model: Linear\(3, 2\): expected input",
    ),
    "other outputs of a model": (
        ["--data", "good.csv", "--model", "Linear(2, 3)"],
        r"--model: expected a model of inputs \(n, 2\) and 2 outputs, got outputs of shape \(2, 3\)",
    ),
    "a model for images": (
        ["--data", "good.csv", "--model", "MaxPool2d(2)"],
        r"--model: MaxPool2d\(2\): expected input",
    ),
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = {"good": CSV, "empty": "", "one": "a,kind\n1,u\n2,u\n3,u\n", "row": "a,kind\n1,2.5\n"}
    texts |= {"word": "a,kind\nx,1\n2,2\n", "own": "a,kind\n1,u\n2,v\n3,w\n4,x\n"}
    texts |= {"other": "a,b,kind\n1,2,u\n3,4,w\n", "columns": "a,c,kind\n1,2,u\n3,4,v\n"}
    texts |= {"mixed": "a,kind\n1,2\n2,u\n", "index": ",0,1,kind\n0,1,2,u\n1,1,2,v\n"}
    for name, text in texts.items():
        Path(f"{name}.csv").write_text(text)
    labels = np.array([0, 1, 0, 1])
    npz("good.npz", np.zeros((4, 2)), labels)
    npz("negative.npz", np.zeros((4, 2)), labels - 1)
    npz("values.npz", np.zeros((4, 2)), labels.astype(float))
    npz("pairs.npz", np.zeros((4, 3)), np.stack([labels, labels], axis=1))
    npz("deep.npz", np.zeros((4, 3)), np.zeros((4, 2, 2)))
    npz("nothing.npz", np.zeros((4, 0)), labels)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(("words", "message"), BAD_WORDS.values(), ids=BAD_WORDS)
def test_what_cannot_be_learned_is_reported_in_one_line(run, tmp_path, words, message):
    code, out, err = run("train", *words)
    assert (code, out) == (2, "")
    assert re.fullmatch(f"fastdl: .*{message}.*\n", err)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("files")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_fit_that_fails_leaves_nothing(run, tmp_path):
    code, _, err = run("train", "--data", "good.csv", "--lr", "1e30", "--optimizer", "sgd")
    assert code == 2
    assert re.fullmatch("fastdl: .*the loss is .* write a smaller lr.*\n", err)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_said_before_training(run, flowers, monkeypatch):
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("trained"))
    code, out, err = run("train", "--data", flowers, "--out", flowers)
    assert (code, out) == (2, "")
    assert re.fullmatch(r"fastdl: --out .*flowers\.csv: cannot be written to: .*\n", err)
