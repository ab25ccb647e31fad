"""The `fastdl` command: train, evaluate, predict, study, info. Errors are one line and exit code 2, Ctrl-C is 130."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import fastdl
from fastdl.commands import evaluate, info, predict, study, train


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: the words after `fastdl`; None for those of the process.

    Example:
        >>> main(["--version"]) == 0  # doctest: +ELLIPSIS
        fastdl ...
        True
    """
    try:
        arguments = _parser().parse_args(argv)
        arguments.run(arguments)
        sys.stdout.flush()
    except SystemExit as ending:  # --help and --version
        return int(ending.code or 0)
    except KeyboardInterrupt as interrupt:
        return _fail(str(interrupt) or "interrupted", 130)
    except BrokenPipeError:  # the reader of our output has gone, as in `fastdl info | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 2)
    except (ValueError, TypeError, ArithmeticError, ImportError) as error:
        return _fail(str(error), 2)
    except Exception as error:
        return _fail(f"{type(error).__name__}: {error}", 2)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fastdl",
        description="Deep learning on CPUs.",
        epilog="fastdl COMMAND --help tells the options of a command.",
    )
    parser.add_argument("--version", action="version", version=f"fastdl {fastdl.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (train, evaluate, predict, study, info):
        command.add(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; {self.prog} --help tells more")


def _fail(message: str, code: int) -> int:
    print(f"fastdl: {' '.join(message.split())}", file=sys.stderr)
    return code
