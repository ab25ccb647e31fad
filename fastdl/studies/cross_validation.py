"""cross-validation: paper 002's search for the best parameters of each activation, by scikit-learn."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl import data, nn, optim
from fastdl.nn import init
from fastdl.studies import disk, picture
from fastdl.studies.results import Results
from fastdl.studies.study import Case, Figure, Finding, Measured, Settings, Study
from fastdl.studies.train import fit
from fastdl.training import Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

BEST, PAPERS, SCORES = "accuracy of the best [%]", "accuracy of the paper's choice [%]", "accuracies over the grid"
ACTIVATIONS = {"ReLU": nn.ReLU, "Tanh": nn.Tanh, "Sigmoid": nn.Sigmoid}
# The paper's Table I.
CHOICES = {
    "ReLU": {"rate": 0.01, "batch": 16, "momentum": 0.8, "gain": 1.0},
    "Tanh": {"rate": 0.1, "batch": 50, "momentum": 0.9, "gain": 1.0},
    "Sigmoid": {"rate": 0.1, "batch": 100, "momentum": 0.9, "gain": 1.0},
}
GIVEN, SMALL = "as given", "one hidden layer, standardized"
SETUPS = (GIVEN, SMALL)
# Accuracies that differ by less, in points, count as alike: ten of a thousand points.
ALIKE = 1.0


class CrossValidation(Study):
    """A grid over rate, batch, momentum and Xavier gain for each activation."""

    name = "cross-validation"
    summary = "a grid search for the best rate, batch, momentum and gain of each activation"
    source = "Paper 002 (Baldwin, Carrizo, Stocker), Section II-D, Table I"
    paper = (
        "The best rate, batch size and momentum are 0.01, 16 and 0.8 for ReLU, 0.1, 50 and 0.9 for Tanh, 0.1, 100 and 0.9 for"
        " Sigmoid; the best Xavier gain is 1.0 for all."
    )
    setup = (
        "1000 points as they are drawn; 2-25-25-25-2; MSE, averaged over all outputs; SGD with momentum, 100 epochs; weights"
        " Xavier normal with a gain, biases 0. scikit-learn's GridSearchCV over shuffled folds chooses by mean accuracy."
    )
    choices = (
        "Grid and folds are not given: rates 0.001, 0.01, 0.1; batches 16, 50, 100; momenta 0, 0.5, 0.8, 0.9; gains 0.5, 1, 2;"
        " five folds.",
        "The search is done with one hidden layer and standardized points, too: the paper's example of a model has one, and"
        " Sigmoid hardly learns with three in 100 epochs.",
        "The paper's choice is measured on the same folds.",
    )
    full = Settings(
        runs=5,
        epochs=100,
        points=1000,
        folds=5,
        rates=(0.001, 0.01, 0.1),
        batches=(16, 50, 100),
        momenta=(0.0, 0.5, 0.8, 0.9),
        gains=(0.5, 1.0, 2.0),
    )
    quick = Settings(
        runs=2, epochs=60, points=500, folds=2, rates=(0.01, 0.1), batches=(50,), momenta=(0.0, 0.9), gains=(1.0,)
    )
    figures = tuple(
        Figure(f"best {name}", value, "Table I", {"activation": activation, "set-up": setup}, better=None)
        for setup in SETUPS
        for activation, choice in CHOICES.items()
        for name, value in choice.items()
    )
    needs_sklearn = True

    def cases(self) -> list[Case]:
        """Each activation, with the paper's network and a smaller one."""
        return [{"set-up": setup, "activation": activation} for setup in SETUPS for activation in ACTIVATIONS]

    def measure(self, case: Case, rng: np.random.Generator) -> Measured:
        """Search the grid once."""
        from sklearn.model_selection import GridSearchCV, KFold, cross_val_score

        s = self.settings
        points = disk.points(rng, s.points, standardized=case["set-up"] == SMALL)
        hidden, activation = 1 if case["set-up"] == SMALL else 3, case["activation"]
        model: Any = _estimator()(activation, hidden=hidden, epochs=s.epochs, seed=int(rng.integers(2**32)))
        folds = KFold(s.folds, shuffle=True, random_state=int(rng.integers(2**32)))
        found = GridSearchCV(model, self._grid(), cv=folds, refit=False).fit(points.x, points.y)
        papers = cross_val_score(model.set_params(**CHOICES[activation]), points.x, points.y, cv=folds)
        best = {f"best {name}": float(found.best_params_[name]) for name in CHOICES[activation]}
        scores = [100 * float(score) for score in found.cv_results_["mean_test_score"]]
        return {**best, BEST: max(scores), PAPERS: 100 * float(papers.mean()), SCORES: scores}

    def _grid(self) -> dict[str, list[float]]:
        s = self.settings
        return {"rate": list(s.rates), "batch": list(s.batches), "momentum": list(s.momenta), "gain": list(s.gains)}

    def _accuracies(self, results: Results, setup: str, activation: str) -> tuple[list[dict[str, Any]], np.ndarray]:
        """The points of the grid and their accuracy, in percent, averaged over the runs."""
        from sklearn.model_selection import ParameterGrid

        mean, _ = results.curve(SCORES, activation=activation, **{"set-up": setup})
        return list(ParameterGrid(self._grid())), mean

    def findings(self, results: Results) -> list[Finding]:
        """Whether the paper's choice is as good as the best of the grid."""
        found = []
        for setup in SETUPS:
            for activation, choice in CHOICES.items():
                grid, mean = self._accuracies(results, setup, activation)
                best = int(np.argmax(mean))
                papers = results.one(PAPERS, activation=activation, **{"set-up": setup}).mean
                numbers = f"{papers:.1f} %, and {mean[best]:.1f} % at {_spelled(grid[best])}"
                claim = (
                    f"{activation}, {setup}: the paper's choice, {_spelled(choice)}, is as good as the best of the grid"
                )
                found.append(Finding(claim, bool(papers >= mean[best] - ALIKE), numbers))
        return found

    def remarks(self, results: Results) -> list[str]:
        """How many points of the grid are as good as the best."""
        listed = []
        for setup in SETUPS:
            for activation in ACTIVATIONS:
                grid, mean = self._accuracies(results, setup, activation)
                alike = int((mean >= mean.max() - ALIKE).sum())
                listed.append(f"{activation}, {setup}, {alike} of {len(grid)}, the best with {mean.max():.1f} %")
        return [
            f"Points of the grid within {ALIKE:g} point of the best, on average over the runs: {'; '.join(listed)}. Which of"
            " several alike a single search names is chance."
        ]

    def draw(self, results: Results) -> dict[str, Picture]:
        """Accuracy over rate and momentum, with the best batch and gain."""
        s, figures = self.settings, {}
        for setup, name in zip(SETUPS, ("", "small"), strict=True):
            figure, axes = picture.panels(
                "momentum", "rate", len(ACTIVATIONS), [f"{a}: accuracy [%]" for a in ACTIVATIONS]
            )
            for ax, (activation, choice) in zip(axes, CHOICES.items(), strict=True):
                grid, mean = self._accuracies(results, setup, activation)
                best = np.zeros((len(s.momenta), len(s.rates)))
                for point, accuracy in zip(grid, mean, strict=True):
                    place = s.momenta.index(point["momentum"]), s.rates.index(point["rate"])
                    best[place] = max(best[place], accuracy)
                picture.cells(ax, best, s.rates, s.momenta, low=45.0, high=100.0)
                if choice["rate"] in s.rates and choice["momentum"] in s.momenta:
                    place = s.rates.index(choice["rate"]), s.momenta.index(choice["momentum"])
                    picture.framed(ax, *place, "the paper's best")
            figures[name] = picture.finished(figure)
        return figures


