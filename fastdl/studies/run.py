"""A study from end to end: refusals first, then the sweep, then report, tables and pictures."""

from __future__ import annotations

from pathlib import Path

from fastdl.output_file import write_atomically
from fastdl.studies import report
from fastdl.studies.results import Results
from fastdl.studies.store import Store
from fastdl.studies.study import Study
from fastdl.studies.sweep import runnable, sweep

ENDINGS = (".json", ".csv", ".md")


def run(study: Study, folder: Path, processes: int | None = None) -> Results:
    """Measure what the folder does not hold yet, and write NAME.md, NAME.json, NAME.csv and pictures into it.

    Args:
        study: what is done.
        folder: exists and can be written to.
        processes: see `sweep`.

    Raises:
        ValueError: before anything runs, if the folder holds other results.
        ImportError: likewise, if scikit-learn is missing.
        KeyboardInterrupt: on Ctrl-C; finished runs are kept.
    """
    study.refuse_without_sklearn()
    store = Store(folder, study)
    sweep(study, store, processes)
    results = Results(runnable(study), store.done)
    pictures = _draw(study, results, folder)
    texts = report.as_json(study, results), report.as_csv(study, results), report.markdown(study, results, pictures)
    for ending, text in zip(ENDINGS, texts, strict=True):
        write_atomically(folder / f"{study.name}{ending}", text.encode(), "study")
    return results


def _draw(study: Study, results: Results, folder: Path) -> list[str] | None:
    """The names of the pictures; None without matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return None
    from fastdl.studies import picture

    names = []
    for name, figure in study.draw(results).items():
        names.append(f"{study.name}{f'-{name}' if name else ''}.png")
        picture.save(figure, folder / names[-1])
    return names
