"""The commands' options of tables and images, and that a saved model reads new files alike."""

import csv
import io
import json
import warnings

import numpy as np
import pytest

from fastdl.commands.tables import in_words, recalled, worded
from fastdl.data import load_inputs
from fastdl.errors import GuessWarning, InvalidValueError
from fastdl.messages import Advice, Argument
from fastdl.serialization.model_file import load

pytestmark = pytest.mark.usefixtures("no_picture")
SHORT = ("--epochs", "1")
A, B = np.random.default_rng(0).normal(size=(2, 60)).round(3)


@pytest.fixture
def write(tmp_path):
    def write(text, name="t.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.fixture
def trained(run, tmp_path):
    """Train, and return the model's file, what was printed and what was noted."""

    def trained(path, *words):
        code, out, err = run("train", "--data", path, *words)
        assert code == 0, err
        return tmp_path / "out" / f"{path.name.split('.')[0]}.safetensors", out, err

    return trained


def values(text):
    return [float(row["value"]) for row in csv.DictReader(io.StringIO(text))]


def lines(*columns, delimiter=","):
    return "".join(delimiter.join(map(str, row)) + "\n" for row in zip(*columns, strict=True))


def test_as_many_timestamps_come_back_as_were_learned(run, trained, write):
    path = write("v,t\n" + lines(np.linspace(-1, 1, 1000), 1_700_000_000 + np.arange(1000)))
    model, out, _ = trained(path, "--epochs", "20")
    found = values(run("predict", model, "--data", path)[1])
    assert len(set(found)) == 1000
    assert np.abs(np.array(found) - 1_700_000_000 - np.arange(1000)).max() < 300
    assert float(out.split("test R2 ")[1].split(",")[0]) > 0.9


def test_timestamps_as_inputs_stay_apart(trained, write):
    times = 1_700_000_000 + np.random.default_rng(0).permutation(400)
    path = write("t,y\n" + lines(times, np.sin(times / 40).round(4)))
    assert float(trained(path, "--epochs", "60")[1].split("test R2 ")[1].split(",")[0]) > 0.9


def test_large_labels_come_back(run, trained, write):
    names = [9007199254740992, 9007199254740993, 740245381351497730]
    path = write("a,id\n" + lines([i % 3 * 10 for i in range(90)], [names[i % 3] for i in range(90)]))
    model = trained(path, "--epochs", "40")[0]
    found = [row["class"] for row in csv.DictReader(io.StringIO(run("predict", model, "--data", path)[1]))]
    assert found == [str(names[i % 3]) for i in range(90)]


@pytest.mark.parametrize("words", [(), ("--header", "yes")])
def test_a_numeric_header_is_no_row(run, trained, write, words):
    path = write("2019,2020,2021\n" + lines(A, B, (A + B).round(3)))
    model, out, _ = trained(path, *words, *SHORT)
    assert "2 columns, 1 value to tell; 48 rows to learn from, 12 to test with" in out
    one = write("2021,2020,2019\n0,1,2\n", "one.csv")
    swapped = write("2019,2020\n2,1\n", "swapped.csv")
    assert len(values(run("predict", model, "--data", one)[1])) == 1
    assert run("predict", model, "--data", one)[1] == run("predict", model, "--data", swapped)[1]


def test_a_first_row_of_values_can_be_said(run, trained, write):
    path = write("0,1\n" + lines(A, B))
    code, _, err = run("train", "--data", path, *SHORT)
    assert (code, "write --header yes if these are names, else --header no" in err) == (2, True)
    model, out, _ = trained(path, "--header", "no", *SHORT)
    assert "49 rows to learn from, 12 to test with" in out
    assert recalled(load(model).metadata) == {"header": False, "width": 2, "places": [0], "answers": 1}
    assert len(values(run("predict", model, "--data", path)[1])) == 61
    assert len(values(run("predict", model, "--data", path, "--header", "yes", "--columns", "0")[1])) == 60


def test_an_index_is_left_out_and_reported(run, trained, write):
    path = write(",noise,kind\n" + lines(range(60), A, ["x"] * 30 + ["y"] * 30))
    model, out, err = trained(path, *SHORT)
    assert out.startswith("data: 1 column, 2 classes")
    assert err == f"fastdl: note: the first column of {path} has no name and counts the rows; it is left out\n"
    assert load(model).features == ("noise",)
    assert run("predict", model, "--data", path)[::2] == (0, "")
    assert run("evaluate", model, "--data", path)[::2] == (0, "")


def test_columns_and_drops_choose_the_inputs(run, trained, write):
    path = write("id,a,b,y\n" + lines([f"n{i}" for i in range(60)], A, B, A))
    code, _, err = run("train", "--data", path, *SHORT)
    assert (code, err.split("; ")[1:2]) == (2, ["write --drop 'id' to leave the column out\n"]) or "--drop 'id'" in err
    model = trained(path, "--drop", "id", "-3", *SHORT)[0]
    assert (load(model).features, recalled(load(model).metadata)) == (("b",), {"drop": ["id", -3]})
    other = write("b\n" + lines(B), "other.csv")
    assert run("predict", model, "--data", path)[1] == run("predict", model, "--data", other)[1]
    assert load(trained(path, "--columns", "b", "1", *SHORT)[0]).features == ("b", "a")
    assert run("evaluate", model, "--data", path)[0] == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (lines([f"{a}".replace(".", ",") for a in A], B > 0, delimiter=";"), ()),
        (lines([f"{a:.3f}".replace(".", ",") for a in A], B > 0, delimiter="~"), ("--delimiter", "~")),
        ("% me\n" + lines(A, B > 0, delimiter="\t"), ("--comment", "%", "--delimiter", "tab")),
        ("# me\n" + lines(A, B > 0, delimiter="|"), ("--comment", "#", "--decimal", ".")),
    ],
)
def test_what_is_said_of_a_table_holds_for_the_next(run, trained, write, text, words):
    path = write(text)
    model = trained(path, *words, *SHORT)[0]
    code, out, err = run("predict", model, "--data", path)
    assert (code, err, out.count("\n")) == (0, "", 61)
    code, out, err = run("evaluate", model, "--data", path)
    assert (code, err) == (0, "")


