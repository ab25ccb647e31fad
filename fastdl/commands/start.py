"""The beginning of the `fastdl` command: a signal ends it with one line while it imports. Imported before all else."""

import os
import sys


def is_command() -> bool:
    """Whether the process is the `fastdl` command, or `python -m fastdl`, whose errors are one line."""
    started, words = (getattr(sys, "argv", None) or [""])[0], getattr(sys, "orig_argv", [])
    if started == "-m":  # Python is still looking for the module
        return "-m" in words and words[words.index("-m") + 1] == "fastdl"
    return os.path.basename(started) == "fastdl" and "--multiprocessing-fork" not in words


if is_command():
    from fastdl.commands.interruption import leave_on_signals

    leave_on_signals()
