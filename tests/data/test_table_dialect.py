"""Text tables as people have them: each is read right, or an error says which option tells how it is written."""

import gzip
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdl.data import load_data, load_inputs, read_columns, read_csv
from fastdl.data.dialect import DELIMITERS

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(40, 3))


def rows_of(array, pattern="{:.3f}", delimiter=","):
    return "".join(delimiter.join(pattern.format(value) for value in row) + "\n" for row in array)


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        ("a,b,c", rows_of(POINTS)),
        ("2019,2020,2021", rows_of(POINTS)),
        ("2019,2020,2021", rows_of(POINTS[:2])),
        ("2019,2020,2021", rows_of(RNG.integers(0, 50, (9, 3)), "{}")),
        ("2020,2021", rows_of(POINTS[:, :2])),
        ("0,1,2", rows_of(POINTS)),
        ("400,410,420", rows_of(POINTS)),
        ("2019,2020,price", rows_of(POINTS)),
        ("id,2020,price", rows_of(POINTS)),
    ],
)
def test_names_are_known_from_values_also_where_they_are_numbers(write, names, rows):
    found = read_csv(write(f"{names}\n{rows}"), classes=False)
    assert (*found.features, found.target) == tuple(names.split(","))
    assert len(found.x) == rows.count("\n")


@pytest.mark.parametrize(
    "text",
    [
        rows_of(POINTS),
        "1,2,3\n4,5,6\n7,8,9\n",
        "0,0,0\n0.5,0.25,1.5\n0.1,0.2,0.3\n",
        "1,2,dog\n0.5,0.25,cat\n1.5,2.5,dog\n",
        "1901,5,3\n1902,6,4\n1903,7,5\n",
        "driver,72,42.5\ncook,30,35.5\nnurse,67,43.1\n",
    ],
)
def test_rows_of_values_alone_have_no_names(write, text):
    columns = [-2] if text.startswith("driver") else None
    found = read_csv(write(text), columns=columns)
    assert found.features is None
    assert len(found.x) == text.count("\n")


@pytest.mark.parametrize(
    "text", ["0,1\n0.1,0.99\n0.2,0.95\n", "5,owl\n1.5,dog\n2.5,cat\n", "400,405,412\n0.1,0.2,0.3\n0.4,0.5,0.6\n"]
)
def test_a_first_row_that_may_be_either_is_asked_for(write, text):
    path = write(text)
    with pytest.raises(ValueError, match=r"^read_csv: .* write header=True if these are names, else header=False$"):
        read_csv(path)
    assert len(read_csv(path, header=True, classes=None).x) == 2
    assert len(read_csv(path, header=False, classes=None).x) == 3


def test_a_name_above_values_is_reported_as_one(write):
    path = write("1.5,price\n2.5,3.5\n3.5,4.5\n")
    with pytest.raises(ValueError, match="write header=True if line 1 holds names"):
        read_csv(path)
    assert read_csv(path, header=True).target == "price"


@pytest.mark.parametrize("first", ["", "Unnamed: 0"])
@pytest.mark.parametrize(
    "numbers", [range(40), range(1, 41), RNG.permutation(400)[:40], [f"row{i}" for i in range(40)]]
)
def test_an_index_without_a_name_is_left_out_with_a_warning(write, first, numbers):
    rows = "".join(f"{i},{a:.3f},{'xy'[int(a > 0)]}\n" for i, a in zip(numbers, POINTS[:, 0], strict=True))
    path = write(f"{first},noise,kind\n{rows}")
    with pytest.warns(UserWarning, match="the first column of .* has no name and counts the rows; it is left out"):
        found = read_csv(path)
    assert (found.features, found.x.shape) == (("noise",), (40, 1))
    with pytest.warns(UserWarning, match="^read_columns: the first column"):
        assert read_columns(path, drop=["kind"])[1] == ("noise",)
    if first == "" and not isinstance(numbers[0], str):
        assert read_csv(path, columns=[0, 1]).x.shape == (40, 2)


