"""The site: `sphinx-build -W --keep-going -b html docs docs/_build`, with the package installed. Nothing is fetched."""

import re
import sys
from pathlib import Path
from typing import Any

import fastdl

project = "fastdl"
author = "the fastdl authors"
copyright = "the fastdl authors, MIT license"
version = release = fastdl.__version__

# The last brings MathJax into the site: formulas show without a network.
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4
# Pages that are listed where they are there.
OPTIONAL = {"estimators", "checkpoints", "callbacks", "onnx", "plot", "studies"}
# Reports of studies skip heading levels.
suppress_warnings = ["myst.header"]
exclude_patterns = ["_build", "studies/*/*.md"]

html_theme = "furo"
html_title = f"fastdl {version}"
html_show_sphinx = False
html_copy_source = False

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True
add_module_names = False
autodoc_typehints = "none"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Shape", "Shapes", "Args of a call"]
napoleon_use_rtype = False


def as_restructured_text(app: Any, what: str, name: str, subject: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with formulas and code between single backticks: keep Sphinx from reading more into them."""
    paragraph: list[str] = []
    written: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            paragraph.append(line)
            continue
        if paragraph and re.match(r"\s*(\||=+ +=)", paragraph[0]):  # a table
            written += ["::", "", *("   " + each for each in paragraph)]
        else:
            prompt = next((i for i, each in enumerate(paragraph) if each.lstrip().startswith(">>>")), len(paragraph))
            written += [*map(_plain, paragraph[:prompt]), *paragraph[prompt:]]
        written.append("")
        paragraph = []
    lines[:] = written


def _plain(line: str) -> str:
    """The line with its code marked as code, and what else would be markup escaped."""
    line = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line)
    parts = re.split(r"(``[^`]+``)", line)
    return "".join(p if p.startswith("``") else re.sub(r"([*|]|(?<=\w)_(?!\w))", r"\\\1", p) for p in parts)


def complete(app: Any, docname: str, source: list[str]) -> None:
    """Add what a page leaves to the package; leave out of the list what is not there: reports of studies are made, not kept."""
    from generated import completed

    source[0] = completed(source[0])
    if docname == "index":
        there = (
            line for line in source[0].splitlines() if line not in OPTIONAL or Path(app.srcdir, f"{line}.md").exists()
        )
        source[0] = "\n".join(there) + "\n"


def setup(app: Any) -> None:
    sys.path.insert(0, str(app.confdir))
    app.connect("autodoc-process-docstring", as_restructured_text, priority=100)
    app.connect("source-read", complete)
