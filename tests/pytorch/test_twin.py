"""The studies' PyTorch twin: same weights, same batches, and so the same network in the end, to rounding."""

import numpy as np
import pytest

from fastdl import Trainer, nn, optim
from fastdl.metrics import accuracy
from fastdl.studies import disk
from fastdl.studies.pytorch import Twin

pytest.importorskip("torch")
POINTS = disk.points(np.random.default_rng(0), 120, standardized=True)
LOSSES = {
    "MSE": nn.MSELoss,
    "summed MSE": lambda: nn.MSELoss(reduction="sum"),
    "MSE over the batch": lambda: nn.MSELoss(reduction="batchmean"),
    "cross entropy": nn.CrossEntropyLoss,
}
OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.001, momentum=0.9, weight_decay=0.01),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.001),
    "Adam": lambda p: optim.Adam(p, lr=0.001),
    "AdamW": lambda p: optim.AdamW(p, lr=0.001),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("shuffle", [True, False])
def test_the_twin_ends_where_fastdl_ends(loss, optimizer, shuffle):
    criterion = LOSSES[loss]()
    t, t_test = (disk.targets(criterion, y) for y in (POINTS.y, POINTS.y_test))
    ends = {}
    for kind in (Twin, Trainer):  # the twin first: it copies weights that fastdl then changes
        model = disk.network(np.random.default_rng(1), nn.Tanh)
        parts = kind(model, criterion, OPTIMIZERS[optimizer](list(model.parameters())), metrics={"accuracy": accuracy})
        history = parts.fit(
            *(POINTS.x, t), epochs=4, batch_size=25, seed=2, shuffle=shuffle, validation_data=(POINTS.x_test, t_test),
            progress=False,
        )  # fmt: skip
        ends[kind] = parts.predict(POINTS.x_test), history
    (output, history), (ours, our_history) = ends[Twin], ends[Trainer]
    np.testing.assert_allclose(output, ours, atol=2e-4)
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(history[name], our_history[name], rtol=2e-3, err_msg=name)
    np.testing.assert_allclose(history["val_accuracy"], our_history["val_accuracy"], atol=0.02)


def test_a_twin_with_dropout_sees_the_same_batches():
    losses = {}
    for kind in (Twin, Trainer):
        model = disk.network(np.random.default_rng(1), last=[nn.Dropout(1e-9)])  # drops nothing, but draws
        parts = kind(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
        losses[kind] = parts.fit(POINTS.x, POINTS.y, epochs=4, batch_size=25, seed=2, progress=False)["loss"]
    np.testing.assert_allclose(losses[Twin], losses[Trainer], rtol=1e-4)


def test_convolutions_norms_and_dropout_are_copied_with_their_arguments():
    model = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4, momentum=0.3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.25), nn.Linear(16, 3)),
    )
    twin = Twin(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    x = np.random.default_rng(0).normal(size=(5, 1, 4, 4)).astype(np.float32)
    model.eval()
    np.testing.assert_allclose(twin.predict(x), model(x), atol=1e-6)
    assert twin.model[1].momentum == 0.3
    assert twin.model[5].p == 0.25
    assert twin.model[0].bias is None


def test_what_torch_does_not_have_is_refused():
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="decoupled_weight_decay"):
        Twin(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1, decoupled_weight_decay=True))
    branches = nn.Parallel(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(ValueError, match="expected a layer or loss that torch has, got Parallel"):
        Twin(branches, nn.MSELoss(), optim.SGD(branches.parameters(), lr=0.1))
