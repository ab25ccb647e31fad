"""Nothing public is missing on the site: its mathematics and source, and its place in the reference."""

import inspect
import re
from pathlib import Path
from runpy import run_path

import pytest

import fastdl
from fastdl import nn, optim
from fastdl.nn.init import INITIALIZERS

DOCS = Path(__file__).parent.parent.parent / "docs"
BASES = {"Module", "Activation", "Loss", "Optimizer", "Schedule"}


def pages(folder):
    """The pages of a folder as the site shows them."""
    completed = run_path(str(DOCS / "generated.py"))["completed"]
    return "\n".join(completed(page.read_text(encoding="utf-8")) for page in sorted((DOCS / folder).glob("*.md")))


MATHEMATICS, REFERENCE = pages("mathematics"), pages("reference")
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^##? |\Z)", MATHEMATICS, re.DOTALL | re.MULTILINE))


def public(module, base):
    return {name for name, value in vars(module).items() if inspect.isclass(value) and issubclass(value, base)}


SUBJECTS = public(nn, nn.Module) | public(optim, optim.Optimizer) | public(optim, optim.Schedule)
SUBJECTS = {name for name in SUBJECTS | set(INITIALIZERS) if not name.startswith("_")} - BASES


def named(heading):
    return heading.split(", ")


@pytest.mark.parametrize("name", sorted(SUBJECTS))
def test_the_mathematics_of_everything_public_are_described_with_their_source(name):
    sections = [text for heading, text in SECTIONS.items() if name in named(heading)]
    assert len(sections) == 1, f"expected one heading in docs/mathematics/ that names {name}"
    assert re.search(r"^Source: ", sections[0], re.MULTILINE), f"expected the source of {name}"


def test_the_mathematics_describe_nothing_that_is_not_there():
    assert {name for heading in SECTIONS for name in named(heading)} == SUBJECTS | {"Clipping"}


def test_the_references_that_the_mathematics_name_are_there():
    paths = set(re.findall(r"`(fastdl/reference/\S+\.py)`", MATHEMATICS))
    assert len(paths) > 9
    for path in paths:
        assert (Path(fastdl.__file__).parent.parent / path).exists()


def documented():
    for module in (fastdl, nn, nn.init, optim, fastdl.data):
        for name in (*vars(module), *getattr(module, "_READERS", ())):
            value = getattr(module, name)
            if not name.startswith("_") and callable(value) and getattr(value, "__module__", "").startswith("fastdl"):
                yield pytest.param(value, id=f"{module.__name__}.{name}")


@pytest.mark.parametrize("subject", list(documented()))
def test_everything_public_stands_in_the_reference(subject):
    modules = re.findall(r"automodule:: (\S+)", REFERENCE)
    alone = re.findall(r"auto(?:function|class):: \S+\.(\S+)", REFERENCE)
    assert subject.__module__ in modules or subject.__name__ in alone
