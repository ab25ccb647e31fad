"""`fastdl evaluate`: the same numbers as after training, on data as the model knows them, or one line on why not."""

import re
from pathlib import Path

import numpy as np
import pytest

from fastdl import nn
from fastdl.data import Standardize
from fastdl.serialization.model_file import load, save

pytestmark = pytest.mark.usefixtures("no_picture")
SHORT = ["--epochs", "1"]


@pytest.fixture
def trained(run, tmp_path):
    """Train on files (`trained(FILE...)`) and return where the model is, and the last line of what was printed."""

    def trained(*words):
        code, out, err = run("train", *words)
        assert (code, err) == (0, "")
        path = next(line.removeprefix("weights: ") for line in out.splitlines() if line.startswith("weights: "))
        return Path(path), out.splitlines()[-1]

    return trained


def rewritten(path, name, change):
    """A copy of a CSV file with each row's list of cells changed."""
    rows = [re.findall(r'"[^"]*"|[^,]+', line) for line in path.read_text().splitlines()]
    copy = path.with_name(name)
    copy.write_text("\n".join(",".join(change(row, i)) for i, row in enumerate(rows) if change(row, i)) + "\n")
    return copy


def test_a_test_file_gives_what_training_gave(run, trained, flowers):
    test = rewritten(flowers, "test.csv", lambda row, i: row if i % 2 == 0 else None)
    model, last = trained("--data", flowers, "--test-data", test, *SHORT)
    code, out, err = run("evaluate", model, "--data", test)
    assert (code, err) == (0, "")
    assert f"test {out.splitlines()[-1]}" == last


@pytest.mark.parametrize("task", ["disk", "digits"])
def test_the_test_rows_of_a_task_are_those_that_were_not_trained_on(run, trained, task):
    if task == "digits":
        pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")
    more = ["--test-fraction", "0.3"] if task == "digits" else []
    model, last = trained(task, "--seed", "3", *more, *SHORT)
    for words in ([], [task]):
        code, out, err = run("evaluate", model, *words)
        assert (code, err) == (0, "")
        assert f"test {out.splitlines()[-1]}" == last


def test_values_are_judged_in_their_own_unit(run, trained, prices):
    model, last = trained("--data", prices, "--test-data", prices, *SHORT)
    code, out, err = run("evaluate", model, "--data", prices)
    assert (code, err) == (0, "")
    assert f"test {out}" == f"{last}\n"


def test_images_are_read_and_scaled_as_in_training(run, trained, images):
    model, last = trained("--data", *images, "--test-data", *images, "--epochs", "3")
    assert f"test {run('evaluate', model, '--data', *images[::-1])[1].splitlines()[-1]}" == last


def test_the_table_shows_each_class_by_its_name(run, trained, flowers):
    model, _ = trained("--data", flowers)
    out = run("evaluate", model, "--data", flowers)[1]
    head, *rows, last = out.splitlines()
    assert head.split() == ["class", "samples", "recall", "precision"]
    assert [re.split(r"  +", row)[:2] for row in rows] == [["lily", "50"], ["rose", "50"], ["tulip, late", "50"]]
    assert re.fullmatch(r"accuracy (9\d\.\d|100\.0) %", last)


def test_columns_are_found_by_name_in_any_order_among_others(run, trained, flowers):
    model, _ = trained("--data", flowers)
    wanted = run("evaluate", model, "--data", flowers)
    turned = rewritten(flowers, "turned.csv", lambda row, i: [row[4], "note" if i == 0 else f"word {i}", *row[3::-1]])
    assert run("evaluate", model, "--data", turned) == wanted
    renamed = rewritten(flowers, "renamed.csv", lambda row, i: [*row[:4], "answer"] if i == 0 else row)
    assert run("evaluate", model, "--data", renamed, "--target", "answer") == wanted
    assert run("evaluate", model, "--data", renamed, "--target", "4") == wanted


def test_columns_without_names_are_named_by_their_order(run, trained, flowers):
    bare = rewritten(flowers, "bare.csv", lambda row, i: row if i else None)
    first = rewritten(bare, "first.csv", lambda row, i: [row[4], *row[:4]])
    model, _ = trained("--data", flowers)
    wanted = run("evaluate", model, "--data", flowers)
    assert run("evaluate", model, "--data", bare) == wanted
    assert run("evaluate", model, "--data", first, "--target", "0") == wanted
    unnamed, _ = trained("--data", bare)
    assert run("evaluate", unnamed, "--data", flowers) == wanted


@pytest.mark.parametrize("kept", [("rose", '"tulip, late"'), ('"tulip, late"',)])
def test_a_file_with_some_of_the_classes_keeps_their_names(run, trained, flowers, kept):
    plain = rewritten(flowers, "plain.csv", lambda row, i: row)
    model, _ = trained("--data", plain)
    some = rewritten(
        flowers, "some.csv", lambda row, i: row if i == 0 or row[4] in [f'"{k.strip(chr(34))}"' for k in kept] else None
    )
    out = run("evaluate", model, "--data", some)[1]
    assert re.search(r"lily +0 +- ", out)
    assert float(out.split()[-2]) > 95


