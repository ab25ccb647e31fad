"""digits: scikit-learn's handwritten digits, in fastdl, PyTorch and scikit-learn."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING

import numpy as np

from fastdl import data, nn, optim
from fastdl.metrics import accuracy
from fastdl.studies import picture
from fastdl.studies.results import Results
from fastdl.studies.study import Case, Finding, Measured, Settings, Study
from fastdl.studies.train import fit, trainer_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

TRAIN, TEST, TIME = "train accuracy [%]", "test accuracy [%]", "training time [s]"
MLP, REGULAR, CNN = "MLP", "MLP, batch normalization and dropout", "CNN, batch normalization and dropout"
NETS = (MLP, REGULAR, CNN)
FRAMEWORKS = ("fastdl", "PyTorch")
SKLEARN = "scikit-learn"
# How far accuracies of one net in two frameworks may lie apart, in points, and still be alike: two of 360 digits and chance.
ALIKE = 1.0


class Digits(Study):
    """Dense and convolutional networks learn 1797 images of 8 by 8 pixels."""

    name = "digits"
    summary = "handwritten digits by MLP and CNN: accuracy and time, against PyTorch and scikit-learn"
    source = "No paper's: digits that come with scikit-learn"
    paper = "There are no figures to compare with."
    setup = (
        "1797 images of 8 x 8 pixels, a fifth of each digit to test; cross entropy; Adam at rate 0.001, batches of 64, 30"
        " epochs. The MLP is 64-128-64-10 with ReLU, alone and with batch normalization before and dropout 0.2 after each ReLU;"
        " the CNN has two convolutions to 16 and 32 channels, each with batch normalization and ReLU, a pooling, dropout 0.25"
        " and a linear layer. PyTorch is given the same weights, data and batches; scikit-learn's MLPClassifier the same data,"
        " sizes and options, with weights and batches of its own. The time is that of training alone."
    )
    choices = ("scikit-learn has neither convolutions nor batch normalization nor dropout: it trains the MLP.",)
    full = Settings(runs=10, epochs=30, rate=0.001, batch=64, hidden=(128, 64), channels=(16, 32))
    quick = Settings(runs=2, epochs=4)
    timed = True
    needs_sklearn = True

    def cases(self) -> list[Case]:
        """Each network in both frameworks, the MLP in scikit-learn too."""
        own = [{"net": net, "framework": framework} for net in NETS for framework in FRAMEWORKS]
        return [*own, {"net": MLP, "framework": SKLEARN}]

    def measure(self, case: Case, rng: np.random.Generator) -> Measured:
        """Train once."""
        (x, y), (x_test, y_test) = data.split(*data.digits(), 0.2, rng)
        if case["net"] != CNN:
            x, x_test = x.reshape(len(x), -1), x_test.reshape(len(x_test), -1)
        if case["framework"] == SKLEARN:
            return self._by_sklearn(x, y, x_test, y_test, int(rng.integers(2**32)))
        s = self.settings
        model = self._network(case["net"], rng)
        trainer = trainer_for(case, model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=s.rate))
        fitted = fit(trainer, x, y, epochs=s.epochs, batch_size=s.batch, seed=rng)
        train, test = accuracy(trainer.predict(x), y), accuracy(trainer.predict(x_test), y_test)
        return {TRAIN: 100 * train, TEST: 100 * test, TIME: fitted.seconds}

    def _by_sklearn(self, x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, seed: int) -> Measured:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        s = self.settings
        model = MLPClassifier(
            s.hidden, alpha=0.0, batch_size=s.batch, learning_rate_init=s.rate, max_iter=s.epochs,
            n_iter_no_change=s.epochs, random_state=seed,
        )  # fmt: skip
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # all train for as many epochs
            model.fit(x, y)
        seconds = time.perf_counter() - start
        return {TRAIN: 100 * float(model.score(x, y)), TEST: 100 * float(model.score(x_test, y_test)), TIME: seconds}

    def _network(self, net: str, rng: np.random.Generator) -> nn.Sequential:
        first, second = self.settings.hidden
        narrow, wide = self.settings.channels
        if net == CNN:
            return nn.Sequential(
                nn.Conv2d(1, narrow, 3, padding=1, rng=rng),
                nn.BatchNorm2d(narrow),
                nn.ReLU(),
                nn.Conv2d(narrow, wide, 3, padding=1, rng=rng),
                nn.BatchNorm2d(wide),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Dropout(0.25),
                nn.Flatten(),
                nn.Linear(wide * 16, 10, rng=rng),
            )
        layers: list[nn.Module] = []
        for inputs, outputs in ((64, first), (first, second)):
            layers.append(nn.Linear(inputs, outputs, rng=rng))
            layers += [nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(0.2)] if net == REGULAR else [nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(second, 10, rng=rng))

    def findings(self, results: Results) -> list[Finding]:
        """Which network is best, and how fastdl stands beside the others in accuracy and time."""
        tests = {net: results.one(TEST, net=net, framework="fastdl") for net in NETS}
        order = ", ".join(f"{spread} %: {net}" for net, spread in tests.items())
        found = [
            Finding("The CNN is better than both MLPs", tests[CNN].mean == max(s.mean for s in tests.values()), order)
        ]
        for case in results.cases:
            if case["framework"] == "fastdl":
                continue
            ours, other = {**case, "framework": "fastdl"}, case["framework"]
            mine, theirs = results.of(TEST, ours), results.of(TEST, case)
            alike = abs(mine.mean - theirs.mean) <= ALIKE
            found.append(Finding(f"{case['net']}: accuracy as with {other}", alike, f"{mine} % and {theirs} %"))
            mine, theirs = results.of(TIME, ours), results.of(TIME, case)
            numbers = f"{mine.mean:.3g} s against {theirs.mean:.3g} s, {theirs.mean / mine.mean:.1f} times"
            found.append(Finding(f"{case['net']}: training takes less time than with {other}", mine < theirs, numbers))
        return found

    def draw(self, results: Results) -> dict[str, Picture]:
        """Test accuracy and training time of every run."""
        figure, axes = picture.panels("", TEST, 2)
        axes[1].set_xlabel(TIME)
        names = ["{}\n{}".format(case["net"].replace(", ", ",\n"), case["framework"]) for case in results.cases]
        for ax, measure in zip(axes, (TEST, TIME), strict=True):
            picture.runs(ax, names, [results.values(measure, case) for case in results.cases])
        seconds = np.concatenate([results.values(TIME, case) for case in results.cases])
        axes[1].set_xscale("log")
        axes[1].set_xlim(10 ** np.floor(np.log10(seconds.min())), 10 ** np.ceil(np.log10(seconds.max())))
        figure.set_size_inches(9.8, 1.4 + 0.65 * len(names))
        return {"": picture.finished(figure)}


STUDY = Digits
