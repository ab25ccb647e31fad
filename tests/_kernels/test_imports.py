"""What Cython files import, which import-linter cannot see: other kernels, and what is below them."""

import re
from pathlib import Path

import fastdl

KERNELS = Path(__file__).parent.parent.parent / "fastdl" / "_kernels"
BELOW = {"fastdl.validation", "fastdl.messages", "fastdl.errors"}


def test_a_kernel_imports_kernels_and_what_is_below_them(each):
    for path in each(path=sorted(KERNELS.rglob("*.p[yx][xd]"))):
        text = path.read_text()
        imported = set(re.findall(r"^\s*(?:from|import|cimport) (fastdl[\w.]*)", text, re.MULTILINE))
        assert {name for name in imported if not name.startswith("fastdl._kernels")} <= BELOW


def test_there_are_kernels_to_look_at():
    assert fastdl.__version__
    assert len(list(KERNELS.rglob("*.pyx"))) > 20
