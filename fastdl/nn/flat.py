"""Flat: a container called outside of fit, as one program instead of layer by layer.

What anyone sees stays the same: outputs and gradients are arrays of their own, each forward keeps what its backward needs, and
whatever is changed in the model (a layer, an option, a mode, a parameter) is noticed before the next call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.array import ready
from fastdl._kernels.call import Call, Kept, Watch
from fastdl._kernels.program import Program
from fastdl.nn.module import Layer, Module
from fastdl.nn.parameter import Parameter
from fastdl.random import stream

# A container is planned at the so-and-so-manyth call: a plan costs as much as some dozens of calls.
PATIENCE = 3
# The most memory that a program may hold on to, in bytes: with larger batches Python's share is small anyway.
LARGEST = 32 * 2**20
# What a forward leaves in layers and calls leave in containers, and what only a draw of parameters reads.
PASSING = frozenset({"_kept", "_fitting", "_shapes", "_dtype", "_flat", "weight_init", "bias_init"})


class Flat:
    """A container's programs, for calls with and without backward: made after some calls, and anew after changes."""

    def __init__(self) -> None:
        self.calls: list[Call | None] = [None, None]
        self._waited, self._patience = 0, PATIENCE

    def forward(self, module: Module, x: Any, keeps: bool) -> Kept | None:
        """Make a program when it is time; what it keeps of x's forward, or None where layer by layer is the way."""
        self._waited += 1
        if self._waited < self._patience:
            return None
        self._waited = 0
        self.calls[keeps] = None
        if type(x) is not np.ndarray or x.dtype not in (np.float32, np.float64) or x.ndim < 2 or not len(x):
            return None
        try:
            self.calls[keeps] = call = call_of(module, x, keeps)
        except (ImportError, ValueError, TypeError, IndexError):
            self._patience *= 10  # layer by layer tells what is wrong, if anything is
            return None
        return call.forward(x, module if keeps else None)

    @staticmethod
    def kept(value: Any) -> bool:
        """Whether this is what a program's forward has kept."""
        return type(value) is Kept

    def backward(self, module: Module, grad_output: Any, with_input: bool) -> Any:
        """What a container's backward does with what its program has kept."""
        kept: Kept = module._kept
        if not kept.current():
            raise RuntimeError(
                f"{module.spec()}: the model was changed after the latest forward; call the model on a batch again"
            )
        gy, y = ready(grad_output, kept.y.dtype, module), kept.y
        if gy.shape != y.shape:
            raise ValueError(f"{module.spec()}: expected a gradient of shape {y.shape}, got {gy.shape}")
        return kept.backward(gy, with_input)


def watch(module: Module, *others: object) -> Watch:
    """Tells whether a module, its parts and some other objects still hold what they hold now."""
    modules = list(module.modules())
    dictionaries = [vars(each) for each in (*modules, *others)]
    dictionaries += [vars(each)["_layers"] for each in modules if "_layers" in vars(each)]
    return Watch(dictionaries, PASSING, list(module.parameters()), Parameter)


def call_of(module: Module, x: NDArray[Any], keeps: bool) -> Call:
    """A module's program for calls with batches like x; a NotPlannedError says why that cannot be."""
    from fastdl.plan import Plan

    def make() -> tuple[Program, Plan, Any]:
        plan = Plan(x.shape[1:], x.dtype, len(x), keeps, outside=True)
        output = plan.through(module, plan.input)
        if not plan.operations or output.storage is None or output.shared:
            raise plan.refusal("nothing is computed")
        program = plan.program(output)
        if plan.nbytes > LARGEST:
            raise plan.refusal("batches are large")
        return program, plan, output

    program, plan, output = make()
    for each in module.modules() if keeps else ():
        if isinstance(each, Layer):
            each._kept = None  # a backward of its own must not meet what an earlier forward has left
    return Call(
        program,
        lambda: make()[0],
        watch(module),
        x,
        output.shape,
        plan.least_samples,
        plan.bindings(),
        plan.differentiating(),
        stream,
    )
