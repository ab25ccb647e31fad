"""The formulas of the site and of docstrings can be read by every version of MathJax, and without a network."""

import re
import tomllib
from pathlib import Path

import fastdl

ROOT = Path(__file__).parent.parent.parent
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]
SOURCES = sorted(Path(fastdl.__file__).parent.rglob("*.py"))
# Their argument is text, in which a subscript or a command is an error or stands as it is written.
TEXT = re.compile(r"\\(?:text(?:rm|sf|tt|it|bf|up|normal)?|mbox|hbox|operatorname\*?)\s*\{")


def argument(text, start):
    """What stands in the braces that were opened right before `start`."""
    depth = 1
    for end in range(start, len(text)):
        escaped = text[end - 1] == "\\"
        depth += (text[end] == "{" and not escaped) - (text[end] == "}" and not escaped)
        if not depth:
            return text[start:end]
    raise AssertionError(f"expected a closing brace after {text[start : start + 40]!r}")


def faults(text):
    found = [argument(text, match.end()) for match in TEXT.finditer(text)]
    return [each for each in found if re.search(r"(?<!\\)[_^#%&]|\\[a-zA-Z]+", each)]


def test_text_in_formulas_is_nothing_but_text(each):
    for path in each(path=[*PAGES, *SOURCES]):
        assert faults(path.read_text(encoding="utf-8")) == []


def formulas(text):
    """Formulas between dollar signs, in a page without its code."""
    text = re.sub(r"^(```|~~~).*?^\1|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\$\$(.+?)\$\$", lambda match: "\0" + match[1] + "\0", text, flags=re.DOTALL)
    return re.findall(r"\0(.+?)\0", text, re.DOTALL) + re.findall(r"(?<![\\$\0])\$([^$\0\n]+)\$", text)


def test_braces_and_environments_of_formulas_match(each):
    for path in each(path=PAGES):
        for formula in formulas(path.read_text(encoding="utf-8")):
            braces = re.sub(r"\\.", "", formula, flags=re.DOTALL)
            assert braces.count("{") == braces.count("}"), formula
            assert len(re.findall(r"\\left\b", formula)) == len(re.findall(r"\\right\b", formula)), formula
            assert re.findall(r"\\begin\{(\w+\*?)\}", formula) == re.findall(r"\\end\{(\w+\*?)\}", formula), formula


def test_there_are_formulas_to_look_at():
    assert sum(len(formulas(page.read_text(encoding="utf-8"))) for page in PAGES) > 300


def test_the_faults_are_found():
    for fault in (r"\text{power_t}", r"\texttt{eps_inside}", r"\text{with \texttt{eps}}", r"\operatorname{arg_max}"):
        assert faults(f"$x^{{{fault}}}$")
    assert not faults(r"$\text{fan}_{in} + \mathtt{step\_size} + \text{a\_b}$")


def test_the_site_needs_no_network_for_its_formulas():
    settings = {}
    exec((ROOT / "docs" / "conf.py").read_text(encoding="utf-8"), settings)
    assert settings["extensions"].index("sphinx.ext.mathjax") < settings["extensions"].index("sphinx-mathjax-offline")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert any(each.startswith("sphinx-mathjax-offline") for each in project["optional-dependencies"]["docs"])
