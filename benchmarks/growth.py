"""How cost grows with a network's width and a batch's size: no size should cost more than its neighbours say.

`python -m benchmarks.growth --out FOLDER` times steps of two square Linear layers with ReLU between them, MSE and SGD, on
one thread and on two, draws the curves (growth.png) and writes what it saw: the steepest neighbours, the sizes where a
second thread slows a step, and the share of one thread's peak that products reach.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

import benchmarks.installed  # noqa: F401
import fastdl
from benchmarks.network import Network
from benchmarks.sides.with_fastdl import fit

WIDTHS = tuple(sorted(width + more for width in range(8, 513, 8) for more in (0, 1)))
BATCHES = (1, 2, 4, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 128, 200, 256, 500, 512, 1000)
THREADS = (1, 2)
# A second thread is to gain so much from a width on, at these batches.
GAIN, FROM_WIDTH = 1.6, {32: 128, 64: 100}
# More than the work of two neighbours says, that the larger may take.
SLACK = 1.15


class Point(NamedTuple):
    """A size, and the seconds of a step by the number of threads."""

    width: int
    batch: int
    seconds: dict[int, float]

    @property
    def work(self) -> int:
        """Multiplications and additions of a step's products."""
        return 2 * Network((self.width,) * 3, self.batch).multiply_adds()

    @property
    def gain(self) -> float:
        """How many times as fast a step is on two threads."""
        return self.seconds[1] / self.seconds[2]


def measured(width: int, batch: int, rounds: int, seconds: float) -> Point:
    """The medians of fits of some steps, on one thread and on two in turn."""
    network = Network((width,) * 3, batch)
    works = {n: fit(network, n) for n in THREADS}
    found: dict[int, list[float]] = {n: [] for n in THREADS}
    for n, work in works.items():
        fastdl.set_num_threads(n)
        work.run(1)
    for _ in range(rounds):
        for n, work in works.items():
            fastdl.set_num_threads(n)
            start, epochs = time.perf_counter(), 0
            while not epochs or time.perf_counter() - start < seconds:
                work.run(1)
                epochs += 1
            found[n].append((time.perf_counter() - start) / (epochs * work.units))
    return Point(width, batch, {n: median(each) for n, each in found.items()})


def cliffs(points: Iterable[Point], threads: int) -> Iterator[tuple[float, Point, Point]]:
    """Neighbours in width or batch of which the larger takes more than the work of both says, and how many times as much."""
    known = {(point.width, point.batch): point for point in points}
    widths, batches = sorted({width for width, _ in known}), sorted({batch for _, batch in known})
    pairs = [((one, batch), (two, batch)) for batch in batches for one, two in pairwise(widths)]
    pairs += [((width, one), (width, two)) for width in widths for one, two in pairwise(batches)]
    for one, two in pairs:
        small, large = known[one], known[two]
        excess = large.seconds[threads] / small.seconds[threads] / (large.work / small.work)
        if excess > SLACK:
            yield excess, small, large


def report(points: list[Point], peak: float) -> str:
    """What was seen, in Markdown."""
    lines = [f"{len(points)} sizes; one thread's peak is {peak / 1e9:.0f} GFLOP/s.", ""]
    for n in THREADS:
        steepest = sorted(cliffs(points, n), reverse=True)
        lines.append(
            f"{len(steepest)} neighbours on {n} thread(s) grow by more than their work and 15 %; the steepest:"
        )
        lines += [
            f"- {small.width} wide, batch {small.batch}: {1e6 * small.seconds[n]:.1f} us; "
            f"{large.width}, {large.batch}: {1e6 * large.seconds[n]:.1f} us ({excess:.2f} x what work says)"
            for excess, small, large in steepest[:5]
        ]
    slower = sorted((point.gain, point.width, point.batch) for point in points if point.gain < 1 / 1.05)
    lines.append(f"{len(slower)} sizes are more than 5 % slower on two threads; the slowest: {slower[:5]}")
    for batch, width in FROM_WIDTH.items():
        gains = [(point.gain, point.width) for point in points if point.batch == batch and point.width >= width]
        if gains:
            words = f"{sum(gain >= GAIN for gain, _ in gains)} of {len(gains)} widths gain {GAIN}"
            lines.append(f"Two threads at batch {batch} from width {width} on: {words}, the least {min(gains)}")
    large = [(point.work / point.seconds[1] / peak, point.width, point.batch) for point in points if is_large(point)]
    if large:
        words = f"{sum(share >= 0.6 for share, *_ in large)} of {len(large)} sizes reach 0.6 of the peak"
        lines.append(f"One thread from width 64 and batch 32 on: {words}, the least {min(large)}")
    return "\n".join(lines) + "\n"


def is_large(point: Point) -> bool:
    """Whether it is to reach a good part of the peak."""
    return point.width >= 64 and point.batch >= 32


def peak_of_products() -> float:
    """Multiplications and additions a second of one thread in a product that stays in its cache."""
    from fastdl._kernels.gemm import gemm

    fastdl.set_num_threads(1)
    a, b, c = (np.ones((336, 336), np.float32) for _ in range(3))
    best = 0.0
    for _ in range(50):
        start = time.perf_counter()
        gemm(a, b, None, False, False, False, None, 0.0, 0.0, c)
        best = max(best, 2 * 336**3 / (time.perf_counter() - start))
    return best


def draw(points: list[Point], path: Path) -> None:
    """Microseconds of a step over the width, a curve for each batch."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(11, 5), layout="constrained")
    for axes, n in zip(canvas.subplots(1, 2, sharey=True), THREADS, strict=True):
        for batch in sorted({point.batch for point in points}):
            own = sorted(point for point in points if point.batch == batch)
            axes.loglog([each.width for each in own], [1e6 * each.seconds[n] for each in own], lw=0.8, label=str(batch))
        axes.set(title=f"{n} thread(s)", xlabel="width", ylabel="microseconds a step")
    canvas.axes[-1].legend(title="batch", fontsize=6, ncols=2)
    canvas.savefig(path, dpi=144)


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers between commas."""
    return tuple(int(each) for each in text.split(","))


def main(arguments: list[str] | None = None) -> None:
    """Measure, draw and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a folder for growth.json, growth.md and growth.png")
    parser.add_argument("--widths", type=numbers, default=WIDTHS, help="between commas")
    parser.add_argument("--batches", type=numbers, default=BATCHES, help="between commas")
    parser.add_argument("--rounds", type=int, default=3, help="of each size")
    parser.add_argument("--seconds", type=float, default=0.01, help="of each round and number of threads")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    points = [
        measured(width, batch, options.rounds, options.seconds)
        for width in sorted(options.widths)
        for batch in sorted(options.batches)
    ]
    (options.out / "growth.json").write_text(json.dumps([point._asdict() for point in points]))
    said = f"CPU level {fastdl.cpu_level()}: {report(points, peak_of_products())}"
    (options.out / "growth.md").write_text(said)
    print(said, end="")
    draw(points, options.out / "growth.png")


if __name__ == "__main__":
    main()
