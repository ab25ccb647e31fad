"""A package as it lies on the disk: how long it takes to import and how large it is."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from benchmarks.row import Reading

IMPORT = """
import numpy, time
start = time.perf_counter()
import {package}
print(time.perf_counter() - start)
"""


def import_time(package: str, threads: int) -> Reading:
    """Milliseconds that a new interpreter, NumPy already imported, takes for the package."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", "-c", IMPORT.format(package=package)]

    def read() -> float:
        return 1e3 * float(subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout)

    read()
    return Reading(read)


def size(package: str, threads: int) -> Reading:
    """Megabytes in the package's folder, compiled Python left out."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"with_files: expected a package {package}, found none")
    files = [file for file in Path(spec.origin).parent.rglob("*") if file.is_file() and file.suffix != ".pyc"]
    return Reading(lambda: sum(file.stat().st_size for file in files) / 1e6)
