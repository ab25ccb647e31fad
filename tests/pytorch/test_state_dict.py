"""A torch state_dict loads as it is, predictions agree, and ours loads there."""

from collections import OrderedDict

import numpy as np
import pytest

from fastdl import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")


def plain(library):
    linear = [library.Linear(n, m) for n, m in ((2, 25), (25, 25), (25, 3))]
    return library.Sequential(linear[0], library.ReLU(), linear[1], library.Tanh(), linear[2])


def without_bias(library):
    return library.Sequential(library.Linear(2, 7, bias=False), library.SiLU(), library.Linear(7, 3, bias=False))


def nested(library):
    inner = library.Sequential(library.Linear(8, 5), library.ELU())
    body = library.Sequential(library.Linear(2, 8), library.GELU(), inner)
    return library.Sequential(body, library.Identity(), library.Linear(5, 3), library.LogSoftmax(dim=-1))


def named(library):
    layers = [("hidden", library.Linear(2, 9)), ("bend", library.LeakyReLU(0.2)), ("head", library.Linear(9, 3))]
    return library.Sequential(OrderedDict(layers))


def all_activations(library):
    bends = [library.Sigmoid(), library.Softplus(), library.Softmax(dim=1), library.GELU("tanh"), library.ELU(0.5)]
    layers = [layer for bend in bends for layer in (library.Linear(6, 6), bend)]
    return library.Sequential(library.Linear(2, 6), *layers)


def tied(library):
    middle = library.Linear(4, 4)
    return library.Sequential(library.Linear(2, 4), middle, library.Tanh(), middle, library.Linear(4, 1))


models = pytest.mark.parametrize("make", [plain, without_bias, nested, named, all_activations, tied])


def inputs(dtype):
    return np.random.default_rng(0).normal(size=(100, 2)).astype(dtype)


def predictions_agree(ours, theirs, dtype, agree):
    x = inputs(dtype)
    with torch.no_grad():
        agree(ours(x), theirs(torch.tensor(x)), cancelling=16)


@models
def test_torchs_loads_as_it_is(make, dtype, agree):
    torch.manual_seed(0)
    ours, theirs = make(nn).astype(dtype), make(torch.nn).to(getattr(torch, np.dtype(dtype).name))
    faults = ours.load_state_dict(theirs.state_dict())
    assert not faults.missing_keys
    assert not faults.unexpected_keys
    predictions_agree(ours, theirs, dtype, agree)


@models
def test_ours_loads_in_torch(make, dtype, agree):
    ours, theirs = make(nn).astype(dtype), make(torch.nn).to(getattr(torch, np.dtype(dtype).name))
    ours.reset_parameters(rng=0)
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in ours.state_dict().items()})
    predictions_agree(ours, theirs, dtype, agree)


@models
def test_entries_have_torchs_names_shapes_and_order(make):
    ours, theirs = make(nn).state_dict(), make(torch.nn).state_dict()
    assert list(ours) == list(theirs)
    assert [array.shape for array in ours.values()] == [tuple(tensor.shape) for tensor in theirs.values()]
    names = [name for name, _ in make(torch.nn).named_parameters()]
    assert [name for name, _ in make(nn).named_parameters()] == names


def test_the_entries_are_copied():
    ours, theirs = plain(nn), plain(torch.nn)
    ours.load_state_dict(theirs.state_dict())
    before = ours.state_dict()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(1)
    assert all((array == before[name]).all() for name, array in ours.state_dict().items())


def test_strided_tensors_and_the_other_dtype_load():
    theirs = {name: tensor.double() for name, tensor in plain(torch.nn).state_dict().items()}
    theirs["2.weight"] = theirs["2.weight"].T.contiguous().T
    ours = plain(nn)
    ours.load_state_dict(theirs)
    for name, array in ours.state_dict().items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, theirs[name].float().numpy())


class Residual(torch.nn.Module):
    def __init__(self, body, shortcut):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


def test_residual_takes_the_names_body_and_shortcut(dtype, agree):
    def parts(library):
        return library.Sequential(library.Linear(2, 6), library.ReLU(), library.Linear(6, 4)), library.Linear(2, 4)

    ours, theirs = (
        nn.Residual(*parts(nn)).astype(dtype),
        Residual(*parts(torch.nn)).to(getattr(torch, np.dtype(dtype).name)),
    )
    ours.load_state_dict(theirs.state_dict())
    x, gy = inputs(dtype), np.ones((100, 4), dtype)
    x_torch = torch.tensor(x, requires_grad=True)
    y_torch = theirs(x_torch)
    y_torch.backward(torch.tensor(gy))
    agree(ours(x), y_torch)
    agree(ours.backward(gy), x_torch.grad)
    for (name, parameter), (name_torch, parameter_torch) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert name == name_torch
        agree(parameter.grad, parameter_torch.grad)
