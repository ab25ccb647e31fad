"""`fastdl study`: the papers' experiments, run again and held against the papers' figures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fastdl import studies
from fastdl.commands import options
from fastdl.commands.streams import say
from fastdl.errors import InvalidValueError

ALL = "all"


def add(commands: Any) -> None:
    """Declare the command."""
    words = "run an experiment of the papers again, and compare it with their figures"
    detail = "Without a name: list them. Ctrl-C keeps the finished runs, and the same command goes on from there."
    command = commands.add_parser("study", help=words, description=f"{words.capitalize()}. {detail} {options.DEFAULTS}")
    command.set_defaults(run=run)
    command.add_argument("name", nargs="?", metavar="NAME", help=f"of a study, or {ALL}")
    add = command.add_argument
    add("--quick", action="store_true", help="a smaller run, in seconds (the paper's size)")
    add("--runs", type=options.whole, metavar="N", help="independent runs of each case (the paper's number)")
    add("--epochs", type=options.whole, metavar="N", help="epochs of training (the paper's number)")
    add(
        "--seed",
        type=options.seed,
        default=0,
        metavar="N",
        help="of data, weights and order: same seed, same result (0)",
    )
    default = f"for runs, tables and pictures (fastdl-out/NAME); for {ALL} a folder in it for each study, and FOLDER.md"
    add("--out", type=Path, metavar="FOLDER", help=default)


def run(arguments: argparse.Namespace) -> None:
    """List the studies, or run one or all of them."""
    if arguments.name is None:
        for name in ("quick", "runs", "epochs", "seed", "out"):
            if getattr(arguments, name):
                raise InvalidValueError(f"--{name}", "a study's name beside it", "none", "`fastdl study` lists them")
        _list()
        return
    from fastdl.studies.run import ENDINGS
    from fastdl.studies.run import run as run_study
    from fastdl.studies.store import Store

    together = arguments.name == ALL
    names = studies.NAMES if together else (arguments.name,)
    out = arguments.out or Path("fastdl-out") / (
        f"studies{_quick(arguments)}" if together else arguments.name + _quick(arguments)
    )
    chosen = [_study(name, arguments, together) for name in names]
    folders = [
        options.writable_folder(out / name if together else out, *(f"{name}{ending}" for ending in ENDINGS))
        for name in names
    ]
    summary = options.writable_file(out.with_name(f"{out.name}.md")) if together else None
    for study, folder in zip(chosen, folders, strict=True):
        study.refuse_without_sklearn()
        Store(folder, study)  # what is refused is refused before anything runs
    reports = []
    for study, folder in zip(chosen, folders, strict=True):
        run_study(study, folder)
        reports.append((folder / f"{study.name}.md").read_text(encoding="utf-8"))
        say(reports[-1], end="\n" if together else "", flush=True)
        say(f"report: {folder / f'{study.name}.md'}", flush=True)
    if summary is not None:
        from fastdl.output_file import write_atomically
        from fastdl.studies.report import together as joined

        write_atomically(summary, joined(list(zip(names, reports, strict=True)), out.name).encode(), "--out")
        say(f"all reports: {summary}")


def _study(name: str, arguments: argparse.Namespace, together: bool) -> Any:
    """The study with the settings asked for; of all together, each takes those that it has."""
    kind = studies.find(name)
    changes = {"runs": arguments.runs, "epochs": arguments.epochs}
    if together:
        changes = {key: value for key, value in changes.items() if hasattr(kind.full, key)}
    return kind(quick=arguments.quick, seed=arguments.seed, **changes)


def _quick(arguments: argparse.Namespace) -> str:
    return "-quick" if arguments.quick else ""


def _list() -> None:
    width = max(map(len, studies.NAMES))
    for name in studies.NAMES:
        say(f"{name:{width}}  {studies.find(name).summary}")
