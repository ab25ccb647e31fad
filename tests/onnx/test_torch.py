"""Files that torch.onnx.export writes, with and without dynamo, compute here what they do in PyTorch."""

import contextlib
import io
import logging
import warnings
from itertools import product

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed (the onnx extra)")
pytest.importorskip("torch")

import torch

import fastdl.onnx
from fastdl import Trainer, nn, optim

S, T = torch.nn.Sequential, torch.nn


class Convolutional(T.Module):
    """Convolutions, a batch norm, pooling, a flatten and a dropout, in a forward of functions."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = T.Conv2d(1, 4, 3, padding=1), T.BatchNorm2d(4), T.Conv2d(4, 8, 3, stride=2)
        self.last, self.dropout = T.Linear(8, 3), T.Dropout(0.3)

    def forward(self, x):
        x = torch.nn.functional.max_pool2d(torch.relu(self.norm(self.first(x))), 2)
        x = torch.nn.functional.adaptive_avg_pool2d(torch.relu(self.second(x)), 1)
        return torch.log_softmax(self.last(self.dropout(torch.flatten(x, 1))), 1)


class Summed(T.Module):
    """A residual sum with a layer norm behind it."""

    def __init__(self):
        super().__init__()
        self.body, self.norm = S(T.Linear(6, 6), T.GELU(), T.Linear(6, 6)), T.LayerNorm(6)

    def forward(self, x):
        return self.norm(x + self.body(x))


class Viewed(T.Module):
    """A view of images as rows."""

    def __init__(self):
        super().__init__()
        self.images, self.rows = T.Conv2d(1, 2, 3), T.Linear(72, 3)

    def forward(self, x):
        x = self.images(x)
        return self.rows(x.view(x.size(0), -1))


MODELS = {
    "wide": (lambda: S(T.Linear(64, 32), T.ReLU6(), T.Linear(32, 3), T.Softmax(1)), (64,)),
    "norm": (lambda: S(T.Linear(6, 8), T.BatchNorm1d(8), T.SiLU(), T.Dropout(0.5), T.Linear(8, 3)), (6,)),
    "flattened": (lambda: S(T.Conv2d(1, 2, 3), T.ReLU(), T.AvgPool2d(2), T.Flatten(), T.Linear(18, 3)), (1, 8, 8)),
    "planes": (lambda: S(T.Conv2d(1, 2, 3), T.Flatten(2), T.Linear(36, 3)), (1, 8, 8)),
    "convolutional": (Convolutional, (1, 12, 12)),
    "summed": (Summed, (6,)),
    "viewed": (Viewed, (1, 8, 8)),
}


def exported(model, x, path, dynamo, batches):
    """Write a file, quietly."""
    options = {}
    if batches and dynamo:
        options["dynamic_shapes"] = ({0: torch.export.Dim.DYNAMIC},)
    elif batches:
        options |= {"input_names": ["input"], "dynamic_axes": {"input": {0: "N"}}}
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(model, (x,), str(path), dynamo=dynamo, **options)
    finally:
        logging.disable(level)


# dynamo takes seconds for a model: a network for rows and one for images, with either kind of batches.
BY_DYNAMO = {"norm": False, "convolutional": True}


@pytest.mark.parametrize(
    ("name", "dynamo", "batches"),
    [
        pytest.param(name, dynamo, batches, marks=pytest.mark.slow if dynamo and BY_DYNAMO.get(name) != batches else ())
        for name, dynamo, batches in product(MODELS, (False, True), (False, True))
    ],
)
def test_a_file_computes_what_the_model_does(name, dynamo, batches, tmp_path):
    if dynamo:
        pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    make, shape = MODELS[name]
    model = make().eval()
    path = tmp_path / "model.onnx"
    exported(model, torch.zeros(2 if batches else 1, *shape), path, dynamo, batches)
    x = torch.randn(4, *shape)
    found = fastdl.onnx.load(path)
    with torch.no_grad():
        np.testing.assert_allclose(found.eval()(x.numpy()), model(x).numpy(), rtol=1e-4, atol=1e-5)
    if not dynamo and name not in ("planes", "convolutional"):  # exporters fold some weights into others
        parameters = sum(parameter.numel() for parameter in model.parameters())
        assert sum(parameter.size for parameter in found.parameters()) == parameters


@pytest.mark.parametrize("dynamo", [False, True], ids=["old", "dynamo"])
def test_a_file_trains_on_natively(dynamo, tmp_path):
    if dynamo:
        pytest.importorskip("onnxscript")
    make, shape = MODELS["flattened"]
    exported(make().eval(), torch.zeros(1, *shape), tmp_path / "model.onnx", dynamo, False)
    found = fastdl.onnx.load(tmp_path / "model.onnx")
    trainer = Trainer(found, nn.CrossEntropyLoss(), optim.Adam(found.parameters(), lr=0.01))
    x = np.random.default_rng(0).standard_normal((16, *shape)).astype(np.float32)
    history = trainer.fit(x, np.arange(16) % 3, epochs=20, batch_size=4, seed=0)
    assert history["loss"][-1] < history["loss"][0]
    assert history.engine.startswith("native")
