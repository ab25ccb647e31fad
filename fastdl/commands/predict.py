"""`fastdl predict`: what a saved model says of rows without answers, as a CSV file."""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from fastdl.commands import options, tables
from fastdl.commands.reading import Layout, read_inputs
from fastdl.commands.saved import outputs
from fastdl.commands.streams import say, say_exactly
from fastdl.errors import InvalidValueError
from fastdl.nn.walk import weights_dtype
from fastdl.output_file import write_atomically
from fastdl.serialization.model_file import Checkpoint, load

# What --out is where the predictions go to standard output, which may be a pipe or continue a file.
STANDARD_OUTPUT = (None, Path("-"), Path("/dev/stdout"))


def add(commands: Any) -> None:
    """Declare the command."""
    words = "write what a saved model predicts for rows without answers"
    detail = "A row of CSV for each: class and probability, or value."
    command = commands.add_parser(
        "predict", help=words, description=f"{words.capitalize()}. {detail} {options.DEFAULTS}"
    )
    command.set_defaults(run=run)
    command.add_argument("model", type=Path, metavar="MODEL", help="a .safetensors file that fastdl train wrote")
    add = command.add_argument
    kinds = "a CSV file, IDX images, an .npy, the x of an .npz, a CIFAR-10 .bin"
    names = "columns of CSV are found by name where model and file have names, others are left out"
    add("--data", type=Path, required=True, metavar="FILE", help=f"{kinds}; {names}")
    tables.add(command)
    add("--out", type=Path, metavar="FILE", help="write to this file, over an older one (to standard output, as for -)")
    add(
        "--probabilities",
        action="store_true",
        help="add a column with the probability of each class (only the largest)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the predictions."""
    saved = load(arguments.model)
    if arguments.probabilities and saved.classes is None:
        raise InvalidValueError("--probabilities", "a model of classes", "one of values")
    out = None if arguments.out in STANDARD_OUTPUT else options.writable_file(arguments.out)
    output = outputs(saved, read_inputs(arguments.data, Layout.of_model(saved, tables.given(arguments))))
    text = table(saved, output, arguments.probabilities)
    if out is None:
        say_exactly(text)
    else:
        write_atomically(out, text.encode(), "--out")
        say(f"predictions: {out}")


def table(saved: Checkpoint, output: np.ndarray, probabilities: bool = False) -> str:
    """The predictions as CSV, a row for each row of output."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if saved.classes is None:
        columns = output.shape[1]
        writer.writerow(["value"] if columns == 1 else [f"value {i}" for i in range(columns)])
        writer.writerows(_spelled(output, saved))
        return text.getvalue()
    likely = softmax(output)
    best = likely.argmax(axis=1)
    all_columns = [f"probability of {name}" for name in saved.classes] if probabilities else []
    writer.writerow(["class", "probability", *all_columns])
    for row, i in zip(likely, best, strict=True):
        rest = [f"{p:.6g}" for p in row] if probabilities else []
        writer.writerow([saved.classes[i], f"{row[i]:.6g}", *rest])
    return text.getvalue()


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities from class scores, in float64.

    exp(x) / sum exp(x), row by row
    """
    scores = scores.astype(np.float64)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _spelled(values: np.ndarray, saved: Checkpoint) -> list[list[str]]:
    """Values with the digits that the model's dtype tells apart, none beyond."""
    std = None if saved.target_scaling is None else saved.target_scaling.std
    if std is None:  # the shortest text that reads back as the same
        return [[str(value) for value in row] for row in values]
    step = std * np.finfo(weights_dtype(saved.model)).epsneg
    digits = (1 - np.floor(np.log10(step))).astype(int).tolist()
    return [[repr(round(value, d)) for value, d in zip(row, digits, strict=True)] for row in values.tolist()]
