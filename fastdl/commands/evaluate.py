"""`fastdl evaluate`: how good a saved model is on data with answers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from fastdl.commands import options, tables
from fastdl.commands.reading import Layout, as_known, check_shape, read
from fastdl.commands.saved import outputs
from fastdl.commands.score import by_class, score
from fastdl.commands.streams import say
from fastdl.commands.task import TASKS, TEST_FRACTION, of_digits, of_disk
from fastdl.commands.train import write_picture
from fastdl.data import Dataset
from fastdl.environment import missing
from fastdl.errors import InvalidValueError
from fastdl.messages import shown
from fastdl.serialization.model_file import Checkpoint, load


def add(commands: Any) -> None:
    """Declare the command."""
    words = "tell how good a saved model is on data with answers"
    detail = "Columns of a CSV file are found by name where model and file have names, in any order."
    command = commands.add_parser(
        "evaluate", help=words, description=f"{words.capitalize()}. {detail} {options.DEFAULTS}"
    )
    command.set_defaults(run=run)
    command.add_argument("model", type=Path, metavar="MODEL", help="a .safetensors file that fastdl train wrote")
    own = "the test rows of these (of what the model was trained on, where that was one of them)"
    command.add_argument("task", nargs="?", metavar="|".join(TASKS), help=own)
    add = command.add_argument
    add("--data", type=Path, nargs="+", metavar="FILE", help="files with answers instead, as for fastdl train")
    column = "the column of a CSV file with the answers (the one that the model has learned; without names, the last)"
    add("--target", type=options.column, metavar="COLUMN", help=column)
    tables.add(command)
    add("--out", type=Path, metavar="FOLDER", help="draw the confusion matrix into this folder (none is drawn)")


def run(arguments: argparse.Namespace) -> None:
    """Print accuracy with a table of the classes, or R2 and root mean square error."""
    saved = load(arguments.model)
    name = f"{arguments.model.stem}-confusion.png"
    out = None if arguments.out is None else _drawable(arguments.out, name, saved)
    test = _data(arguments, saved)
    output = outputs(saved, test.x)
    if saved.classes is not None:
        say(by_class(output, test.y, saved.classes))
    if out is not None:
        say(f"picture: {_picture(out / name, output, test)}")
    say(score(output, test.y, saved.classes))


def _data(arguments: argparse.Namespace, saved: Checkpoint) -> Dataset:
    """The rows to test with, as the model knows them."""
    said = tables.given(arguments)
    layout = Layout.of_model(saved, said)
    options.one_source(arguments.task, arguments.data, TASKS)
    if arguments.data:
        return read(arguments.data, layout, arguments.target)
    if arguments.target is not None:
        raise InvalidValueError("--target", "--data FILE beside it", "none")
    if said:
        raise InvalidValueError(f"--{min(said)}", "--data FILE beside it", "none")
    name = arguments.task or saved.metadata.get("data")
    if name not in TASKS:
        raise InvalidValueError(None, f"{' or '.join(TASKS)} or --data FILE to evaluate with", "none")
    try:  # the rows that this model was not trained on
        rng = np.random.default_rng(int(saved.metadata.get("seed", 0)))
        fraction = options.fraction(saved.metadata.get("test_fraction", repr(TEST_FRACTION)))
    except (ValueError, argparse.ArgumentTypeError):
        found = {name: saved.metadata.get(name) for name in ("seed", "test_fraction")}
        raise InvalidValueError(None, f"a seed and a test fraction in {arguments.model}", shown(found)) from None
    test = (of_disk(rng) if name == "disk" else of_digits(fraction, rng)).test
    check_shape(test.x, layout, name)
    return Dataset(test.x, as_known(test, layout, name), saved.classes)


def _drawable(folder: Path, name: str, saved: Checkpoint) -> Path:
    """The folder for the picture, when there is something to draw and what draws it."""
    if saved.classes is None:
        raise InvalidValueError("--out", "a model of classes, whose confusion matrix it is for", "one of values")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise missing("--out", "plot") from None
    return options.writable_folder(folder, name)


def _picture(path: Path, output: np.ndarray, test: Dataset) -> Path:
    from fastdl import plot

    write_picture(path, plot.confusion_matrix(output, test.y, classes=test.classes).figure)
    return path
