"""Combinations of parameters, of which the slow tests have all and the others a part."""

from collections.abc import Collection
from itertools import product

import pytest


def in_turn(*axes: Collection[object], one_in: int = 2) -> list:
    """Every combination for parametrize: one in so many, by which every value has its turn, and the others as slow ones."""
    found = []
    for places in product(*map(enumerate, axes)):
        values = [value for _, value in places]
        name = "-".join(getattr(value, "__name__", str(value)) for value in values)
        chosen = sum(place for place, _ in places) % one_in == 0
        found.append(pytest.param(*values, id=name, marks=() if chosen else pytest.mark.slow))
    return found
