"""CPU levels: one is chosen, a lower one can be forced, and none holds instructions above its own."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

import fastdl
from fastdl._kernels import table


@pytest.mark.parametrize("level", fastdl.cpu_levels())
def test_the_environment_forces_a_level(level, python):
    assert python("import fastdl; print(fastdl.cpu_level())", FASTDL_CPU=level).stdout == f"{level}\n"


def test_an_unknown_level_is_an_import_error_that_lists_the_others(python):
    refused = python("import fastdl", FASTDL_CPU="v9")
    assert refused.returncode == 1
    assert f"ImportError: FASTDL_CPU: expected one of {', '.join(fastdl.cpu_levels())}" in refused.stderr


def test_the_level_can_be_switched_in_the_process(level):
    assert fastdl.cpu_level() == level
    with pytest.raises(ValueError, match="set_cpu_level: expected one of"):
        table.set_cpu_level("v1")
    assert fastdl.cpu_level() == level


STRIPPED = "the kernels' names were left out; FASTDL_SYMBOLS=1 keeps them"
# The level in a function's name, also in one that objdump cannot demangle, where a number stands before it.
LEVEL = re.compile(r"<.*fastdl(?:::|\d)(v\d|portable)")


@cache
def disassembly(path):
    """The functions of an extension, each a block of lines that its name begins."""
    command = ["objdump", "-d", "-C", "--no-show-raw-insn", path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n\n")


def instructions_by_level():
    """The registers that each level's functions touch, from the disassembly of the extension that holds them."""
    found: dict[str, list[str]] = {}
    for block in disassembly(Path(table.__file__)):
        if name := LEVEL.search(block.split("\n")[0]):
            found.setdefault(name[1], []).append(block)
    return {level: "\n".join(blocks) for level, blocks in found.items()}


def is_above(name):
    """Whether a function is of a level that may use the wider registers."""
    found = LEVEL.search(name)
    return found is not None and found[1] in ("v3", "v4")


@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed")
@pytest.mark.skipif("v2" not in fastdl.cpu_levels(), reason="the levels are those of x86-64")
def test_no_level_holds_wider_registers_than_its_own():
    found = instructions_by_level()
    if not found:
        pytest.skip(STRIPPED)
    assert "%xmm" in found["v2"]
    assert "%ymm" not in found["v2"]
    assert "%zmm" not in found["v2"]
    assert "\tv" not in found["v2"], "an AVX encoding in the lowest level"
    assert "%ymm" in found["v3"]
    assert "%zmm" not in found["v3"]
    assert "%zmm" in found["v4"]


@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed")
@pytest.mark.skipif("v2" not in fastdl.cpu_levels(), reason="the levels are those of x86-64")
def test_what_all_processors_run_holds_no_avx():
    if not instructions_by_level():
        pytest.skip(STRIPPED)
    for path in Path(table.__file__).parent.rglob("*.so"):
        blocks = [(block.split("\n")[0], block) for block in disassembly(path)]
        wide = [name for name, b in blocks if ("%ymm" in b or "%zmm" in b) and not is_above(name)]
        assert not wide, path.name
