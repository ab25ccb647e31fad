"""Naive: fastdl's models, losses and optimizers, run on the reference's for-loops."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl.errors import InvalidTypeError
from fastdl.nn.grad_mode import mode
from fastdl.optim import Optimizer
from fastdl.reference import optim as reference_optim

Array = NDArray[Any]
Backward = Callable[[Array], Array]


@contextmanager
def on_the_reference(*parts: Any) -> Iterator[None]:
    """Let the layers in these modules, and these losses, compute with the reference's loops inside the block.

    The interpreter of graphs does so too, since it calls the layers. Containers go layer by layer.
    """
    kinds = {type(each) for part in parts for each in (part.modules() if hasattr(part, "modules") else [part])}
    swapped = [entry for kind in kinds for entry in _kernels_of(kind)]
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in swapped]
    repeats, mode.repeats = mode.repeats, True
    try:
        for owner, name, twin in swapped:
            setattr(owner, name, twin)
        yield
    finally:
        mode.repeats = repeats
        for owner, name, kernel in before:
            setattr(owner, name, kernel)


def naive(model: Any, x: Array, gradients: dict[int, Array]) -> tuple[Array, Backward]:
    """Run a model of fastdl's own layers on the reference's loops.

    Returns the output and a function from the output's gradient to the input's, which adds the parameters' gradients to
    `gradients`, by the Parameter's id.
    """
    if not hasattr(model, "_forward"):
        raise InvalidTypeError("naive", "one of fastdl's own layers", type(model).__name__)
    with on_the_reference(model):
        y, saved = model._forward(x)

    def backward(gy: Array) -> Array:
        before = [(parameter, parameter.grad.copy()) for parameter in model.parameters()]
        model.zero_grad()
        with on_the_reference(model):
            gx = model._backward(saved, gy, True, True)
        for parameter, grad in before:
            gradients.setdefault(id(parameter), np.zeros_like(grad))
            gradients[id(parameter)] += parameter.grad
            parameter.grad = grad
        return gx

    return y, backward


def naive_loss(criterion: Any, output: Array, target: Array) -> tuple[Any, Array]:
    """Run a loss of fastdl's own on the reference's loops: its value, and the gradient with respect to output."""
    if not hasattr(criterion, "_objective"):
        raise InvalidTypeError("naive_loss", "one of fastdl's own losses", type(criterion).__name__)
    with on_the_reference(criterion):
        value, saved = criterion._forward(output, target)
        return value, criterion._backward(saved, None, True, False)


def naive_step(optimizer: Optimizer, data: Array, grad: Array, state: dict[str, Array], step: int) -> None:
    """Take one step of an optimizer of fastdl's own on the reference's loops; state starts as zeros by name."""
    group = optimizer.param_groups[0]
    if not optimizer.native:
        raise InvalidTypeError("naive_step", "one of fastdl's own optimizers", type(optimizer).__name__)
    arrays = {name: state.setdefault(name, np.zeros_like(data)) for name in optimizer.state_names}
    take = getattr(reference_optim, f"{optimizer.native}_step")
    take(grad, group, step, data, *optimizer._states(arrays, group))


def _kernels_of(kind: type[Any]) -> Iterable[tuple[Any, str, Any]]:
    """The kernels that a class and its module name, as owner, name and what the reference has for them."""
    for base in kind.__mro__:
        if not base.__module__.startswith("fastdl.nn."):
            continue
        for owner in (base, sys.modules[base.__module__]):
            for name, value in list(vars(owner).items()):
                twin = _twin(value)
                if twin is not value:
                    yield owner, name, twin


def _twin(value: Any) -> Any:
    """The reference's function in the place of a kernel, alone, in a tuple or in a module; else the value itself."""
    if isinstance(value, tuple):
        twins = tuple(map(_twin, value))
        return value if all(one is other for one, other in zip(value, twins, strict=True)) else twins
    if isinstance(value, staticmethod):
        twin = _twin(value.__func__)
        return value if twin is value.__func__ else staticmethod(twin)
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    package, _, subject = (name or "").rpartition(".")
    if package != "fastdl._kernels" or not find_spec(f"fastdl.reference.{subject}"):
        return value
    reference = import_module(f"fastdl.reference.{subject}")
    return reference if isinstance(value, ModuleType) else getattr(reference, value.__name__, value)
