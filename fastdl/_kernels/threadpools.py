"""Let threadpoolctl see and limit the kernels' threads, whichever of the two packages is imported first."""

from __future__ import annotations

import sys
from typing import Any


def make_known() -> None:
    """Register the kernels' threads with threadpoolctl: at once where it is imported, else as soon as it is."""
    if "threadpoolctl" in sys.modules:
        _register(sys.modules["threadpoolctl"])
    else:
        sys.meta_path.insert(0, _Watch())


class _Watch:
    """A finder of modules that registers them after the import of threadpoolctl, and finds nothing itself."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != "threadpoolctl" or self not in sys.meta_path:
            return None
        import importlib.util  # not loaded with every import of fastdl

        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: Any) -> None:
                execute(module)
                _register(module)

            spec.loader.exec_module = execute_and_register
        return spec


def _register(threadpoolctl: Any) -> None:
    if not hasattr(threadpoolctl, "register"):  # before version 3.2
        return

    class Controller(threadpoolctl.LibController):  # pyright: ignore[reportUntypedBaseClass]
        # Who limits OpenMP means these threads too.
        user_api = "openmp"
        internal_api = "fastdl"
        filename_prefixes = ("threads.",)
        check_symbols = ("fastdl_get_num_threads", "fastdl_limit_threads")

        def get_num_threads(self) -> int:
            return self.dynlib.fastdl_get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            self.dynlib.fastdl_limit_threads(num_threads)

        def get_version(self) -> None:
            return None

    threadpoolctl.register(Controller)
