"""vectorization: paper 003's Experiment VI."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from fastdl import data, nn, optim
from fastdl.metrics import accuracy
from fastdl.reference.network import ListNetwork, Network
from fastdl.studies import disk, picture
from fastdl.studies.results import Results
from fastdl.studies.study import Case, Figure, Finding, Measured, Settings, Study
from fastdl.studies.train import fit, trainer_for
from fastdl.training import Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

TEST, TIME = "test error [%]", "time [s]"
ARRAYS, LISTS, EXPLICIT, FIT = "naive loops over arrays", "naive loops over lists", "explicit loop", "fit"
NAIVE = {ARRAYS: Network, LISTS: ListNetwork}
# The speed-up over the naive loops that the paper tells.
PAPERS = 128
# Test errors that may differ: points on the border, by rounding.
SAME = 1.0


class Vectorization(Study):
    """Naive for-loops, one sample at a time, against fastdl at batch 1."""

    name = "vectorization"
    summary = "naive for-loops against fastdl at batch 1: time to build, train and test"
    source = "Paper 003 (Cleres, Lesimple, Rensonnet), Experiment VI"
    paper = "The naive network takes 91.1 s (deviation 1.79), the vectorized framework 0.71 s (0.0019): 128 times."
    setup = (
        "1000 points to train and 1000 to test, standardized; ReLU; MSE; SGD at rate 0.01 without momentum; 5 epochs, one sample"
        " a step, in their order. The naive network is that of fastdl.reference, over arrays and over plain lists; fastdl trains"
        " by the explicit loop of the paper's listing and by Trainer.fit; PyTorch by its explicit loop. All begin from the same"
        " weights. The time holds building, training and testing."
    )
    choices = ("The initial weights are PyTorch's, uniform within 1 / sqrt(inputs): they do not matter for the time.",)
    full = Settings(runs=15, epochs=5, rate=0.01, points=1000)
    quick = Settings(runs=3, epochs=3, points=250)
    figures = (
        Figure(TIME, 91.1, "Section III-B, Exp. VI", {"way": ARRAYS}, spread=1.79),
        Figure(TIME, 0.71, "Section III-B, Exp. VI", {"way": EXPLICIT}, spread=0.0019),
    )
    timed = True

    def cases(self) -> list[Case]:
        """The ways to train."""
        own = [{"way": way, "framework": "fastdl"} for way in (ARRAYS, LISTS, EXPLICIT, FIT)]
        return [*own, {"way": EXPLICIT, "framework": "PyTorch"}]

    def measure(self, case: Case, rng: np.random.Generator) -> Measured:
        """Build, train and test once."""
        s, way = self.settings, case["way"]
        points = disk.points(rng, s.points, standardized=True)
        t, seed = data.one_hot(points.y, 2), int(rng.integers(2**32))
        start = time.perf_counter()
        if way in NAIVE:
            network = NAIVE[way](disk.SIZES, rng=seed)
            network.train(points.x, t, s.rate, s.epochs)
            output = np.array(network.predict(points.x_test))
        else:
            model = _with_parameters_of(Network(disk.SIZES, rng=seed))
            criterion, optimizer = nn.MSELoss(), optim.SGD(model.parameters(), lr=s.rate)
            if case == {"way": EXPLICIT, "framework": "fastdl"}:
                _explicit_loop(model, criterion, optimizer, points.x, t, s.epochs)
                output = Trainer(model, criterion, optimizer).predict(points.x_test)
            else:
                trainer = trainer_for(case, model, criterion, optimizer)
                fit(trainer, points.x, t, epochs=s.epochs, batch_size=1, shuffle=False)
                output = trainer.predict(points.x_test)
        seconds = time.perf_counter() - start
        return {TIME: seconds, TEST: 100 * (1 - accuracy(output, points.y_test))}

    def findings(self, results: Results) -> list[Finding]:
        """The speed-ups, and that all ways come to the same network."""
        times = {way: results.one(TIME, way=way, framework="fastdl").mean for way in (ARRAYS, LISTS, EXPLICIT, FIT)}
        found = []
        for way in (EXPLICIT, FIT):
            arrays, lists = times[ARRAYS] / times[way], times[LISTS] / times[way]
            numbers = f"{arrays:,.0f} times over arrays, {lists:,.0f} over lists; the paper's {PAPERS}"
            found.append(
                Finding(
                    f"fastdl's {way} is faster than the naive loops by the paper's factor", arrays >= PAPERS, numbers
                )
            )
        errors = [results.of(TEST, case).mean for case in results.cases]
        apart = max(errors) - min(errors)
        found.append(
            Finding("All ways come to the same network", apart <= SAME, f"test errors {apart:.2g} points apart")
        )
        return found

    def draw(self, results: Results) -> dict[str, Picture]:
        """The time of each way, and the paper's."""
        figure, (ax,) = picture.panels("", TIME, 1)
        names = [
            case["way"] if case["way"] in NAIVE else f"{case['framework']}, {case['way']}" for case in results.cases
        ]
        spreads = [results.of(TIME, case) for case in results.cases]
        picture.dots(ax, names, [s.mean for s in spreads], [s.deviation for s in spreads])
        picture.paper(ax, 91.1, "the paper's naive loops", 1.79, upright=True, style=":")
        picture.paper(ax, 0.71, "the paper's framework", upright=True)
        ax.set_xscale("log")
        return {"": picture.finished(figure)}


def _explicit_loop(
    model: nn.Module, criterion: nn.Loss, optimizer: optim.SGD, x: np.ndarray, t: np.ndarray, epochs: int
) -> None:
    """The loop of the paper's listing, one sample a step."""
    for _ in range(epochs):
        for xb, tb in data.batches(x, t, 1, shuffle=False):
            optimizer.zero_grad()
            criterion(model(xb), tb)
            model.backward(criterion.backward())
            optimizer.step()


def _with_parameters_of(network: Network) -> nn.Sequential:
    """fastdl's network with a naive one's parameters."""
    model = disk.network(np.random.default_rng(0))
    parameters = [each for pair in zip(network.W, network.b, strict=True) for each in pair]
    for own, given in zip(model.parameters(), parameters, strict=True):
        own.data = given
    return model


STUDY = Vectorization
