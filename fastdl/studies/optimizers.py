"""optimizers: paper 001's comparison of SGD, RMSProp and Adam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl import nn, optim
from fastdl.nn import init
from fastdl.studies import disk, picture
from fastdl.studies.results import Results
from fastdl.studies.study import Case, Finding, Measured, Settings, Study
from fastdl.studies.train import fit, trainer_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

LOSS, NOISE, TEST, CURVE = "train loss at the end", "noise of the train loss [%]", "test error [%]", "train loss"
ACTIVATIONS = {"ReLU": nn.ReLU, "Tanh": nn.Tanh}
REDUCTIONS = {"averaged": "batchmean", "summed": "sum"}
OPTIMIZERS = ("SGD", "RMSProp", "Adam")
OVER = "loss over the batch"
# For how many epochs the paper sees SGD ahead, "ca.".
LEAD = 10


class Optimizers(Study):
    """The train loss of the disk over the epochs, by three optimizers."""

    name = "optimizers"
    summary = "the train loss over the epochs by SGD, RMSProp and Adam"
    source = "Paper 001 (Shynkaruk, Bachmann), Section V-B, Fig. 3"
    paper = (
        "SGD is faster than the other two for about 10 epochs, then it oscillates and has trouble converging; RMSProp and Adam"
        " oscillate little and converge. No figures are given."
    )
    setup = (
        "The points, network and weights of disk-sgd, with Tanh after the output; rate 0.001 for all; RMSProp with decay 0.9 and"
        " 1e-6 inside the root, Adam with decays 0.9 and 0.999; batches of 100, 300 epochs. The train loss is the squared error"
        " summed over both outputs, averaged over the samples of an epoch."
    )
    choices = (
        "The hidden activations are not given: both ReLU and Tanh are trained.",
        "By its text the loss is averaged over the batch. Whether its curves are those of a loss summed over the batch is checked"
        " by training so as well, which is a rate 100 times as large for SGD and changes next to nothing for the other two.",
        "The noise of the loss is its mean change from an epoch to the next over the last third, relative to the mean there.",
    )
    full = Settings(runs=10, epochs=300, rate=0.001, batch=100, points=1000)
    quick = Settings(runs=3, epochs=100)

    def cases(self) -> list[Case]:
        """Each optimizer with both losses and both activations."""
        return [
            {OVER: over, "activation": activation, "optimizer": optimizer}
            for over in REDUCTIONS
            for activation in ACTIVATIONS
            for optimizer in OPTIMIZERS
        ]

    def measure(self, case: Case, rng: np.random.Generator) -> Measured:
        """Train once."""
        s = self.settings
        points = disk.points(rng, s.points)
        model = disk.network(rng, ACTIVATIONS[case["activation"]], [nn.Tanh()], _weights)
        criterion = nn.MSELoss(reduction=REDUCTIONS[case[OVER]])
        trainer = trainer_for(case, model, criterion, _optimizer(case["optimizer"], model, s.rate))
        t = disk.targets(criterion, points.y)
        history = fit(trainer, points.x, t, epochs=s.epochs, batch_size=s.batch, seed=rng).history
        loss = np.array(history["loss"]) / (s.points if case[OVER] == "summed" else 1)
        late = loss[-max(2, len(loss) // 3) :]
        noise = 100 * np.abs(np.diff(late)).mean() / late.mean() if len(late) > 1 else 0.0
        test = disk.error(trainer, points.x_test, points.y_test)
        return {LOSS: float(loss[-1]), NOISE: float(noise), TEST: test, CURVE: loss.tolist()}

    def findings(self, results: Results) -> list[Finding]:
        """Who is ahead at first, who ends lower, and whose loss is noisier; for each loss and activation."""
        found = []
        for entries in _settings():
            lead = self._lead(results, entries)
            ends, noises = (
                {name: results.one(measure, optimizer=name, **entries).mean for name in OPTIMIZERS}
                for measure in (LOSS, NOISE)
            )
            named = _named(entries)
            numbers = f"for {lead} epochs; the paper's about {LEAD}"
            found.append(Finding(f"{named}: SGD is ahead at first", lead > 1, numbers))
            others = min(ends["RMSProp"], ends["Adam"]), max(ends["RMSProp"], ends["Adam"])
            found.append(
                Finding(f"{named}: RMSProp and Adam end with a lower loss", others[1] < ends["SGD"], _listed(ends))
            )
            claim = f"{named}: the loss of SGD is noisier"
            found.append(
                Finding(claim, noises["SGD"] > max(noises["RMSProp"], noises["Adam"]), f"{_listed(noises)}, in percent")
            )
        return found

    def _lead(self, results: Results, entries: Case) -> int:
        """The number of epochs from the first on that SGD's mean loss is below both others."""
        sgd, *others = (results.curve(CURVE, optimizer=name, **entries)[0] for name in OPTIMIZERS)
        behind = sgd >= np.min(others, axis=0)
        return int(np.argmax(behind)) if behind.any() else len(sgd)

    def remarks(self, results: Results) -> list[str]:
        """Which loss gives the paper's picture."""
        leads = [(entries, self._lead(results, entries)) for entries in _settings()]
        nearest, lead = min(leads, key=lambda each: abs(each[1] - LEAD))
        listed = "; ".join(f"{_named(entries)}: {epochs}" for entries, epochs in leads)
        text = f"Epochs that SGD is ahead: {listed}. Nearest to the paper's about {LEAD} is {lead}, with the {_named(nearest)}"
        averaged = max(epochs for entries, epochs in leads if entries[OVER] == "averaged")
        if nearest[OVER] == "summed" and averaged <= 1:
            text += "; with an averaged loss SGD is never ahead, so that the paper's has most likely been summed"
        return [f"{text}."]

    def draw(self, results: Results) -> dict[str, Picture]:
        """The train loss over the epochs, as the paper's Fig. 3 shows it."""
        panels = [entries for entries in _settings() if results.has(**entries)]
        figure, axes = picture.panels("train loss", "epoch", len(panels), [_named(entries) for entries in panels])
        for ax, entries in zip(axes, panels, strict=True):
            for i, name in enumerate(OPTIMIZERS):
                mean, deviation = results.curve(CURVE, optimizer=name, **entries)
                picture.line(ax, i, np.arange(1, len(mean) + 1), mean, deviation, name)
            picture.paper(ax, LEAD, "paper: SGD ahead up to here (about)", upright=True)
        return {"": picture.finished(figure, 4)}


def _settings() -> list[Case]:
    return [{OVER: over, "activation": activation} for over in REDUCTIONS for activation in ACTIVATIONS]


def _named(entries: Case) -> str:
    return f"loss {entries[OVER]}, {entries['activation']}"


def _listed(numbers: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2g}" for name, value in numbers.items())


def _optimizer(name: str, model: nn.Module, rate: float) -> Any:
    parameters = model.parameters()
    if name == "SGD":
        return optim.SGD(parameters, lr=rate)
    if name == "RMSProp":
        return optim.RMSprop(parameters, lr=rate, alpha=0.9, eps=1e-6, eps_inside_sqrt=True)
    return optim.Adam(parameters, lr=rate, betas=(0.9, 0.999))


def _weights(inputs: int) -> tuple[init.Initializer, init.Initializer]:
    return init.xavier_normal(truncated=True), init.zeros()


STUDY = Optimizers
