"""Trainer.weights and restore: the values that a fit changes, taken and put back."""

import numpy as np
import pytest

from fastdl import Trainer, nn, optim


class Scaled(nn.Module):
    def __init__(self):
        self.scale = nn.Parameter(np.ones(1, np.float32))

    def forward(self, output, target):
        return np.mean((output * self.scale - target) ** 2)


def test_values_of_another_criterion_change_nothing():
    model, criterion = nn.Linear(2, 2, rng=0), Scaled()
    trainer = Trainer(model, criterion, optim.SGD([*model.parameters(), *criterion.parameters()], lr=0.1))
    taken = trainer.weights()
    x = np.ones((4, 2), np.float32)
    trainer.fit(x, x, epochs=1, batch_size=2, progress=False)
    moved = trainer.weights()
    before = model.weight.data.copy(), criterion.scale.data.copy()
    for beside in ({}, {"other": 1}, None):
        with pytest.raises(ValueError, match="expected values of"):
            trainer.restore({**taken, "beside": beside})
        np.testing.assert_array_equal(model.weight.data, before[0])
        np.testing.assert_array_equal(criterion.scale.data, before[1])
    trainer.restore(taken)
    assert criterion.scale.data == 1
    trainer.restore(moved)
    np.testing.assert_array_equal(model.weight.data, before[0])
