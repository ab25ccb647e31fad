"""learning-rate: paper 003's Experiment II."""

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

TRAIN, TEST, DIVERGED = "train error [%]", "test error [%]", "runs that diverge [%]"
# Activations with the gain of the paper's weights for each.
ACTIVATIONS = {"ReLU": (nn.ReLU, math.sqrt(2)), "Tanh": (nn.Tanh, 5 / 3)}
OURS, TORCHS = "paper's", "PyTorch's"
FRAMEWORKS = ("fastdl", "PyTorch")
# A mean test error, in percent, from which a network has learned something.
LEARNED = 25


class LearningRate(Study):
    """Classification error over the learning rate, with ReLU and Tanh, in both frameworks."""

    name = "learning-rate"
    summary = "classification error over the learning rate, with ReLU and Tanh, against PyTorch"
    source = "Paper 003 (Cleres, Lesimple, Rensonnet), Experiment II, Fig. 7"
    paper = (
        "With ReLU errors are lowest at lower rates than with Tanh, which reaches no optimum in the range. PyTorch comes to"
        " similar errors at rates that differ by about an order of magnitude."
    )
    setup = (
        "1000 points to train and 1000 to test, standardized; MSE; SGD without momentum, batches of 100, 100 epochs; rates from"
        " 1e-5 to 1. Both frameworks are given the same points and batches, once with the paper's weights and once with those"
        " that PyTorch draws by default, so that frameworks and initializations are distinguished."
    )
    choices = (
        "The rates are not given: two to a decade, in even steps of the logarithm.",
        'The paper\'s weights and biases are uniform with deviation "1/N_in": taken for gain / sqrt(N_in), with the gains sqrt(2)'
        " for ReLU and 5/3 for Tanh.",
        "MSE is averaged over all outputs of a batch, as PyTorch does it.",
        "Where a loss diverges training ends, and the errors are those of the weights before.",
    )
    full = Settings(
        runs=15,
        epochs=100,
        batch=100,
        rates=tuple(float(f"{10 ** (i / 2):.2g}") for i in range(-10, 1)),
        points=1000,
    )
    quick = Settings(runs=3, epochs=50, rates=(0.0001, 0.001, 0.01, 0.1, 1.0))

    def cases(self) -> list[Case]:
        """Activations, initializations and rates, in both frameworks."""
        return [
            {"activation": activation, "weights": weights, "rate": rate, "framework": framework}
            for activation in ACTIVATIONS
            for weights in (OURS, TORCHS)
            for rate in self.settings.rates
            for framework in FRAMEWORKS
        ]

    def measure(self, case: Case, rng: np.random.Generator) -> Measured:
        """Train once."""
        s = self.settings
        activation, gain = ACTIVATIONS[case["activation"]]
        points = disk.points(rng, s.points, standardized=True)
        model = disk.network(
            rng, activation, weights=disk.scaled_uniform(gain) if case["weights"] == OURS else disk.torchs
        )
        criterion = nn.MSELoss()
        trainer = trainer_for(case, model, criterion, optim.SGD(model.parameters(), lr=case["rate"]))
        t = disk.targets(criterion, points.y)
        fitted = fit(trainer, points.x, t, epochs=s.epochs, batch_size=s.batch, seed=rng)
        train, test = disk.error(trainer, points.x, points.y), disk.error(trainer, points.x_test, points.y_test)
        return {TRAIN: train, TEST: test, DIVERGED: 100 * fitted.diverged}

    def best(self, results: Results, activation: str, weights: str, framework: str = "fastdl") -> tuple[float, float]:
        """The rate of the lowest mean test error, and that error."""
        rates, means, _ = results.line(TEST, "rate", activation=activation, weights=weights, framework=framework)
        return min(zip(rates, means, strict=True), key=lambda each: each[1])

    def findings(self, results: Results) -> list[Finding]:
        """The best rates of both activations, of both initializations, and of both frameworks."""
        found = []
        for weights in (OURS, TORCHS):
            (relu, relu_error), (tanh, tanh_error) = (self.best(results, a, weights) for a in ACTIVATIONS)
            numbers = f"ReLU {relu:g}, {relu_error:.3g} %; Tanh {tanh:g}, {tanh_error:.3g} %"
            claim = f"With {weights} weights ReLU is best at a lower rate than Tanh"
            found.append(Finding(claim, relu < tanh, numbers))
            relu_error, tanh_error = (self._mean_at_low_rates(results, a, weights) for a in ACTIVATIONS)
            numbers = (
                f"mean test error at the lower half of the rates: ReLU {relu_error:.3g} %, Tanh {tanh_error:.3g} %"
            )
            claim = f"With {weights} weights ReLU learns at lower rates than Tanh"
            found.append(Finding(claim, relu_error < tanh_error, numbers))
            highest = max(self.settings.rates)
            numbers = f"lowest at {tanh:g}, the highest rate is {highest:g}"
            claim = f"With {weights} weights Tanh reaches no optimum in the range"
            found.append(Finding(claim, tanh == highest, numbers))
        for activation in ACTIVATIONS:
            own, theirs = (self.best(results, activation, weights)[0] for weights in (OURS, TORCHS))
            claim = f"With {activation} the best rate of PyTorch's weights is another than that of the paper's"
            found.append(Finding(claim, own != theirs, f"{theirs:g} and {own:g}"))
        if results.has(framework="PyTorch"):
            pairs = [
                [results.one(TEST, **{**case, "framework": framework}) for framework in FRAMEWORKS]
                for case in results.where(framework="PyTorch")
                if not any(results.of(DIVERGED, {**case, "framework": framework}).mean for framework in FRAMEWORKS)
            ]
            apart = [abs(own.mean - theirs.mean) for own, theirs in pairs]
            holds = all(d <= max(1.0, own.deviation) for d, (own, _) in zip(apart, pairs, strict=True))
            numbers = (
                f"mean test errors {np.median(apart):.2g} points apart at the median, at most {max(apart):.2g},"
                " where no run diverges"
            )
            found.append(Finding("With the same weights both frameworks come to the same", holds, numbers))
        return found

    def _mean_at_low_rates(self, results: Results, activation: str, weights: str) -> float:
        _, means, _ = results.line(TEST, "rate", activation=activation, weights=weights, framework="fastdl")
        return float(np.mean(means[: len(means) // 2 + 1]))

    def remarks(self, results: Results) -> list[str]:
        """How far apart the rates are at which the two initializations learn, and where training diverges."""
        sentences = []
        for activation in ACTIVATIONS:
            learned = [self._learns_from(results, activation, weights) for weights in (OURS, TORCHS)]
            if None not in learned:
                own, theirs = (float(rate or 0) for rate in learned)
                sentences.append(
                    f"With {activation}, in fastdl alone, the mean test error comes below {LEARNED} % from a rate of {own:g} with"
                    f" the paper's weights and from {theirs:g} with PyTorch's"
                    + (": this much comes of the initialization, not of the framework." if own != theirs else ".")
                )
        diverging = [
            f"{activation}, {weights} weights, from {min(rates):g}"
            for activation in ACTIVATIONS
            for weights in (OURS, TORCHS)
            if (rates := self._diverging(results, activation, weights))
        ]
        if diverging:
            sentences.append(f"Runs diverge: {'; '.join(diverging)}; an optimum lies below.")
        return sentences

    def _learns_from(self, results: Results, activation: str, weights: str) -> float | None:
        """The lowest rate with a mean test error below `LEARNED`."""
        rates, means, _ = results.line(TEST, "rate", activation=activation, weights=weights, framework="fastdl")
        return next((rate for rate, mean in zip(rates, means, strict=True) if mean < LEARNED), None)

    def _diverging(self, results: Results, activation: str, weights: str) -> list[float]:
        rates, means, _ = results.line(DIVERGED, "rate", activation=activation, weights=weights, framework="fastdl")
        return [rate for rate, mean in zip(rates, means, strict=True) if mean]

    def draw(self, results: Results) -> dict[str, Picture]:
        """Train and test error over the rate, as the paper's Fig. 7 shows them."""
        figure, axes = picture.panels("error [%]", "learning rate", len(ACTIVATIONS), list(ACTIVATIONS))
        other = "PyTorch" if results.has(framework="PyTorch") else "fastdl"
        for ax, activation in zip(axes, ACTIVATIONS, strict=True):
            for i, (framework, weights) in enumerate((("fastdl", OURS), (other, TORCHS))):
                for j, measure in enumerate((TEST, TRAIN)):
                    rates, means, deviations = results.line(
                        measure, "rate", activation=activation, weights=weights, framework=framework
                    )
                    label = f"{framework}, {weights} weights, {measure.split()[0]}"
                    apart = np.array(rates) * 1.06 ** (2 * i + j)
                    picture.line(ax, 2 * i + j, apart, means, deviations, label)
            ax.set_xscale("log")
        return {"": picture.finished(figure, 2)}


STUDY = LearningRate
