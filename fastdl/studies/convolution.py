"""convolution: paper 004's convolutional network on points of a cube of 48 dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastdl import data, nn, optim
from fastdl.metrics import accuracy
from fastdl.studies import picture
from fastdl.studies.results import Results
from fastdl.studies.study import Case, Figure, Finding, Measured, Settings, Study
from fastdl.studies.train import fit, trainer_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

TRAIN, TEST, SHARE, LOSS = "train accuracy", "test accuracy", "label 1 [%]", "train loss"
GIVEN, NO_DECAY, SUMMED, TUNED, MORE = (
    "as given",
    "no L2",
    "loss summed over the batch, no L2",
    "tuned",
    "tuned, more images",
)
FRAMEWORKS = ("fastdl", "PyTorch")
# How far the share of a label may be from a half, in percent, where labels count as balanced.
BALANCED = 2.0


class Convolution(Study):
    """Two convolutions and two linear layers tell whether images lie near the centre of their cube."""

    name = "convolution"
    summary = "a convolutional network on points of a cube: accuracy as given, and tuned"
    source = "Paper 004 (Jin, Shen, Zhu), Section IV, Fig. 5"
    paper = "The accuracy is around 0.7."
    setup = (
        "1000 images of 3 x 4 x 4 numbers to train and 1000 to test, uniform in the unit cube; label 1 where the distance to its"
        " centre is under 2. Convolutions of 3 to 5 and 5 to 1 channels, 3 x 3, padding 1; linear layers 16 to 10 to 1; ReLU"
        " between them; MSE with targets 0 and 1; SGD at rate 0.003 with L2 0.05, batches of 64, 1000 epochs."
    )
    choices = (
        "The number of images, the epochs and the initial weights are not given: those of the paper's other network, 1000 and"
        " 1000, and PyTorch's default.",
        "It is not said whether the accuracy is that of training or of test images: both are given.",
        "What else might explain the figure is checked: the same without L2; with the loss summed over the batch, as the paper's"
        " formulas for the gradients sum, and without L2; and tuned: images standardized, Adam at rate 0.003, no L2, 100 epochs,"
        " with 1000 images and with 10000.",
    )
    full = Settings(runs=10, epochs=1000, tuned_epochs=100, rate=0.003, decay=0.05, batch=64, images=1000, more=10)
    quick = Settings(runs=3, epochs=60, tuned_epochs=20, more=8)
    figures = (
        Figure(TEST, 0.7, "Section IV", {"set-up": GIVEN}, rounding=0.05, better="higher"),
        Figure(TRAIN, 0.7, "Section IV", {"set-up": GIVEN}, rounding=0.05, better="higher"),
    )

    def cases(self) -> list[Case]:
        """The paper's set-up and the changes; the paper's and the tuned ones in both frameworks."""
        return [
            {"set-up": setup, "framework": framework}
            for setup in (GIVEN, NO_DECAY, SUMMED, TUNED, MORE)
            for framework in FRAMEWORKS
            if framework == "fastdl" or setup in (GIVEN, TUNED, MORE)
        ]

    def measure(self, case: Case, rng: np.random.Generator) -> Measured:
        """Train once."""
        s, setup = self.settings, case["set-up"]
        tuned = setup in (TUNED, MORE)
        x, y = data.ball(s.images * (s.more if setup == MORE else 1), rng)
        x_test, y_test = data.ball(s.images, rng)
        if tuned:
            x, x_test = data.standardize(x, x_test)
        model = _network(rng)
        criterion = nn.MSELoss(reduction="sum" if setup == SUMMED else "mean")
        if tuned:
            optimizer: optim.Optimizer = optim.Adam(model.parameters(), lr=s.rate)
        else:
            decay = s.decay if setup == GIVEN else 0.0
            optimizer = optim.SGD(model.parameters(), lr=s.rate, weight_decay=decay)
        trainer = trainer_for(case, model, criterion, optimizer)
        t, epochs = y[:, None].astype(x.dtype), s.tuned_epochs if tuned else s.epochs
        losses = np.array(fit(trainer, x, t, epochs=epochs, batch_size=s.batch, seed=rng).history["loss"])
        return {
            TRAIN: accuracy(trainer.predict(x), y[:, None]),
            TEST: accuracy(trainer.predict(x_test), y_test[:, None]),
            SHARE: 100.0 * float(np.concatenate([y, y_test]).mean()),
            LOSS: (losses / (len(x) if setup == SUMMED else 1)).tolist(),
        }

    def findings(self, results: Results) -> list[Finding]:
        """How balanced the labels are, and what the net as given and tuned learns."""
        shares = [results.of(SHARE, case).mean for case in results.cases]
        given, tuned, more = (results.one(TEST, **{"set-up": setup}).mean for setup in (GIVEN, TUNED, MORE))
        near = f"{min(shares):.1f} to {max(shares):.1f} % have label 1, on average over the runs of a set-up"
        return [
            Finding("The labels are balanced", max(abs(share - 50) for share in shares) <= BALANCED, near),
            Finding(
                "Tuned, the same net learns more",
                tuned > given,
                f"test accuracy {given:.2f} as given, {tuned:.2f} tuned",
            ),
            Finding(
                "What the tuned net lacks are data", more > tuned + 0.1, f"{more:.2f} with more images, {tuned:.2f}"
            ),
        ]

    def remarks(self, results: Results) -> list[str]:
        """Which set-ups come to 0.7, in training and in test."""
        listed, near = [], []
        for setup in (GIVEN, NO_DECAY, SUMMED, TUNED, MORE):
            train, test = (results.one(measure, **{"set-up": setup}).mean for measure in (TRAIN, TEST))
            listed.append(f"{setup}, {train:.2f} and {test:.2f}")
            sides = {"train": train, "test": test}
            near += [f"{setup} ({side})" for side, value in sides.items() if abs(value - 0.7) <= 0.05]
        return [
            f"Accuracies in training and test: {'; '.join(listed)}.",
            f"Within 0.05 of the paper's 0.7 are, of these means: {'; '.join(near) or 'none'}.",
        ]

    def draw(self, results: Results) -> dict[str, Picture]:
        """The train loss, as the paper's Fig. 5 shows it; and the accuracies of each set-up."""
        figure, (ax,) = picture.panels("train loss (MSE)", "epoch", 1)
        for i, setup in enumerate((GIVEN, NO_DECAY, SUMMED, TUNED, MORE)):
            mean, deviation = results.curve(LOSS, framework="fastdl", **{"set-up": setup})
            picture.line(ax, i, np.arange(1, len(mean) + 1), mean, deviation, setup)
        ax.set_xscale("log")
        ax.set_ylim(0, 0.5)
        spread, axes = picture.panels("", TRAIN, 2)
        axes[1].set_xlabel(TEST)
        names = [f"{case['set-up']}\n{case['framework']}" for case in results.cases]
        for each, measure in zip(axes, (TRAIN, TEST), strict=True):
            picture.runs(each, names, [results.values(measure, case) for case in results.cases])
            picture.paper(each, 0.7, "the paper's (about)", upright=True)
        return {"": picture.finished(figure, 2), "runs": picture.finished(spread)}


def _network(rng: np.random.Generator) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1, rng=rng),
        nn.ReLU(),
        nn.Conv2d(5, 1, 3, padding=1, rng=rng),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 10, rng=rng),
        nn.ReLU(),
        nn.Linear(10, 1, rng=rng),
    )


STUDY = Convolution