def test_class_numbers_in_arrays_are_names(run, trained, flowers, tmp_path):
    numbers = tmp_path / "numbers.csv"
    text = re.sub('"(lily|rose|tulip, late)"', lambda m: str(len(m[1])), flowers.read_text()).replace("11", "9")
    numbers.write_text(text.replace(",4\n", ",2\n"))
    x = np.array([line.split(",")[:4] for line in numbers.read_text().splitlines()[1:]], np.float32)
    y = np.array([{"lily": 2}.get(name, 9) for name in re.findall('"([a-z, ]*)"', flowers.read_text())])
    lilies = tmp_path / "lilies.csv"
    lilies.write_text(
        "length,width,weight,age,kind\n" + "\n".join(f"{','.join(map(str, a))},{b}" for a, b in zip(x, y, strict=True))
    )
    model, _ = trained("--data", lilies)
    assert load(model).classes == ("2", "9")
    np.savez(tmp_path / "set.npz", x=x, y=y)
    wanted = run("evaluate", model, "--data", lilies)
    assert float(wanted[1].split()[-2]) > 90
    assert run("evaluate", model, "--data", tmp_path / "set.npz") == wanted


def test_the_confusion_matrix_is_drawn_where_that_is_asked_for(run, trained, flowers, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the plot extra)")
    model, _ = trained("--data", flowers)
    monkeypatch.undo()
    code, out, err = run("evaluate", model, "--data", flowers, "--out", tmp_path / "pictures")
    assert (code, err) == (0, "")
    picture = tmp_path / "pictures" / "flowers-confusion.png"
    assert f"picture: {picture}\n" in out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_drawn_is_said_at_once(run, trained, flowers, prices, tmp_path, monkeypatch):
    model, _ = trained("--data", flowers)
    code, out, err = run("evaluate", model, "--data", flowers, "--out", tmp_path / "p")
    assert (code, out) == (2, "")
    assert err.startswith('fastdl: --out: needs matplotlib; write pip install ".[plot]"')
    values, _ = trained("--data", prices, *SHORT)
    assert "--out: expected a model of classes" in run("evaluate", values, "--data", prices, "--out", tmp_path)[2]


BAD_WORDS = {
    "no model": (["none.safetensors"], "none.safetensors: No such file"),
    "no safetensors": (["flowers.csv"], "load: expected a whole safetensors file, got .*flowers.csv"),
    "no data": (["MODEL"], "expected disk or digits or --data FILE to evaluate with, got none"),
    "an unknown task": (
        ["MODEL", "flowers.csv"],
        "expected disk or digits, got 'flowers.csv'; write --data flowers.csv",
    ),
    "two sources": (["MODEL", "disk", "--data", "flowers.csv"], "expected disk or --data, got both"),
    "target of a task": (["MODEL", "disk", "--target", "x"], "--target: expected --data FILE beside it"),
    "another task's shape": (
        ["MODEL", "disk"],
        "expected rows of 4 columns, as the model learned from, got 2 columns in disk",
    ),
    "a missing column": (
        ["MODEL", "--data", "missing.csv"],
        "expected the columns 'width', 'weight' in missing.csv, as the model learned from, got 'length', 'age', 'kind'",
    ),
    "another number of columns": (
        ["MODEL", "--data", "narrow.csv"],
        "expected rows of 4 columns, as the model learned from, got 2 columns in narrow.csv",
    ),
    "no answers": (
        ["MODEL", "--data", "answers.csv"],
        "expected target to name one column of answers.csv .* got 'kind'",
    ),
    "an unknown class": (
        ["MODEL", "--data", "class.csv"],
        "one of the classes 'lily', 'rose', .* in class.csv, line 2, .*'daisy'",
    ),
    "unknown numbers": (
        ["MODEL", "--data", "numbers.npz"],
        "expected classes among 'lily', 'rose', 'tulip, late', as the model learned, got '0', '2' in numbers.npz",
    ),
    "values for classes": (
        ["MODEL", "--data", "values.npz"],
        "expected classes to tell, as the model learned, got values in values.npz",
    ),
    "another image shape": (
        ["MODEL", "--data", "images-idx3", "labels-idx1"],
        "expected rows of 4 columns, as the model learned from, got 1 x 8 x 6 in images-idx3, labels-idx1",
    ),
    "a missing file": (["MODEL", "--data", "nowhere.csv"], "nowhere.csv: No such file"),
}


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(("words", "message"), BAD_WORDS.values(), ids=BAD_WORDS)
def test_what_cannot_be_judged_is_reported_in_one_line(run, trained, flowers, monkeypatch, words, message):
    monkeypatch.chdir(flowers.parent)
    model, _ = trained("--data", "flowers.csv", *SHORT)
    texts = {"missing": "length,age,kind\n1,2,lily\n", "narrow": "1,2,lily\n3,4,rose\n"}
    texts["answers"] = "length,width,weight,age\n1,2,3,4\n"
    texts["class"] = "length,width,weight,age,kind\n1,2,3,4,daisy\n"
    for name, text in texts.items():
        Path(f"{name}.csv").write_text(text)
    np.savez("numbers.npz", x=np.zeros((2, 4)), y=[0, 2])
    np.savez("values.npz", x=np.zeros((2, 4)), y=[0.5, 2])
    code, out, err = run("evaluate", *(model if word == "MODEL" else word for word in words))
    assert (code, out) == (2, "")
    assert re.fullmatch(f"fastdl: .*{message}.*\n", err)


