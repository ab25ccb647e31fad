"""Expressions: small formulas of operators, written when a layer is exported and recognized when it comes back.

A formula is a tuple of an operator's name and its operands: other formulas, numbers, and names of variables. x sigmoid(x) is
("Mul", "x", ("Sigmoid", "x")).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

Formula: TypeAlias = "tuple[Any, ...] | str | float"
COMMUTATIVE = frozenset(("Add", "Mul"))
# A variable of this ending stands for a number.
NUMBER = "_number"


def write(
    formula: Formula, variables: dict[str, str], node: Callable[..., str], constant: Callable[[float], str]
) -> str:
    """Write a formula with these values for its variables; equal parts are written once.

    Args:
        formula: what to write.
        variables: names of values.
        node: writes an operator for inputs and returns its output.
        constant: writes a number and returns its name.
    """
    written: dict[Any, str] = dict(variables)

    def part(formula: Formula) -> str:
        if formula not in written:
            if isinstance(formula, tuple):
                operator, *operands = formula
                written[formula] = node(operator, *[part(operand) for operand in operands])
            else:
                written[formula] = constant(float(formula))
        return written[formula]

    return part(formula)


def match(
    formula: Formula,
    value: str,
    producer: Callable[[str], tuple[str, list[str]] | None],
    number: Callable[[str], float | None],
    tolerance: float = 1e-6,
) -> dict[str, str] | None:
    """What a formula's variables are where a value is computed by it; None where it is not.

    Args:
        formula: the formula.
        value: the name of what might be its result.
        producer: the operator that computes a value, and its inputs; None for inputs, weights and constants.
        number: a constant of one element as a number; None for anything else.
        tolerance: how far numbers may be apart, relative to the formula's.

    Example:
        >>> nodes = {"s": ("Sigmoid", ["a"]), "y": ("Mul", ["s", "a"])}
        >>> match(("Mul", "x", ("Sigmoid", "x")), "y", nodes.get, {}.get)
        {'x': 'a'}
    """

    def candidates(formula: Formula, value: str, found: dict[str, str]) -> Iterable[dict[str, str]]:
        if isinstance(formula, str):
            if formula not in found:
                if not formula.endswith(NUMBER) or number(value) is not None:
                    yield {**found, formula: value}
            elif found[formula] == value or (formula.endswith(NUMBER) and number(found[formula]) == number(value)):
                yield found
        elif isinstance(formula, tuple):
            made = producer(value)
            if made is None or made[0] != formula[0] or len(made[1]) != len(formula) - 1:
                return
            orders = [made[1], made[1][::-1]] if formula[0] in COMMUTATIVE else [made[1]]
            for inputs in orders:
                yield from together(formula[1:], inputs, found)
        else:
            constant = number(value)
            if constant is not None and math.isclose(constant, formula, rel_tol=tolerance):
                yield found

    def together(formulas: tuple[Formula, ...], values: list[str], found: dict[str, str]) -> Iterable[dict[str, str]]:
        if not formulas:
            yield found
            return
        for first in candidates(formulas[0], values[0], found):
            yield from together(formulas[1:], values[1:], first)

    return next(iter(candidates(formula, value, {})), None)
