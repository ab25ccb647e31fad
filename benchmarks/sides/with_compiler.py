"""The machine's own side: the same number of multiply-adds at the processor's peak."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.row import Timed, at_once

ARCHITECTURES = {"v3": "x86-64-v3", "v4": "x86-64-v4"}
VERSION = "cc -O3 -march=native, or the level's"

SOURCE = Path(__file__).with_name("fma.c")


def compiled(level: str | None) -> ctypes.CDLL:
    """fma.c, compiled for a level, or for this processor, and loaded."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("with_compiler: expected a C compiler named cc, found none")
    with TemporaryDirectory() as folder:
        target = Path(folder) / "fma.so"
        options = [
            "-O3",
            f"-march={ARCHITECTURES.get(level or '', 'native')}",
            "-ffp-contract=fast",
            "-shared",
            "-fPIC",
        ]
        subprocess.run([compiler, *options, str(SOURCE), "-o", str(target)], check=True)
        library = ctypes.CDLL(str(target))
    library.turn.argtypes, library.turn.restype = [ctypes.c_long, ctypes.POINTER(ctypes.c_float)], ctypes.c_float
    library.multiply_adds_per_turn.argtypes, library.multiply_adds_per_turn.restype = [], ctypes.c_long
    return library


def multiply_adds(count: int, threads: int, level: str | None = None) -> Timed:
    """`count` multiply-adds, shared among as many threads, at a level (the process's own where it is None)."""
    library = compiled(level or os.environ.get("FASTDL_CPU"))
    turns = count // (library.multiply_adds_per_turn() * threads)
    starts = (ctypes.c_float * 64)(*range(64))
    return at_once([lambda: library.turn(turns, starts)] * threads)
