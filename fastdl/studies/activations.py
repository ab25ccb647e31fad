"""activations: paper 002's comparison of its three best models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastdl import data, nn, optim
from fastdl.metrics import accuracy
from fastdl.studies import disk, picture
from fastdl.studies.cross_validation import ACTIVATIONS, CHOICES, network
from fastdl.studies.results import Results
from fastdl.studies.study import Case, Figure, Finding, Measured, Settings, Study
from fastdl.studies.train import fit, trainer_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

TRAIN, TEST = "train accuracy [%]", "test accuracy [%]"
TRAIN_LOSS, TEST_LOSS = "train loss", "test loss"
CURVES = {TRAIN: "train accuracies", TEST: "test accuracies", TRAIN_LOSS: "train losses", TEST_LOSS: "test losses"}
GIVEN, SUMMED, LAST, SMALL = (
    "as given",
    "loss summed over outputs",
    "summed, activation on the output",
    "one hidden layer, standardized",
)
SETUPS = (GIVEN, SUMMED, LAST, SMALL)
# The paper's Table II: accuracy and loss, and what it tells as their deviation.
TABLE = {
    "ReLU": {
        TRAIN: (96.29, 0.0238),
        TEST: (95.78, 0.0181),
        TRAIN_LOSS: (0.03473, 8.6e-5),
        TEST_LOSS: (0.036775, 7.8e-5),
    },
    "Tanh": {
        TRAIN: (78.47, 4.146),
        TEST: (79.02, 3.806),
        TRAIN_LOSS: (0.121696, 0.0094),
        TEST_LOSS: (0.121489, 0.0094),
    },
    "Sigmoid": {
        TRAIN: (94.91, 0.0359),
        TEST: (94.61, 0.0128),
        TRAIN_LOSS: (0.056277, 2.3e-4),
        TEST_LOSS: (0.058873, 1.9e-4),
    },
}
FRAMEWORKS = ("fastdl", "PyTorch")
# Accuracy under which a run has not learned, in percent.
UNLEARNED = 75.0


class Activations(Study):
    """The models that cross-validation chose for ReLU, Tanh and Sigmoid."""

    name = "activations"
    summary = "accuracy and loss of the best models with ReLU, Tanh and Sigmoid"
    source = "Paper 002 (Baldwin, Carrizo, Stocker), Section IV, Table II, Fig. 1-4"
    paper = (
        "Accuracies in training and test are 96.3 and 95.8 % with ReLU, 78.5 and 79.0 % with Tanh (spread 4), 94.9 and 94.6 %"
        " with Sigmoid; the losses 0.0347 and 0.0368, 0.1217 and 0.1215, 0.0563 and 0.0589."
    )
    setup = (
        "1000 points to train and 1000 to test, as they are drawn; 2-25-25-25-2; MSE, averaged over all outputs; SGD for 100"
        " epochs with the paper's choices: rate 0.01, batch 16, momentum 0.8 for ReLU, 0.1, 50, 0.9 for Tanh, 0.1, 100, 0.9 for"
        " Sigmoid; weights Xavier normal, biases 0."
    )
    choices = (
        "The number of runs is not given: 15.",
        "The layers that the activation follows are not given: the three hidden ones.",
        'The paper\'s loss is "1/n" times a sum: averaged over all outputs; and, as a change, summed over the two outputs and'
        " averaged over the batch, which doubles the rate. The losses given are averages over all outputs in any case.",
        "As further changes: the activation on the output, too; and one hidden layer, as in the paper's example of a model, with"
        " standardized points.",
    )
    full = Settings(runs=15, epochs=100, points=1000)
    quick = Settings(runs=2)
    figures = tuple(
        Figure(
            measure, value, "Table II", {"set-up": GIVEN, "activation": activation}, spread,
            better="lower" if "loss" in measure else "higher",
        )
        for activation, figures in TABLE.items()
        for measure, (value, spread) in figures.items()
    )  # fmt: skip

    def cases(self) -> list[Case]:
        """Each set-up and activation; what the paper gives, in PyTorch too."""
        return [
            {"set-up": setup, "activation": activation, "framework": framework}
            for setup in SETUPS
            for activation in ACTIVATIONS
            for framework in FRAMEWORKS
            if framework == "fastdl" or setup == GIVEN
        ]

    def measure(self, case: Case, rng: np.random.Generator) -> Measured:
        """Train once, an epoch at a time."""
        setup, activation = case["set-up"], case["activation"]
        choice = CHOICES[activation]
        points = disk.points(rng, self.settings.points, standardized=setup == SMALL)
        model = network(rng, activation, choice["gain"], hidden=1 if setup == SMALL else 3, last=setup == LAST)
        optimizer = optim.SGD(model.parameters(), lr=choice["rate"], momentum=choice["momentum"])
        criterion = nn.MSELoss(reduction="batchmean" if setup in (SUMMED, LAST) else "mean")
        trainer = trainer_for(case, model, criterion, optimizer)
        t, t_test = (data.one_hot(y, 2) for y in (points.y, points.y_test))
        curves: dict[str, list[float]] = {curve: [] for curve in CURVES.values()}
        for _ in range(self.settings.epochs):
            diverged = fit(trainer, points.x, t, epochs=1, batch_size=int(choice["batch"]), seed=rng).diverged
            for x, target, right, loss in ((points.x, t, TRAIN, TRAIN_LOSS), (points.x_test, t_test, TEST, TEST_LOSS)):
                output = trainer.predict(x)
                curves[CURVES[right]].append(100 * accuracy(output, target))
                curves[CURVES[loss]].append(float(((output - target).astype(np.float64) ** 2).mean()))
            if diverged:
                break
        return {measure: curves[curve][-1] for measure, curve in CURVES.items()} | curves

    def findings(self, results: Results) -> list[Finding]:
        """The order of the activations, and how far the runs with Tanh lie apart."""
        found = []
        for setup in SETUPS:
            tests = {a: results.one(TEST, activation=a, framework="fastdl", **{"set-up": setup}) for a in ACTIVATIONS}
            means = {activation: spread.mean for activation, spread in tests.items()}
            order = means["ReLU"] > means["Sigmoid"] > means["Tanh"]
            numbers = ", ".join(f"{spread} % with {activation}" for activation, spread in tests.items())
            found.append(Finding(f"ReLU is best, then Sigmoid, then Tanh, {setup}", order, numbers))
        return found

    def remarks(self, results: Results) -> list[str]:
        """How many runs do not learn, and what the deviations of the table can be."""
        listed = []
        for setup in SETUPS:
            counts = []
            for activation in ACTIVATIONS:
                case = results.case(activation=activation, framework="fastdl", **{"set-up": setup})
                values = results.values(TEST, case)
                counts.append(f"{int((values < UNLEARNED).sum())} of {len(values)} with {activation}")
            listed.append(f"{setup}, {', '.join(counts)}")
        ours = results.one(TEST, activation="ReLU", framework="fastdl", **{"set-up": GIVEN}).deviation
        relu, tanh, loss = (math.sqrt(value) for value in (0.000181, 0.03806, 0.009395))
        return [
            f"Runs that end below {UNLEARNED:g} %, where a guess is right in 50 %: {'; '.join(listed)}.",
            "What the paper calls deviations fits variances better. Of test accuracies as fractions it tells 0.000181 with ReLU,"
            f" which as a variance is a deviation of {100 * relu:.1f} % (ours: {ours:.1f} %), and 0.038 with Tanh, one of"
            f" {100 * tanh:.0f} %; 0.0094 of the loss with Tanh is one of {loss:.2f}. So far apart are runs that learn and runs"
            " that do not, and a mean of 79 % is that of a few of each.",
        ]

    def draw(self, results: Results) -> dict[str, Picture]:
        """Accuracy and loss over the epochs, in training and test, as the paper's Fig. 1 to 4 show them."""
        figures = {}
        for setup, short in zip((GIVEN, SMALL), ("", "small"), strict=True):
            for kind, measures in (("accuracy", (TRAIN, TEST)), ("loss", (TRAIN_LOSS, TEST_LOSS))):
                unit = "accuracy [%]" if kind == "accuracy" else "loss (MSE)"
                figure, axes = picture.panels(unit, "epoch", 2, ["training", "test"])
                for ax, measure in zip(axes, measures, strict=True):
                    for i, activation in enumerate(ACTIVATIONS):
                        case = {"activation": activation, "framework": "fastdl", "set-up": setup}
                        mean, deviation = results.curve(CURVES[measure], **case)
                        picture.line(ax, i, np.arange(1, len(mean) + 1), mean, deviation, activation)
                        end, value = self.settings.epochs, TABLE[activation][measure][0]
                        picture.paper_points(ax, [end], [value], "the paper's")
                        up = {"ReLU": 5, "Tanh": 0, "Sigmoid": -5}[activation] * (1 if kind == "accuracy" else -1)
                        ax.annotate(
                            activation, (end, value), (7, up), textcoords="offset points", va="center", fontsize=8
                        )
                    ax.set_xlim(0, 1.17 * self.settings.epochs)
                    ax.set_ylim(*((40, 101) if kind == "accuracy" else (0, 0.3)))
                figures["-".join(word for word in (kind, short) if word)] = picture.finished(figure, 4)
        return figures


STUDY = Activations
