"""The `fastdl` command: train, info. Errors are one line on standard error and exit code 2, Ctrl-C is 130."""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import fastdl
from fastdl import nn, optim
from fastdl.checkpoint import save
from fastdl.data import Standardize, disk
from fastdl.history import History
from fastdl.metrics import accuracy
from fastdl.training import Trainer, predict

DISK_NET = ["Linear(2, 25)", "ReLU", "Linear(25, 25)", "ReLU", "Linear(25, 25)", "ReLU", "Linear(25, 2)"]
DISK_CLASSES = ("outside", "inside")
DISK_SAMPLES = 1000
OPTIMIZERS: dict[str, tuple[Callable[..., Any], float, dict[str, Any]]] = {
    "sgd": (optim.SGD, 0.1, {"momentum": 0.9}),
    "rmsprop": (optim.RMSprop, 0.003, {}),
    "adam": (optim.Adam, 0.01, {}),
    "adamw": (optim.AdamW, 0.01, {}),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: the words after `fastdl`; None for those of the process.

    Example:
        >>> main(["--version"]) == 0  # doctest: +ELLIPSIS
        fastdl ...
        True
    """
    try:
        arguments = _parser().parse_args(argv)
        arguments.run(arguments)
        sys.stdout.flush()
    except SystemExit as ending:  # --help and --version
        return int(ending.code or 0)
    except KeyboardInterrupt as interrupt:
        return _fail(str(interrupt) or "interrupted", 130)
    except BrokenPipeError:  # the reader of our output has gone, as in `fastdl info | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 2)
    except (ValueError, TypeError, ArithmeticError, ImportError) as error:
        return _fail(str(error), 2)
    except Exception as error:
        return _fail(f"{type(error).__name__}: {error}", 2)
    return 0


def train(arguments: argparse.Namespace) -> None:
    """Train on the disk, save weights and picture, print the test accuracy."""
    model = _model(arguments.model)
    out = _writable(arguments.out)
    rng = np.random.default_rng(arguments.seed)
    x, y = disk(DISK_SAMPLES, rng)
    xt, yt = disk(DISK_SAMPLES, rng)
    scaling = Standardize().fit(x)
    model.reset_parameters(rng)
    make, lr, options = OPTIMIZERS[arguments.optimizer]
    optimizer = make(model.parameters(), lr=arguments.lr or lr, **options)
    schedule = optim.CosineAnnealingLR(optimizer, max(arguments.epochs, 1))
    trainer = Trainer(model, nn.CrossEntropyLoss(), optimizer, schedule=schedule, metrics=[accuracy])
    scaled, validation = scaling.transform(x), (scaling.transform(xt), yt)
    history = trainer.fit(
        scaled, y, epochs=arguments.epochs, batch_size=arguments.batch_size, seed=rng, validation_data=validation
    )
    if history.interrupted:
        raise KeyboardInterrupt(f"interrupted after {len(history)} epochs; nothing was saved")
    save(model, out / "disk.safetensors", scaling=scaling, classes=DISK_CLASSES)
    print(f"weights: {out / 'disk.safetensors'}")
    print(f"picture: {_picture(out / 'disk.png', history, model, xt, yt, scaling)}")
    print(f"test accuracy {100 * trainer.evaluate(*validation)['accuracy']:.1f} %")


def info(arguments: argparse.Namespace) -> None:
    """Print version, CPU level, threads and build."""
    lines = {"fastdl": fastdl.__version__, "CPU level": fastdl.cpu_level(), "threads": fastdl.get_num_threads()}
    lines |= fastdl.build_info()
    width = max(map(len, lines)) + 1
    for name, value in lines.items():
        print(f"{name + ':':{width}} {value}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fastdl", description="Deep learning on CPUs.")
    parser.add_argument("--version", action="version", version=f"fastdl {fastdl.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_train(commands)
    _add_info(commands)
    return parser


def _add_train(commands: Any) -> None:
    words = "train a network on the disk: points in the unit square, inside or outside a circle of half its area"
    command = commands.add_parser("train", help=words, description=words.capitalize() + ".")
    command.set_defaults(run=train)
    add = command.add_argument
    add("--model", metavar="SPEC", help='a TOML file, or "Linear(2, 25); ReLU; Linear(25, 2)" (2-25-25-25-2, ReLU)')
    add("--epochs", type=_whole, default=100, metavar="N", help="how often every sample is seen (%(default)s)")
    add("--batch-size", type=_whole, default=50, metavar="N", help="samples a step (%(default)s)")
    add("--optimizer", choices=OPTIMIZERS, default="adam", help="(%(default)s)")
    rates = ", ".join(f"{name} {lr:g}" for name, (_, lr, _) in OPTIMIZERS.items())
    add("--lr", type=_rate, metavar="RATE", help=f"learning rate, from which a cosine leads to 0 ({rates})")
    add("--seed", type=_seed, default=0, metavar="N", help="of data, weights and order: same seed, same result (0)")
    add("--out", type=Path, default=Path("fastdl-out"), metavar="FOLDER", help="for weights and picture (%(default)s)")


def _add_info(commands: Any) -> None:
    words = "print version, CPU level, threads and build"
    commands.add_parser("info", help=words, description=words.capitalize() + ".").set_defaults(run=info)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; {self.prog} --help tells more")


def _fail(message: str, code: int) -> int:
    print(f"fastdl: {' '.join(message.split())}", file=sys.stderr)
    return code


def _whole(text: str) -> int:
    return _number(text, int, lambda value: value > 0, "a whole number above 0")


def _seed(text: str) -> int:
    return _number(text, int, lambda value: value >= 0, "a whole number of at least 0")


def _rate(text: str) -> float:
    return _number(text, float, lambda value: 0 < value < math.inf, "a number above 0")


def _number(text: str, kind: Callable[[str], Any], fits: Callable[[Any], bool], words: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not fits(value):
        raise argparse.ArgumentTypeError(f"expected {words}, got {text!r}")
    return value


def _model(spec: str | None) -> nn.Module:
    """The model of --model, tried on two points."""
    if spec is None:
        return nn.from_spec(DISK_NET)
    try:
        entries = [entry.strip() for entry in spec.split(";") if entry.strip()]
        model = nn.from_spec(Path(spec) if spec.endswith(".toml") else entries)
        output = predict(model, np.zeros((2, 2)))
    except OSError as error:
        raise ValueError(f"--model {spec}: {error.strerror}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"--model: {error}") from None
    if output.shape != (2, 2):
        raise ValueError(f"--model: expected a model of 2 inputs and 2 outputs, got outputs of shape {output.shape}")
    if not any(True for _ in model.parameters()):
        raise ValueError("--model: expected a model with parameters, got one without")
    return model


def _writable(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            return out
    except OSError as error:
        raise ValueError(f"--out {out}: cannot be written to: {error.strerror}") from None


def _picture(path: Path, history: History, model: nn.Module, x: Any, y: Any, scaling: Standardize) -> str:
    """Draw loss curves and decision regions; returns where they are, or what would draw them."""
    try:
        from matplotlib.figure import Figure

        from fastdl import plot
    except ImportError:
        return 'none, as matplotlib is not installed; pip install "fastdl-nn[plot]" and train again to draw it'
    figure = Figure(figsize=(11, 4.6), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    plot.loss_curves(history, left).set_title("loss")
    plot.decision_regions(model, x, y, right, scaling, DISK_CLASSES).set_title("decision regions and test points")
    figure.savefig(path)
    return str(path)