def test_values_do_not_judge_a_model_of_values_by_classes(run, trained, prices, tmp_path):
    model, _ = trained("--data", prices, *SHORT)
    np.savez(tmp_path / "classes.npz", x=np.zeros((2, 3)), y=[0, 1])
    code, _, err = run("evaluate", model, "--data", tmp_path / "classes.npz")
    assert (code, "expected values to tell, as the model learned, got classes in" in err) == (2, True)


LIES = {
    "too many names": (
        nn.Linear(4, 2),
        {},
        r"expected a model of outputs \(150, 3\), .* got \(150, 2\)",
    ),
    "names of one kind": (nn.Linear(4, 2), {"classes": ["a", "a"]}, "expected different names for classes"),
    "other values": (
        nn.Linear(4, 2),
        {"target_scaling": Standardize().fit(np.ones((3, 1))), "classes": None},
        r"expected a model of outputs \(150, 1\)",
    ),
    "another scaling": (nn.Linear(4, 3), {"scaling": Standardize().fit(np.ones((3, 2)))}, "expected rows of 2 columns"),
    "scaled to one number": (nn.Linear(4, 3), {"scaling": Standardize().fit(np.ones(3))}, "expected rows of one value"),
    "another layer": (nn.Linear(5, 3), {}, r"Linear\(5, 3\): expected input"),
    "an image's layer": (nn.Conv2d(1, 3, 1), {}, r"Conv2d\(1, 3, 1\): expected input"),
    "a column twice": (nn.Linear(4, 3), {"features": ["age", "age", "width", "length"]}, None),
    "a column that is not there": (nn.Linear(4, 3), {"features": ["height"]}, "expected the column 'height'"),
    "no columns": (nn.Linear(4, 3), {"features": []}, "expected at least one column"),
    "a seed in words": (
        nn.Linear(4, 3),
        {"metadata": {"data": "disk", "seed": "x"}},
        "expected a seed and a test fraction",
    ),
    "a part above 1": (
        nn.Linear(4, 3),
        {"metadata": {"data": "disk", "test_fraction": "7"}},
        "a seed and a test fraction",
    ),
    "a narrow scaling": (
        nn.Linear(4, 3),
        {"scaling": Standardize().fit(np.array([[0.0] * 4, [1e-38] * 4]))},
        "expected inputs like those that the model learned from, got far larger ones in row 0",
    ),
    "NaN": ("nan", {}, "expected finite outputs"),
}


@pytest.mark.parametrize(("model", "words", "message"), LIES.values(), ids=LIES)
def test_a_model_file_that_lies_is_refused_in_one_line(run, flowers, tmp_path, model, words, message):
    if model == "nan":
        model = nn.Linear(4, 3)
        model.weight.data[:] = np.nan
    path = tmp_path / "lie.safetensors"
    save(model, path, **({"classes": ["lily", "rose", "tulip, late"], "scaling": None} | words))
    if words.get("classes", ()) is None:
        flowers.write_text(re.sub('"(lily|rose|tulip, late)"', "0.5", flowers.read_text()))
    data = ["disk"] if "metadata" in words else ["--data", flowers]
    code, out, err = run("evaluate", path, *data)
    assert code == (2 if message else 0)
    assert re.fullmatch(f"fastdl: .*{message}.*\n" if message else "", err)
    assert (out == "") == bool(message)


def test_names_from_a_file_do_not_command_the_terminal(run, flowers, tmp_path):
    path = tmp_path / "escape.safetensors"
    save(nn.Linear(2, 2), path, classes=["\x1b[2J", "a\nb"])
    data = tmp_path / "data.csv"
    data.write_text('x,y,kind\n1,2,"\x1b[2J"\n3,4,"a\nb"\n')
    code, out, _ = run("evaluate", path, "--data", data)
    assert code == 0
    assert "\x1b" not in out
    assert len(out.splitlines()) == 4
