"""Declarations that setup.py derives from the sources: Cython's of the core's entry points, and stubs of the compiled modules.

Nothing else imports this file. What it writes lies beside the sources and is not kept in the repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

KERNELS = Path(__file__).parent
# What a Cython type is to Python; an array or object that may be None has no "not None" behind it.
PYTHON = {
    "bint": "bool",
    "int": "int",
    "Py_ssize_t": "int",
    "int64_t": "int",
    "uint64_t": "int",
    "unsigned long long": "int",
    "double": "float",
    "str": "str",
    "list": "list[Any]",
    "frozenset": "frozenset[Any]",
    "tuple": "tuple[Any, ...]",
    "cnp.ndarray": "Array",
    "cnp.dtype": "np.dtype[Any]",
    "object": "Any",
}
STUB = '''"""Written by setup.py from {source}."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
{imports}
Array: TypeAlias = NDArray[Any]

{body}'''


def write_declarations() -> None:
    """Write entries.pxi and a stub for each compiled module; a file that is as it should be keeps its date."""
    written = {KERNELS / "entries.pxi": entries((KERNELS / "core" / "entries.inc").read_text())}
    sources = sorted(KERNELS.rglob("*.pyx"))
    classes = {
        name: source for source in sources for name in re.findall(r"^cdef class (\w+)", source.read_text(), re.M)
    }
    written |= {source.with_suffix(".pyi"): stub(source, classes) for source in sources}
    for path, text in written.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def entries(text: str) -> str:
    """Cython's declarations of the entry points that the list in core/entries.inc names."""
    lines = [
        "# Written by setup.py from core/entries.inc.",
        'cdef extern from "core/table.hpp" namespace "fastdl" nogil:',
        "    cdef cppclass Entries[T]:",
    ]
    text = re.sub(r"\s*//.*", "", text)
    for kind, inside in re.findall(r"^(VALUE|ENTRY|ENTRY_OF|TABLE)\((.*?)\)$", text, re.M | re.S):
        first, name, rest = re.split(r",\s*", inside, maxsplit=2)
        first, pointer = first.replace("bool", "boolean"), "**" if kind == "TABLE" else "*"
        if kind == "VALUE":
            lines.append(f"        {first} {name}")
            continue
        # Without their names, which Python may have other uses for.
        arguments = [re.sub(r"\s*\w+$", "", each) for each in re.split(r",\s*", rest[rest.rindex("(") + 1 : -1])]
        types = ", ".join(arguments).replace("bool", "boolean").replace("<T>", "[T]")
        lines.append(f"        {first} ({pointer}{name})({types}) noexcept")
    return "\n".join(lines) + "\n"


def stub(source: Path, classes: dict[str, Path]) -> str:
    """The stub of a module: its constants, functions and classes, with types for Python."""
    text = source.read_text()
    lines = [f"{name}: {kind}" for name, kind in re.findall(r"^([A-Z_]+) = .*  # type: (.*)$", text, re.M)]
    lines += functions(text, "")
    for name in (name for name, where in classes.items() if where == source):
        inside = re.search(rf"^cdef class {name}\b.*?:\n(.*?)(?=^\S|\Z)", text, re.M | re.S)
        declared = source.with_suffix(".pxd")
        public = [inside[1]] if inside else []
        if declared.exists():
            public += re.findall(rf"^cdef class {name}\b.*?:\n(.*?)(?=^\S|\Z)", declared.read_text(), re.M | re.S)
        members = [member for part in public for member in attributes(part)]
        members += functions(inside[1] if inside else "", "    ")
        if members:
            lines += [f"class {name}:", *members]
    body = "\n".join(lines) + "\n"
    others = {name: where for name, where in classes.items() if where != source and re.search(rf"\b{name}\b", body)}
    imports = "".join(
        f"\nfrom {'.'.join(('fastdl', *where.relative_to(KERNELS.parent).with_suffix('').parts))} import {name}"
        for name, where in sorted(others.items())
    )
    return STUB.format(source=source.name, imports=imports and imports + "\n", body=body)


def attributes(text: str) -> Iterator[str]:
    """The attributes of a class that Python sees: readonly and public ones, and properties."""
    for kind, names in re.findall(r"^    cdef (?:readonly|public) ((?:unsigned |long )*[\w.]+) (.*)$", text, re.M):
        for name in names.partition("#")[0].split(","):
            yield f"    {name.strip()}: {PYTHON.get(kind, kind)}"
    for name, kind in re.findall(r"^    @property\n    def (\w+)\(self\)(?: -> (.*))?:$", text, re.M):
        yield f"    {name}: {kind or 'Any'}"


def functions(text: str, indent: str) -> Iterator[str]:
    """The functions at this indentation, on one line each."""
    found = re.compile(
        rf"((?:^{indent}@.*\n)*)^{indent}(?:def|cpdef [\w.]+) (\w+)\(((?:.|\n)*?)\)(?: -> (.*))?:\n"
        rf"((?:^{indent} .*\n|^\n)*)",
        re.M,
    )
    for before, name, arguments, result, body in found.findall(text):
        special = name.startswith("__") and name not in ("__init__", "__enter__", "__exit__", "__get__", "__set__")
        if (
            "@property" in before
            or ".setter" in before
            or special
            or (name.startswith("_") and not special and name[1] != "_")
        ):
            continue
        given = ", ".join(filter(None, map(parameter, split(arguments))))
        returned = result or ("Any" if re.search(r"^ .*\breturn \S", body, re.M) else "None")
        yield f"{indent}def {name}({given}) -> {returned}: ..."


def split(arguments: str) -> list[str]:
    """Arguments separated by commas, but for those in brackets."""
    found, depth = [""], 0
    for character in arguments:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth:
            found.append("")
        else:
            found[-1] += character
    return [" ".join(each.split()) for each in found if each.strip()]


def parameter(argument: str) -> str:
    """A parameter as a stub has it."""
    if ":" in argument or argument in ("self", "cls", "*"):
        return argument
    argument, _, default = argument.partition("=")
    never, argument = argument.endswith(" not None"), argument.removesuffix(" not None").strip()
    kind, _, name = argument.rpartition(" ")
    if name.startswith("*"):
        return f"{name}: Any"
    known = PYTHON.get(kind, kind or "Any")
    maybe = kind in ("cnp.ndarray", "cnp.dtype", "tuple", "list", "str") or default.strip() == "None"
    if maybe and not never and known != "Any":
        known += " | None"
    return f"{name}: {known}" + (f" = {default.strip()}" if default else "")
