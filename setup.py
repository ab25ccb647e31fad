"""Build of the Cython modules and of the core, which is compiled once per CPU level."""

import os
import platform
import runpy
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

KERNELS = Path("fastdl/_kernels")
LEVELS = ("v2", "v3", "v4") if platform.machine().lower() in ("x86_64", "amd64") else ("portable",)
# FASTDL_DEBUG: "1" checks bounds and addresses, "thread" looks for races between threads.
SANITIZERS = {"1": "address,undefined", "thread": "thread"}
DEBUG = os.environ.get("FASTDL_DEBUG") in SANITIZERS
SANITIZE = [f"-fsanitize={SANITIZERS[os.environ['FASTDL_DEBUG']]}", "-fno-omit-frame-pointer", "-g"] if DEBUG else []
FLAGS = [
    "-std=c++17",
    "-O1" if DEBUG else "-O3",
    "-g0",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fvisibility=hidden",
    *SANITIZE,
]
# The level of few processors: a third smaller, for some per cent of its speed.
SMALLER = {} if DEBUG else {"v2": ["-O2"]}
# Most of Cython's code calls the core, where the loops are: -O3 makes it larger, and no faster, but for these.
CALLS = [] if DEBUG else ["-O2"]
LOOPS = {
    f"fastdl._kernels.{name}" for name in ("interleaved", "patches", "planes", "program.epoch", "shuffle", "winograd")
}
# Cython's code rounds every operation, also where the lowest level has fused ones; the core writes those that it fuses.
ROUNDED = ["-ffp-contract=off"]
# A profiler needs the names that are otherwise left out, a tenth of the size.
NAMES = DEBUG or os.environ.get("FASTDL_SYMBOLS") == "1" or sys.platform != "linux"
# Code and data in one segment: two pages less for each of the many small libraries, and less to map at import.
LINK = ["-Wl,-z,noseparate-code"] if sys.platform == "linux" else []
# What a level and an extension must be built again for.
CORE = [str(path) for pattern in ("*.hpp", "core/*") for path in sorted(KERNELS.glob(pattern))]
HEADERS = [*map(str, sorted(KERNELS.glob("**/*.pxd"))), *CORE]


class Build(build):
    """build that gathers the package anew: modules that are no longer there would stay, and come into the wheel.

    What an interrupted build of a wheel has left would stop the next.
    """

    def run(self) -> None:
        library, base = Path(self.build_lib), Path(self.build_base)
        if base in library.parents:
            for left in (library, *base.glob("bdist.*")):
                shutil.rmtree(left, ignore_errors=True)
        super().run()


class BuildKernels(build_ext):
    """build_ext that adds the core's objects to the one extension that owns the table.

    Extensions and levels are compiled side by side, one on each core.
    """

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self) -> None:
        for extension in self.extensions:
            calls = [] if extension.name in LOOPS else CALLS
            extension.extra_compile_args = [*FLAGS, *calls, *ROUNDED, "-pthread"]
            extension.extra_link_args = [*SANITIZE, "-pthread", *LINK, *([] if NAMES else ["-Wl,-s"])]
            if extension.name.endswith(".table"):
                with ThreadPoolExecutor(self.parallel) as pool:
                    extension.extra_objects = list(pool.map(self.compile_level, LEVELS))
        super().build_extensions()

    def compile_level(self, level: str) -> str:
        """Compile core/level.cpp for one CPU level; returns the object file."""
        source = KERNELS / "core" / "level.cpp"
        target = Path(self.build_temp) / f"level_{level}.o"
        if self.force or newer_group([str(source), "setup.py", *CORE], str(target)):
            target.parent.mkdir(parents=True, exist_ok=True)
            machine = [] if level == "portable" else [f"-march=x86-64-{level}"]
            command = [
                *self.compiler.compiler_so_cxx,
                *FLAGS,
                *SMALLER.get(level, []),
                "-Wno-psabi",
                "-fPIC",
                *machine,
                f"-DFASTDL_LEVEL={level}",
            ]
            self.spawn([*command, "-c", str(source), "-o", str(target)])
        return str(target)


runpy.run_path(str(KERNELS / "declarations.py"))["write_declarations"]()
SOURCES = sorted(KERNELS.rglob("*.pyx"))

setup(
    ext_modules=cythonize(
        [
            Extension(
                ".".join(source.with_suffix("").parts),
                [str(source)],
                include_dirs=[numpy.get_include(), str(KERNELS)],
                define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
                depends=HEADERS,
                language="c++",
            )
            for source in SOURCES
        ],
        build_dir="build/cython",
        compiler_directives={
            "language_level": "3",
            "annotation_typing": False,  # annotations are for the stubs
            "binding": True,
            "embedsignature": False,
            "boundscheck": DEBUG,
            "wraparound": DEBUG,
            "cdivision": True,
            "initializedcheck": DEBUG,
        },
    ),
    cmdclass={"build": Build, "build_ext": BuildKernels},
)
