"""What a study is, and how one is written.

A study is a subclass of `Study` in a file of its own, which reads like the paper's paragraph:

1. `name`, `summary` (a line), `source` (where it stands in the paper), `paper` (what the paper found), `setup` (what is done
   here), `choices` (what the paper leaves open and what was chosen).
2. `full`: `Settings` with every number of the set-up, at the paper's size; among them `runs` and, where it applies,
   `epochs`, which `--runs` and `--epochs` change. `quick`: those that are smaller with `--quick`. `self.settings.rate` reads
   one.
3. `cases()`: the sweep, a dictionary for each thing that is trained. Its entry "framework", where it has one, becomes the
   columns of the table ("fastdl", "PyTorch"); cases that need PyTorch are left out where it is not installed.
4. `measure(case, rng)`: one run. Make data, model, loss and optimizer with fastdl; `train.trainer_for(case, ...)` and
   `train.fit` train them in the case's framework (a loss that diverges ends the fit: `.diverged`). Everything is drawn from
   `rng`, which is the same for all cases of a run, so that they differ in nothing but the case. Returns numbers by name, with
   the unit in brackets, "test error [%]", and lists for curves.
5. `figures`: the paper's numbers, each with its place. The report holds each against ours.
6. `findings(results)`: what the paper claims, each with whether it holds in what was measured here, computed.
   `remarks(results)`: why a figure is not reached, from cases that check the reason.
7. `draw(results)`: pictures by name, made with `picture`.
8. `timed = True` where times are measured: then its runs go one by one, alone, in one process. `needs_sklearn = True` where
   scikit-learn is needed, an extra: without it the study is refused before it runs.

`disk_sgd.py` is a small one to begin from. Its name goes into `NAMES` of `fastdl/studies/__init__.py`, the direction of its
findings into `tests/studies/test_findings.py`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fastdl.environment import missing
from fastdl.errors import InvalidValueError

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure as Picture

    from fastdl.studies.results import Results

Case = dict[str, Any]
Measured = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A number that a paper tells.

    Args:
        measure: the name under which `Study.measure` returns ours.
        value: the paper's.
        place: where it stands, "Section V-A".
        case: the entries of the cases that it is about; without "framework" those of fastdl are meant.
        spread: the deviation that the paper tells beside it.
        rounding: what its last digit, or its "about", leaves open.
        better: which side of the figure counts as reached, too; None for neither.

    Example:
        >>> Figure("test error [%]", 0.3, "Section V-A").fits({"framework": "fastdl", "rate": 0.1})
        True
    """

    measure: str
    value: float
    place: str
    case: Mapping[str, Any] = field(default_factory=dict)
    spread: float = 0.0
    rounding: float = 0.0
    better: Literal["lower", "higher"] | None = "lower"

    def fits(self, case: Case) -> bool:
        """Whether it is about this case."""
        wanted = {"framework": "fastdl", **self.case}
        return all(case.get(name, "fastdl" if name == "framework" else None) == value for name, value in wanted.items())


class Settings(SimpleNamespace):
    """Settings by name.

    Example:
        >>> Settings(runs=15, rate=0.005).rate
        0.005
    """


@dataclass(frozen=True)
class Finding:
    """A claim, whether it holds in what was measured, and the numbers that say so.

    Example:
        >>> str(Finding("Momentum lowers the error", True, "23 % at 0, 2 % at 0.9"))
        'Momentum lowers the error: this holds here (23 % at 0, 2 % at 0.9).'
    """

    claim: str
    holds: bool
    numbers: str

    def __str__(self) -> str:
        return f"{self.claim}: this {'holds' if self.holds else 'does not hold'} here ({self.numbers})."


class Study:
    """An experiment and its settings; a subclass says what is done (see the head of this file).

    Args:
        quick: seconds instead of the paper's size.
        seed: of everything random; run i draws from (seed, i).
        changes: settings that differ from the paper's, by name, as `runs=3`; None leaves one as it is.

    Raises:
        ValueError: for a setting that the study does not have.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    paper: ClassVar[str]
    setup: ClassVar[str]
    choices: ClassVar[Sequence[str]] = ()
    full: ClassVar[Settings]
    quick: ClassVar[Settings]
    figures: ClassVar[Sequence[Figure]] = ()
    timed: ClassVar[bool] = False
    needs_sklearn: ClassVar[bool] = False

    def __init__(self, quick: bool = False, seed: int = 0, **changes: Any) -> None:
        chosen = {name: value for name, value in changes.items() if value is not None}
        for name in chosen:
            if not hasattr(self.full, name):
                raise InvalidValueError(self.name, f"no --{name}, which this study does not have or sweeps itself")
        self.is_quick, self.seed = quick, seed
        self.settings = Settings(**{**vars(self.full), **(vars(self.quick) if quick else {}), **chosen})

    def cases(self) -> list[Case]:
        """The sweep."""
        raise NotImplementedError

    def measure(self, case: Case, rng: np.random.Generator) -> Measured:
        """One run of one case."""
        raise NotImplementedError

    def findings(self, results: Results) -> list[Finding]:
        """What the paper claims, and whether it holds."""
        return []

    def remarks(self, results: Results) -> list[str]:
        """Sentences that say why a figure is not reached, computed from cases that check the reason."""
        return []

    def draw(self, results: Results) -> dict[str, Picture]:
        """The pictures by name; the name "" stands for the study's own."""
        return {}

    def refuse_without_sklearn(self) -> None:
        """Look for what the study needs beside fastdl.

        Raises:
            ImportError: if scikit-learn is needed and not installed.
        """
        if self.needs_sklearn and importlib.util.find_spec("sklearn") is None:
            raise missing(self.name, "sklearn")

    def changed(self) -> dict[str, Any]:
        """The settings, the number of runs aside, that are not the paper's."""
        own, papers = vars(self.settings), vars(self.full)
        return {name: own[name] for name in own if name != "runs" and own[name] != papers[name]}

    def identity(self) -> dict[str, Any]:
        """What tells these results from others: name, seed and all settings."""
        listed = {
            name: list(value) if isinstance(value, tuple) else value for name, value in vars(self.settings).items()
        }
        return {"study": self.name, "seed": self.seed, **listed}
