"""Holding every side to a CPU level: the variables that ask for it, and whether a library does as asked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

LEVELS = ("v3", "v4")

# What a process of each level starts with, beside FASTDL_CPU. PyTorch asks three libraries for its products and convolutions.
VARIABLES: Mapping[str, Mapping[str, str]] = {
    "v3": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "BLIS_ARCH_TYPE": "3",  # Haswell, in the BLIS that thinc has
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    },
    "v4": {},
}
# A register of AVX-512, or one of the names that AVX2 does not have.
WIDE = re.compile(r"%(zmm|[xy]mm(1[6-9]|2\d|3[01])\b|k[0-7]\b)")


def environment(level: str | None) -> dict[str, str]:
    """The variables that hold every library to a level; none for None."""
    if level is None:
        return {}
    numpy = {"NPY_DISABLE_CPU_FEATURES": " ".join(numpy_features())} if level == "v3" and numpy_features() else {}
    return {"FASTDL_CPU": level, **VARIABLES[level], **numpy}


def numpy_features() -> list[str]:
    """NumPy's names of what this processor has beyond v3."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    beyond = [name for name in __cpu_dispatch__ if name == "X86_V4" or name.startswith("AVX512")]
    return [name for name in beyond if __cpu_features__.get(name)]


def departure(library: str, level: str) -> str:
    """How a library, in its own process, departs from the level that was asked for; empty where it does not.

    Peers may stay below it, as they like; fastdl may not.
    """
    found = IN_USE[library]()
    others = [f"{name} {each}" for name, each in found.items() if each > level or (name == "fastdl" and each != level)]
    return f"expected level {level}, got {', '.join(others)}" if others else ""


def of_fastdl() -> dict[str, str]:
    """fastdl says so itself."""
    import fastdl

    return {"fastdl": fastdl.cpu_level()}


def of_numpy() -> dict[str, str]:
    """NumPy's loops by its list of features, OpenBLAS as threadpoolctl finds it."""
    import numpy as np
    from threadpoolctl import threadpool_info

    assert np
    found = {"NumPy": "v4" if numpy_features() else "v3"}
    for each in threadpool_info():
        if each["internal_api"] == "openblas":
            old = each["architecture"].lower() in ("haswell", "zen", "excavator")
            found[f"OpenBLAS {each['architecture']}"] = "v3" if old else "v4"
    return found


def of_torch() -> dict[str, str]:
    """ATen's capability, and what MKL and oneDNN say of themselves in a process of their own."""
    import torch

    code = "import torch; a = torch.ones(64, 64); a @ a; torch.nn.Conv2d(32, 64, 3)(torch.ones(8, 32, 32, 32))"
    said = output(code, MKL_VERBOSE="1", ONEDNN_VERBOSE="1")
    found = {"ATen": "v3" if torch.backends.cpu.get_cpu_capability() == "AVX2" else "v4"}
    for name, line in (("MKL", r"MKL_VERBOSE oneMKL.*"), ("oneDNN", r"onednn_verbose.*cpu,isa:.*")):
        if match := re.search(line, said):
            found[name] = "v4" if re.search(r"AVX-?512", match[0]) else "v3"
    return found


def of_jax() -> dict[str, str]:
    """By the machine code that XLA writes for a function."""
    code = "import jax; jax.jit(lambda a: jax.numpy.tanh(a @ a))(jax.numpy.ones((64, 64))).block_until_ready()"
    with TemporaryDirectory() as folder:
        output(code, XLA_FLAGS=f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={folder}")
        files = [*Path(folder).glob("*.o")]
        if not files:
            return {"XLA, of which no machine code was found,": "v?"}
        assembly = [subprocess.run(["objdump", "-d", file], capture_output=True, text=True).stdout for file in files]
    return {"XLA": "v4" if any(map(WIDE.search, assembly)) else "v3"}


def of_thinc() -> dict[str, str]:
    """NumPy's, and BLIS as it says."""
    code = "import numpy as np; from thinc.api import NumpyOps; a = np.ones((8, 8), 'f'); NumpyOps().gemm(a, a)"
    chosen = re.search(r"sub-configuration '(\w+)'", output(code, BLIS_ARCH_DEBUG="1"))
    name = chosen[1] if chosen else "unknown"
    return of_numpy() | {f"BLIS {name}": "v3" if name in ("haswell", "zen", "zen2", "zen3") else "v4"}


def of_onnxruntime() -> dict[str, str]:
    """Nothing holds it below what the processor has."""
    return {"onnxruntime": "v4" if "avx512f" in Path("/proc/cpuinfo").read_text() else "v3"}


def of_machine() -> dict[str, str]:
    """The compiler is given the level."""
    return {"compiler": os.environ["FASTDL_CPU"]}


def output(code: str, **variables: str) -> str:
    """What a program in a process of its own says, with more variables."""
    command = [sys.executable, "-P", "-c", code]
    said = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True)
    return said.stdout + said.stderr


IN_USE: Mapping[str, Callable[[], dict[str, str]]] = {
    "fastdl": of_fastdl,
    "files": of_fastdl,
    "interpreters": of_fastdl,
    "loops": of_fastdl,
    "numpy": of_numpy,
    "sklearn": of_numpy,
    "torch": of_torch,
    "jax": of_jax,
    "thinc": of_thinc,
    "onnxruntime": of_onnxruntime,
    "compiler": of_machine,
}