def test_columns_of_one_name_are_found_again(run, trained, write):
    path = write("a,a,k\n" + lines(A, B, A > 0))
    model = trained(path, *SHORT)[0]
    code, out, err = run("predict", model, "--data", path)
    assert (code, out.count("\n"), "the later is called" in err) == (0, 61, True)
    assert run("evaluate", model, "--data", path)[0] == 0
    model = trained(path, "--drop", "a.1", *SHORT)[0]
    assert run("predict", model, "--data", path)[0] == 0


@pytest.mark.parametrize("target", ["0", "1", "2"])
def test_places_hold_for_tables_without_names(run, trained, write, target):
    columns = [A, B, (3 * A - B).round(4)]
    path = write(lines(*columns))
    model = trained(path, "--target", target, *SHORT)[0]
    inputs = write(lines(*(column for i, column in enumerate(columns) if i != int(target))), "inputs.csv")
    assert run("predict", model, "--data", path)[1] == run("predict", model, "--data", inputs)[1]
    by_itself = run("evaluate", model, "--data", path)
    assert by_itself == run("evaluate", model, "--data", path, "--target", target)
    code, _, err = run("predict", model, "--data", write(lines(A, B, A, B), "wide.csv"))
    assert (code, "expected rows of 2 columns" in err) == (2, True)


def test_images_are_turned_round_and_it_is_remembered(run, trained, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "n.npz", x=rng.integers(0, 255, (60, 32, 32, 3), np.uint8), y=np.arange(60) % 3)
    out, err = trained(tmp_path / "n.npz", *SHORT)[1:]
    assert out.startswith("data: 3 x 32 x 32, 3 classes")
    assert "are read as channels last" in err
    np.savez(tmp_path / "either.npz", x=rng.integers(0, 255, (60, 3, 8, 3), np.uint8), y=np.arange(60) % 3)
    code, _, err = run("train", "--data", tmp_path / "either.npz", *SHORT)
    assert (code, "write --layout channels_first or --layout channels_last" in err) == (2, True)
    model = trained(tmp_path / "either.npz", "--layout", "channels_last", *SHORT)[0]
    assert run("predict", model, "--data", tmp_path / "either.npz")[0] == 0


