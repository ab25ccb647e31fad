"""CSV files: what they hold, and errors with line and column."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdl.data import read_columns, read_csv


def test_words_as_target_are_classes_sorted_by_name(write):
    found = read_csv(write("1,2,dog\n3,4,cat\n5,6,dog\n"))
    assert found.x.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert (found.x.dtype, found.x.flags.c_contiguous) == (np.float32, True)
    assert (found.y.tolist(), found.y.dtype) == ([1, 0, 1], np.int64)
    assert found.classes == ("cat", "dog")
    assert found.features is None


def test_few_whole_numbers_as_target_are_classes_sorted_by_number(write):
    found = read_csv(write("0.5,10\n1.5,9\n2.5,9.0\n3.5,-1\n"))
    assert found.classes == ("-1", "9", "10")
    assert found.y.tolist() == [2, 1, 1, 0]


@pytest.mark.parametrize("cells", [["0.5", "1", "2"], [str(i) for i in range(21)]])
def test_other_numbers_as_target_are_values_in_a_column_of_their_own(write, cells, dtype):
    found = read_csv(write("".join(f"1,{cell}\n" for cell in cells)), dtype=dtype)
    assert found.classes is None
    assert found.y.dtype == found.x.dtype == dtype
    assert found.y.tolist() == [[float(cell)] for cell in cells]


def test_twenty_whole_numbers_are_still_classes(write):
    assert len(read_csv(write("".join(f"1,{i}\n" for i in range(20)))).classes) == 20


def test_what_counts_as_classes_can_be_said(write):
    path = write("1,0\n2,1\n3,2.5\n4,1.0\n")
    assert read_csv(path).classes is None
    found = read_csv(path, classes=True)
    assert (found.classes, found.y.tolist()) == (("0", "1", "2.5"), [0, 1, 2, 1])
    whole = write("1,0\n2,1\n")
    assert read_csv(whole).classes == ("0", "1")
    assert read_csv(whole, classes=False).y.tolist() == [[0], [1]]


def test_words_beside_numbers_are_classes_when_it_is_said(write):
    path = write("1,0\n2,10+\n3,1\n")
    with pytest.raises(ValueError, match=r"as in line 1 \(write classes=True .*\) in .*, line 2, column 2, got '10\+'"):
        read_csv(path)
    assert read_csv(path, classes=True).classes == ("0", "1", "10+")
    with pytest.raises(ValueError, match=r"a word as in line 1 .*line 2, column 2, got '0'"):
        read_csv(write("1,a\n2,0\n"))


def test_another_files_classes_keep_their_places(write):
    path = write("1,dog\n2,owl\n")
    assert read_csv(path, classes=["owl", "cat", "dog"]).y.tolist() == [2, 0]
    assert read_csv(path, classes=("owl", "cat", "dog")).classes == ("owl", "cat", "dog")
    with pytest.raises(
        ValueError, match=r"expected one of the classes 'cat', 'dog' in .*, line 2, column 2, got 'owl'"
    ):
        read_csv(path, classes=["cat", "dog"])
    assert read_csv(write("1,1.0\n2,03\n"), classes=["3", "2", "1"]).y.tolist() == [2, 0]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", " "])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends_are_found_out(write, delimiter, end):
    rows = [["a", "b", "kind"], ["1", "2.5", "cat"], ["-3e1", ".5", "dog"]]
    text = end.join(delimiter.join(row) for row in rows)
    for content in (text, text + end, end + text + end + "  " + end):
        found = read_csv(write(content))
        assert found.x.tolist() == [[1, 2.5], [-30, 0.5]]
        assert found.features == ("a", "b")
        assert found.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("content", "x"),
    [
        ("1, 2, a b\n3, 4, c d\n", [[1, 2], [3, 4]]),
        ("1;2;Paris, France\n3;4;Rome, Italy\n", [[1, 2], [3, 4]]),
        ("1,2,cat;dog\n3,4,owl;cat\n", [[1, 2], [3, 4]]),
        ("1,2,a\n", [[1, 2]]),
        ("  1   2  a  \n 3 4 b\n", [[1, 2], [3, 4]]),
        ("x y,z\n1,a\n2,b\n", [[1], [2]]),
    ],
)
def test_the_delimiter_is_the_one_that_gives_even_rows_of_numbers(write, content, x):
    assert read_csv(write(content)).x.tolist() == x


def test_the_delimiter_can_be_said(write):
    path = write("1 2,a\n3 4,b\n")
    assert read_csv(path).classes == ("2,a", "4,b")
    with pytest.raises(ValueError, match=r"column 1 \('1 2'\), got '3 4'"):
        read_csv(path, delimiter=",")
    assert read_csv(write("1~a\n3~b\n"), delimiter="~").classes == ("a", "b")
    for wrong in (", ", "", "a", '"', "."):
        with pytest.raises(ValueError, match=r"read_csv: expected one character such as a comma for delimiter, got "):
            read_csv(path, delimiter=wrong)


def test_cells_may_stand_in_quotes(write):
    found = read_csv(write('"the ""first""","a, b","kind\nof thing"\r\n"1","2","x, ""y"""\r\n3,4,z\r\n'))
    assert found.features == ('the "first"', "a, b")
    assert found.x.tolist() == [[1, 2], [3, 4]]
    assert found.classes == ('x, "y"', "z")


