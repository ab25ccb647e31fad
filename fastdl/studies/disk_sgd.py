"""disk-sgd: paper 001's test of its framework on the disk, and its comparison of speed with PyTorch."""

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

TRAIN, TEST, TIME = "train error [%]", "test error [%]", "training time [s]"
ACTIVATIONS = {"ReLU": nn.ReLU, "Tanh": nn.Tanh}
AVERAGED, SUMMED = "averaged", "summed"
REDUCTIONS = {AVERAGED: "batchmean", SUMMED: "sum"}


class DiskSGD(Study):
    """The 2-25-25-25-2 network learns the disk by plain SGD, in fastdl and in PyTorch."""

    name = "disk-sgd"
    summary = "the disk by plain SGD: error and time, against PyTorch"
    source = "Paper 001 (Shynkaruk, Bachmann), Sections V-A and V-C"
    paper = (
        "With SGD at rate 0.001, batches of 100 and 300 epochs, the network ends at a train error of 0.2 % and a test error of"
        " 0.3 %; training takes 0.97 s, and 1.49 s with PyTorch."
    )
    setup = (
        "1000 points to train and 1000 to test, as they are drawn; squared error summed over the two outputs, targets one-hot;"
        " Tanh after the output; weights truncated-normal Xavier, biases 0. PyTorch is given the same points, weights and"
        " batches. The time is that of training alone."
    )
    choices = (
        "The hidden activations are not given: both ReLU and Tanh are trained.",
        "By its text the loss is averaged over the batch. Whether its figures were reached so is checked by training with the"
        " loss summed over the batch, too, which is a rate 100 times as large.",
    )
    full = Settings(runs=10, epochs=300, rate=0.001, batch=100, points=1000)
    quick = Settings(runs=3, epochs=40)
    figures = (
        Figure(TRAIN, 0.2, "Section V-A", rounding=0.05),
        Figure(TEST, 0.3, "Section V-A", rounding=0.05),
        Figure(TIME, 0.9678, "Section V-C"),
        Figure(TIME, 1.4866, "Section V-C", {"framework": "PyTorch"}),
    )
    timed = True

    def cases(self) -> list[Case]:
        """Both activations and both losses, in both frameworks."""
        return [
            {"activation": activation, "loss over the batch": loss, "framework": framework}
            for loss in REDUCTIONS
            for activation in ACTIVATIONS
            for framework in ("fastdl", "PyTorch")
        ]

    def measure(self, case: Case, rng: np.random.Generator) -> Measured:
        """Train once."""
        s = self.settings
        points = disk.points(rng, s.points)
        model = disk.network(rng, ACTIVATIONS[case["activation"]], [nn.Tanh()], _weights)
        criterion = nn.MSELoss(reduction=REDUCTIONS[case["loss over the batch"]])
        trainer = trainer_for(case, model, criterion, optim.SGD(model.parameters(), lr=s.rate))
        _, seconds = fit(
            trainer, points.x, disk.targets(criterion, points.y), epochs=s.epochs, batch_size=s.batch, seed=rng
        )
        train, test = disk.error(trainer, points.x, points.y), disk.error(trainer, points.x_test, points.y_test)
        return {TRAIN: train, TEST: test, TIME: seconds}

    def findings(self, results: Results) -> list[Finding]:
        """The time beside PyTorch's."""
        if not results.has(framework="PyTorch"):
            return []
        ours, theirs = (
            float(np.mean([results.of(TIME, case).mean for case in results.where(framework=framework)]))
            for framework in ("fastdl", "PyTorch")
        )
        numbers = f"{ours:.3g} s against {theirs:.3g} s, {theirs / ours:.1f} times; the paper's 1.5 times"
        return [Finding("Training takes less time than with PyTorch", ours < theirs, numbers)]

    def remarks(self, results: Results) -> list[str]:
        """Whether the loss averaged over the batch explains what is not reached."""
        averaged, summed = ({a: _error(results, a, loss) for a in ACTIVATIONS} for loss in REDUCTIONS)
        words = "; ".join(f"{a} {averaged[a]:.2g} % averaged, {summed[a]:.2g} % summed" for a in ACTIVATIONS)
        lower = all(summed[a] < averaged[a] for a in ACTIVATIONS)
        verdict = (
            "the rate of 0.001 is too small for a loss averaged over the batch, and the paper's code probably summed it"
            if lower
            else "the sum over the batch does not explain the paper's figures"
        )
        return [f"Test error with the loss averaged and summed over the batch: {words}. So {verdict}."]

    def draw(self, results: Results) -> dict[str, Picture]:
        """Errors and times of each case, and the paper's."""
        figure, axes = picture.panels("", "test error [%]", 2)
        axes[1].set_xlabel("training time [s]")
        names = [f"{c['activation']}, {c['loss over the batch']}\n{c['framework']}" for c in results.cases]
        for ax, measure in zip(axes, (TEST, TIME), strict=True):
            spreads = [results.of(measure, case) for case in results.cases]
            picture.dots(ax, names, [s.mean for s in spreads], [s.deviation for s in spreads])
            ax.set_xscale("log")
        picture.paper(axes[0], 0.3, "the paper's framework", upright=True)
        picture.paper(axes[1], 0.9678, "the paper's framework", upright=True)
        picture.paper(axes[1], 1.4866, "the paper's PyTorch", upright=True, style=":")
        return {"": picture.finished(figure)}


def _weights(inputs: int) -> tuple[init.Initializer, init.Initializer]:
    return init.xavier_normal(truncated=True), init.zeros()


def _error(results: Results, activation: str, loss: str) -> float:
    return results.one(TEST, activation=activation, framework="fastdl", **{"loss over the batch": loss}).mean


STUDY = DiskSGD