def test_a_column_without_a_name_that_is_no_index_stays_or_is_asked_for(write):
    assert read_csv(write(",b,y\n0.5,1,u\n1.5,2,v\n")).features == ("", "b")
    path = write(",b,y\n0,1,u\n1,2,v\n0,3,u\n")
    with pytest.raises(ValueError, match=r"write drop=\[0\] to leave it out, or columns=\.\.\. with 0 among them"):
        read_csv(path)
    assert read_csv(path, drop=[0]).features == ("b",)
    assert read_csv(path, columns=[0, "b"]).x.shape == (3, 2)


def test_pandas_own_files_are_read(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": POINTS[:, 0], "b": POINTS[:, 1], "kind": ["u", "v"] * 20})
    for shown in (frame, frame.sample(30, random_state=0)):
        shown.to_csv(tmp_path / "frame.csv.gz")
        with pytest.warns(UserWarning, match="has no name"):
            found = read_csv(tmp_path / "frame.csv.gz", dtype=np.float64)
        assert (found.x == shown[["a", "b"]].to_numpy()).all()
    pandas.DataFrame(POINTS).to_csv(tmp_path / "numbers.csv", index=False)
    assert read_csv(tmp_path / "numbers.csv").features == ("0", "1")


def test_columns_to_drop_may_hold_anything(write):
    path = write("id,a,b,y\nx1,1,2,u\nx2,3,4,v\n")
    with pytest.raises(ValueError, match=r"got 'x1'; write drop=\['id'\] to leave the column out$"):
        read_csv(path)
    assert read_csv(path, drop=["id"]).features == ("a", "b")
    assert read_csv(path, drop=[0, -2]).features == ("a",)
    assert read_columns(path, drop=["id", "y"])[0].tolist() == [[1, 2], [3, 4]]
    for drop, kind, message in (
        ("id", TypeError, "expected a list of columns or None for drop"),
        (["z"], ValueError, "expected drop to name one column"),
        (["y", "id"], ValueError, "expected columns without the target to drop"),
        (["id", "a", "b"], ValueError, "at least one column beside the target"),
    ):
        with pytest.raises(kind, match=message):
            read_csv(path, drop=drop)


def test_the_later_of_two_columns_of_one_name_is_renamed(write):
    path = write("a,a,kind,a\n1,2,u,5\n3,4,v,6\n")
    warning = r"two columns of .* are called 'a'; the later is called 'a\.{}'"
    with pytest.warns(UserWarning, match=warning.format(1)), pytest.warns(UserWarning, match=warning.format(2)):
        assert read_csv(path, "kind").features == ("a", "a.1", "a.2")
    with pytest.warns(UserWarning, match=warning.format(1)), pytest.warns(UserWarning, match=warning.format(2)):
        assert read_columns(path, ["a.1"])[0].tolist() == [[2], [4]]
    path = write("a,a,a.1,kind\n1,2,3,u\n4,5,6,v\n")
    with pytest.warns(UserWarning, match=warning.format(2)):
        assert read_csv(path).features == ("a", "a.2", "a.1")


@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("end", ["", "{}"])
def test_every_delimiter_is_found_also_at_the_end_of_lines(write, delimiter, end):
    if delimiter == " " and end:
        pytest.skip("blanks at the end of a line are none")
    lines = [["a", "b", "kind"], ["1", "2.5", "cat"], ["-3", ".5", "dog"]]
    end = end.format(delimiter)
    path = write("".join(delimiter.join(line) + end + "\n" for line in lines))
    found = read_csv(path)
    assert (found.x.tolist(), found.features, found.classes) == ([[1, 2.5], [-3, 0.5]], ("a", "b"), ("cat", "dog"))
    rows = write("".join(delimiter.join(line) + end + "\n" for line in lines[1:]))
    assert read_csv(rows).x.tolist() == [[1, 2.5], [-3, 0.5]]


def test_a_delimiter_behind_the_rows_alone_makes_no_column(write):
    assert read_csv(write("a,b,k\n1,2,x,\n3,4,y,\n")).x.tolist() == [[1, 2], [3, 4]]
    with pytest.raises(ValueError, match=r"expected 3 cells in .*, line 2002"):
        read_csv(write("a,b,k,\n" + "1,2,x,\n" * 2000 + "3,4,y,5\n"))
    assert read_csv(write("a , b , y\n1 , 2 , 3.5\n")).x.tolist() == [[1, 2]]


def test_what_no_delimiter_cuts_evenly_names_the_option(write):
    with pytest.raises(ValueError, match=r"expected 3 cells .*, line 2, .*, got 2; write delimiter=\.\.\. if another"):
        read_csv(write("1,2,hello\n3,foo\n"))
    with pytest.raises(
        ValueError, match=r"one column beside the target in .*, got none; write delimiter=\.\.\. if another"
    ):
        read_csv(write("a~b\n1~2\n3~4\n"))
    assert read_csv(write("a~b\n1~2\n3~4\n"), delimiter="~").features == ("a",)


@pytest.mark.parametrize(
    ("text", "x"),
    [
        ("1,5;0\n2,5;1\n3,5;0\n", [1.5, 2.5, 3.5]),
        ("a;k\n0,123;u\n-1,234;v\n", [0.123, -1.234]),
        ("a;k\n1.234,5;u\n1.234;v\n", [1234.5, 1234]),
        ("a\tk\n,5\tu\n1,5e3\tv\n", [0.5, 1500]),
        ('a,k\n"1,5",u\n"2,25",v\n', [1.5, 2.25]),
        ('a,k\n"1,234.5",u\n"1,234",v\n', [1234.5, 1234]),
        ("a;b;k\n1,234;1.5;u\n2,345;2.5;v\n", [1234, 2345]),
        ("a k\n1,5 u\n2,5 v\n", [1.5, 2.5]),
    ],
)
def test_decimal_commas_and_grouped_thousands_are_found(write, text, x):
    assert read_csv(write(text), dtype=np.float64).x[:, 0].tolist() == x


@pytest.mark.parametrize(
    "text", ["a;k\n1,234;u\n5,678;v\n", "a;b;k\n1,5;1.5;u\n2,5;2.5;v\n", "a;b;k\n1,5;1.234,5;u\n1,234.5;3;v\n"]
)
def test_a_comma_that_may_be_either_is_asked_for(write, text):
    with pytest.raises(
        ValueError, match=r"^read_csv: expected numbers with one decimal mark .* write decimal=',' or decimal='\.'"
    ):
        read_csv(write(text))


def test_the_decimal_mark_can_be_said(write):
    path = write("a;k\n1,234;u\n5,678;v\n")
    assert read_csv(path, decimal=",", dtype=np.float64).x.tolist() == [[1.234], [5.678]]
    assert read_csv(path, decimal=".").x.tolist() == [[1234], [5678]]
    assert read_csv(write("a;y\n1;1,5\n2;2,5\n")).y.tolist() == [[1.5], [2.5]]
    with pytest.raises(ValueError, match=r"expected one of \., , for decimal, got ';'"):
        read_csv(path, decimal=";")
    assert read_csv(write("a;words\n1.5;3,4 b\n2.5;5,5\n")).classes == ("3,4 b", "5,5")


@given(
    rows=st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=2),
    delimiter=st.sampled_from(";\t| "),
)
def test_doubles_with_commas_come_back_bit_for_bit(tmp_path_factory, rows, delimiter):
    path = tmp_path_factory.getbasetemp() / "commas.csv"
    path.write_text("".join(delimiter.join(map(repr, row)).replace(".", ",") + "\n" for row in rows))
    found = read_csv(path, classes=False, dtype=np.float64, decimal=",", header=False, delimiter=delimiter)
    assert np.hstack([found.x, found.y]).tolist() == rows


