"""dropout: paper 001's benchmark of Dropout, a large network on noisy labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdl import nn, optim
from fastdl.nn import init
from fastdl.studies import disk, picture
from fastdl.studies.results import Results
from fastdl.studies.study import Case, Figure, Finding, Measured, Settings, Study
from fastdl.studies.train import fit, trainer_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

TRAIN, TEST, WRONG = "train error [%]", "test error [%]", "wrong train labels [%]"
TRAIN_LOSS, VALIDATION_LOSS = "train loss", "validation loss"
LOWEST, LATE = "lowest validation loss", "validation loss of the last tenth"
OVER, SUMMED, AVERAGED = "loss over the batch", "summed", "averaged"
REDUCTIONS = {AVERAGED: "batchmean", SUMMED: "sum"}
INSIDE, BORDER, WITHOUT, WITH = "inside", "border", "none", "0.5"
# What the paper's figures are held against.
MAIN = {"noise": INSIDE, OVER: SUMMED}
# How many times its lowest the validation loss has to be to have risen.
RISE = 1.1
PICTURES = ("", "border", "averaged")


class Dropout(Study):
    """A large network learns noisy labels of the disk, with and without dropout, and is tested on clean ones."""

    name = "dropout"
    summary = "a large network on noisy labels, with and without dropout"
    source = "Paper 001 (Shynkaruk, Bachmann), Section V-D, Fig. 4"
    paper = (
        "Without dropout the train error is 4.2 % and the test error 13.5 %, and the validation loss rises steadily after a few"
        " epochs; with dropout the errors are 10.1 % and 4.0 %, and the losses stay stable."
    )
    setup = (
        "1000 points to train, with noise in their labels, and 1000 with clean labels to test; a network of 2-500-500-500-500-2"
        " with ReLU, and dropout 0.5 after each in one of the two; Tanh after the output; squared error summed over the outputs;"
        " truncated-normal Xavier, biases 0; SGD at rate 0.001, batches of 100, 1000 epochs."
    )
    choices = (
        'The noise is described as "some Gaussian noise in the circle". Two readings: *inside*, a point of the disk loses its'
        " label with a probability that is a Gaussian of its distance from the centre, 0.8 there and of deviation 0.15; and"
        " *border*, a Gaussian of deviation 0.05 is added to each point's distance before it is labelled.",
        "The amount is not given. As the paper's network with dropout is nearly right on clean points and errs on 10.1 % of the"
        " train labels, about a tenth of them are made wrong, in both readings. The paper's figures are held"
        " against the first.",
        "By its text the loss is averaged over the batch; as in optimizers it is trained with a summed one as well.",
        "The number of runs is not given: 3.",
    )
    full = Settings(
        runs=3,
        epochs=1000,
        rate=0.001,
        batch=100,
        points=1000,
        hidden=500,
        height=0.8,
        width=0.15,
        deviation=0.05,
        noises=(INSIDE, BORDER),
        losses=(SUMMED, AVERAGED),
    )
    quick = Settings(
        runs=4,
        epochs=700,
        rate=0.005,
        batch=20,
        points=100,
        hidden=100,
        noises=(INSIDE,),
        losses=(SUMMED,),
    )
    figures = (
        Figure(TRAIN, 4.2, "Section V-D", {"dropout": WITHOUT, **MAIN}, rounding=0.05, better=None),
        Figure(TEST, 13.5, "Section V-D", {"dropout": WITHOUT, **MAIN}, rounding=0.05, better=None),
        Figure(TRAIN, 10.1, "Section V-D", {"dropout": WITH, **MAIN}, rounding=0.05, better=None),
        Figure(TEST, 4.0, "Section V-D", {"dropout": WITH, **MAIN}, rounding=0.05),
    )

    def cases(self) -> list[Case]:
        """Both readings of the noise, and the averaged loss with the first, without and with dropout."""
        s = self.settings
        sweep = [(noise, s.losses[0]) for noise in s.noises] + [(s.noises[0], over) for over in s.losses[1:]]
        return [{"noise": noise, OVER: over, "dropout": d} for noise, over in sweep for d in (WITHOUT, WITH)]

    def measure(self, case: Case, rng: np.random.Generator) -> Measured:
        """Train once."""
        s = self.settings
        points = disk.points(rng)
        x, clean = points.x[: s.points], points.y[: s.points]
        y = self._noisy(x, clean, case["noise"], rng)
        activation = _dropping if case["dropout"] == WITH else nn.ReLU
        model = disk.network(rng, activation, [nn.Tanh()], _weights, sizes=(2, *[s.hidden] * 4, 2))
        criterion = nn.MSELoss(reduction=REDUCTIONS[case[OVER]])
        trainer = trainer_for(case, model, criterion, optim.SGD(model.parameters(), lr=s.rate))
        t, t_test = disk.targets(criterion, y), disk.targets(criterion, points.y_test)
        validation = points.x_test[: s.points], t_test[: s.points]
        options: Any = {"epochs": s.epochs, "batch_size": s.batch, "seed": rng, "validation_data": validation}
        history = fit(trainer, x, t, **options).history
        samples = s.points if case[OVER] == SUMMED else 1
        train, after = (np.array(history[name]) / samples for name in ("loss", "val_loss"))
        return {
            WRONG: 100 * float((y != clean).mean()),
            TRAIN: disk.error(trainer, x, y),
            TEST: disk.error(trainer, points.x_test, points.y_test),
            LOWEST: float(after.min()),
            LATE: float(after[-max(1, len(after) // 10) :].mean()),
            TRAIN_LOSS: np.round(train, 6).tolist(),
            VALIDATION_LOSS: np.round(after, 6).tolist(),
        }

    def _noisy(self, x: NDArray[Any], clean: NDArray[Any], noise: str, rng: np.random.Generator) -> NDArray[Any]:
        """The labels with noise."""
        s, distance = self.settings, np.linalg.norm(x - 0.5, axis=1)
        if noise == BORDER:
            return (distance + rng.normal(0, s.deviation, len(x)) < disk.RADIUS).astype(clean.dtype)
        lost = rng.random(len(x)) < s.height * np.exp(-(distance**2) / (2 * s.width**2))
        return np.where(lost, 0, clean)

    def findings(self, results: Results) -> list[Finding]:
        """The errors and losses without dropout beside those with it, for each reading."""
        found = []
        for entries in self._readings():
            train, test, lowest, late = (
                [results.one(measure, dropout=dropout, **entries).mean for dropout in (WITHOUT, WITH)]
                for measure in (TRAIN, TEST, LOWEST, LATE)
            )
            named = _named(entries)
            claims = (
                ("dropout raises the train error", train[1] > train[0], train, " %"),
                ("dropout lowers the test error", test[1] < test[0], test, " %"),
                ("dropout lowers the validation loss of the last tenth of the epochs", late[1] < late[0], late, ""),
            )
            found += [
                Finding(f"{named}: {claim}", holds, f"{without:.3g}{unit} without, {dropped:.3g}{unit} with")
                for claim, holds, (without, dropped), unit in claims
            ]
            rise = [b / a for a, b in zip(lowest, late, strict=True)]
            numbers = f"the last tenth is {rise[0]:.2f} times the lowest without, {rise[1]:.2f} with"
            claim = f"{named}: without dropout the validation loss rises after its lowest, and more than with it"
            found.append(Finding(claim, rise[0] > max(RISE, rise[1]), numbers))
        return found

    def remarks(self, results: Results) -> list[str]:
        """Which reading comes nearest to the paper's four figures."""
        papers = (4.2, 13.5, 10.1, 4.0)
        apart, listed = {}, []
        for entries in self._readings():
            pairs = [(measure, dropout) for dropout in (WITHOUT, WITH) for measure in (TRAIN, TEST)]
            own = [results.one(measure, dropout=dropout, **entries).mean for measure, dropout in pairs]
            apart[_named(entries)] = float(np.mean(np.abs(np.subtract(own, papers))))
            listed.append(f"{_named(entries)}: {own[0]:.3g} and {own[1]:.3g}, {own[2]:.3g} and {own[3]:.3g}")
        return [
            f"Train and test errors in percent, without dropout and with it: {'; '.join(listed)}; the paper's 4.2 and 13.5,"
            f" 10.1 and 4.0. Nearest to the paper's is {min(apart, key=lambda name: apart[name])}, on average"
            f" {min(apart.values()):.2g} points away. The figures depend on the noise, of which neither kind nor amount is given."
        ]

    def draw(self, results: Results) -> dict[str, Picture]:
        """Train and validation loss over the epochs, as the paper's Fig. 4 shows them, for each reading."""
        return {name: self._losses(results, entries) for name, entries in zip(PICTURES, self._readings(), strict=False)}

    def _losses(self, results: Results, entries: Case) -> Picture:
        titles = [f"{_named(entries)}, {words}" for words in ("without dropout", "with dropout")]
        figure, axes = picture.panels("loss", "epoch", 2, titles)
        for ax, dropout in zip(axes, (WITHOUT, WITH), strict=True):
            for i, name in enumerate((TRAIN_LOSS, VALIDATION_LOSS)):
                mean, deviation = results.curve(name, dropout=dropout, **entries)
                picture.line(ax, i, np.arange(1, len(mean) + 1), mean, deviation, name)
        return picture.finished(figure)

    def _readings(self) -> list[Case]:
        return [{name: case[name] for name in ("noise", OVER)} for case in self.cases()[::2]]


def _named(entries: Case) -> str:
    return f"noise {'inside' if entries['noise'] == INSIDE else 'at the border'}, loss {entries[OVER]}"


def _dropping() -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), nn.Dropout(0.5))


def _weights(inputs: int) -> tuple[init.Initializer, init.Initializer]:
    return init.xavier_normal(truncated=True), init.zeros()


STUDY = Dropout
