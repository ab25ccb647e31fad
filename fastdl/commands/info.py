"""`fastdl info`: what is installed, and what it runs on."""

from __future__ import annotations

import argparse
from typing import Any

import fastdl
from fastdl.commands.streams import say


def add(commands: Any) -> None:
    """Declare the command."""
    words = "print version, CPU level, threads and build"
    commands.add_parser("info", help=words, description="Print version, CPU level, threads and build.").set_defaults(
        run=run
    )


def run(arguments: argparse.Namespace) -> None:
    """Print version, CPU level, threads and build."""
    lines = {"fastdl": fastdl.__version__, "CPU level": fastdl.cpu_level(), "threads": fastdl.get_num_threads()}
    lines |= fastdl.build_info()
    width = max(map(len, lines)) + 1
    for name, value in lines.items():
        say(f"{name + ':':{width}} {value}")
