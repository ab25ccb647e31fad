"""The examples in docstrings and in the README run and give what they show."""

import doctest
import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

import fastdl

README = Path(__file__).parent.parent / "README.md"
PAGE_OF_ESTIMATORS = README.parent / "docs" / "estimators.md"
EXTRAS = {"fastdl.plot": "matplotlib", "fastdl.studies.picture": "matplotlib", "fastdl.data.digits": "sklearn"}
MODULES = [
    m.name
    for m in pkgutil.walk_packages(fastdl.__path__, "fastdl.")
    if "_kernels" not in m.name and "__main__" not in m.name
]


@pytest.mark.parametrize("name", ["fastdl", *MODULES])
def test_the_examples_in_docstrings_give_what_they_show(name, tmp_path, monkeypatch):
    extra = "sklearn" if name.startswith("fastdl.estimators") else EXTRAS.get(name)
    if extra and importlib.util.find_spec(extra) is None:
        pytest.skip(f"{extra} is not installed")
    monkeypatch.chdir(tmp_path)
    fastdl.manual_seed(0)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    assert result.failed == 0


@pytest.mark.filterwarnings("ignore")
def test_the_examples_of_estimators_give_what_they_show():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")
    assert doctest.testfile(str(PAGE_OF_ESTIMATORS), module_relative=False).failed == 0


def test_the_examples_in_the_readme_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    digits = importlib.util.find_spec("sklearn") is not None
    exec("\n".join(block for block in blocks if digits or "data.digits()" not in block), {})


def test_the_readme_shows_two_commands():
    commands = re.findall(
        r"^pip install .* && (?:fastdl train|pytest)$", README.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(commands) == 2
