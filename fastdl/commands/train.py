"""`fastdl train`: learn the disk, the digits or the data in files; save weights and a picture."""

from __future__ import annotations

import argparse
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from fastdl import nn, optim
from fastdl.callbacks import Callback
from fastdl.commands import options, tables
from fastdl.commands.interruption import Interruption
from fastdl.commands.results import FOLDER, Results
from fastdl.commands.score import score
from fastdl.commands.streams import say
from fastdl.commands.task import DECAY, KINDS, TASKS, TEST_FRACTION, Task, asked_for
from fastdl.data import Dataset, Standardize
from fastdl.environment import installing
from fastdl.errors import InvalidValueError, add_context
from fastdl.metrics import accuracy
from fastdl.output_file import write_atomically
from fastdl.serialization.model_file import Checkpoint
from fastdl.training import Trainer, predict
from fastdl.training.history import History

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
    ending = "Ctrl-C ends the training and saves what was learned until then."
    command = commands.add_parser(
        "train", help=words, description=f"{words.capitalize()}. {disk} {digits} {ending} {options.DEFAULTS}"
    )
    command.set_defaults(run=run)
    named = "|".join(TASKS)
    command.add_argument("task", nargs="?", metavar=named, help="what is learned where there is no --data (disk)")
    _add_data(command.add_argument_group("data").add_argument)
    tables.add(command)
    _add_training(command.add_argument_group("network and training").add_argument)
    add = command.add_argument_group("results").add_argument
    place = f"for weights, history and picture ({FOLDER}, where a second run of the same name is NAME-2)"
    add("--out", type=Path, metavar="FOLDER", help=place)
    replaced = "replace older results of that name (a FOLDER that was asked for and has some is an error)"
    add("--overwrite", action="store_true", help=replaced)


def _add_data(add: Callable[..., Any]) -> None:
    files = "a CSV file, an .npz of x and y, two .npy, two IDX files of images and labels, CIFAR-10 .bin files"
    add("--data", type=Path, nargs="+", metavar="FILE", help=f"learn from your own data instead: {files}")
    column = "by name, or by number from 0 or, negative, from the end"
    add("--target", type=options.column, metavar="COLUMN", help=f"the column of a CSV file to predict: {column} (-1)")
    kinds = "what that column holds (classes where it holds words or at most 20 different whole numbers, else values)"
    add("--kind", choices=KINDS, help=kinds)
    rows = "test with the rows of these files (a part of --data)"
    add("--test-data", type=Path, nargs="+", metavar="FILE", help=rows)
    part = f"the part of the rows to test with, dealt class by class ({TEST_FRACTION:g})"
    add("--test-fraction", type=options.fraction, metavar="PART", help=part)


def _add_training(add: Callable[..., Any]) -> None:
    network = "two layers of 64 with ReLU; for images two convolutions with batch normalization and a dense layer"
    spec = f'a TOML file, or "Linear(2, 25); ReLU; Linear(25, 2)" ({network}; for the disk 2-25-25-25-2)'
    add("--model", metavar="SPEC", help=spec)
    epochs = "from 100 for up to 3,000 rows to 5 for 60,000; for images from 30 for up to 3,000 to 5 for 18,000"
    add("--epochs", type=options.whole, metavar="N", help=f"how often every row is seen ({epochs})")
    batch = "rows for each step (a twentieth of all rows, but from 8 to 64)"
    add("--batch-size", type=options.whole, metavar="N", help=batch)
    decay = f"adamw, with a weight decay of {DECAY} divided by the number of rows, at most 1; for the disk adam"
    add("--optimizer", choices=OPTIMIZERS, help=f"what takes the steps ({decay})")
    rates = ", ".join(f"{name} {lr:g}" for name, (_, lr, _) in OPTIMIZERS.items())
    rates = f"{rates}; for images a fifth of that"
    add("--lr", type=options.rate, metavar="RATE", help=f"learning rate, which a cosine takes down to 0 ({rates})")
    seed = "of data, weights and order: same seed, same result (0)"
    add("--seed", type=options.seed, default=0, metavar="N", help=seed)