@pytest.mark.parametrize(
    "text",
    [
        "# me\na,b,k\n1,2,x\n3,4,y\n",
        '# me\n#\n# see, "there\na,b,k\n1,2,x\n\n# end\n3,4,y\n',
        "# me, and, you\na,b,k\n1,2,x\n3,4,y\n",
        "\n  # me\na,b,k\n1,2,x\n3,4,y\n# end",
    ],
)
def test_lines_that_begin_with_a_hash_are_comments(write, text):
    found = read_csv(write(text))
    assert (found.x.tolist(), found.features, found.classes) == ([[1, 2], [3, 4]], ("a", "b"), ("x", "y"))


def test_a_hash_in_cells_is_no_comment(write):
    found = read_csv(write("tag,a,k\n#1,1,x\n#2,2,y\n"), columns=["a"])
    assert found.x.tolist() == [[1], [2]]
    assert read_csv(write('a,k\n1,"x\n#1"\n2,y\n')).classes == ("x\n#1", "y")
    with pytest.raises(ValueError, match="got '#3'; write comment='#' if this is a comment"):
        read_csv(write("a,k\n1,x\n#3,y\n2,x\n"))


def test_names_in_a_comment_are_taken_as_numpy_writes_them(tmp_path):
    np.savetxt(tmp_path / "table.txt", POINTS, header="first second value")
    with pytest.warns(UserWarning, match="the names of the columns are those in the comment in line 1"):
        found = read_csv(tmp_path / "table.txt", dtype=np.float64)
    assert (found.features, found.target) == (("first", "second"), "value")
    assert (found.x == POINTS[:, :2]).all()
    np.savetxt(tmp_path / "table.txt", POINTS)
    assert read_csv(tmp_path / "table.txt").x.shape == (40, 2)


