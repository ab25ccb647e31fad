"""A package as it lies on the disk: how long it takes to import and how large it is."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from platform import python_version

from benchmarks.row import Reading

IMPORT = """
import numpy, time
start = time.perf_counter()
import {package}
print(time.perf_counter() - start)
"""


def folder(package: str) -> Path:
    """Where a package lies; it is not imported."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return Path(spec.origin).resolve().parent


PLACE = "built in place" if (folder("fastdl").parent / "setup.py").exists() else "installed"
VERSION = f"fastdl {PLACE}; Python {python_version()}"


def import_time(package: str, threads: int) -> Reading:
    """Milliseconds that a new interpreter, NumPy already imported, takes for the package."""
    folder(package)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode beside it
    command = [sys.executable, "-P", "-c", IMPORT.format(package=package)]

    def read() -> float:
        return 1e3 * float(subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout)

    read()
    return Reading(read)


LEFT_OUT = {".pyc", ".pyx", ".pxd", ".pxi", ".cpp", ".hpp", ".inc"}


def size(package: str, threads: int) -> Reading:
    """Megabytes in the package's folder, without compiled Python, and without the kernels' sources, which are not installed."""
    files = [file for file in folder(package).rglob("*") if file.is_file() and file.suffix not in LEFT_OUT]
    return Reading(lambda: sum(file.stat().st_size for file in files) / 1e6)