def network(
    rng: np.random.Generator, activation: str, gain: float = 1.0, hidden: int = 3, last: bool = False
) -> nn.Sequential:
    """The paper's 2-25-25-25-2 network.

    Args:
        rng: what weights are drawn from.
        activation: its name, after each hidden layer.
        gain: of the Xavier normal weights.
        hidden: how many hidden layers of 25.
        last: with the activation after the output, too.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((2, *[25] * hidden, 2)):
        weights = init.xavier_normal(gain=gain)
        layers += [nn.Linear(inputs, outputs, weight_init=weights, bias_init=init.zeros(), rng=rng)]
        layers += [ACTIVATIONS[activation]()]
    return nn.Sequential(*(layers if last else layers[:-1]))


def _estimator() -> type:
    """A classifier of scikit-learn's kind."""
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Network(ClassifierMixin, BaseEstimator):
        def __init__(
            self,
            activation: str = "ReLU",
            rate: float = 0.01,
            batch: int = 16,
            momentum: float = 0.0,
            gain: float = 1.0,
            hidden: int = 3,
            epochs: int = 100,
            seed: int = 0,
        ) -> None:
            self.activation, self.rate, self.batch, self.momentum = activation, rate, batch, momentum
            self.gain, self.hidden, self.epochs, self.seed = gain, hidden, epochs, seed

        def fit(self, x: np.ndarray, y: np.ndarray) -> Network:
            rng = np.random.default_rng(self.seed)
            model = network(rng, self.activation, self.gain, self.hidden)
            optimizer = optim.SGD(model.parameters(), lr=self.rate, momentum=self.momentum)
            self.trainer_, self.classes_ = Trainer(model, nn.MSELoss(), optimizer), np.arange(2)
            fit(self.trainer_, x, data.one_hot(y, 2), epochs=self.epochs, batch_size=self.batch, seed=rng)
            return self

        def predict(self, x: np.ndarray) -> np.ndarray:
            return self.trainer_.predict(x).argmax(axis=1)

    return Network


def _spelled(point: dict[str, Any]) -> str:
    return ", ".join(f"{name} {point[name]:g}" for name in ("rate", "batch", "momentum", "gain"))


STUDY = CrossValidation