def test_comments_can_be_said(write):
    path = write('% me\na,b,k\n1,2,x  % the first\n3,4,"y % z"\n')
    assert read_csv(path, comment="%").classes == ("x", "y % z")
    either = write("#a,1,x\nb,2,y\n")
    with pytest.raises(ValueError, match="write comment='#' for a comment, comment='' for a row"):
        read_csv(either)
    assert read_csv(either, comment="#", columns=[1]).x.tolist() == [[2]]
    assert read_csv(either, comment="", columns=[1]).x.tolist() == [[1], [2]]
    for wrong in ("a", " ", '"', "-"):
        with pytest.raises(ValueError, match="expected a mark such as # for comment"):
            read_csv(path, comment=wrong)
    with pytest.raises(TypeError, match="expected a string or None for comment, got 1"):
        read_csv(path, comment=1)


def test_lines_are_counted_with_the_comments_above_them(write):
    path = write("# one\n\n# two\n1,2,x\n3,4\n")
    with pytest.raises(ValueError, match=r"expected 3 cells in .*, line 5, as in line 4, got 2"):
        read_csv(path)
    path = write("# one\n# two\n1,oops,x\n3,4,y\n")
    with pytest.raises(ValueError, match=r"expected a number in .*, line 3, column 2, got 'oops'"):
        read_csv(path, header=False)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_encodings_are_known(write, encoding, pack):
    path = write(pack("Größe,weite,k\r\n1,2,x\r\n3,4,ü\r\n".encode(encoding)))
    with warnings.catch_warnings():
        warnings.simplefilter("error" if encoding != "cp1252" else "ignore")
        found = load_data(path)
    assert (found.features, found.classes) == (("Größe", "weite"), ("x", "ü"))
    assert read_csv(path, encoding=encoding).features == ("Größe", "weite")


def test_a_zero_character_is_no_text_in_any_encoding(write):
    for encoding, pattern in (("utf-8", "byte 0x00"), ("utf-16", "zero character in utf-16"), ("cp500", "in cp500")):
        path = write("a,b,k\n1,2,x\0\n3,4,y\n".encode(encoding))
        with pytest.raises(ValueError, match=rf"expected text .*{pattern}"):
            read_csv(path, encoding=encoding if encoding == "cp500" else None)


