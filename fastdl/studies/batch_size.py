"""batch-size: paper 003's Experiment V."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from fastdl import nn, optim
from fastdl.studies import disk, picture
from fastdl.studies.results import Results
from fastdl.studies.study import Case, Finding, Measured, Settings, Study
from fastdl.studies.train import fit, trainer_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

TIME, TEST = "training time [s]", "test error [%]"
FRAMEWORKS = ("fastdl", "PyTorch")
# From where on the paper's own time no longer falls, "around".
FLAT = 500
# How many times another a time may be and count as the same.
ROUGHLY = 1.1


class BatchSize(Study):
    """The time of training over the batch size, in both frameworks."""

    name = "batch-size"
    summary = "training time and speed-up over the batch size, against PyTorch"
    source = "Paper 003 (Cleres, Lesimple, Rensonnet), Experiment V, Fig. 10"
    paper = (
        "The time falls as the batch grows, and is long for very small batches; the paper's framework flattens at a batch of"
        " about 500, PyTorch goes on falling. No figures are given."
    )
    setup = (
        "1000 points to train, standardized; ReLU; MSE; SGD at rate 0.01 without momentum, 50 epochs; batches from 1 to 1000."
        " PyTorch is given the same points, weights and batches. The time is that of training alone; the speed-up is over"
        " batch 1 of the same framework."
    )
    choices = (
        "The batches are not given: 1, 2, 5, 10, 20, 50, 100, 200, 500 and 1000.",
        "The initial weights are PyTorch's, uniform within 1 / sqrt(inputs): they do not matter for the time.",
    )
    full = Settings(runs=15, epochs=50, rate=0.01, batches=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000), points=1000)
    quick = Settings(runs=3, epochs=20, batches=(1, 10, 100, 500, 1000))
    timed = True

    def cases(self) -> list[Case]:
        """The batches, in both frameworks."""
        return [{"batch": batch, "framework": f} for batch in self.settings.batches for f in FRAMEWORKS]

    def measure(self, case: Case, rng: np.random.Generator) -> Measured:
        """Train once."""
        s = self.settings
        points = disk.points(rng, s.points, standardized=True)
        model = disk.network(rng)
        criterion = nn.MSELoss()
        trainer = trainer_for(case, model, criterion, optim.SGD(model.parameters(), lr=s.rate))
        t = disk.targets(criterion, points.y)
        fitted = fit(trainer, points.x, t, epochs=s.epochs, batch_size=case["batch"], seed=rng)
        return {TIME: fitted.seconds, TEST: disk.error(trainer, points.x_test, points.y_test)}

    def findings(self, results: Results) -> list[Finding]:
        """Whether the time falls, where it flattens, and how it stands beside PyTorch's."""
        found, s = [], self.settings
        for framework in self._sides(results):
            batches, times, _ = results.line(TIME, "batch", framework=framework)
            numbers = (
                f"{times[0]:.3g} s at {batches[0]}, {times[-1]:.3g} s at {batches[-1]},"
                f" {times[0] / times[-1]:,.1f} times; shortest at {batches[int(np.argmin(times))]}"
            )
            claim = f"{framework}'s time falls as the batch grows"
            falls = times[-1] < times[0] and all(later < ROUGHLY * time for time, later in pairwise(times))
            found.append(Finding(claim, falls, numbers))
            late = [time for batch, time in zip(batches, times, strict=True) if batch >= FLAT]
            if len(late) > 1:
                numbers = (
                    f"{late[0]:.3g} s at {FLAT}, {late[-1]:.3g} s at {batches[-1]}, {late[0] / late[-1]:.2f} times"
                )
                flat = late[-1] > late[0] / ROUGHLY
                claim, holds = ("flattens at", flat) if framework == "fastdl" else ("goes on falling from", not flat)
                found.append(Finding(f"{framework}'s time {claim} a batch of {FLAT}", holds, numbers))
        if len(self._sides(results)) == 2:
            ours, theirs = (results.line(TIME, "batch", framework=f)[1] for f in FRAMEWORKS)
            times = np.divide(theirs, ours)
            numbers = f"{times[0]:,.0f} times at batch {s.batches[0]}, {times[-1]:,.1f} times at {s.batches[-1]}"
            found.append(Finding("fastdl takes less time at every batch", bool((times > 1).all()), numbers))
        return found

    def remarks(self, results: Results) -> list[str]:
        """What the time is made of: an epoch's arithmetic, which no batch changes, and the steps, which get fewer."""
        sentences = []
        for framework in self._sides(results):
            batches, times, _ = results.line(TIME, "batch", framework=framework)
            steps = np.array([-(-self.settings.points // batch) * self.settings.epochs for batch in batches])
            step = (times[0] - times[-1]) / (steps[0] - steps[-1])
            rest = max(times[-1] - step * steps[-1], 0.0)
            sentences.append(
                f"{framework}: by the ends of the line a step costs {1e6 * step:.3g} microseconds, and what does not depend on"
                f" the batch {rest:.2g} s, {100 * rest / times[-1]:.0f} % of the time at batch {batches[-1]}: larger batches"
                " still can save no more than the rest of it."
            )
        return sentences

    def _sides(self, results: Results) -> list[str]:
        return [framework for framework in FRAMEWORKS if results.has(framework=framework)]

    def draw(self, results: Results) -> dict[str, Picture]:
        """Time and speed-up over the batch, as the paper's Fig. 10 shows them."""
        times, (ax,) = picture.panels(TIME, "batch", 1)
        speeds, (other,) = picture.panels("speed-up over batch 1", "batch", 1)
        for i, framework in enumerate(self._sides(results)):
            batches, means, deviations = results.line(TIME, "batch", framework=framework)
            picture.line(ax, i, batches, means, deviations, framework)
            picture.line(other, i, batches, means[0] / np.array(means), None, framework)
        for each in (ax, other):
            each.set_xscale("log")
            each.set_yscale("log")
            picture.paper(each, FLAT, "paper: its own flattens (about)", upright=True)
        return {"": picture.finished(times), "speed-up": picture.finished(speeds)}


STUDY = BatchSize
