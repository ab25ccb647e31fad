"""What is learned: the data, how they are cut and scaled, and the network, epochs and batches that suit them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastdl import data
from fastdl.commands import tables
from fastdl.commands.options import one_source
from fastdl.commands.reading import Layout, class_a_row, load, named, places, read, spelled
from fastdl.data import Dataset, Standardize
from fastdl.data.npz import has_parts
from fastdl.errors import InvalidValueError

TASKS = ("disk", "digits")
# What a target column may tell, and what `load_data` calls it.
KINDS = {"classes": True, "values": False}
DISK_NET = ["Linear(2, 25)", "ReLU", "Linear(25, 25)", "ReLU", "Linear(25, 25)", "ReLU", "Linear(25, 2)"]
DISK_CLASSES = ("outside", "inside")
DISK_SAMPLES = 1000
TEST_FRACTION = 0.2
HIDDEN = 64
# Sides of an image: below the first a dense network does, from the second on it is halved twice.
SMALLEST_IMAGE, LARGE_IMAGE = 4, 16
# Places of an image that reach the dense layers, along each side.
LARGEST_MAP = 8
LONGEST_NAME = 100
# AdamW's weight decay times the rows: few noisy rows are not learned by heart, many are not held back.
DECAY = 300


@dataclass
class Task:
    """Data to learn from and data to be tested with.

    Attributes:
        name: the stem of the files that are written.
        train, test: what is learned from and tested with, before scaling.
        found: a line on what was found; empty where nothing had to be found.
        net: the network's spec.
        epochs, batch_size: that suit the data.
        optimizer, weight_decay: that suit them; the decay is AdamW's.
        metadata: what `fastdl evaluate` has to know.
    """

    name: str
    train: Dataset
    test: Dataset
    net: list[str]
    epochs: int
    batch_size: int
    optimizer: str = "adam"
    weight_decay: float = 0.01
    found: str = ""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def images(self) -> bool:
        """Whether the rows are images, (channels, height, width)."""
        return self.train.x.ndim == 4

    @property
    def outputs(self) -> int:
        """How many columns the network gives."""
        return self.train.y.shape[1] if self.train.classes is None else len(self.train.classes)

    def scaling(self) -> Standardize:
        """The inputs' scaling: by column in tables, by channel in images."""
        return Standardize().fit(self.train.x, "column" if self.train.x.ndim == 2 else "channel")

    def target_scaling(self) -> Standardize | None:
        """The scaling of values; None for classes."""
        return Standardize().fit(self.train.y) if self.train.classes is None else None


def asked_for(arguments: argparse.Namespace, rng: np.random.Generator) -> Task:
    """The task that the command line names.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if options do not go together, or the data cannot be learned from.
    """
    one_source(arguments.task, arguments.data, TASKS)
    said = tables.given(arguments)
    if not arguments.data:
        for option in ("target", "kind", "test_data", *said):
            if option in said or getattr(arguments, option) is not None:
                raise InvalidValueError(f"--{option.replace('_', '-')}", "--data FILE beside it", "none")
    if arguments.test_data and arguments.test_fraction:
        raise InvalidValueError(None, "--test-data or --test-fraction", "both")
    fraction = arguments.test_fraction or TEST_FRACTION
    if arguments.data:
        options = {"target": arguments.target, "classes": KINDS.get(arguments.kind), **said}
        options = {name: value for name, value in options.items() if value is not None}
        return of_files(arguments.data, arguments.test_data, options, arguments.test_fraction, rng)
    if arguments.task == "digits":
        task = of_digits(fraction, rng)
    elif arguments.test_fraction:
        raise InvalidValueError(
            "--test-fraction", "digits or --data FILE beside it", "the disk, whose points are drawn"
        )
    else:
        task = of_disk(rng)
    task.metadata |= {"data": task.name, "seed": str(arguments.seed), "test_fraction": repr(fraction)}
    return task


def of_disk(rng: np.random.Generator) -> Task:
    """Points of the unit square, inside or outside a circle of half its area."""
    train, test = (Dataset(*data.disk(DISK_SAMPLES, rng), DISK_CLASSES) for _ in range(2))
    return Task("disk", train, test, DISK_NET, epochs_for(train.x), batch_size_for(train.x))


def of_digits(fraction: float, rng: np.random.Generator) -> Task:
    """scikit-learn's handwritten digits."""
    digits = Dataset(*data.digits(), tuple("0123456789"))
    return _of_datasets("digits", *_split(digits, fraction, rng), "")


def of_files(
    files: Sequence[Path],
    test_files: Sequence[Path] | None,
    options: dict[str, Any],
    fraction: float | None,
    rng: np.random.Generator,
) -> Task:
    """Data in files, tested with others or with a part of their own; `options` are those of `load_data`."""
    found = load(files, **options)
    where = ", ".join(map(str, files))
    found = _learnable(found, where)
    said = {name: value for name, value in options.items() if name not in ("target", "classes")}
    if found.features is None and len(files) == 1:
        said |= places(files[0], options)
    name = Path(files[0]).name.removesuffix(".gz")
    name = (Path(name).stem or "model")[:LONGEST_NAME]
    if test_files:
        test = read(test_files, Layout.of_data(found, said), options.get("target") if found.target is None else None)
        return _of_datasets(name, found, test, f" from {', '.join(map(str, test_files))}", said)
    if fraction is None and len(files) == 1 and has_parts(files[0]):
        return _of_datasets(name, found, read(files, Layout.of_data(found, said)), " from its x_test", said)
    if len(found.x) < 2:
        raise InvalidValueError(None, f"at least two rows in {where}, one of them to test with", len(found.x))
    return _of_datasets(name, *_split(found, fraction or TEST_FRACTION, rng), "", said)


