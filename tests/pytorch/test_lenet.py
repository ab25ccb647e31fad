"""LeNet-5 with batch normalization: weights and running statistics pass between torch and fastdl, and predict the same."""

import numpy as np
import pytest

from fastdl import nn, no_grad, optim
from fastdl.serialization.model_file import load, save

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
X = np.random.default_rng(0).normal(size=(96, 1, 28, 28)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 10, 96)


def lenet(library):
    return library.Sequential(
        *(library.Conv2d(1, 6, 5, padding=2), library.BatchNorm2d(6), library.ReLU(), library.MaxPool2d(2)),
        *(library.Conv2d(6, 16, 5), library.BatchNorm2d(16), library.ReLU(), library.MaxPool2d(2), library.Flatten()),
        *(library.Linear(400, 120), library.BatchNorm1d(120), library.ReLU(), library.Dropout(0.5)),
        *(library.Linear(120, 84), library.ReLU(), library.Linear(84, 10)),
    )


def torch_trained():
    torch.manual_seed(0)
    model = lenet(torch.nn)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for i in range(0, 96, 16):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(torch.tensor(X[i : i + 16])), torch.tensor(Y[i : i + 16])).backward()
        optimizer.step()
    return model.eval()


def fastdl_trained():
    model, criterion = lenet(nn), nn.CrossEntropyLoss()
    model.reset_parameters(rng=0)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for i in range(0, 96, 16):
        optimizer.zero_grad()
        criterion(model(X[i : i + 16]), Y[i : i + 16])
        model.backward(criterion.backward())
        optimizer.step()
    return model.eval()


def assert_predictions_agree(ours, theirs):
    with no_grad(), torch.no_grad():
        found, wanted = ours(X), theirs(torch.tensor(X)).numpy()
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_torchs_weights_and_statistics_predict_the_same_here():
    theirs, ours = torch_trained(), lenet(nn)
    assert theirs[1].num_batches_tracked == 6
    assert (theirs[1].running_mean.abs() > 1e-3).any()
    ours.load_state_dict(theirs.state_dict())
    assert_predictions_agree(ours.eval(), theirs)


def test_ours_predict_the_same_in_torch():
    ours, theirs = fastdl_trained(), lenet(torch.nn)
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in ours.state_dict().items()})
    assert theirs[1].num_batches_tracked == 6
    assert_predictions_agree(ours, theirs.eval())


def test_training_moves_the_statistics_as_torchs_does():
    theirs, ours = lenet(torch.nn), lenet(nn)
    ours.load_state_dict(theirs.state_dict())
    for model in (theirs, ours):
        model[12].p = 0.0
    criterion, optimizer = nn.CrossEntropyLoss(), optim.SGD(ours.parameters(), lr=0.01)
    torch_optimizer = torch.optim.SGD(theirs.parameters(), lr=0.01)
    for i in range(0, 96, 32):
        optimizer.zero_grad()
        criterion(ours(X[i : i + 32]), Y[i : i + 32])
        ours.backward(criterion.backward())
        optimizer.step()
        torch_optimizer.zero_grad()
        torch.nn.functional.cross_entropy(theirs(torch.tensor(X[i : i + 32])), torch.tensor(Y[i : i + 32])).backward()
        torch_optimizer.step()
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], tensor.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)
    assert_predictions_agree(ours.eval(), theirs.eval())


def test_a_file_keeps_the_running_statistics(tmp_path):
    model = fastdl_trained()
    save(model, tmp_path / "lenet.safetensors")
    found = load(tmp_path / "lenet.safetensors").model.eval()
    with no_grad():
        assert (found(X) == model(X)).all()
    assert found[1].num_batches_tracked == 6
