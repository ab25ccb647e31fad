"""epochs: paper 003's Experiment III."""

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
SUMMED = "MSE, summed over outputs"


class Epochs(Study):
    """Classification error over the number of epochs, with two losses, in both frameworks."""

    name = "epochs"
    summary = "classification error over the number of epochs, with MSE and cross entropy, against PyTorch"
    source = "Paper 003 (Cleres, Lesimple, Rensonnet), Experiment III, Fig. 8"
    paper = (
        "Errors generally fall as the epochs grow, and are equal to PyTorch's or lower; convergence is slightly slower with"
        " cross entropy than with MSE."
    )
    setup = (
        "1000 points to train and 1000 to test, standardized; ReLU; SGD at rate 0.005 without momentum, batches of 100; 20 to 250"
        " epochs. Both frameworks are given the same points and batches, once with the paper's weights and once with those that"
        " PyTorch draws by default, so that frameworks and initializations are distinguished."
    )
    choices = (
        "The numbers of epochs are not given: 20, 40, 60, 80, 100, 150, 200 and 250. Each is trained anew, of the same draws.",
        "The paper's weights and biases are uniform with deviation \"1/N_in\": taken for gain / sqrt(N_in), with ReLU's gain"
        " sqrt(2) in all layers.",
        "MSE is averaged over all outputs of a batch, as PyTorch does it. Whether this is why cross entropy is the faster or the"
        " slower is checked with MSE summed over the outputs, averaged over the batch, in fastdl.",
    )
    full = Settings(runs=15, rate=0.005, batch=100, lengths=(20, 40, 60, 80, 100, 150, 200, 250), points=1000)
    quick = Settings(runs=3, lengths=(20, 60, 150))

    def cases(self) -> list[Case]:
        """Losses, initializations and lengths, in both frameworks; the summed MSE in fastdl."""
        lengths = self.settings.lengths
        both = [
            {"loss": loss, "weights": weights, "epochs": epochs, "framework": framework}
            for loss in LOSSES
            for weights in (OURS, TORCHS)
            for epochs in lengths
            for framework in FRAMEWORKS
        ]
        return both + [{"loss": SUMMED, "weights": OURS, "epochs": n, "framework": "fastdl"} for n in lengths]

    def measure(self, case: Case, rng: np.random.Generator) -> Measured:
        """Train once."""
        s = self.settings
        points = disk.points(rng, s.points, standardized=True)
        model = disk.network(rng, weights=disk.scaled_uniform(math.sqrt(2)) if case["weights"] == OURS else disk.torchs)
        criterion = nn.MSELoss(reduction="batchmean") if case["loss"] == SUMMED else LOSSES[case["loss"]]()
        trainer = trainer_for(case, model, criterion, optim.SGD(model.parameters(), lr=s.rate))
        t = disk.targets(criterion, points.y)
        fit(trainer, points.x, t, epochs=case["epochs"], batch_size=s.batch, seed=rng)
        train, test = disk.error(trainer, points.x, points.y), disk.error(trainer, points.x_test, points.y_test)
        return {TRAIN: train, TEST: test}

    def _tests(self, results: Results, loss: str, weights: str = OURS, framework: str = "fastdl") -> list[float]:
        """The mean test errors over the epochs."""
        return results.line(TEST, "epochs", loss=loss, weights=weights, framework=framework)[1]

    def findings(self, results: Results) -> list[Finding]:
        """Errors over the epochs, and beside PyTorch's; cross entropy beside MSE."""
        found = []
        shortest, longest = self.settings.lengths[0], self.settings.lengths[-1]
        for weights in (OURS, TORCHS):
            ends = {loss: self._tests(results, loss, weights) for loss in LOSSES}
            numbers = ", ".join(
                f"{loss} {errors[0]:.3g} % at {shortest}, {errors[-1]:.3g} % at {longest}"
                for loss, errors in ends.items()
            )
            claim = f"With {weights} weights test errors fall as the epochs grow"
            found.append(Finding(claim, all(errors[-1] < errors[0] for errors in ends.values()), numbers))
            mse, entropy = (float(np.mean(errors)) for errors in ends.values())
            numbers = f"{entropy:.3g} % and {mse:.3g} %, test, over all lengths"
            claim = f"With {weights} weights cross entropy converges more slowly than MSE"
            found.append(Finding(claim, entropy > mse, numbers))
        framework = "PyTorch" if results.has(framework="PyTorch") else "fastdl"
        for loss in LOSSES:
            own, theirs = self._tests(results, loss), self._tests(results, loss, TORCHS, framework)
            highest = float(np.max(np.subtract(own, theirs)))
            numbers = f"{np.mean(own):.3g} % and {np.mean(theirs):.3g} % over all lengths"
            claim = (
                f"With {loss}, test errors with the paper's weights are at or below those with PyTorch's in {framework}"
            )
            found.append(Finding(claim, highest <= 0.5, numbers))
        if framework == "PyTorch":
            pairs = [(self._tests(results, *e), self._tests(results, *e, framework)) for e in self._entries()]
            apart = float(max(np.abs(np.subtract(*pair)).max() for pair in pairs))
            numbers = f"mean test errors at most {apart:.2g} points apart"
            found.append(Finding("With the same weights both frameworks come to the same", apart <= 1, numbers))
        return found

    def _entries(self) -> list[tuple[str, str]]:
        return [(loss, weights) for loss in LOSSES for weights in (OURS, TORCHS)]

    def remarks(self, results: Results) -> list[str]:
        """Whether the order of the losses depends on how MSE is averaged."""
        means = {loss: float(np.mean(self._tests(results, loss))) for loss in ("MSE", SUMMED, "cross entropy")}
        listed = ", ".join(f"{loss} {mean:.3g} %" for loss, mean in means.items())
        depends = min(means["MSE"], means[SUMMED]) < means["cross entropy"] < max(means["MSE"], means[SUMMED])
        return [
            f"Test errors over all lengths, with the paper's weights: {listed}. Which loss is the faster"
            f" {'depends' if depends else 'does not depend'} on whether MSE is averaged or summed over the two outputs, which is"
            " the rate times 2 and which the paper does not give."
        ]

    def draw(self, results: Results) -> dict[str, Picture]:
        """Train and test error over the epochs, as the paper's Fig. 8 shows them."""
        figure, axes = picture.panels("error [%]", "epochs", len(LOSSES), list(LOSSES))
        other = "PyTorch" if results.has(framework="PyTorch") else "fastdl"
        for ax, loss in zip(axes, LOSSES, strict=True):
            for i, (framework, weights) in enumerate((("fastdl", OURS), (other, TORCHS))):
                for j, measure in enumerate((TEST, TRAIN)):
                    found = results.line(measure, "epochs", loss=loss, weights=weights, framework=framework)
                    label = f"{framework}, {weights} weights, {measure.split()[0]}"
                    picture.line(ax, 2 * i + j, *found, label, offset=1.2 * (2 * i + j))
        return {"": picture.finished(figure, 2)}


STUDY = Epochs
