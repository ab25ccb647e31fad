"""One addition of each kind that docs/kernels.md lists, made at the places that it names, in a copy of the sources.

A file in tests/additions/ holds the texts of one: where each comes, by the line before which or instead of which it stands, and
code that checks it afterwards.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

import fastdl

ROOT = Path(__file__).parent.parent
SECTIONS = {
    "activation": "Add an activation",
    "loss": "Add an elementwise loss",
    "layer": "Add a layer with parameters",
    "optimizer": "Add an optimizer",
    "reader": "Add a file reader",
    "callback": "Add a callback",
}
COMPILED = ("activation", "loss", "layer", "optimizer")
SOURCES = ("fastdl", "tests", "docs", "build/cython", "setup.py", "pyproject.toml", "conftest.py", "README.md")
PATH = re.compile(r"`((?:fastdl|docs)/[\w/]+(?:\.\w+|/))`")


class Piece(NamedTuple):
    """A text that one place wants in a file; `where` is "new", or "before: " or "instead of: " and a line of the file."""

    place: int
    path: str
    where: str
    text: str


def pieces_of(name):
    """The pieces of an addition, and the code of its check."""
    parts = re.split(
        r"^## (?=\d |check)", (ROOT / "tests" / "additions" / f"{name}.txt").read_text(), flags=re.MULTILINE
    )[1:]
    *pieces, check = parts
    found = []
    for piece in pieces:
        head, where, text = piece.split("\n", 2)
        place, path = head.split()
        found.append(Piece(int(place), path, where, text))
    return found, check.removeprefix("check\n")


def add(name, folder):
    """Make an addition in a copy of the sources."""
    for _, path, where, text in pieces_of(name)[0]:
        file = folder / path
        if where == "new":
            assert not file.exists()
            file.write_text(text)
            continue
        kind, line = where.split(": ", 1)
        before, found, after = file.read_text().partition(f"{line}\n")
        assert found, f"{path}: expected the line {line!r}"
        file.write_text(before + text + (after if kind == "instead of" else found + after))


def documented(name):
    """The files of each place, by its number, as docs/kernels.md lists them."""
    section = (ROOT / "docs" / "kernels.md").read_text().split(f"## {SECTIONS[name]}\n")[1].split("\n## ")[0]
    items = re.split(r"^(?:\*\*)?(\d+)\. ", section, flags=re.MULTILINE)[1:]
    return {int(number): set(PATH.findall(text)) for number, text in zip(items[::2], items[1::2], strict=True)}


@pytest.mark.parametrize("name", SECTIONS)
def test_the_places_are_those_that_are_documented(name):
    places = defaultdict(set)
    for place, path, where, _ in pieces_of(name)[0]:
        places[place].add(f"{Path(path).parent}/" if where == "new" else path)
    assert documented(name) == places


def test_every_section_of_the_page_has_its_addition():
    headings = re.findall(r"^## (Add .*)$", (ROOT / "docs" / "kernels.md").read_text(), re.MULTILINE)
    assert {*headings} == {*SECTIONS.values()}


def copy_of_sources(folder):
    """The sources, and the compiled modules of the package that is tested, as if they had been built there."""
    for source in SOURCES:
        if (ROOT / source).is_dir():
            shutil.copytree(
                ROOT / source, folder / source, ignore=shutil.ignore_patterns("*.so", "__pycache__", "_build")
            )
        elif (ROOT / source).exists():
            shutil.copy2(ROOT / source, folder / source)
    package = Path(fastdl.__file__).resolve().parent
    for module in package.rglob("*.so"):
        shutil.copy(module, folder / "fastdl" / module.relative_to(package))
    (folder / "path").mkdir()
    (folder / "path" / "fastdl").symlink_to(folder / "fastdl")
    return folder


def assert_right(name, folder):
    """Run the check of an addition with the package in a folder."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", pieces_of(name)[1]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "path"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", [name for name in SECTIONS if name not in COMPILED])
def test_an_addition_in_python_works(name, tmp_path):
    folder = copy_of_sources(tmp_path)
    with pytest.raises(AssertionError):
        assert_right(name, folder)
    add(name, folder)
    assert_right(name, folder)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A copy of the sources with all additions that are compiled, built."""
    folder = copy_of_sources(tmp_path_factory.mktemp("copy"))
    for name in COMPILED:
        add(name, folder)
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
def test_an_addition_that_is_compiled_passes_the_tests_of_its_kind(name, built):
    assert_right(name, built)
