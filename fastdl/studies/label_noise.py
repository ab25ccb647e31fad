"""label-noise: what paper 003 left undone, labels flipped by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastdl import nn, optim
from fastdl.studies import disk, picture
from fastdl.studies.results import Results
from fastdl.studies.study import Case, Finding, Measured, Settings, Study
from fastdl.studies.train import fit, trainer_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

NOISY, TEST = "error on the noisy training labels [%]", "test error [%]"
CLEAN = "error on the clean training labels [%]"
SHORT = {NOISY: "train, noisy labels", CLEAN: "train, clean labels", TEST: "test, clean labels"}
LOSSES = {"MSE": nn.MSELoss, "cross entropy": nn.CrossEntropyLoss}
FRAMEWORKS = ("fastdl", "PyTorch")


class LabelNoise(Study):
    """Classification error over the probability that a training label is flipped."""

    name = "label-noise"
    summary = "classification error over the share of wrong training labels, against PyTorch"
    source = "Paper 003 (Cleres, Lesimple, Rensonnet), an experiment it left undone"
    paper = "There are no figures to compare with: these are the first."
    setup = (
        "As the paper's Experiment I: 1000 points to train and 1000 to test, standardized; ReLU; batches of 100; MSE and cross"
        " entropy. Each training label is flipped with the same probability, from 0 to 0.4; the test labels are clean."
    )
    choices = (
        "SGD at rate 0.05 with momentum 0.9, so that training comes near its end; it ends after 100 epochs, and after 1000, to"
        " tell what learning the wrong labels by heart costs.",
        "The weights are the paper's: uniform of deviation sqrt(2 / inputs), biases too.",
        "Of a run, all noises flip in the same order: what is flipped at 0.1 is flipped at 0.2, too.",
    )
    full = Settings(
        runs=15,
        epochs=100,
        longer=10,
        rate=0.05,
        momentum=0.9,
        batch=100,
        noises=(0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4),
        points=1000,
    )
    quick = Settings(runs=3, noises=(0.0, 0.2, 0.4))

    def cases(self) -> list[Case]:
        """Losses, lengths and noises; the short ones in both frameworks."""
        s = self.settings
        return [
            {"loss": loss, "epochs": epochs, "noise": noise, "framework": framework}
            for loss in LOSSES
            for epochs in (s.epochs, s.epochs * s.longer)
            for noise in s.noises
            for framework in FRAMEWORKS
            if framework == "fastdl" or epochs == s.epochs
        ]

    def measure(self, case: Case, rng: np.random.Generator) -> Measured:
        """Train once."""
        s = self.settings
        points = disk.points(rng, s.points, standardized=True)
        noisy = np.where(rng.random(s.points) < case["noise"], 1 - points.y, points.y)
        model = disk.network(rng, weights=disk.scaled_uniform(2**0.5))
        criterion = LOSSES[case["loss"]]()
        optimizer = optim.SGD(model.parameters(), lr=s.rate, momentum=s.momentum)
        trainer = trainer_for(case, model, criterion, optimizer)
        fit(trainer, points.x, disk.targets(criterion, noisy), epochs=case["epochs"], batch_size=s.batch, seed=rng)
        return {
            NOISY: disk.error(trainer, points.x, noisy),
            CLEAN: disk.error(trainer, points.x, points.y),
            TEST: disk.error(trainer, points.x_test, points.y_test),
        }

    def findings(self, results: Results) -> list[Finding]:
        """The error over the noise, whether a net stays better than its labels, and what longer training does."""
        s = self.settings
        long, high = s.epochs * s.longer, max(s.noises)
        found = []
        for loss in LOSSES:
            ends = {
                epochs: [
                    results.one(TEST, loss=loss, epochs=epochs, noise=n, framework="fastdl").mean for n in s.noises
                ]
                for epochs in (s.epochs, long)
            }
            noises, errors = np.array(s.noises), np.array(ends[s.epochs])
            rises = errors[-1] > errors[0]
            numbers = ", ".join(f"{e:.3g} % at {n:g}" for n, e in zip(s.noises, errors, strict=True))
            found.append(Finding(f"The test error rises with the noise, {loss}", bool(rises), numbers))
            below = bool((errors[noises > 0] < 100 * noises[noises > 0]).all())
            most = float((errors[noises > 0] / (100 * noises[noises > 0])).max())
            numbers = f"test errors are at most {most:.2f} times the share of wrong labels"
            found.append(Finding(f"The net errs less than the labels that it learned from, {loss}", below, numbers))
            numbers = f"{ends[s.epochs][-1]:.3g} % after {s.epochs} epochs, {ends[long][-1]:.3g} % after {long}, noise {high:g}"
            found.append(
                Finding(
                    f"Longer training learns wrong labels by heart, {loss}",
                    ends[long][-1] > ends[s.epochs][-1],
                    numbers,
                )
            )
        if results.has(framework="PyTorch"):
            apart = max(
                abs(results.of(TEST, case).mean - results.of(TEST, {**case, "framework": "fastdl"}).mean)
                for case in results.where(framework="PyTorch")
            )
            found.append(
                Finding(
                    "Both frameworks come to much the same",
                    apart <= 2,
                    f"mean test errors at most {apart:.2g} points apart",
                )
            )
        return found

    def draw(self, results: Results) -> dict[str, Picture]:
        """Errors over the noise, and the share of wrong labels itself."""
        s = self.settings
        lengths = (s.epochs, s.epochs * s.longer)
        figures = {}
        for loss, name in zip(LOSSES, ("", "cross-entropy"), strict=True):
            titles = [f"{loss}, {epochs} epochs" for epochs in lengths]
            figure, axes = picture.panels("error [%]", "probability of a flipped label", len(lengths), titles)
            for ax, epochs in zip(axes, lengths, strict=True):
                for i, (measure, label) in enumerate(SHORT.items()):
                    found = results.line(measure, "noise", loss=loss, epochs=epochs, framework="fastdl")
                    picture.line(ax, i, *found, label, offset=0.002 * i)
                if results.has(framework="PyTorch", epochs=epochs):
                    found = results.line(TEST, "noise", loss=loss, epochs=epochs, framework="PyTorch")
                    picture.line(ax, 3, *found, "PyTorch: test, clean labels", offset=0.006)
                ax.plot(
                    s.noises, [100 * n for n in s.noises], color="0.6", linewidth=1, label="as many errors as flips"
                )
            figures[name] = picture.finished(figure)
        return figures


STUDY = LabelNoise
