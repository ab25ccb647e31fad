"""The `fastdl` command: train, evaluate, predict, study, info. Errors are one line and exit code 2, Ctrl-C is 130."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import fastdl
from fastdl.commands import evaluate, info, predict, study, train
from fastdl.commands.interruption import Interruption, handled, ignore_signals
from fastdl.commands.streams import complain, notes, say, standard_streams

COMMANDS = (train, evaluate, predict, study, info)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: the words after `fastdl`; None for those of the process.

    Example:
        >>> main(["--version"]) == 0  # doctest: +ELLIPSIS
        fastdl ...
        True
    """
    with standard_streams(), notes(), handled() as interruption:
        return _main(argv, interruption)


def command() -> NoReturn:
    """Run the command line of the process, and end it."""
    code = main()
    ignore_signals()
    sys.exit(code)


def _main(argv: Sequence[str] | None, interruption: Interruption) -> int:
    prog = "fastdl"
    try:
        try:
            arguments = _parser().parse_args(argv)
            prog = arguments.prog
            arguments.interruption = interruption
            arguments.run(arguments)
            say(end="", flush=True)
            return 0
        except SystemExit as ending:  # --help and --version
            say(end="", flush=True)
            return int(ending.code or 0)
        finally:
            interruption.held = True
    except KeyboardInterrupt as interrupt:
        exec("")  # Python would end by SIGINT, not with our code, where the latest text that it ran was interrupted
        complain(f"fastdl: {str(interrupt) or interruption.words}")
        return interruption.code
    except BrokenPipeError:  # the reader of our output has gone, as in `fastdl info | head -1`
        return 1
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
    except _Refused as refused:
        message, prog = str(refused), refused.prog
    except (ValueError, TypeError, ArithmeticError, ImportError) as error:
        message = str(error)
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
    complain(f"fastdl: {' '.join(message.split())}; {prog} --help tells more")
    return 2


class _Refused(Exception):  # noqa: N818
    """Words that are no command line, and the command whose help tells what is."""

    def __init__(self, message: str, prog: str) -> None:
        super().__init__(message)
        self.prog = prog


class _Parser(argparse.ArgumentParser):
    """A parser that raises its errors, and names itself in them."""

    def error(self, message: str) -> NoReturn:
        raise _Refused(message, self.prog)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            unknown = rest[0].split("=")[0]
            self.error(f"unknown option {unknown}" if unknown.startswith("-") else f"unexpected argument {rest[0]!r}")
        return found, rest

    def _print_message(self, message: str, file: Any = None) -> None:
        say(message, end="")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fastdl",
        description="Deep learning on CPUs.",
        epilog="fastdl COMMAND --help tells the options of a command.",
    )
    parser.add_argument("--version", action="version", version=f"fastdl {fastdl.__version__}")
    parser.set_defaults(prog=parser.prog, run=lambda arguments: parser.error("expected a command, got none"))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for each in COMMANDS:
        each.add(commands)
    for name, chosen in commands.choices.items():
        chosen.set_defaults(prog=f"fastdl {name}")
    return parser
