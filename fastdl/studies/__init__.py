"""The papers' experiments, one file each, and what runs them: `fastdl study` on the command line.

A study is a file of this folder that holds a subclass of `Study` under the name `STUDY`; `fastdl/studies/study.py` says
how one is written. Its name stands in `NAMES`, in the papers' order, and its file has the same name with underscores.

| file | subject |
| --- | --- |
| `study.py` | what a study is: settings, cases, measures, the paper's figures, findings |
| `disk.py` | the papers' points of the disk and their 2-25-25-25-2 network |
| `train.py` | training a case with fastdl, or with PyTorch by way of its twin in `pytorch.py` |
| `store.py` | the folder that finished runs are kept in |
| `sweep.py` | all runs of a study, over processes or alone |
| `results.py` | mean and spread over runs |
| `report.py` | what is written and printed: Markdown, JSON, CSV |
| `picture.py` | the form of the pictures |
| `run.py` | a study from end to end |
"""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import TYPE_CHECKING

from fastdl.errors import InvalidValueError

if TYPE_CHECKING:
    from fastdl.studies.study import Study

NAMES = (
    "disk-accuracy",
    "disk-sgd",
    "optimizers",
    "dropout",
    "cross-validation",
    "activations",
    "momentum",
    "learning-rate",
    "epochs",
    "initialization",
    "batch-size",
    "vectorization",
    "batchnorm",
    "convolution",
    "label-noise",
    "digits",
)


def find(name: str) -> type[Study]:
    """The study of this name, imported now.

    Raises:
        ValueError: if there is none; it names the nearest.

    Example:
        >>> find("momentum").name
        'momentum'
    """
    if name not in NAMES:
        nearest = difflib.get_close_matches(name[:60].lower(), NAMES, n=1, cutoff=0)[0]
        raise InvalidValueError(
            None, "a study", repr(name[:60]), f"the nearest is {nearest}, and `fastdl study` lists them"
        )
    return import_module(f"fastdl.studies.{name.replace('-', '_')}").STUDY