def network_for(shape: tuple[int, ...], outputs: int) -> list[str]:
    """The spec of a network for rows of a shape: convolutions for images, dense layers for all else.

    Example:
        >>> network_for((4,), 3)
        ['Linear(4, 64)', 'ReLU', 'Linear(64, 64)', 'ReLU', 'Linear(64, 3)']
        >>> network_for((1, 8, 8), 10)[-5:]
        ['Flatten', 'Linear(1024, 128)', 'ReLU', 'Dropout(0.5)', 'Linear(128, 10)']
    """
    if len(shape) != 3 or min(shape[1:]) < SMALLEST_IMAGE:
        flat = ["Flatten"] * (len(shape) > 1)
        first = int(np.prod(shape))
        return [
            *flat,
            f"Linear({first}, {HIDDEN})",
            "ReLU",
            f"Linear({HIDDEN}, {HIDDEN})",
            "ReLU",
            f"Linear({HIDDEN}, {outputs})",
        ]
    large = min(shape[1:]) >= LARGE_IMAGE
    height, width = (side // (4 if large else 2) for side in shape[1:])
    net = [f"Conv2d({shape[0]}, 32, 3, padding=1)", "BatchNorm2d(32)", "ReLU", *["MaxPool2d(2)"] * large]
    net += ["Conv2d(32, 64, 3, padding=1)", "BatchNorm2d(64)", "ReLU", "MaxPool2d(2)", "Dropout(0.25)"]
    if max(height, width) > LARGEST_MAP:
        height, width = min(height, LARGEST_MAP), min(width, LARGEST_MAP)
        net.append(f"AdaptiveAvgPool2d(({height}, {width}))")
    return [*net, "Flatten", f"Linear({64 * height * width}, 128)", "ReLU", "Dropout(0.5)", f"Linear(128, {outputs})"]


def epochs_for(x: np.ndarray) -> int:
    """Epochs that suit the inputs: fewer of more rows, fewer of images."""
    total, least, most = (90_000, 5, 30) if x.ndim == 4 else (300_000, 5, 100)
    return min(max(total // len(x), least), most)


def batch_size_for(x: np.ndarray) -> int:
    """A twentieth of the rows, from 8 to 64."""
    return min(max(len(x) // 20, 8), 64)


def _of_datasets(name: str, train: Dataset, test: Dataset, source: str, said: Mapping[str, Any] | None = None) -> Task:
    shape = train.x.shape[1:]
    metadata = ({} if train.target is None else {"target": train.target}) | tables.remembered(said or {})
    task = Task(name, train, test, [], epochs_for(train.x), batch_size_for(train.x), metadata=metadata)
    task.optimizer, task.weight_decay = "adamw", min(DECAY / len(train.x), 1.0)
    task.net = network_for(shape, task.outputs)
    kind = f"{task.outputs} value{'s' * (task.outputs > 1)} to tell"
    if train.classes is not None:
        kind = f"{len(train.classes)} classes ({named(train.classes)})"
    rows = f"{len(train.x)} row{'s' * (len(train.x) > 1)} to learn from, {len(test.x)} to test with{source}"
    task.found = f"data: {spelled(shape)}, {kind}; {rows}"
    return task


def _learnable(found: Dataset, where: str) -> Dataset:
    """The data as a network learns them: one class a row, at least two of them, names that tell columns apart."""
    if found.x[0].size == 0:
        raise InvalidValueError(None, f"inputs in the rows of {where}", f"rows of {spelled(found.x.shape[1:])}")
    if found.classes is not None:
        y = class_a_row(found.y, where)
        found, present = replace(found, y=y), [found.classes[i] for i in np.unique(y)]
        if len(present) == 1:
            raise InvalidValueError(None, f"at least two classes in {where}", f"{named(present)} alone")
        if len(present) == len(y) > 2:
            raise InvalidValueError(
                None,
                f"classes of several rows in {where}",
                "a class for each row",
                "write --target with another column",
            )
    elif found.y.ndim != 2:
        raise InvalidValueError(None, f"rows of values to tell in {where}", f"y of shape {found.y.shape}")
    if found.features is not None and len(set(found.features)) < len(found.features):
        return replace(found, features=None)  # columns of one name are known by their order
    return found


def _split(found: Dataset, fraction: float, rng: np.random.Generator) -> tuple[Dataset, Dataset]:
    (x, y), (xt, yt) = data.split(found.x, found.y, fraction, rng)
    return replace(found, x=x, y=y), replace(found, x=xt, y=yt)
