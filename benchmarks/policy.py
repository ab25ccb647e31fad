"""A policy network with a value, and what an update of it by proximal policy optimization reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Policy:
    """Layers of tanh, then scores of the actions and a value; observations are of `observed` numbers."""

    observed: int = 4
    widths: tuple[int, ...] = (64, 64)
    actions: int = 2
    batch: int = 64
    rows: int = 2048
    clip_norm: float = 0.5
    lr: float = 0.0003

    def data(self) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32] | NDArray[np.int64]]]:
        """Observations, and by name the actions, their log probabilities, advantages and returns."""
        rng = np.random.default_rng(0)
        return rng.standard_normal((self.rows, self.observed), np.float32), {
            "action": rng.integers(0, self.actions, self.rows),
            "logp": np.full(self.rows, -np.log(self.actions), np.float32),
            "advantage": rng.standard_normal(self.rows, np.float32),
            "returned": rng.standard_normal(self.rows, np.float32),
        }


CART_POLE = Policy()
