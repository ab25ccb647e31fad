"""initialization: paper 003's Experiment IV."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastdl import nn, optim
from fastdl.nn import init
from fastdl.studies import disk, picture
from fastdl.studies.results import Results, verdict
from fastdl.studies.study import Case, Figure, Finding, Measured, Settings, Study
from fastdl.studies.train import fit, trainer_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

TRAIN, TEST, LONGER = "train error [%]", "test error [%]", "test error after longer training [%]"
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
        "Rate, epochs, batch and the values of a are left blank in the paper: 100 epochs and batches of 100, as in its"
        " Experiments I and II; a = 0.2, 0.3, ..., 1.0; and three rates, 0.005 of Experiments I and III, 0.01 of V and VI, and"
        " 0.001, as the outcome depends on it. Whether longer training explains what is left is checked by training on to 2.5"
        " times the epochs, the longest of Experiment III.",
        "MSE is averaged over all outputs of a batch, as PyTorch does it.",
    )
    full = Settings(
        runs=15,
        epochs=100,
        rates=(0.001, 0.005, 0.01),
        longer=2.5,
        batch=100,
        ranges=tuple(round(0.1 * i, 1) for i in range(2, 11)),
        points=1000,
    )
    quick = Settings(runs=3, epochs=30, rates=(0.005,), ranges=(0.2, 0.5, 1.0))
    figures = (
        Figure(TEST, 50.0, "Section III-B, Exp. IV", {"a": 0.2}, rounding=5.0, better=None),
        Figure(TEST, 2.0, "Section III-B, Exp. IV", {"a": 1.0}, rounding=0.5),
        Figure(TEST, 50.0, "Section III-B, Exp. IV", {"a": 0.2, "framework": "PyTorch"}, rounding=5.0, better=None),
        Figure(TEST, 2.0, "Section III-B, Exp. IV", {"a": 1.0, "framework": "PyTorch"}, rounding=0.5),
    )

    def cases(self) -> list[Case]:
        """Each rate and range, in both frameworks."""
        s = self.settings
        return [{"rate": rate, "a": a, "framework": f} for rate in s.rates for a in s.ranges for f in FRAMEWORKS]

    def measure(self, case: Case, rng: np.random.Generator) -> Measured:
        """Train once."""
        s, a = self.settings, case["a"]
        points = disk.points(rng, s.points, standardized=True)
        model = disk.network(rng, weights=lambda inputs: (init.uniform(-a, a), init.uniform(-a, a)))
        criterion = nn.MSELoss()
        trainer = trainer_for(case, model, criterion, optim.SGD(model.parameters(), lr=case["rate"]))
        t = disk.targets(criterion, points.y)
        measured = {}
        for epochs, names in ((s.epochs, (TRAIN, TEST)), (round(s.epochs * (s.longer - 1)), ("", LONGER))):
            fit(trainer, points.x, t, epochs=epochs, batch_size=s.batch, seed=rng)
            errors = disk.error(trainer, points.x, points.y), disk.error(trainer, points.x_test, points.y_test)
            measured |= {name: error for name, error in zip(names, errors, strict=True) if name}
        return measured

    def findings(self, results: Results) -> list[Finding]:
        """The error over a, and how far the frameworks are from each other."""
        found = []
        for rate in self.settings.rates:
            a, means, _ = results.line(TEST, "a", rate=rate, framework="fastdl")
            best = a[int(np.argmin(means))]
            numbers = (
                f"{means[0]:.3g} % at {a[0]:g}, {means[-1]:.3g} % at {a[-1]:g}, lowest at {best:g}, {min(means):.3g} %"
            )
            claim = f"At rate {rate:g}, the test error falls as a grows, up to 1"
            found.append(Finding(claim, means[-1] < means[0] and best == a[-1], numbers))
        if results.has(framework="PyTorch"):
            ours, theirs = (
                np.array([results.line(TEST, "a", rate=rate, framework=f)[1] for rate in self.settings.rates])
                for f in FRAMEWORKS
            )
            apart = float(np.abs(ours - theirs).max())
            numbers = f"mean test errors at most {apart:.2g} points apart"
            found.append(Finding("Both frameworks come to much the same", apart <= ALIKE, numbers))
        return found

    def remarks(self, results: Results) -> list[str]:
        """Whether longer training explains what is not reached at the largest range."""
        a = max(self.settings.ranges)
        listed, verdicts = [], set()
        for rate in self.settings.rates:
            case = results.case(rate=rate, a=a, framework="fastdl")
            lower = results.of(LONGER, case).mean < results.of(TEST, case).mean
            verdicts.add((lower, verdict(results.values(LONGER, case), Figure(LONGER, 2.0, "", rounding=0.5))))
            listed.append(f"{results.of(TEST, case)} and {results.of(LONGER, case)} at rate {rate:g}")
        reached = any(word != "not reached" for _, word in verdicts)
        helps = "lowers the error" if all(lower for lower, _ in verdicts) else "does not always lower the error"
        return [
            f"Test errors at a = {a:g} after the epochs of the study and {self.settings.longer:g} times as many:"
            f" {'; '.join(listed)}. So longer training {helps}, and"
            f" {'some runs then come to the 2 % of the paper' if reached else 'no run comes to the 2 % of the paper'}."
        ]

    def draw(self, results: Results) -> dict[str, Picture]:
        """Train and test error over a, as the paper's Fig. 9 shows them."""
        rates = self.settings.rates
        figure, axes = picture.panels("error [%]", "a", len(rates), [f"rate {rate:g}" for rate in rates])
        sides = [framework for framework in FRAMEWORKS if results.has(framework=framework)]
        lines = [(framework, measure) for framework in sides for measure in (TEST, TRAIN)]
        for ax, rate in zip(axes, rates, strict=True):
            for i, (framework, measure) in enumerate(lines):
                found = results.line(measure, "a", rate=rate, framework=framework)
                picture.line(ax, i, *found, f"{framework}, {measure.split()[0]}", offset=0.008 * i)
            picture.paper_points(ax, [0.2, 1.0], [50.0, 2.0], "paper, test (about)")
        return {"": picture.finished(figure)}


STUDY = Initialization
