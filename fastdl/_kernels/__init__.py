"""The compiled kernels, and how their threads wait for one another.

A thread of OpenMP that waits spins for milliseconds by default; where another process wants its core, each parallel region then
costs a scheduler's time slice, a hundred times its work. What says otherwise has to stand in the environment when OpenMP is
loaded, which is with the first of the kernels: it is put there for that moment, unless the user has said how to wait.
"""

import os

_WAITING = {"GOMP_SPINCOUNT": "5000", "KMP_BLOCKTIME": "0"}


def _load_openmp() -> None:
    added = {} if "OMP_WAIT_POLICY" in os.environ else {k: v for k, v in _WAITING.items() if k not in os.environ}
    os.environ.update(added)
    try:
        import fastdl._kernels.threads  # noqa: F401
    except ModuleNotFoundError:
        pass  # not built: who imports a kernel says so
    finally:
        for name in added:
            del os.environ[name]


_load_openmp()
