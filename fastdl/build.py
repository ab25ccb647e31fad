"""What this copy of fastdl is: its version and how its kernels were built."""

from __future__ import annotations

from fastdl._kernels.table import compiler, cpu_levels
from fastdl._kernels.threads import openmp

__version__ = "0.1.0"


def build_info() -> dict[str, str]:
    """Return the compiler, the OpenMP version (its date) and the CPU levels built in that this processor runs.

    Example:
        >>> sorted(build_info())
        ['compiler', 'levels', 'openmp']
    """
    version = openmp()
    return {"compiler": compiler(), "openmp": str(version) if version else "none", "levels": ", ".join(cpu_levels())}
