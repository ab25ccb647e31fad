"""What the runs of a study came to: mean and spread of each case, its curves, and how they stand beside the paper's."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.quiet import Quiet
from fastdl.studies.store import key
from fastdl.studies.study import Case, Figure, Measured

# What every run is measured by, beside the study's own measures: how long it took as a whole.
SECONDS = "seconds"


class Spread(NamedTuple):
    """Mean, standard deviation (over n - 1; 0 of a single run) and number of runs.

    Example:
        >>> str(Spread(2.345, 0.1234, 15))
        '2.35 ± 0.12'
    """

    mean: float
    deviation: float
    runs: int

    def __str__(self) -> str:
        digits = digits_for(self.deviation or abs(self.mean) / 10)
        return f"{self.mean:,.{digits}f} ± {self.deviation:,.{digits}f}"


def digits_for(value: float) -> int:
    """Decimals that show two digits of a value, up to six.

    Example:
        >>> digits_for(0.0123), digits_for(1.5), digits_for(250)
        (3, 1, 0)
    """
    return 1 if value == 0 or not math.isfinite(value) else min(max(1 - math.floor(math.log10(value)), 0), 6)


class Results:
    """The runs of a study, by case.

    Args:
        cases: in the order of the sweep.
        done: what was measured, by case and number of the run.

    Example:
        >>> case = {"framework": "fastdl", "rate": 0.1}
        >>> results = Results([case], {(key(case), 0): {"error [%]": 1.0}, (key(case), 1): {"error [%]": 3.0}})
        >>> results.one("error [%]", rate=0.1).mean
        2.0
    """

    def __init__(self, cases: list[Case], done: dict[tuple[str, int], Measured]) -> None:
        self._runs: dict[str, list[Measured]] = {key(case): [] for case in cases}
        for (case, _), measured in sorted(done.items(), key=lambda item: item[0][1]):
            if case in self._runs:
                self._runs[case].append(measured)
        self.cases = [case for case in cases if self._runs[key(case)]]

    def measures(self) -> list[str]:
        """The names of what was measured as a number, in their order."""
        runs = (run for case in self.cases for run in self._runs[key(case)])
        names = dict.fromkeys(name for run in runs for name, value in run.items() if not isinstance(value, list))
        return [name for name in names if name != SECONDS]

    def where(self, **entries: Any) -> list[Case]:
        """The cases with these entries."""
        return [case for case in self.cases if all(case.get(name) == value for name, value in entries.items())]

    def has(self, **entries: Any) -> bool:
        """Whether there is a case with these entries."""
        return bool(self.where(**entries))

    def values(self, measure: str, case: Case) -> NDArray[np.float64]:
        """What a case came to in each run."""
        return np.array([run[measure] for run in self._runs[key(case)] if measure in run], np.float64)

    def of(self, measure: str, case: Case) -> Spread:
        """Mean and spread of a case over its runs."""
        values = self.values(measure, case)
        if not len(values):
            return Spread(math.nan, math.nan, 0)
        return Spread(float(values.mean()), deviation(values), len(values))

    def seconds(self, framework: str) -> float:
        """How long all runs of a framework took, one after the other."""
        cases = [case for case in self.cases if case.get("framework", "fastdl") == framework]
        return float(sum(self.values(SECONDS, case).sum() for case in cases))

    def one(self, measure: str, **entries: Any) -> Spread:
        """Mean and spread over the runs of the case with these entries, without "framework" one of fastdl.

        Raises:
            KeyError: if there is none, or more than one.
        """
        return self.of(measure, self.case(**entries))

    def case(self, **entries: Any) -> Case:
        """The one case with these entries, without "framework" one of fastdl's where there are others."""
        found = self.where(**entries)
        if len(found) > 1 and "framework" not in entries:
            found = [case for case in found if case.get("framework") == "fastdl"]
        if len(found) != 1:
            raise KeyError(f"expected one case with {entries}, got {len(found)}")
        return found[0]

    def line(self, measure: str, along: str, **entries: Any) -> tuple[list[Any], list[float], list[float]]:
        """What a measure comes to along an entry of the cases: its values, means and deviations."""
        cases = [case for case in self.where(**entries) if along in case]
        spreads = [self.of(measure, case) for case in cases]
        return [case[along] for case in cases], [s.mean for s in spreads], [s.deviation for s in spreads]

    def curve(self, name: str, **entries: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and deviation of a curve over the runs of a case, place by place; NaN from where a run has ended."""
        found = [run[name] for run in self._runs[key(self.case(**entries))]]
        longest = max(map(len, found))
        curves = np.array([curve + [math.nan] * (longest - len(curve)) for curve in found], np.float64)
        return curves.mean(axis=0), curves.std(axis=0, ddof=1) if len(curves) > 1 else np.zeros(curves.shape[1])

    def judged(self, figure: Figure) -> list[tuple[Case, Spread, str]]:
        """Our cases that a paper's figure is about, what each came to, and whether it is reached: see `verdict`."""
        cases = [case for case in self.cases if figure.fits(case) and len(self.values(figure.measure, case))]
        return [
            (case, self.of(figure.measure, case), verdict(self.values(figure.measure, case), figure)) for case in cases
        ]


def deviation(values: NDArray[np.float64]) -> float:
    """The standard deviation over n - 1; 0 of a single value, NaN where one is not finite.

    Example:
        >>> deviation(np.array([1.0, 3.0])), deviation(np.array([5.0]))
        (1.4142135623730951, 0.0)
    """
    with Quiet(invalid="ignore"):
        return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def verdict(values: NDArray[np.float64], figure: Figure) -> str:
    """Whether runs reach a paper's figure.

    "reached": their mean is on its better side, or no further from it than the paper's spread and rounding and two standard
    errors of the mean. "reached by some runs": not that, but the figure lies among the runs.

    Example:
        >>> figure = Figure("error [%]", 2.0, "Table I", rounding=0.05)
        >>> verdict(np.array([1.8, 2.1]), figure), verdict(np.array([2.0, 9.0, 9.1, 9.2]), figure)
        ('reached', 'reached by some runs')
    """
    open_to = figure.spread + figure.rounding
    error = 2 * deviation(values) / math.sqrt(len(values))
    lowest, highest, mean = values.min() - figure.value, values.max() - figure.value, values.mean() - figure.value
    # A mean far off may have a large error: some run has to come near as well.
    not_above = lowest <= open_to or figure.better == "higher"
    not_below = highest >= -open_to or figure.better == "lower"
    if not (not_above and not_below):
        return "not reached"
    on_better_side = (figure.better == "lower" and mean <= 0) or (figure.better == "higher" and mean >= 0)
    return "reached" if on_better_side or abs(mean) <= open_to + error else "reached by some runs"
