"""Options have PyTorch's names, defaults and order."""

import inspect
from itertools import takewhile

import pytest

from fastdl import nn, optim
from fastdl.nn import init

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

# What is deprecated, pads with other than zeros, or is about devices, memory and autograd, has no counterpart here.
LEFT_OUT = {
    "size_average", "reduce", "inplace", "device", "last_epoch", "verbose", "generator", "args", "kwargs",
    "foreach", "fused", "capturable", "differentiable", "error_if_nonfinite", "padding_mode", "return_indices",
}  # fmt: skip
# torch.nn.Softmax's dim=None is deprecated; float32 is NumPy's spelling of the default dtype.
OTHER_DEFAULTS = {"dim", "dtype"}

ACTIVATIONS = ["ReLU", "LeakyReLU", "ELU", "Tanh", "Sigmoid", "GELU", "SiLU", "Softplus", "Identity"]
POOLING = ["MaxPool1d", "MaxPool2d", "AvgPool1d", "AvgPool2d", "AdaptiveAvgPool2d", "Flatten"]
NORMS = ["BatchNorm1d", "BatchNorm2d", "LayerNorm"]
LAYERS = ["Linear", "Conv1d", "Conv2d", *ACTIVATIONS, "Softmax", "LogSoftmax", *POOLING, *NORMS, "Dropout", "Dropout2d"]
LOSSES = ["MSELoss", "L1Loss", "HuberLoss", "CrossEntropyLoss", "NLLLoss", "BCELoss", "BCEWithLogitsLoss"]
SCHEDULES = ["StepLR", "ExponentialLR", "CosineAnnealingLR", "ReduceLROnPlateau"]
INITIALIZERS = ["uniform", "normal", "constant", "ones", "zeros", "xavier_uniform", "xavier_normal", "kaiming_uniform",
                "kaiming_normal"]  # fmt: skip

PAIRS = [
    *((getattr(nn, name), getattr(torch.nn, name)) for name in LAYERS + LOSSES),
    *((getattr(optim, name), getattr(torch.optim, name)) for name in ("SGD", "RMSprop", "Adam", "AdamW")),
    *((getattr(optim, name), getattr(torch.optim.lr_scheduler, name)) for name in SCHEDULES),
    (optim.clip_grad_norm, torch.nn.utils.clip_grad_norm_),
    (optim.clip_grad_value, torch.nn.utils.clip_grad_value_),
    (init.calculate_gain, torch.nn.init.calculate_gain),
]


def options(function):
    return [p for p in inspect.signature(function).parameters.values() if p.name not in LEFT_OUT]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda function: function.__name__)
def test_torchs_options_are_here(ours, theirs):
    known = {p.name: p for p in options(ours)}
    for expected in options(theirs):
        assert expected.name in known
        if expected.name not in OTHER_DEFAULTS:
            assert known[expected.name].default == expected.default


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda function: function.__name__)
def test_what_is_given_by_position_means_the_same(ours, theirs):
    def positional(function):
        # What torch has behind return_indices, which stands amid others, is given by name here.
        here = takewhile(lambda p: p.name != "return_indices", inspect.signature(function).parameters.values())
        return [p.name for p in here if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in LEFT_OUT]

    here, there = positional(ours), [name for name in positional(theirs) if name not in ("dtype", "maximize")]
    assert here == there


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initializers_take_torchs_arguments(name):
    here = [(p.name, p.default) for p in options(getattr(init, name))]
    there = [(p.name, p.default) for p in options(getattr(torch.nn.init, f"{name}_")) if p.name != "tensor"]
    renamed = {"a": "low", "b": "high"} if name == "uniform" else {"val": "value"}
    there = [(renamed.get(each, each), default) for each, default in there]
    assert [pair for pair in here if pair[0] != "truncated"] == there
