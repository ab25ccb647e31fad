"""The package as it is installed: what it says unbuilt, what it imports, what it holds."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastdl


def test_a_checkout_whose_kernels_are_not_built_says_what_to_type(tmp_path):
    package = Path(fastdl.__file__).parent
    shutil.copytree(package, tmp_path / "fastdl", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    tried = subprocess.run(
        [sys.executable, "-c", "import fastdl"], capture_output=True, text=True, timeout=600, cwd=tmp_path
    )
    assert tried.returncode == 1
    assert "ImportError: fastdl: the kernels are not built here; write `pip install -e .`" in tried.stderr
    assert "start Python in another folder if fastdl is installed" in tried.stderr
    assert "During handling" not in tried.stderr


def test_importing_fastdl_imports_nothing_heavy(python):
    heavy = {"sklearn", "matplotlib", "onnx", "torch", "safetensors", "tqdm", "numpy.random", "json", "tomllib"}
    heavy |= {"csv", "gzip", "zipfile", "numpy.ma", "dataclasses", "mmap", "string"}
    heavy |= {
        "fastdl.graph.graph",
        "fastdl.graph.trace",
        "fastdl._kernels.program.program",
        "fastdl.training",
        "fastdl.callbacks",
        "fastdl.nn.summary",
    }
    loaded = python("import sys, numpy; before = set(sys.modules); import fastdl; print(*(set(sys.modules) - before))")
    assert loaded.returncode == 0, loaded.stderr
    names = set(loaded.stdout.split())
    assert "fastdl.nn" in names
    assert not names & heavy


def test_the_version_is_the_distributions():
    from importlib.metadata import PackageNotFoundError, version

    try:
        assert version("fastdl-nn") == fastdl.__version__
    except PackageNotFoundError:
        assert fastdl.__version__.count(".") == 2  # built in place, not installed


def test_sources_are_typed():
    assert (Path(fastdl.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"FASTDL_CPU": "v9"}, "FASTDL_CPU: expected one of"),
        ({"FASTDL_NUM_THREADS": "0"}, "FASTDL_NUM_THREADS: expected"),
    ],
)
def test_the_command_says_in_a_line_what_keeps_it_from_starting(tmp_path, setting, said):
    script = tmp_path / "fastdl"
    script.write_text("import sys\nfrom fastdl.cli import main\nsys.exit(main(['info']))\n")
    command, environment = [sys.executable, "-P", script], {**os.environ, **setting}
    tried = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd="/", env=environment)
    assert tried.returncode == 2
    assert tried.stdout == ""
    assert re.fullmatch(rf"fastdl: {said} .*\n", tried.stderr)