def test_a_byte_order_mark_and_names_in_any_script_are_read(write):
    found = read_csv(write("\ufeffGröße,重さ,вид\n1,2,кот\n".encode()), target="вид")
    assert (found.features, found.classes) == (("Größe", "重さ"), ("кот",))


@pytest.mark.parametrize(
    ("content", "header", "features"),
    [
        ("a,b\n1,2\n", None, ("a",)),
        ("1,b\n1,c\n", None, None),
        ("2020,2021\n1,2\n", None, None),
        ("2020,2021\n1,2\n", True, ("2020",)),
        ("1,2\n", False, None),
        (",y\n1,2\n", None, ("",)),
    ],
)
def test_a_row_without_numbers_is_the_header(write, content, header, features):
    assert read_csv(write(content), header=header).features == features


def test_the_target_is_any_column_by_number_or_name(write):
    path = write("a,b,c\n1,2,3\n4,5,6\n")
    for target in ("b", 1, -2, np.int64(1)):
        found = read_csv(path, target)
        assert found.x.tolist() == [[1, 3], [4, 6]]
        assert found.classes == ("2", "5")
        assert found.features == ("a", "c")


def test_a_target_by_name_says_that_there_is_a_header(write):
    assert read_csv(write("2020,2021\n1,2\n"), target="2020").x.tolist() == [[2]]


@given(
    rows=st.lists(
        st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=3, max_size=3), min_size=1
    ),
    delimiter=st.sampled_from(",;\t "),
)
def test_doubles_come_back_bit_for_bit(tmp_path_factory, rows, delimiter):
    path = tmp_path_factory.getbasetemp() / "doubles.csv"
    path.write_text("".join(delimiter.join(map(repr, row)) + "\n" for row in rows))
    found = read_csv(path, classes=False, dtype=np.float64)
    assert np.hstack([found.x, found.y]).tolist() == rows


def test_columns_are_read_in_the_order_asked_for(write):
    path = write("id,a,b\nx1,1,2\nx2,3,4\n")
    x, names = read_columns(path, ["b", 1])
    assert (x.tolist(), names, x.dtype) == ([[2, 1], [4, 3]], ("b", "a"), np.float32)
    with pytest.raises(ValueError, match=r"read_columns: expected a number in .*, line 2, column 1 \('id'\), got 'x1'"):
        read_columns(path)
    assert read_columns(write("1,2\n3,4\n"))[0].tolist() == [[1, 2], [3, 4]]
    assert read_columns(write("5\n6\n"), dtype=np.float64)[0].tolist() == [[5], [6]]


