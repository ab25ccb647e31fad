"""Node kernels called on NumPy arrays: strides from broadcast views, the output in any layout."""

import numpy as np

# Their imports register them.
from fastdl._kernels import elementwise, gather, matmul, reduce, scan, sort  # noqa: F401
from fastdl._kernels.node import run_node


def elements(array):
    """The strides in elements; 0 along axes that repeat."""
    return tuple(stride // array.itemsize for stride in array.strides)


def run(name, attributes, sizes, arrays, dtype, extents=(), strides=None):
    """Run a node on arrays that have its axes (views of them, where they repeat)."""
    strides = [elements(array) for array in arrays] if strides is None else strides
    return run_node(
        name, attributes, tuple(sizes), list(arrays), strides, tuple(extents), np.dtype(dtype).itemsize == 4
    )


def instructions(registers, *steps):
    return {"registers": registers, "instructions": [(*step, *[-1] * (5 - len(step))) for step in steps]}


def program(attributes, inputs, dtype, kind=None, out=None):
    """The output of an elementwise node on inputs that broadcast."""
    shape = np.broadcast_shapes(*(np.shape(each) for each in inputs))
    out = np.empty(shape, dtype if kind is None else kind) if out is None else out
    arrays = [out, *(np.broadcast_to(each, shape) for each in inputs)]
    assert run("elementwise", attributes, shape, arrays, dtype) == 0
    return out


def apply(operation, *inputs, dtype, kind=None, registers="float", out=None):
    """One instruction."""
    count = len(inputs)
    return program(instructions(registers, (operation, count, *range(count))), inputs, dtype, kind, out)


def reduced(operation, x, axes, dtype, kind=None):
    """A reduction over axes, the others in their order."""
    axes = tuple(axis % x.ndim for axis in axes)
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    turned = np.transpose(x, [*kept, *axes])
    out = np.empty(turned.shape[: len(kept)], x.dtype if kind is None else kind)
    strides = [(*elements(out), *[0] * len(axes)), elements(turned)]
    assert (
        run("reduce", {"operation": operation, "kept": len(kept)}, turned.shape, [out, turned], dtype, (), strides) == 0
    )
    return out
