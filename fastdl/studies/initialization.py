"""initialization: paper 003's Experiment IV."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastdl import nn, optim
from fastdl.nn import init
from fastdl.studies import disk, picture
from fastdl.studies.results import Results
from fastdl.studies.study import Case, Figure, Finding, Measured, Settings, Study
from fastdl.studies.train import fit, trainer_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

TRAIN, TEST = "train error [%]", "test error [%]"
FRAMEWORKS = ("fastdl", "PyTorch")
# The least that two frameworks may differ by, on average, and still be alike: a point in a hundred.
ALIKE = 1.0


class Initialization(Study):
    """Classification error over the range of the initial parameters, the same in both frameworks."""

    name = "initialization"
    summary = "classification error over the range of the initial parameters, against PyTorch"
    source = "Paper 003 (Cleres, Lesimple, Rensonnet), Experiment IV, Fig. 9"
    paper = "The test error falls from about 50 % at a = 0.2 to about 2 % at a = 1.0, and both frameworks come to much the same."
    setup = (
        "1000 points to train and 1000 to test, standardized; ReLU; MSE; SGD without momentum. All parameters, biases too, are"
        " uniform in [-a, a], and PyTorch is given the same, with the same points and batches."
    )
    choices = (
        "Rate, epochs, batch and the values of a are left blank in the paper: rate 0.005, 100 epochs and batches of 100, as in"
        " its Experiments I to III, and a = 0.2, 0.3, ..., 1.0.",
        "MSE is averaged over all outputs of a batch, as PyTorch does it.",
    )
    full = Settings(
        runs=15, epochs=100, rate=0.005, batch=100, ranges=tuple(round(0.1 * i, 1) for i in range(2, 11)), points=1000
    )
    quick = Settings(runs=3, epochs=30, ranges=(0.2, 0.5, 1.0))
    figures = (
        Figure(TEST, 50.0, "Section III-B, Exp. IV", {"a": 0.2}, rounding=5.0, better=None),
        Figure(TEST, 2.0, "Section III-B, Exp. IV", {"a": 1.0}, rounding=0.5),
        Figure(TEST, 50.0, "Section III-B, Exp. IV", {"a": 0.2, "framework": "PyTorch"}, rounding=5.0, better=None),
        Figure(TEST, 2.0, "Section III-B, Exp. IV", {"a": 1.0, "framework": "PyTorch"}, rounding=0.5),
    )

    def cases(self) -> list[Case]:
        """Each range, in both frameworks."""
        return [{"a": a, "framework": framework} for a in self.settings.ranges for framework in FRAMEWORKS]

    def measure(self, case: Case, rng: np.random.Generator) -> Measured:
        """Train once."""
        s, a = self.settings, case["a"]
        points = disk.points(rng, s.points, standardized=True)
        model = disk.network(rng, weights=lambda inputs: (init.uniform(-a, a), init.uniform(-a, a)))
        criterion = nn.MSELoss()
        trainer = trainer_for(case, model, criterion, optim.SGD(model.parameters(), lr=s.rate))
        fit(trainer, points.x, disk.targets(criterion, points.y), epochs=s.epochs, batch_size=s.batch, seed=rng)
        train, test = disk.error(trainer, points.x, points.y), disk.error(trainer, points.x_test, points.y_test)
        return {TRAIN: train, TEST: test}

    def findings(self, results: Results) -> list[Finding]:
        """The error over a, and how far the frameworks are from each other."""
        ranges = self.settings.ranges
        means = [results.one(TEST, a=a, framework="fastdl").mean for a in ranges]
        numbers = ", ".join(f"{mean:.3g} % at {a:g}" for a, mean in zip(ranges, means, strict=True))
        found = [Finding("The test error falls as a grows up to 1", _falls(means), numbers)]
        if results.has(framework="PyTorch"):
            theirs = [results.one(TEST, a=a, framework="PyTorch").mean for a in ranges]
            apart = max(abs(ours - their) for ours, their in zip(means, theirs, strict=True))
            numbers = f"mean test errors at most {apart:.2g} points apart"
            found.append(Finding("Both frameworks come to much the same", apart <= ALIKE, numbers))
        return found

    def draw(self, results: Results) -> dict[str, Picture]:
        """Train and test error over a, as the paper's Fig. 9 shows them."""
        figure, (ax,) = picture.panels("error [%]", "a, all parameters uniform in [-a, a]", 1)
        sides = [framework for framework in FRAMEWORKS if results.has(framework=framework)]
        lines = [(framework, measure) for framework in sides for measure in (TEST, TRAIN)]
        for i, (framework, measure) in enumerate(lines):
            found = results.line(measure, "a", framework=framework)
            picture.line(ax, i, *found, f"{framework}, {measure.split()[0]}", offset=0.006 * i)
        picture.paper_points(ax, [0.2, 1.0], [50.0, 2.0], "paper, test (about)")
        return {"": picture.finished(figure)}


def _falls(means: list[float]) -> bool:
    """Whether the first is the highest and the last the lowest, and no step up is larger than a tenth of the whole fall."""
    fall = means[0] - means[-1]
    return fall > 0 and means[-1] == min(means) and bool(np.diff(means).max() <= fall / 10)


STUDY = Initialization
