"""A new interpreter that trains a network for one epoch: what is paid before the first result, compilation included."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from platform import python_version

from benchmarks.network import Network
from benchmarks.row import Reading

VERSION = f"Python {python_version()}"
PACKAGES = {"fastdl": "fastdl", "torch": "torch", "jax": "jax"}
EPOCH = """
import time
start = time.perf_counter()
from importlib import import_module
from benchmarks.network import Network
network = {network}
work = import_module("benchmarks.sides.with_{library}").{function}(network, {threads})
work.run(network.batches // work.units)
print(time.perf_counter() - start)
"""


def first_epoch(library: str, function: str, network: Network, threads: int) -> Reading:
    """Milliseconds from the first import, NumPy's too, to the end of an epoch."""
    if find_spec(PACKAGES[library]) is None:
        import_module(PACKAGES[library])  # its error
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path]))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode beside it
    code = EPOCH.format(network=network, library=library, function=function, threads=threads)
    command = [sys.executable, "-P", "-c", code]

    def read() -> float:
        return 1e3 * float(subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout)

    read()
    return Reading(read)