def run(arguments: argparse.Namespace) -> None:
    """Train, save weights, history and picture, print how good the model is on the test rows."""
    interruption: Interruption = arguments.interruption
    training, results = _Training(interruption), None
    try:
        rng = np.random.default_rng(arguments.seed)
        task = asked_for(arguments, rng)
        model = _model(arguments.model, task)
        results = Results(arguments.out, task.name, arguments.overwrite)
        with results.writable():
            if task.found:
                say(task.found, flush=True)
            learned = Checkpoint(
                model, task.scaling(), task.target_scaling(), task.train.classes, task.train.features, task.metadata
            )
            _learn(arguments, task, learned, training, rng)
            results.save(learned, training.history)
            if training.history.interrupted:
                raise KeyboardInterrupt
            interruption.release()
            _report(task, learned, training.history, results)
    except KeyboardInterrupt:
        ending = "before training began; nothing was written"
        if training.began:
            ending = f"after {len(training.history)} of {training.epochs} epochs; saved what was learned: {results}"
        raise KeyboardInterrupt(f"{interruption.words} {ending}") from None


class _Training(Callback):
    """Lets the first signal end the training, and holds all others until what was learned is saved."""

    watches = True

    def __init__(self, interruption: Interruption) -> None:
        self.interruption, self.began, self.epochs, self.history = interruption, False, 0, History(())

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        if self.interruption.number is None:
            self.interruption.once, self.interruption.stop = True, trainer.stop
            self.epochs, self.history, self.began = epochs, trainer.history, True

    def on_fit_end(self, trainer: Trainer) -> None:
        self.interruption.held = True


def _learn(arguments: argparse.Namespace, task: Task, learned: Checkpoint, training: _Training, rng: Any) -> None:
    """Train the model.

    Raises:
        KeyboardInterrupt: if a signal came before training began.
    """
    learned.model.reset_parameters(rng)
    chosen = arguments.optimizer or task.optimizer
    make, lr, settings = OPTIMIZERS[chosen]
    if chosen == "adamw":
        settings = {"weight_decay": task.weight_decay}
    optimizer = make(learned.model.parameters(), lr=arguments.lr or lr * (IMAGE_RATE if task.images else 1), **settings)
    epochs, batch_size = arguments.epochs or task.epochs, arguments.batch_size or task.batch_size
    schedule = optim.CosineAnnealingLR(optimizer, epochs)
    criterion, metrics = (nn.CrossEntropyLoss(), [accuracy]) if learned.classes is not None else (nn.MSELoss(), [])
    trainer = Trainer(learned.model, criterion, optimizer, schedule=schedule, metrics=metrics)
    train, test = (_scaled(rows, learned) for rows in (task.train, task.test))
    try:
        trainer.fit(*train, epochs=epochs, batch_size=batch_size, seed=rng, validation_data=test, callbacks=[training])
    except KeyboardInterrupt:
        training.history.interrupted = True
    if not training.began:
        raise KeyboardInterrupt


def _scaled(rows: Dataset, learned: Checkpoint) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets as the network knows them."""
    targets = rows.y if learned.target_scaling is None else learned.target_scaling.transform(rows.y)
    return cast("Standardize", learned.scaling).transform(rows.x), targets


def _report(task: Task, learned: Checkpoint, history: History, results: Results) -> None:
    """Say where the results are, draw the picture, and say how good the model is."""
    say(f"weights: {results.weights}")
    say(f"history: {results.history}")
    output = predict(learned.model, _scaled(task.test, learned)[0])
    if learned.target_scaling is not None:
        output = learned.target_scaling.inverse(output.astype(np.float64))
    say(f"picture: {_picture(results.picture, history, learned, task, output)}")
    say(f"test {score(output, task.test.y, task.train.classes)}")


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
        add_context(error, "--model")
        raise
    if output.shape != wanted:
        raise InvalidValueError(
            "--model",
            f"a model of inputs (n, {', '.join(map(str, shape))}) and {task.outputs} outputs",
            f"outputs of shape {output.shape}",
        )
    if not any(True for _ in model.parameters()):
        raise InvalidValueError("--model", "a model with parameters", "one without")
    return model


def _picture(path: Path, history: History, learned: Checkpoint, task: Task, output: np.ndarray) -> str:
    """Draw loss curves, and decision regions or a confusion matrix; returns where, or what would draw them."""
    try:
        from matplotlib.figure import Figure

        from fastdl import plot
    except ImportError:
        return f"none, as matplotlib is not installed; write {installing('plot')} and train again to draw it"
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
    write_atomically(path, content.getvalue(), "--out")
