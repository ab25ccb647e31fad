"""A layer of your own: radial basis functions, their gradients checked, trained beside fastdl's layers.

    y_k = exp(-s_k^2 |x - c_k|^2),  centres c_k and sharpnesses s_k learned

Source: D. Broomhead, D. Lowe, "Multivariable functional interpolation and adaptive networks", 1988.
"""

import argparse
from typing import Any

import numpy as np

from fastdl import Trainer, data, nn, optim
from fastdl.metrics import accuracy
from fastdl.testing import gradcheck


class RadialBasis(nn.Module):
    """Two methods; what forward stores is kept for backward, what is a Parameter is trained."""

    def __init__(self, in_features: int, units: int, *, rng: int = 0, dtype: Any = np.float32) -> None:
        drawn = np.random.default_rng(rng).normal(size=(units, in_features))
        self.centre = nn.Parameter(drawn.astype(dtype))
        self.sharpness = nn.Parameter(np.ones(units, dtype))

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.away = x[:, np.newaxis] - self.centre.data  # (N, units, in_features)
        self.squares = (self.away**2).sum(axis=2)
        self.y = np.exp(-(self.sharpness.data**2) * self.squares)
        return self.y

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        s = self.sharpness.data
        slope = grad_output * self.y  # with respect to the exponent
        self.sharpness.grad += (-2 * s * slope * self.squares).sum(axis=0)
        along = -2 * (s**2 * slope)[:, :, np.newaxis] * self.away
        self.centre.grad -= along.sum(axis=0)
        return along.sum(axis=1)


def main() -> float:
    layer = RadialBasis(2, 5, dtype=np.float64)
    assert gradcheck(layer, np.random.default_rng(1).normal(size=(4, 2)))
    print("gradcheck: backward agrees with central differences")

    x, y = data.disk(2000, rng=0)
    (x, y), (test_x, test_y) = data.split(x, y, 0.25, rng=1)
    x, test_x = data.standardize(x, test_x)
    model = nn.Sequential(RadialBasis(2, 20), nn.Linear(20, 2, rng=1))
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.02), metrics=[accuracy])
    history = trainer.fit(x, y, epochs=30, batch_size=50, seed=2)
    result = trainer.evaluate(test_x, test_y)["accuracy"]
    print(f"engine: {history.engine}")
    print(f"test accuracy {result:.3f}")
    return result


if __name__ == "__main__":
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    main()
