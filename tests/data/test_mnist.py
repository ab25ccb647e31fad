"""LeNet-5 with batch normalization on real digits: what all parts come to together."""

import os

import numpy as np
import pytest

from fastdl import Trainer, nn, optim
from fastdl.data import Standardize, mnist
from fastdl.metrics import accuracy


def lenet(rng):
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2, rng=rng), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5, rng=rng), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120, rng=rng), nn.ReLU(), nn.Linear(120, 84, rng=rng), nn.ReLU()),
        nn.Linear(84, 10, rng=rng),
    )


@pytest.fixture(scope="module")
def digits():
    """The 10,000 images and labels that MNIST is tested with."""
    if "FASTDL_DATA" not in os.environ:
        pytest.skip("FASTDL_DATA names no folder with data sets")
    try:
        return mnist(part="test")
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("epochs", "least"), [(2, 0.95), pytest.param(8, 0.98, marks=pytest.mark.slow)])
def test_lenet_classifies_unseen_digits(digits, epochs, least):
    x, y = digits
    x = Standardize().fit(x[:8000], per="channel").transform(x)
    rng = np.random.default_rng(0)
    model = lenet(rng)
    optimizer = optim.Adam(model.parameters(), lr=0.003)
    schedule = optim.CosineAnnealingLR(optimizer, epochs)
    trainer = Trainer(model, nn.CrossEntropyLoss(), optimizer, schedule=schedule, metrics=[accuracy])
    history = trainer.fit(x[:8000], y[:8000], epochs=epochs, batch_size=64, seed=rng)
    assert history["accuracy"][-1] > least
    assert trainer.evaluate(x[8000:], y[8000:])["accuracy"] >= least
