"""What options may be: numbers within their bounds, places that can be written to."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastdl.errors import InvalidValueError
from fastdl.input_file import kind_of_file
from fastdl.messages import shown
from fastdl.output_file import check_file, check_folder

DEFAULTS = "What an option is by default stands in parentheses."


def whole(text: str) -> int:
    """A whole number above 0."""
    return _number(text, int, lambda value: value > 0, "a whole number above 0")


def seed(text: str) -> int:
    """A whole number of at least 0."""
    return _number(text, int, lambda value: value >= 0, "a whole number of at least 0")


def rate(text: str) -> float:
    """A finite number above 0."""
    return _number(text, float, lambda value: 0 < value < math.inf, "a number above 0")


def fraction(text: str) -> float:
    """A number between 0 and 1."""
    return _number(text, float, lambda value: 0 < value < 1, "a number between 0 and 1")


def column(text: str) -> int | str:
    """A column of a CSV file: its number where the text is one, else its name.

    Example:
        >>> column("-1"), column("kind")
        (-1, 'kind')
    """
    return int(text) if re.fullmatch("-?[0-9]{1,9}", text) else text


def one_source(task: str | None, files: Sequence[Path] | None, tasks: Sequence[str]) -> None:
    """Raise a ValueError unless data come from one of the tasks, from files, or are not named at all.

    argparse would take the value of a mistyped option for a mistyped task, and not name the option.
    """
    if task is not None and task not in tasks:
        raise InvalidValueError(None, " or ".join(tasks), shown(task), f"write --data {task} to read a file")
    if task is not None and files:
        raise InvalidValueError(None, f"{task} or --data", "both")


def writable_folder(folder: Path, *names: str) -> Path:
    """The folder, made where it is not there yet, when files, and those of these names, can be written into it.

    Raises:
        ValueError: if not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_folder(folder, "--out")
    except OSError as error:
        raise ValueError(f"--out {folder}: cannot be written to: {error.strerror}") from None
    for name in names:
        writable_file(folder / name)
    return folder


def writable_file(path: Path) -> Path:
    """The path, when a file can be written there, in place of an older one or not.

    Raises:
        ValueError: if not.
    """
    try:
        if path.exists() and not path.is_file():
            raise InvalidValueError(f"--out {path}", "the name of a file", f"a {kind_of_file(path.stat().st_mode)}")
        check_file(path, "--out")
        return path
    except OSError as error:
        raise ValueError(f"--out {path}: cannot be written to: {error.strerror}") from None


def _number(text: str, kind: Callable[[str], Any], fits: Callable[[Any], bool], words: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not fits(value):
        raise argparse.ArgumentTypeError(f"expected {words}, got {shown(text)}")
    return value
