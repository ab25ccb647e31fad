"""`fastdl train`: learn the disk, the digits or the data in files; save weights and a picture."""

from __future__ import annotations

import argparse
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastdl import nn, optim
from fastdl.checkpoint import Checkpoint, save, write_atomically
from fastdl.commands import options, tables
from fastdl.commands.score import score
from fastdl.commands.task import DECAY, KINDS, TASKS, TEST_FRACTION, Task, asked_for
from fastdl.history import History
from fastdl.metrics import accuracy
from fastdl.training import Trainer, predict

OPTIMIZERS: dict[str, tuple[Callable[..., Any], float, dict[str, Any]]] = {
    "sgd": (optim.SGD, 0.1, {"momentum": 0.9}),
    "rmsprop": (optim.RMSprop, 0.003, {}),
    "adam": (optim.Adam, 0.01, {}),
    "adamw": (optim.AdamW, 0.01, {}),
}
# An image network's rate beside that of a dense one.
IMAGE_RATE = 0.2


def add(commands: Any) -> None:
    """Declare the command."""
    words = "train a network on points of a disk, on handwritten digits or on your own data"
    disk = "disk: points in the unit square, inside or outside a circle of half its area."
    digits = "digits: 8 by 8 pixels, from scikit-learn."
    command = commands.add_parser(
        "train", help=words, description=f"{words.capitalize()}. {disk} {digits} {options.DEFAULTS}"
    )
    command.set_defaults(run=run)
    named = "|".join(TASKS)
    command.add_argument("task", nargs="?", metavar=named, help="what is learned where there is no --data (disk)")
    files = "a CSV file, an .npz of x and y, two .npy, two IDX files of images and labels, CIFAR-10 .bin files"
    add = command.add_argument
    add("--data", type=Path, nargs="+", metavar="FILE", help=f"learn from your own data instead: {files}")
    column = "by name, or by number from 0 or, negative, from the end"
    add("--target", type=options.column, metavar="COLUMN", help=f"the column of a CSV file to predict: {column} (-1)")
    kinds = "what that column holds (classes where it holds words or at most 20 different whole numbers, else values)"
    add("--kind", choices=KINDS, help=kinds)
    add(
        "--test-data", type=Path, nargs="+", metavar="FILE", help="test with the rows of these files (a part of --data)"
    )
    tables.add(command)
    part = f"the part of the rows to test with, dealt class by class ({TEST_FRACTION:g})"
    add("--test-fraction", type=options.fraction, metavar="PART", help=part)
    network = "two layers of 64 with ReLU; for images two convolutions with batch normalization and a dense layer"
    spec = f'a TOML file, or "Linear(2, 25); ReLU; Linear(25, 2)" ({network}; for the disk 2-25-25-25-2)'
    add("--model", metavar="SPEC", help=spec)
    epochs = "from 100 for up to 3,000 rows to 5 for 60,000; for images from 30 for up to 3,000 to 5 for 18,000"
    add("--epochs", type=options.whole, metavar="N", help=f"how often every row is seen ({epochs})")
    batch = "rows for each step (a twentieth of all rows, but from 8 to 64)"
    add("--batch-size", type=options.whole, metavar="N", help=batch)
    decay = f"(adamw, with a weight decay of {DECAY} divided by the number of rows, at most 1; for the disk adam)"
    add("--optimizer", choices=OPTIMIZERS, help=decay)
    rates = ", ".join(f"{name} {lr:g}" for name, (_, lr, _) in OPTIMIZERS.items())
    rates = f"{rates}; for images a fifth of that"
    add("--lr", type=options.rate, metavar="RATE", help=f"learning rate, which a cosine takes down to 0 ({rates})")
    add(
        "--seed",
        type=options.seed,
        default=0,
        metavar="N",
        help="of data, weights and order: same seed, same result (0)",
    )
    add("--out", type=Path, default=Path("fastdl-out"), metavar="FOLDER", help="for weights and picture (%(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Train, save weights and picture, print how good the model is on the test rows."""
    rng = np.random.default_rng(arguments.seed)
    task = asked_for(arguments, rng)
    model = _model(arguments.model, task)
    out = options.writable_folder(arguments.out)
    if task.found:
        print(task.found, flush=True)
    scaling, target_scaling = task.scaling(), task.target_scaling()
    model.reset_parameters(rng)
    chosen = arguments.optimizer or task.optimizer
    make, lr, settings = OPTIMIZERS[chosen]
    if chosen == "adamw":
        settings = {"weight_decay": task.weight_decay}
    optimizer = make(model.parameters(), lr=arguments.lr or lr * (IMAGE_RATE if task.images else 1), **settings)
    epochs, batch_size = arguments.epochs or task.epochs, arguments.batch_size or task.batch_size
    schedule = optim.CosineAnnealingLR(optimizer, epochs)
    criterion, metrics = (nn.CrossEntropyLoss(), [accuracy]) if target_scaling is None else (nn.MSELoss(), [])
    trainer = Trainer(model, criterion, optimizer, schedule=schedule, metrics=metrics)
    (x, y), test = (
        (scaling.transform(rows.x), rows.y if target_scaling is None else target_scaling.transform(rows.y))
        for rows in (task.train, task.test)
    )
    history = trainer.fit(x, y, epochs=epochs, batch_size=batch_size, seed=rng, validation_data=test)
    if history.interrupted:
        raise KeyboardInterrupt(f"interrupted after {len(history)} epochs; nothing was saved")
    learned = Checkpoint(model, scaling, target_scaling, task.train.classes, task.train.features, task.metadata)
    weights = out / f"{task.name}.safetensors"
    save(model, weights, **{name: value for name, value in vars(learned).items() if name != "model"})
    print(f"weights: {weights}")
    output = predict(model, test[0])
    if target_scaling is not None:
        output = target_scaling.inverse(output.astype(np.float64))
    print(f"picture: {_picture(out / f'{task.name}.png', history, learned, task, output)}")
    print(f"test {score(output, task.test.y, task.train.classes)}")


def _model(spec: str | None, task: Task) -> nn.Module:
    """The model of --model, tried on two rows."""
    if spec is None:
        return nn.from_spec(task.net)
    shape, wanted = task.train.x.shape[1:], (2, task.outputs)
    try:
        entries = [entry.strip() for entry in spec.split(";") if entry.strip()]
        model = nn.from_spec(Path(spec) if spec.endswith(".toml") else entries)
        output = predict(model, np.zeros((2, *shape)))
    except OSError as error:
        raise ValueError(f"--model {spec}: {error.strerror}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"--model: {error}") from None
    if output.shape != wanted:
        raise ValueError(
            f"--model: expected a model of inputs (n, {', '.join(map(str, shape))}) and {task.outputs} outputs,"
            f" got outputs of shape {output.shape}"
        )
    if not any(True for _ in model.parameters()):
        raise ValueError("--model: expected a model with parameters, got one without")
    return model


def _picture(path: Path, history: History, learned: Checkpoint, task: Task, output: np.ndarray) -> str:
    """Draw loss curves, and decision regions or a confusion matrix; returns where, or what would draw them."""
    try:
        from matplotlib.figure import Figure

        from fastdl import plot
    except ImportError:
        return 'none, as matplotlib is not installed; pip install "fastdl-nn[plot]" and train again to draw it'
    drawn = 1 if learned.classes is None else 2
    figure = Figure(figsize=(5.5 * drawn, 4.6), dpi=150, layout="constrained")
    left, *right = figure.subplots(1, drawn, squeeze=False)[0]
    plot.loss_curves(history, left).set_title("loss")
    if learned.classes is not None and task.name == "disk" and not task.found:
        ax = plot.decision_regions(learned.model, task.test.x, task.test.y, right[0], learned.scaling, learned.classes)
        ax.set_title("decision regions and test points")
    elif learned.classes is not None:
        ax = plot.confusion_matrix(output, task.test.y, right[0], learned.classes)
        ax.set_title("test rows by class and predicted class")
    write_picture(path, figure)
    return str(path)


def write_picture(path: Path, figure: Any) -> None:
    """Write a figure as PNG, whole or not at all, without a word on letters that the font lacks."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure.savefig(content, format="png")
    write_atomically(path, content.getvalue())
