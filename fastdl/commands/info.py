"""`fastdl info`: what is installed, and what it runs on."""

from __future__ import annotations

import argparse
from typing import Any

from fastdl._kernels.table import cpu_level
from fastdl._kernels.threads import get_num_threads, threads_reason
from fastdl.commands.streams import say
from fastdl.environment import __version__, build_info


def add(commands: Any) -> None:
    """Declare the command."""
    words = "print version, CPU level, threads and build"
    commands.add_parser("info", help=words, description="Print version, CPU level, threads and build.").set_defaults(
        run=run
    )


def run(arguments: argparse.Namespace) -> None:
    """Print version, CPU level, threads and build."""
    lines = {"fastdl": __version__, "CPU level": cpu_level(), "threads": f"{get_num_threads()} ({threads_reason()})"}
    lines |= build_info()
    width = max(map(len, lines)) + 1
    for name, value in lines.items():
        say(f"{name + ':':{width}} {value}")