def test_a_data_set_may_be_some_columns_of_a_file_and_the_target(write):
    found = read_csv(write("id,a,kind,b\nx1,1,v,2\nx2,3,u,4\n"), "kind", columns=["b", "a"])
    assert (found.x.tolist(), found.y.tolist()) == ([[2, 1], [4, 3]], [1, 0])
    assert (found.classes, found.features, found.target) == (("u", "v"), ("b", "a"), "kind")
    assert read_csv(write("x,1,2,0.5\ny,3,4,1.5\n"), columns=[2]).x.tolist() == [[2], [4]]
    with pytest.raises(ValueError, match=r"^read_csv: expected columns without the target, got 'a' in both"):
        read_csv(write("a,b\n1,2\n"), "a", columns=["b", 0])


@pytest.mark.parametrize(
    ("columns", "kind", "message"),
    [
        ("a", TypeError, "expected a list of columns or None"),
        ([], ValueError, "expected at least one column"),
        (["c"], ValueError, r"expected columns to name one column of .* \(names: 'a', 'b'\), got 'c'"),
        ([2], ValueError, "expected a column from -2 to 1 of .* for columns, got 2"),
        ([1.0], TypeError, "expected the number or the name of a column for columns, got 1.0"),
    ],
)
def test_columns_that_are_not_there_are_reported(write, columns, kind, message):
    with pytest.raises(kind, match=f"^read_columns: {message}"):
        read_columns(write("a,b\n1,2\n"), columns)
    with pytest.raises(kind, match=f"^read_csv: {message}"):
        read_csv(write("a,b\n1,2\n"), columns=columns)


