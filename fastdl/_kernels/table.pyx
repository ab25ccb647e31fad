"""The table of the core's entry points, one per CPU level, and the choice among them."""

import os


cdef extern from "choose.hpp" namespace "fastdl" nogil:
    int available_tables(const Table** tables)
    const char* compiler_version()

cdef const Table* tables[3]
cdef int count = available_tables(tables)


def cpu_levels() -> tuple[str, ...]:
    """Return the levels compiled in that this processor runs, best last."""
    return tuple([tables[i].level.decode() for i in range(count)])


def cpu_level() -> str:
    """Return the level in use: "v2", "v3" or "v4" (x86-64-v2 and so on), "portable" on other processors."""
    return table.level.decode()


def compiler() -> str:
    """Return the name and version of the compiler that built the kernels."""
    return compiler_version().decode()


def set_cpu_level(level: str) -> None:
    """Use another level from now on, in all threads; meant for tests, between calls."""
    global table
    for i in range(count):
        if tables[i].level.decode() == level:
            table = tables[i]
            return
    from fastdl.errors import InvalidValueError
    from fastdl.messages import shown
    raise InvalidValueError("set_cpu_level", f"one of {', '.join(cpu_levels())}", shown(level))


if count == 0:
    raise ImportError(
        "fastdl: this processor is older than x86-64-v2 (SSE4.2), the least that the kernels are built for", name="fastdl"
    )
table = tables[count - 1]

if os.environ.get("FASTDL_CPU"):
    try:
        set_cpu_level(os.environ["FASTDL_CPU"])
    except ValueError:
        raise ImportError(
            f"FASTDL_CPU: expected one of {', '.join(cpu_levels())} (what this processor runs), got {os.environ['FASTDL_CPU']!r}"
        ) from None
