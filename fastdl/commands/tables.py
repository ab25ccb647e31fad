"""Options of the commands that read files: how a table is written, which of its columns count, how images lie."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fastdl.commands import options
from fastdl.commands.streams import complain
from fastdl.data.format import FLOATS_HINT
from fastdl.data.layout import LAYOUTS
from fastdl.errors import FastdlError, GuessWarning, InvalidValueError
from fastdl.messages import Advice, Argument
from fastdl.serialization.json_arrays import shown

# The entry of a saved model's metadata that holds what was said of its files.
ENTRY = "table"
ANSWERS = {"yes": True, "no": False}
# Characters that a shell makes hard to write.
SPELLED = {"tab": "\t", r"\t": "\t", "space": " ", "comma": ",", "semicolon": ";", "bar": "|"}


def add(command: Any) -> None:
    """Declare the options."""
    remembered = "What is not said is found out, or is as it was said when the model was trained."
    add = command.add_argument_group("tables and images", remembered).add_argument
    add("--header", choices=ANSWERS, help="whether the first row of a CSV file holds names")
    columns = "of a CSV file, by name or number: those to predict from, in this order (all but the target)"
    add("--columns", type=options.column, nargs="+", metavar="COLUMN", help=columns)
    add("--drop", type=options.column, nargs="+", metavar="COLUMN", help="columns of a CSV file to leave out")
    marks = f"the character between cells, or one of {', '.join(name for name in SPELLED if name.isalpha())}"
    add("--delimiter", type=_delimiter, metavar="CHARACTER", help=marks)
    add("--decimal", choices=(".", ","), help="the decimal mark in numbers")
    comment = "what begins a comment in a CSV file, or none (lines that begin with #)"
    add("--comment", type=lambda text: "" if text == "none" else text, metavar="MARK", help=comment)
    add("--encoding", metavar="NAME", help="of a CSV file, such as utf-8 or shift-jis")
    add("--layout", choices=LAYOUTS, help="whether the channels of images come first or last")


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the options say, as `load_data` takes it; those that are not given are left out."""
    names = ("header", "columns", "drop", "delimiter", "decimal", "comment", "encoding", "layout")
    found = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if "header" in found:
        found["header"] = ANSWERS[found["header"]]
    return found


def remembered(said: Mapping[str, Any]) -> dict[str, str]:
    """The entry of the metadata that holds these options; empty where there are none."""
    return {ENTRY: json.dumps(dict(said))} if said else {}


def recalled(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The options that a model's metadata hold.

    Raises:
        ValueError: if they are damaged.

    Example:
        >>> recalled(remembered({"header": True, "drop": ["id", 2]}))
        {'header': True, 'drop': ['id', 2]}
    """
    try:
        found = json.loads(metadata.get(ENTRY, "{}"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(_kept(name, value) for name, value in found.items()):
        raise InvalidValueError(None, "options of a table in the file of the model", shown(metadata[ENTRY]))
    return found


def _kept(name: str, value: Any) -> bool:
    """Whether an entry is what `remembered` may have written."""
    if name in ("columns", "drop", "places"):
        return isinstance(value, list) and all(
            type(each) in ((int,) if name == "places" else (int, str)) for each in value
        )
    if name in ("width", "answers"):
        return type(value) is int and 0 <= value < 2**31
    if name == "header":
        return type(value) is bool
    return name in ("delimiter", "decimal", "comment", "encoding", "layout") and isinstance(value, str)


@contextmanager
def in_words() -> Iterator[None]:
    """Let the readers' advice be in the command line's words, and what they warn of be notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except FastdlError as error:
            error.expected, error.hint = worded(error.expected), worded(error.hint)
            raise
    for each in caught:
        if isinstance(each.message, GuessWarning):
            complain(f"fastdl: note: {worded(each.message.note)}")
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


def worded(text: str | None) -> str | None:
    """A text of the readers with options of the command line in place of arguments.

    Example:
        >>> from fastdl.messages import Advice
        >>> worded(Advice("write ", Argument("header", True), " if these are names, else ", Argument("header", False)))
        'write --header yes if these are names, else --header no'
    """
    if text == FLOATS_HINT:
        return "save values as floats"
    return text.spelled(_option) if isinstance(text, Advice) else text


def _option(argument: Argument) -> str:
    name, value = argument
    if name == "classes":
        return "--kind classes"
    if value is ...:
        return f"--{name}"
    if name == "header":
        return f"--header {next(word for word, answer in ANSWERS.items() if answer is value)}"
    if name == "drop":
        return f"--drop {' '.join(map(repr, value))}"
    if name == "comment":
        return f"--comment {repr(value) if value else 'none'}"
    return f"--{name} {value}"


def _delimiter(text: str) -> str:
    return SPELLED.get(text, text)