def test_a_file_of_four_arrays_has_its_own_test_rows(run, trained, tmp_path):
    x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    np.savez(tmp_path / "k.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    model, out, _ = trained(tmp_path / "k.npz", *SHORT)
    assert "40 rows to learn from, 20 to test with from its x_test" in out
    assert run("predict", model, "--data", tmp_path / "k.npz")[1].count("\n") == 21
    assert run("evaluate", model, "--data", tmp_path / "k.npz")[0] == 0
    assert "32 rows to learn from, 8 to test with" in trained(tmp_path / "k.npz", "--test-fraction", "0.2", *SHORT)[1]


@pytest.mark.parametrize(
    "option", [("--header", "no"), ("--drop", "a"), ("--decimal", ","), ("--layout", "channels_last")]
)
def test_options_of_files_go_with_files(run, trained, write, option):
    for words in (("train",), ("train", "digits")):
        code, _, err = run(*words, *option)
        assert (code, f"{option[0]}: expected --data FILE beside it" in err) == (2, True)


@pytest.mark.parametrize(
    "entry", ["[]", "{", '{"header": 1}', '{"places": ["a"]}', '{"width": -1}', '{"drop": "a"}', '{"x": 1}', "3"]
)
def test_a_damaged_memory_is_refused(entry):
    with pytest.raises(ValueError, match="expected options of a table in the file of the model"):
        recalled({"table": entry})
    assert recalled({"table": json.dumps({"drop": [1, "a"], "comment": ""})}) == {"drop": [1, "a"], "comment": ""}


WORDED = {
    "drop": (("write ", Argument("drop", ["id"]), " to leave"), "write --drop 'id' to leave"),
    "a number to drop": ((Argument("drop", [0]),), "--drop 0"),
    "columns": ((Argument("columns", ...), " with 0 among them"), "--columns with 0 among them"),
    "decimal": (
        ("write ", Argument("decimal", ","), " or ", Argument("decimal", ".")),
        "write --decimal , or --decimal .",
    ),
    "comment": (
        (Argument("comment", "#"), " for a comment, ", Argument("comment", ""), " for"),
        "--comment '#' for a comment, --comment none for",
    ),
    "layout": ((Argument("layout", "channels_last"),), "--layout channels_last"),
    "classes": (("a word (write ", Argument("classes", True), ")"), "a word (write --kind classes)"),
    "what looks like an argument": (("in header=True; drop=[1]",), "in header=True; drop=[1]"),
}


@pytest.mark.parametrize(("parts", "words"), WORDED.values(), ids=WORDED)
def test_advice_is_in_the_command_lines_words(parts, words):
    assert worded(Advice(*parts)) == words
    assert worded(Advice("in a.csv: ", Advice(*parts))) == f"in a.csv: {words}"


def test_a_text_without_parts_stays_as_it_is():
    assert worded("write header=True") == "write header=True"
    assert worded(None) is None


def test_a_cell_that_looks_like_advice_is_quoted_as_it_is(tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text("a,b\n1,2\n3,columns=...\n", encoding="utf-8")
    with pytest.raises(InvalidValueError) as caught, in_words():
        load_inputs(path)
    error = caught.value
    assert (error.owner, error.got) == ("read_columns", "'columns=...'")
    assert error.hint == "write --drop 'b' to leave the column out"
    assert str(error).endswith(f", got {error.got}; {error.hint}")


def test_options_nested_without_end_are_damaged():
    with pytest.raises(ValueError, match=r"^expected options of a table in the file of the model, got '\[\["):
        recalled({"table": "[" * 10**5})


@in_words()
def warn_of_both():
    warnings.warn("old: of another package", DeprecationWarning, stacklevel=1)
    warnings.warn(GuessWarning("read_csv", Advice("write ", Argument("header", True))), stacklevel=1)


def test_only_what_the_readers_warn_of_is_a_note(capsys):
    with pytest.warns(DeprecationWarning, match="^old: of another package$"):
        warn_of_both()
    assert capsys.readouterr().err == "fastdl: note: write --header yes\n"
