"""The examples in docstrings, in the README and on the pages of the site run and give what they show."""

import doctest
import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

import fastdl

README = Path(__file__).parent.parent.parent / "README.md"
EXTRAS = {
    "fastdl.plot": "matplotlib",
    "fastdl.studies.picture": "matplotlib",
    "fastdl.data.digits": "sklearn",
    "fastdl.estimators": "sklearn",
    "fastdl.onnx": "onnx",
}
MODULES = [
    m.name
    for m in pkgutil.walk_packages(fastdl.__path__, "fastdl.")
    if "_kernels" not in m.name and "__main__" not in m.name
]


@pytest.mark.parametrize("name", ["fastdl", *MODULES])
def test_the_examples_in_docstrings_give_what_they_show(name, tmp_path, monkeypatch):
    extra = EXTRAS.get(name, EXTRAS.get(name.rpartition(".")[0]))
    if extra is not None and importlib.util.find_spec(extra) is None:
        pytest.skip(f"{extra} is not installed")
    monkeypatch.chdir(tmp_path)
    fastdl.manual_seed(0)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    assert result.failed == 0


def test_the_examples_in_the_readme_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    exec("\n".join(blocks), {})


DOCS = README.parent / "docs"
# Reports of studies are made by a command, and hold no code.
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if not {"_build", "studies"} & {*page.relative_to(DOCS).parts}]
OPTIONAL = {name: name for name in ("torch", "sklearn", "matplotlib", "onnx", "onnxruntime")}
OPTIONAL |= {"fastdl.estimators": "sklearn", "fastdl.onnx": "onnx", "fastdl.plot": "matplotlib"}


def code_of(page):
    """The blocks marked `python`, each on the lines that it has on the page; those marked `py` are only shown."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield "\n" * (text[: found.start()].count("\n") + 1) + found[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_the_examples_on_a_page_run(page, tmp_path, monkeypatch, threads):
    blocks = list(code_of(page))
    names = re.findall(r"^ *(?:from|import) ([\w.]+)", "\n".join(blocks), re.MULTILINE)
    names += ["sklearn"] if any("data.digits(" in block for block in blocks) else []
    for name in names:
        if name in OPTIONAL and importlib.util.find_spec(OPTIONAL[name]) is None:
            pytest.skip(f"{OPTIONAL[name]} is not installed")
    monkeypatch.chdir(tmp_path)
    fastdl.manual_seed(0)
    namespace = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_a_page_shows_code_without_prompts(page):
    assert not re.search(r"^```(pycon|doctest)|^>>> ", page.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", ["index", "quickstart", "own_layer", "migration/torch", "migration/sklearn"])
def test_the_pages_that_newcomers_copy_from_hold_code(name):
    assert list(code_of(DOCS / f"{name}.md"))


def test_the_readme_shows_two_commands():
    commands = re.findall(
        r"^pip install .* && (?:fastdl train|pytest -n auto)$", README.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(commands) == 2
