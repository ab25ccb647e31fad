"""The reference stands alone, and its elementary functions answer where Python's raise."""

import ast
import math
from pathlib import Path

import numpy as np
import pytest

import fastdl.reference
from fastdl.reference import ieee

INF, NAN = math.inf, math.nan


def test_the_reference_imports_numpy_the_standard_library_and_itself_alone():
    allowed = {"numpy", "math", "itertools", "collections.abc", "typing"}
    for file in Path(fastdl.reference.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert all(name in allowed or name.startswith("fastdl.reference") for name in names), (file.name, names)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (ieee.exp(1000.0), INF),
        (ieee.log(0.0), -INF),
        (ieee.log(-1.0), NAN),
        (ieee.log1p(-1.0), -INF),
        (ieee.log1p(-2.0), NAN),
        (ieee.sqrt(0.0), 0),
        (ieee.sqrt(-1.0), NAN),
        (ieee.divide(-2.0, 0.0), -INF),
        (ieee.divide(-2.0, -0.0), INF),
        (ieee.divide(0.0, 0.0), NAN),
        (ieee.divide(NAN, 0.0), NAN),
        (ieee.divide(1.0, 4.0), 0.25),
    ],
)
def test_functions_answer_with_infinity_and_nan_where_pythons_raise(actual, expected):
    np.testing.assert_equal(actual, expected)
