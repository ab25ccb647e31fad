"""What the site's pages show beside what is written in them: modules of the package, and formulas of docstrings.

A page says where, in a comment: `<!-- the other modules of fastdl.optim -->`, `<!-- the other subclasses of fastdl.nn.Loss -->`.
"""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
MODULES = re.compile(r"^<!-- the other modules of (\S+) -->$", re.MULTILINE)
SUBCLASSES = re.compile(r"^<!-- the other subclasses of (\S+)\.(\w+) -->$", re.MULTILINE)


def completed(text: str) -> str:
    """A page's text with what its comments ask for."""
    text = MODULES.sub(lambda found: "\n\n".join(map(_module, _other_modules(found[1]))), text)
    return SUBCLASSES.sub(lambda found: "\n\n".join(map(_subclass, _other_subclasses(found[1], found[2]))), text)


def _written(folder: str) -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / folder).glob("*.md")))


def _public(package: str) -> Iterator[tuple[str, Any]]:
    """The names of a package and its own things under them, in the order in which it imports them."""
    for name, value in vars(import_module(package)).items():
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", "").startswith(f"{package}."):
            yield name, value


def _other_modules(package: str) -> list[str]:
    """The modules of a package's names that no page of the reference has."""
    there = set(re.findall(r"automodule:: (\S+)", _written("reference")))
    return list(dict.fromkeys(value.__module__ for _, value in _public(package) if value.__module__ not in there))


def _module(name: str) -> str:
    return f"## {name.split('.', 2)[-1]}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```"


def _other_subclasses(package: str, name: str) -> list[type[Any]]:
    """The public subclasses of a class that no heading of the mathematics names."""
    base = getattr(import_module(package), name)
    headings = re.findall(r"^## (.+)$", _written("mathematics"), re.MULTILINE)
    there = {each for heading in headings for each in heading.split(", ")}
    return [
        value
        for name, value in (*_public("fastdl.nn"), *_public("fastdl.optim"))
        if inspect.isclass(value) and issubclass(value, base) and value is not base and name not in there
    ]


def _subclass(kind: type[Any]) -> str:
    """The formula and the source of a class, from its docstring."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(kind.__doc__ or ""))
    source = next((each for each in paragraphs if each.startswith("Source: ")), "")
    return "\n\n".join([f"## {kind.__name__}", f"`{paragraphs[0]}`", source])
