"""Stacks of layers that every library names alike: for what is timed, each draws its own weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LayerCall:
    """A layer: its class's name and what the constructor is given."""

    kind: str
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def of(self, module: Any) -> Any:
        """The layer as this library's layers are made."""
        return getattr(module, self.kind)(*self.arguments, **self.options)


def call(kind: str, *arguments: Any, **options: Any) -> LayerCall:
    """A LayerCall, written as the call."""
    return LayerCall(kind, arguments, options)


@dataclass(frozen=True)
class Stack:
    """Layers one after the other, trained by Adam (lr 0.001) or SGD (lr 0.01) on random classes."""

    layers: tuple[LayerCall, ...]
    shape: tuple[int, ...]
    classes: int
    batch: int
    batches: int
    optimizer: str = "adam"

    def data(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """x (batches * batch, ...) and the classes."""
        rng = np.random.default_rng(1)
        n = self.batches * self.batch
        return rng.standard_normal((n, *self.shape)).astype(np.float32), rng.integers(self.classes, size=n)


LENET = Stack(
    (
        call("Conv2d", 1, 6, 5, padding=2),
        call("ReLU"),
        call("MaxPool2d", 2),
        call("Conv2d", 6, 16, 5),
        call("ReLU"),
        call("MaxPool2d", 2),
        call("Flatten"),
        call("Linear", 400, 120),
        call("ReLU"),
        call("Linear", 120, 84),
        call("ReLU"),
        call("Linear", 84, 10),
    ),
    (1, 28, 28),
    classes=10,
    batch=64,
    batches=20,
)
DROPOUT = Stack(
    (
        call("Linear", 2, 500),
        call("ReLU"),
        call("Dropout", 0.5),
        *(call("Linear", 500, 500), call("ReLU"), call("Dropout", 0.5)) * 3,
        call("Linear", 500, 2),
    ),
    (2,),
    classes=2,
    batch=100,
    batches=50,
    optimizer="sgd",
)
