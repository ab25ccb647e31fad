"""Estimators against scikit-learn's: whole fits of MLPClassifier, in turn, with what both score on samples not seen.

`python -m benchmarks.estimators` prints a Markdown table: each side's median at the number of threads, 1 or 2, that suits
it best, the ratio of both, and held-out accuracies. `--out FILE` writes it as well.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn import neural_network as theirs
from sklearn.datasets import load_digits, load_iris, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

import benchmarks.installed  # noqa: F401
import fastdl
from benchmarks.interleave import rotated
from benchmarks.machine import load
from fastdl import estimators as ours

Data = tuple[NDArray[Any], NDArray[Any]]


class Row(NamedTuple):
    """What is fitted: data, the arguments that both are given, and how often."""

    name: str
    data: Callable[[], Data]
    options: dict[str, Any]
    rounds: int


def iris() -> Data:
    """150 samples of 4 features, 3 classes."""
    return load_iris(return_X_y=True)  # pyright: ignore[reportReturnType]


def digits() -> Data:
    """1,797 samples of 64 features, 10 classes."""
    x, y = load_digits(return_X_y=True)
    return np.asarray(x) / 16, np.asarray(y)


def synthetic(samples: int, features: int) -> Callable[[], Data]:
    """Samples of clusters of 5 classes."""
    options: dict[str, Any] = {"n_informative": features // 2, "n_classes": 5, "random_state": 0}
    return lambda: make_classification(samples, features, **options)  # pyright: ignore[reportReturnType]


# Epochs are fixed, so that both do the same work.
FIXED = {"tol": 0.0, "n_iter_no_change": 10**6, "random_state": 0}
ROWS = (
    Row("iris, 150 x 4", iris, {"max_iter": 200, **FIXED}, 9),
    Row("digits, 1,797 x 64", digits, {"max_iter": 50, **FIXED}, 5),
    Row("synthetic, 20,000 x 50", synthetic(20_000, 50), {"max_iter": 10, **FIXED}, 5),
    Row("synthetic, 100,000 x 100", synthetic(100_000, 100), {"max_iter": 3, **FIXED}, 3),
)


THREADS = (1, 2)
# Seconds in which the threads of the side before, which wait for more work, fall asleep.
PAUSE = 0.3


class Side(NamedTuple):
    """What a library came to in a row."""

    seconds: float
    threads: int
    accuracy: float
    epochs: int


def measure(row: Row) -> list[Side]:
    """Scikit-learn's and fastdl's fits in turn, at each number of threads; a quarter of the samples is held out."""
    x, y = row.data()
    x = ((x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-3)).astype(np.float32)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=0)
    sides: list[Any] = [library.MLPClassifier(**row.options) for library in (theirs, ours)]
    contenders = [(side, threads) for threads in THREADS for side in (0, 1)]
    seconds: dict[tuple[int, int], list[float]] = {contender: [] for contender in contenders}
    for turn in range(row.rounds):
        for side, threads in rotated(contenders, turn):
            with threadpool_limits(threads):
                fastdl.set_num_threads(threads)
                time.sleep(PAUSE)
                start = time.perf_counter()
                sides[side].fit(x_train, y_train)
                seconds[side, threads].append(time.perf_counter() - start)
    found = []
    for number, side in enumerate(sides):
        best = min(THREADS, key=lambda threads, number=number: median(seconds[number, threads]))
        found.append(Side(median(seconds[number, best]), best, float(side.score(x_test, y_test)), side.n_iter_))
    return found


def main() -> None:
    """Print the table, and write it where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="*", default=[], help="names that the rows begin with")
    parser.add_argument("--out", type=Path, help="a file for the table")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    lines: list[str] = []
    for line in table(tuple(arguments.rows)):
        print(line, flush=True)
        lines.append(line)
    if arguments.out is not None:
        arguments.out.write_text("\n".join(lines) + "\n")


def table(chosen: tuple[str, ...]) -> Iterator[str]:
    """The lines of the table, each as soon as it is measured."""
    yield f"| {', '.join(machine_words())} | epochs | scikit-learn | fastdl | ratio | held-out accuracy |"
    yield "| --- | ---: | ---: | ---: | ---: | --- |"
    for row in ROWS:
        if chosen and not row.name.startswith(chosen):
            continue
        peer, own = measure(row)
        yield (
            f"| {row.name} | {peer.epochs} and {own.epochs} | {words(peer)} | {words(own)}"
            f" | {peer.seconds / own.seconds:.1f} | {peer.accuracy:.3f} and {own.accuracy:.3f} |"
        )


def words(side: Side) -> str:
    """Seconds and threads."""
    return f"{1e3 * side.seconds:,.1f} ms ({side.threads})"


def machine_words() -> list[str]:
    """What it was measured on, as the table's corner."""
    return ["`MLPClassifier().fit` in float32", f"scikit-learn {sklearn.__version__}", f"load {load()}"]


if __name__ == "__main__":
    main()
