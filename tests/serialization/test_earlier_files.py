"""Files that an earlier version wrote: models load and predict, training states go on, as they did then."""

import json
from pathlib import Path

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, data, nn, optim

FILES = Path(__file__).parent / "files"
EXPECTED = json.loads((FILES / "expected.json").read_text())
X, Y = data.disk(60, rng=0)


def test_a_model_of_an_earlier_version_predicts_the_same():
    saved = fastdl.load(FILES / "model.safetensors")
    assert saved.classes == ("out", "in")
    np.testing.assert_allclose(saved.model.eval()(X[:5]), EXPECTED["outputs"], rtol=1e-5, atol=1e-6)


def test_a_training_state_of_an_earlier_version_goes_on_as_it_did():
    model = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.1), nn.Linear(6, 2))
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    schedule = optim.CosineAnnealingLR(optimizer, T_max=6)
    trainer = Trainer(model, nn.CrossEntropyLoss(), optimizer, schedule=schedule)
    trainer.load(FILES / "training_state.safetensors")
    assert len(trainer.history) == 3
    trainer.fit(X, Y, epochs=6, batch_size=20, resume=True, progress=False)
    assert trainer.history["loss"] == pytest.approx(EXPECTED["loss"], rel=1e-5)
    np.testing.assert_allclose(trainer.predict(X[:5]), EXPECTED["outputs"], rtol=1e-4, atol=1e-5)
