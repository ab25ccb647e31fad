"""Nothing public goes untested: every layer, loss and optimizer has a case, every kernel a reference."""

import importlib
import inspect
import pkgutil

import pytest

import fastdl
from fastdl import _kernels, nn, optim, reference
from fastdl.testing import CASES

BASES = {nn.Module, nn.Activation, nn.Loss, optim.Optimizer}
# What computes nothing.
COLLECTIONS = {nn.ModuleList, nn.ModuleDict, nn.ParameterList}
# Modules without arithmetic of their own: the table of entry points, the check of arrays, the number of threads, and programs,
# which call the kernels of other files.
NO_KERNELS = {
    "table",
    "array",
    "threads",
    "threadpools",
    "processors",
    "program",
    "grad_mode",
    "access",
    "turns",
    "layer_call",
    "watch",
    "quiet",
    "instance",
    "option",
    "replaced",
    "declarations",
    "descriptor",
    "node",
}
# Bindings that describe kernels or choose among them, and compute nothing.
COMPUTING_NOTHING = {
    "activation_kinds",
    "get_winograd",
    "keeps_output",
    "batch_minor_length",
    "loss_kinds",
    "set_winograd",
}


def public(module, base):
    found = {value for name, value in vars(module).items() if not name.startswith("_") and inspect.isclass(value)}
    return {each for each in found if issubclass(each, base)} - BASES - COLLECTIONS


@pytest.mark.parametrize(
    "subject", sorted(public(nn, nn.Module) | public(optim, optim.Optimizer), key=lambda c: c.__name__)
)
def test_every_public_layer_loss_and_optimizer_has_a_case(subject):
    assert subject in {case.subject for case in CASES}


def bindings():
    for found in pkgutil.iter_modules(_kernels.__path__):
        if found.name not in NO_KERNELS:
            module = importlib.import_module(f"fastdl._kernels.{found.name}")
            for name, value in vars(module).items():
                if callable(value) and not name.startswith("_") and getattr(value, "__module__", "") == module.__name__:
                    yield pytest.param(found.name, name, value, id=f"{found.name}.{name}")


@pytest.mark.parametrize(("module", "name", "binding"), [p for p in bindings() if p.values[1] not in COMPUTING_NOTHING])
def test_every_kernel_has_a_reference_of_the_same_arguments(module, name, binding):
    twin = getattr(importlib.import_module(f"fastdl.reference.{module}"), name)
    assert list(inspect.signature(binding).parameters) == list(inspect.signature(twin).parameters)


def test_the_bindings_that_compute_nothing_are_still_there():
    names = {p.values[1] for p in bindings()}
    assert names >= COMPUTING_NOTHING
    assert len(names) >= 20


def test_the_reference_imports_nothing_of_ours():
    for found in pkgutil.iter_modules(reference.__path__):
        source = inspect.getsource(importlib.import_module(f"fastdl.reference.{found.name}"))
        imports = [line for line in source.splitlines() if line.startswith(("import fastdl", "from fastdl"))]
        assert all(line.startswith("from fastdl.reference") for line in imports), found.name


def documented():
    for module in (fastdl, nn, nn.init, optim, fastdl.data):
        for name, value in vars(module).items():
            if not name.startswith("_") and callable(value) and getattr(value, "__module__", "").startswith("fastdl"):
                yield pytest.param(value, id=f"{module.__name__}.{name}")


@pytest.mark.parametrize("subject", list(documented()))
def test_everything_public_is_documented(subject):
    assert inspect.getdoc(subject)
