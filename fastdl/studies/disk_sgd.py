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
REDUCTIONS = {"averaged": "batchmean", "summed": "sum"}
GIVEN, LONGER = "as long as given", "10 times as long"
# What is trained: the paper's text, and two changes that might explain its figures.
VARIANTS = (
    {"inputs": "as drawn", "loss over the batch": "averaged", "training": GIVEN},
    {"inputs": "as drawn", "loss over the batch": "summed", "training": GIVEN},
    {"inputs": "standardized", "loss over the batch": "summed", "training": GIVEN},
)
# What the best of them comes to in the end, to tell what the points allow.
BEST = {**VARIANTS[-1], "training": LONGER}


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
        "By its text the loss is averaged over the batch and the points are not standardized. Whether its figures were reached in"
        " another way is checked with the loss summed over the batch, which is a rate 100 times as large, and with standardized"
        " points besides. The best of these is trained ten times as long as well.",
    )
    full = Settings(runs=10, epochs=300, rate=0.001, batch=100, points=1000)
    quick = Settings(runs=3, epochs=40)
    figures = (
        Figure(TRAIN, 0.2, "Section V-A", {"training": GIVEN}, rounding=0.05),
        Figure(TEST, 0.3, "Section V-A", {"training": GIVEN}, rounding=0.05),
        Figure(TIME, 0.9678, "Section V-C", {"training": GIVEN}),
        Figure(TIME, 1.4866, "Section V-C", {"training": GIVEN, "framework": "PyTorch"}),
    )
    timed = True

    def cases(self) -> list[Case]:
        """The paper's text and the two changes, with both activations, in both frameworks; longer training in fastdl."""
        given = [
            {**variant, "activation": activation, "framework": framework}
            for variant in VARIANTS
            for activation in ACTIVATIONS
            for framework in ("fastdl", "PyTorch")
        ]
        return given + [{**BEST, "activation": activation, "framework": "fastdl"} for activation in ACTIVATIONS]

    def measure(self, case: Case, rng: np.random.Generator) -> Measured:
        """Train once."""
        s = self.settings
        points = disk.points(rng, s.points, standardized=case["inputs"] == "standardized")
        model = disk.network(rng, ACTIVATIONS[case["activation"]], [nn.Tanh()], _weights)
        criterion = nn.MSELoss(reduction=REDUCTIONS[case["loss over the batch"]])
        trainer = trainer_for(case, model, criterion, optim.SGD(model.parameters(), lr=s.rate))
        t = disk.targets(criterion, points.y)
        epochs = s.epochs * (10 if case["training"] == LONGER else 1)
        fitted = fit(trainer, points.x, t, epochs=epochs, batch_size=s.batch, seed=rng)
        train, test = disk.error(trainer, points.x, points.y), disk.error(trainer, points.x_test, points.y_test)
        return {TRAIN: train, TEST: test, TIME: fitted.seconds}

    def findings(self, results: Results) -> list[Finding]:
        """The time beside PyTorch's."""
        if not results.has(framework="PyTorch"):
            return []
        ours, theirs = (
            float(np.mean([results.of(TIME, case).mean for case in results.where(framework=framework, training=GIVEN)]))
            for framework in ("fastdl", "PyTorch")
        )
        numbers = f"{ours:.3g} s against {theirs:.3g} s, {theirs / ours:.1f} times; the paper's 1.5 times"
        return [Finding("Training takes less time than with PyTorch", ours < theirs, numbers)]

    def remarks(self, results: Results) -> list[str]:
        """Whether the changes explain what is not reached, and how near any run comes."""
        listed = []
        for variant in VARIANTS:
            errors = [results.one(TEST, activation=a, framework="fastdl", **variant).mean for a in ACTIVATIONS]
            of_each = " and ".join(f"{error:.3g} % with {a}" for a, error in zip(ACTIVATIONS, errors, strict=True))
            named = (f"{name} {value}" for name, value in variant.items() if name != "training")
            listed.append(f"{', '.join(named)}: {of_each}")
        ours = results.where(framework="fastdl", training=GIVEN)
        lowest = min(float(results.values(TEST, case).min()) for case in ours)
        verdict = "which none of the changes explains" if lowest > 0.35 else "which single runs reach"
        train, test = ([results.one(m, activation=a, **BEST) for a in ACTIVATIONS] for m in (TRAIN, TEST))
        ends = "; ".join(
            f"{a}: train error {x} %, test error {y} %" for a, x, y in zip(ACTIVATIONS, train, test, strict=True)
        )
        sentences = [
            f"Mean test errors: {'; '.join(listed)}.",
            f"The lowest test error of any run of any of these is {lowest:.2g} %; the paper's is 0.3 %, {verdict}.",
            f"Trained ten times as long, the best of them ends so: {ends}.",
        ]
        learned, generalized = (min(each.mean for each in errors) for errors in (train, test))
        if learned < generalized / 2:
            sentences.append(
                f"So the train error falls on towards the paper's, while the test error stays at {generalized:.2g} %: no better"
                f" do {self.settings.points} points tell where the border is, and the paper's 0.3 % is below that."
            )
        return sentences

    def draw(self, results: Results) -> dict[str, Picture]:
        """Errors and times of each case, and the paper's."""
        figure, axes = picture.panels("", "test error [%]", 2)
        axes[1].set_xlabel("training time [s]")
        names = [
            f"{c['activation']}, {c['loss over the batch']}, {c['inputs']}\n{c['framework']}, {c['training']}"
            for c in results.cases
        ]
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


STUDY = DiskSGD