def test_a_guessed_encoding_is_reported(write):
    path = write("größe,k\n1,x\n2,y\n".encode("latin-1"))
    with pytest.warns(UserWarning, match=r"is not in UTF-8 and is read as Windows-1252; write encoding=\.\.\."):
        assert read_csv(path).features == ("größe",)
    with pytest.raises(ValueError, match=r"expected the name of an encoding for encoding, got 'klingon'"):
        read_csv(path, encoding="klingon")
    with pytest.raises(ValueError, match=r"expected text in ascii in .*, got other bytes"):
        read_csv(path, encoding="ascii")


def test_labels_are_exact_whatever_their_size(write):
    path = write("a,id\n1,9007199254740992\n2,9007199254740993\n3,740245381351497730\n")
    found = read_csv(path)
    assert found.classes == ("9007199254740992", "9007199254740993", "740245381351497730")
    assert found.y.tolist() == [0, 1, 2]
    again = read_csv(path, classes=["740245381351497730", "9007199254740993", "9007199254740992"])
    assert again.y.tolist() == [2, 1, 0]
    small = read_csv(write("1,0.1\n2,0.10000000000000000001\n3,0.10\n4,2.50\n"), classes=True)
    assert (small.classes, small.y.tolist()) == (("0.1", "0.10000000000000000001", "2.5"), [0, 1, 0, 2])
    assert read_csv(write("1;2,5\n2;2,50\n3;1\n"), classes=True).classes == ("1", "2.5")
    signed = read_csv(write("1,0\n2,-0\n3,+1\n4,-01\n5,-0.0\n"), classes=True)
    assert (signed.classes, signed.y.tolist()) == (("-1", "0", "1"), [1, 1, 2, 0, 1])


@pytest.mark.parametrize(
    "text", ["a,y\n1,0.5\n16777217,1.5\n", "a,y\n1,0.5\n2,16777217\n", "a,y\n1,0.5\n2,1700000000000000001\n"]
)
def test_whole_numbers_are_not_rounded_to_float32(write, text):
    with pytest.raises(
        ValueError,
        match=r"a whole number that float32 holds exactly in .*, line 3, column \d \('\w'\), got '\d+'; write dtype=np\.float64",
    ):
        read_csv(write(text), classes=False)
    found = read_csv(write(text), classes=False, dtype=np.float64)
    assert float(text.split("\n")[2].split(",")[0]) == found.x[1, 0]
    assert read_csv(write("a,y\n1e20,0.5\n16777216,1.5\n33554432,2.5\n123456789.0,1.5\n")).x.shape == (4, 1)


def test_integers_of_arrays_are_not_rounded_to_float32(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[1], [2**24 + 1]]))
    with pytest.raises(
        ValueError, match=r"expected integers that float32 holds exactly, got 16777217 in .*write dtype=np\.float64"
    ):
        load_inputs(tmp_path / "x.npy")
    assert load_inputs(tmp_path / "x.npy", dtype=np.float64)[1, 0] == 2**24 + 1


def test_options_of_tables_are_for_tables(tmp_path, write):
    np.savez(tmp_path / "set.npz", x=np.zeros((3, 2)), y=np.arange(3))
    for option in ({"delimiter": ","}, {"decimal": ","}, {"drop": [0]}, {"comment": "#"}, {"header": True}):
        with pytest.raises(ValueError, match=f"expected {next(iter(option))} for a CSV file only"):
            load_data(tmp_path / "set.npz", **option)
        with pytest.raises(ValueError, match=f"expected {next(iter(option))} for a CSV file only"):
            load_inputs(tmp_path / "set.npz", **option)
    with pytest.raises(TypeError, match=r"expected options among .*, got 'delimeter'"):
        load_data(write("1,2\n"), delimeter=",")
    with pytest.raises(ValueError, match="expected layout for images"):
        load_data(write("1,2\n"), layout="channels_last")
    assert load_data(write("1;2\n2;3\n"), delimiter=";", header=False).x.shape == (2, 1)
