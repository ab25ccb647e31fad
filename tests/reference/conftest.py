"""A generator for each test of the reference."""

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """Seed 0."""
    return np.random.default_rng(0)
