"""momentum: paper 003's Experiment I."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastdl import nn, optim
from fastdl.studies import disk, picture
from fastdl.studies.results import Results
from fastdl.studies.study import Case, Finding, Measured, Settings, Study
from fastdl.studies.train import fit, trainer_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

TRAIN, TEST = "train error [%]", "test error [%]"
LOSSES = {"MSE": nn.MSELoss, "cross entropy": nn.CrossEntropyLoss}
OURS, TORCHS = "paper's", "PyTorch's"
FRAMEWORKS = ("fastdl", "PyTorch")


class Momentum(Study):
    """Classification error over the momentum, with two losses, in both frameworks."""

    name = "momentum"
    summary = "classification error over the momentum, with MSE and cross entropy, against PyTorch"
    source = "Paper 003 (Cleres, Lesimple, Rensonnet), Experiment I, Fig. 6"
    paper = (
        "Errors fall as the momentum grows, and the test error lies above the train error. PyTorch does not converge at low"
        " momentum, which the paper lays to its initialization. MSE gives lower errors than cross entropy."
    )
    setup = (
        "1000 points to train and 1000 to test, standardized; ReLU; SGD at rate 0.005, batches of 100, 100 epochs; the momentum"
        " from 0 to 0.9. Both frameworks are given the same points and batches, once with the paper's weights and once with"
        " those that PyTorch draws by default, so that frameworks and initializations are distinguished."
    )
    choices = (
        "The values of the momentum are not given: 0, 0.1, ..., 0.9.",
        "The paper's weights and biases are uniform with deviation \"1/N_in\": taken for gain / sqrt(N_in), with ReLU's gain"
        " sqrt(2) in all layers.",
        "MSE is averaged over all outputs of a batch, as PyTorch does it.",
    )
    full = Settings(
        runs=15,
        epochs=100,
        rate=0.005,
        batch=100,
        momenta=tuple(i / 10 for i in range(10)),
        points=1000,
    )
    quick = Settings(runs=3, epochs=30, momenta=(0.0, 0.5, 0.9))

    def cases(self) -> list[Case]:
        """Losses, initializations and momenta, in both frameworks."""
        return [
            {"loss": loss, "weights": weights, "momentum": momentum, "framework": framework}
            for loss in LOSSES
            for weights in (OURS, TORCHS)
            for momentum in self.settings.momenta
            for framework in FRAMEWORKS
        ]

    def measure(self, case: Case, rng: np.random.Generator) -> Measured:
        """Train once."""
        s = self.settings
        points = disk.points(rng, s.points, standardized=True)
        model = disk.network(rng, weights=disk.scaled_uniform(math.sqrt(2)) if case["weights"] == OURS else disk.torchs)
        criterion = LOSSES[case["loss"]]()
        trainer = trainer_for(
            case, model, criterion, optim.SGD(model.parameters(), lr=s.rate, momentum=case["momentum"])
        )
        fit(trainer, points.x, disk.targets(criterion, points.y), epochs=s.epochs, batch_size=s.batch, seed=rng)
        train, test = disk.error(trainer, points.x, points.y), disk.error(trainer, points.x_test, points.y_test)
        return {TRAIN: train, TEST: test}

    def findings(self, results: Results) -> list[Finding]:
        """Errors over the momentum, test beside train, MSE beside cross entropy; and whose the slow start is."""
        low, high = min(self.settings.momenta), max(self.settings.momenta)

        def test(loss: str, momentum: float, **entries: str) -> float:
            entries = {"weights": OURS, "framework": "fastdl", **entries}
            return results.one(TEST, loss=loss, momentum=momentum, **entries).mean

        ends = {loss: (test(loss, low), test(loss, high)) for loss in LOSSES}
        fall = ", ".join(f"{loss} {a:.3g} % at {low:g}, {b:.3g} % at {high:g}" for loss, (a, b) in ends.items())
        ours = results.where(weights=OURS, framework="fastdl")
        train, above = (float(np.mean([results.of(name, case).mean for case in ours])) for name in (TRAIN, TEST))
        found = [
            Finding("Errors fall as the momentum grows", all(a > b for a, b in ends.values()), fall),
            Finding(
                "The test error lies above the train error",
                above > train,
                f"{above:.3g} % and {train:.3g} %, on average",
            ),
        ]
        for weights in (OURS, TORCHS):
            mse, entropy = (
                float(np.mean([test(loss, m, weights=weights) for m in self.settings.momenta])) for loss in LOSSES
            )
            numbers = f"{mse:.3g} % and {entropy:.3g} %, test, over all momenta"
            found.append(
                Finding(f"With {weights} weights MSE gives lower errors than cross entropy", mse < entropy, numbers)
            )
        for framework in FRAMEWORKS:
            if results.has(framework=framework):
                own = test("MSE", low, weights=TORCHS, framework=framework)
                papers = test("MSE", low, framework=framework)
                numbers = f"{own:.3g} % with PyTorch's weights, {papers:.3g} % with the paper's; MSE, momentum {low:g}"
                found.append(
                    Finding(f"At low momentum PyTorch's weights end higher, in {framework}", own > papers, numbers)
                )
        return found

    def draw(self, results: Results) -> dict[str, Picture]:
        """Train and test error over the momentum, as the paper's Fig. 6 shows them."""
        figure, axes = picture.panels("error [%]", "momentum", len(LOSSES), list(LOSSES))
        for ax, loss in zip(axes, LOSSES, strict=True):
            other = "PyTorch" if results.has(framework="PyTorch") else "fastdl"
            for i, (framework, weights) in enumerate((("fastdl", OURS), (other, TORCHS))):
                for j, measure in enumerate((TEST, TRAIN)):
                    found = results.line(measure, "momentum", loss=loss, weights=weights, framework=framework)
                    label = f"{framework}, {weights} weights, {measure.split()[0]}"
                    picture.line(ax, 2 * i + j, *found, label, offset=0.004 * (2 * i + j))
        return {"": picture.finished(figure, 2)}


STUDY = Momentum
