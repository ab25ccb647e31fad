"""A random search over many small networks, one to each thread: a fit leaves Python, so threads run side by side."""

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

import fastdl
from fastdl import Trainer, data, nn, optim
from fastdl.metrics import accuracy


@dataclass(frozen=True)
class Trial:
    """A point of the search, and the accuracy on validation data that it came to."""

    seed: int
    lr: float
    width: int
    momentum: float
    accuracy: float = 0.0


def draw(seed: int) -> Trial:
    """Rates and distances from 1 are drawn over magnitudes, widths over powers of two."""
    rng = np.random.default_rng(seed)
    return Trial(seed, 10 ** rng.uniform(-3, 0), int(2 ** rng.uniform(2, 6)), 1 - 10 ** rng.uniform(-2, 0))


def build(trial: Trial, rng: np.random.Generator) -> Trainer:
    """The trial's network; every draw is from a generator of its own, for threads share the default one."""
    sizes = (2, trial.width, trial.width, 2)
    layers = [part for i, o in pairwise(sizes) for part in (nn.Linear(i, o, rng=rng), nn.ReLU())]
    model = nn.Sequential(*layers[:-1])
    optimizer = optim.SGD(model.parameters(), lr=trial.lr, momentum=trial.momentum)
    return Trainer(model, nn.CrossEntropyLoss(), optimizer, metrics=[accuracy])


def main(trials: int = 60, epochs: int = 60) -> list[Trial]:
    x, y = data.disk(1500, rng=0)
    (x, y), (kept_x, kept_y) = data.split(x, y, 1 / 3, rng=1)
    x, kept_x = data.standardize(x, kept_x)

    def run(trial: Trial) -> Trial:
        rng = np.random.default_rng(trial.seed)
        trainer = build(trial, rng)
        try:
            trainer.fit(x, y, epochs=epochs, batch_size=50, seed=rng, progress=False)
        except FloatingPointError:  # a rate too high
            return trial
        return replace(trial, accuracy=trainer.evaluate(kept_x, kept_y)["accuracy"])

    fastdl.set_num_threads(1)  # the threads are used up by the networks
    start = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = sorted(pool.map(run, map(draw, range(trials))), key=lambda trial: -trial.accuracy)
    print(f"{trials} networks of {epochs} epochs in {time.perf_counter() - start:.1f} s; the best three:")
    for trial in done[:3]:
        print(f"accuracy {trial.accuracy:.3f}: lr {trial.lr:.4f}, width {trial.width}, momentum {trial.momentum:.3f}")
    return done


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=60)
    main(**vars(parser.parse_args()))