BAD = {
    "empty": (b"", "expected rows in .*, got none"),
    "blank": (b"\n\r\n\n", "expected rows in .*, got none"),
    "only a mark": (b"\xef\xbb\xbf", "expected rows in .*, got none"),
    "header only": (b"a,b\n", "expected at least one row below the names in .*, got none"),
    "one column": (b"1\n2\n", "expected at least one column beside the target in .*, got none"),
    "word": (b"a,b,y\n1,2,0\n\n3,x,1\n", r"expected a number in .*table\.csv, line 4, column 2 \('b'\), got 'x'"),
    "empty cell": (b"a,b,y\n1,2,0\n,5,1\n", r"a number in .*, line 3, column 1 \('a'\), got an empty cell"),
    "blank cell": (b"1,2,0\n1,  ,1\n", "a number in .*, line 2, column 2, got an empty cell"),
    "empty target": (b"1,2,a\n1,2,\n", "expected a target in .*, line 2, column 3, got an empty cell"),
    "NaN": (b"1,2,a\n1,NaN,b\n", "expected a finite float32 in .*, line 2, column 2, got nan"),
    "infinity": (b"1,2,a\n1,-inf,b\n", "expected a finite float32 in .*, line 2, column 2, got -inf"),
    "too large": (b"1,2,a\n1e39,1,b\n", r"expected a finite float32 in .*, line 2, column 1, got 1e\+39"),
    "NaN target": (b"1,2.5\n1,nan\n", "expected a finite float32 in .*, line 2, column 2, got 'nan'"),
    "large target": (b"1,2.5\n1,1e39\n", "expected a finite float32 in .*, line 2, column 2, got '1e39'"),
    "underscore": (b"1,2,a\n1_0,1,b\n", "a number in .*, line 2, column 1, got '1_0'"),
    "digits of another script": ("1,2,a\n١,1,b\n".encode(), "a number in .*, line 2, column 1, got '١'"),
    "too short": (b"1,2,a\n1,b\n", "expected 3 cells in .*, line 2, as in line 1, got 2"),
    "too long": (b"1,2,a\n1,2,3,b\n", "expected 3 cells in .*, line 2, as in line 1, got 4"),
    "comma at the end": (b"1,2,a\n1,2,b,\n", "expected 3 cells in .*, line 2, as in line 1, got 4"),
    "names in a row with numbers": (
        b"id,2020,y\n1,2,3\n",
        "line 1, column 1, got 'id'; write header=True if these are",
    ),
    "after a cell of two lines": (b'1,"a\nb"\nx,c\n', "a number in .*, line 3, column 1, got 'x'"),
    "open quote": (b'1,2,a\n1,"2,b\n3,4,c\n', "well-formed cells in .*, from line 2, got: unexpected end of data"),
    "text behind a quote": (b'1,2,a\n1,"2"3,b\n', "well-formed cells in .*, from line 2, got: "),
    "huge cell": (
        b"1,2,a\n1,2," + b"b" * 200_000,
        r"well-formed cells in .*, from line 2, got: field larger than field limit",
    ),
    "zero byte": (b"1,2,a\n1,\0002,b\n", "expected text in UTF-8 in .*, line 2, byte 3, got the byte 0x00"),
    "damaged UTF-8": ("1,2,é\n1,2,é\n".encode()[:-2] + b"\n", "text in UTF-8 in .*, line 2, byte 5, got the byte 0xc3"),
    "control characters": (b"1,2,\xe9\n1,2,\x01\n", "text in UTF-8 in .*, line 1, byte 5, got the byte 0xe9"),
    "cut UTF-16": ("1,2,a\n".encode("utf-16")[:-1], "expected text in utf-16 in .*, got other bytes: .*truncated"),
    "picture": (b"\x89PNG\r\n\x1a\n\0\0\0", "text in UTF-8 in .*"),
    "cut character": ("1,2,é".encode()[:-1], "text in UTF-8 in .*, line 1, byte 5, got the byte 0xc3"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_an_error_is_one_sentence_with_its_place(write, content, message):
    path = write(content)
    with pytest.raises(ValueError, match=f"^read_csv: .*{message}") as caught:
        read_csv(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 250


def test_an_error_beyond_many_rows_has_its_line(write):
    rows = ["1,2,3"] * 5000
    rows[4321] = "1,oops,3"
    with pytest.raises(ValueError, match="line 4322, column 2, got 'oops'"):
        read_csv(write("\n".join(rows)))


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"target": 3}, ValueError, "expected a column from -3 to 2 of .* for target, got 3"),
        ({"target": -4}, ValueError, "expected a column from -3 to 2 of .* for target, got -4"),
        ({"target": "z"}, ValueError, r"expected target to name one column of .* \(names: 'a', 'b', 'b'\), got 'z'"),
        ({"target": "b"}, ValueError, "expected target to name one column"),
        ({"target": "a", "header": False}, ValueError, r"\(names: none\), got 'a'"),
        ({"target": 1.0}, TypeError, "expected the number or the name of a column for target, got 1.0"),
        ({"target": True}, TypeError, "for target, got True"),
        ({"header": 1}, TypeError, "expected True or False for header, got 1"),
        ({"delimiter": 1}, TypeError, "for delimiter, got 1"),
        ({"dtype": int}, TypeError, "read_csv: expected dtype float32 or float64"),
        ({"classes": "cat"}, TypeError, "expected True, False, None or a list of names for classes, got 'cat'"),
        ({"classes": [1, 2]}, TypeError, "list of names for classes"),
        ({"classes": []}, ValueError, "expected different names for classes"),
        ({"classes": ["a", "a"]}, ValueError, "expected different names for classes"),
    ],
)
def test_a_bad_call_says_so(write, arguments, kind, message):
    with pytest.raises(kind, match=f"^read_csv: .*{message}|^{message}"):
        read_csv(write("a,b,b\n1,2,3\n"), **arguments)


def test_classes_false_wants_numbers(write):
    with pytest.raises(ValueError, match=r"expected a number in .*, line 3, column 2 \('y'\), got 'b'"):
        read_csv(write("x,y\n1,2\n3,b\n"), classes=False)


def test_classes_are_finite(write):
    with pytest.raises(ValueError, match=r"expected a finite number in .*, line 2, column 2, got 'inf'"):
        read_csv(write("1,2\n3,inf\n"), classes=True)


def test_paths_lead_to_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_csv(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="read_csv: expected a file, got the folder"):
        read_csv(tmp_path)
    with pytest.raises(TypeError, match="read_csv: expected a path"):
        read_csv(0)
