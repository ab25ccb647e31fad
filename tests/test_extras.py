"""Extras: what is said where one is missing installs it today, from the sources."""

import re
import tomllib
from pathlib import Path

import pytest

import fastdl
from fastdl.environment import PACKAGES, installing, missing

ROOT = Path(__file__).parent.parent
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
PAGES = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "examples").glob("*.py")]
PAGES += Path(fastdl.__file__).parent.rglob("*.py")
# The two places that tell what will work once there is a release.
TELLING = {"install.md", "environment.py"}


@pytest.mark.parametrize(("extra", "package"), PACKAGES.items())
def test_an_extra_brings_the_package_that_is_missing(extra, package):
    assert any(re.split("[<>=]", each)[0] == package for each in EXTRAS[extra])
    error = missing("owner", extra)
    assert isinstance(error, ImportError)
    assert str(error) == f"owner: needs {package}; write {installing(extra)}"
    assert installing(extra).startswith(f'pip install ".[{extra}]" in the folder with fastdl\'s sources')
    assert f'pip install "fastdl-nn[{extra}]"' in installing(extra)


def test_nothing_else_says_to_install_from_an_index_where_fastdl_is_not_yet():
    found = [
        page.name
        for page in PAGES
        if "_build" not in page.parts
        and re.search(r"pip install (?:-\w+ )*\"?fastdl", page.read_text(encoding="utf-8"))
        and page.name not in TELLING
    ]
    assert found == []


def test_the_extras_that_pages_name_are_there():
    named = set()
    for page in PAGES:
        for extras in re.findall(r'pip install (?:-e )?"\.\[([\w,]+)\]"', page.read_text(encoding="utf-8")):
            named |= set(extras.split(","))
    assert len(named) > 4
    assert named <= EXTRAS.keys()
