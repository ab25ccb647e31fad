"""The bars of tqdm that a fit draws: a line that fits into its terminal, or a widget."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

# From the widest line to the narrowest: tqdm's words for it, and the digits of numbers.
WIDE = "{percentage:3.0f}%|{bar:10}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
NARROW = "{percentage:3.0f}%|{bar:10}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
TIGHT = "{percentage:3.0f}%|{bar:3}| {n_fmt}/{total_fmt} <{remaining}{postfix}"
# Letters that are left of each word of a metric's name.
ALL = 1000
LETTERS = (8, 5, 4, 3, 2)
# More words than this are shortened to their initials, where so many letters or fewer are left.
INITIALS = 3


def bar_class(notebook: bool) -> Any:
    """tqdm's widget in a notebook with ipywidgets, a line of text elsewhere.

    Raises:
        ImportError: if tqdm is not installed.
    """
    if notebook:
        widgets = import_module("tqdm.notebook")
        if getattr(widgets, "IProgress", None) is not None:
            return _widget(widgets.tqdm)
    from tqdm import tqdm

    return _line(tqdm)


def is_terminal(stream: Any) -> bool:
    """Whether a stream is open and a terminal."""
    try:
        return bool(stream and stream.isatty())
    except ValueError:  # it is closed
        return False


def lines(record: dict[str, float]) -> Iterator[tuple[str, str]]:
    """tqdm's format and the words of a record, from the most to the least that can be said.

    Numbers are whole in all of them: names are shortened, then the last are left out.

    Example:
        >>> [words for _, words in lines({"loss": 0.25, "val_accuracy": 0.98765})][-3:]
        ['lo 0.25, va_ac 0.988', 'lo 0.25', '']
    """
    for form in (WIDE, NARROW, TIGHT):
        yield form, words(record, ALL, 4)
    for letters in LETTERS[:3]:
        yield TIGHT, words(record, letters, 4)
    for letters in LETTERS:
        yield TIGHT, words(record, letters, 3)
    for count in range(len(record) - 1, -1, -1):
        yield TIGHT, words(dict(list(record.items())[:count]), LETTERS[-1], 3)


def words(record: dict[str, float], letters: int, digits: int) -> str:
    """The names and values of a record, with so many letters of each word of a name, more where two would be the same.

    Example:
        >>> words({"loss": 0.123456, "root_mean_squared_error": 2.0}, 3, 4)
        'los 0.1235, rmse 2'
    """
    names = [_shortened(name, letters) for name in record]
    names = [name if names.count(name) == 1 else full for name, full in zip(names, record, strict=True)]
    return ", ".join(f"{name} {value:.{digits}g}" for name, value in zip(names, record.values(), strict=True))


def _shortened(name: str, letters: int) -> str:
    parts = name.removeprefix("val_").split("_")
    short = "_".join(word[:letters] for word in parts)
    if len(parts) > INITIALS and letters <= INITIALS:
        short = "".join(word[:1] for word in parts)
    return short if not name.startswith("val_") else f"{'val'[:letters]}_{short}"


def _line(tqdm: Any) -> Any:
    """tqdm's bar whose line is made when it is drawn, as wide as the terminal is then; one that has gone ends it."""

    class Line(tqdm):
        record: dict[str, float]

        def show_record(self, record: dict[str, float]) -> None:
            self.record = record

        def display(self, *arguments: Any, **options: Any) -> None:
            try:
                super().display(*arguments, **options)
            except (OSError, ValueError):
                self.disable = True

        def close(self) -> None:
            with suppress(OSError, ValueError):
                super().close()
            self.disable = True

        def __str__(self) -> str:
            known = self.format_dict
            columns, text = known["ncols"], ""
            for form, postfix in lines(getattr(self, "record", {})):
                text = self.format_meter(**known | {"ncols": None, "bar_format": form, "postfix": postfix})
                if columns is None or len(text) <= columns:
                    return text
            return text[:columns]

    return Line


def _widget(tqdm: Any) -> Any:
    class Widget(tqdm):
        def show_record(self, record: dict[str, float]) -> None:
            self.set_postfix_str(words(record, ALL, 4), refresh=False)

    return Widget
