"""Nodes of traced graphs in programs: their descriptors, and their arrays for a batch."""

cimport numpy as cnp
from libc.stdint cimport int64_t

import numpy as np

from fastdl._kernels.descriptor cimport place
from fastdl._kernels.table cimport real

cnp.import_array()

# By name; the kernels' files enter them.
NODES = {}  # type: dict[str, NodeDescriptor]


def node_named(str name not None) -> NodeDescriptor:
    """The node's descriptor, for copies."""
    return NODES[name]


cdef class NodeDescriptor:
    """A kind of nodes of programs: its stable name, and what packs its attributes, a dictionary by name."""

    def __init__(self, str name not None, attributes: Callable[[dict[str, Any]], bytes]):
        self.name, self.attributes = name, attributes

    def __repr__(self):
        return f"NodeDescriptor({self.name!r})"

    def __reduce__(self):
        return node_named, (self.name,)


cdef int describe_node(NodeDescriptor descriptor, const NodeKernels* kernels) except -1:
    """Enter a kind of nodes with its C functions."""
    descriptor.kernels = kernels[0]
    NODES[descriptor.name] = descriptor
    return 0


cdef void resolve(const Node* node, const Batch* batch, Arrays* arrays) noexcept nogil:
    cdef Py_ssize_t i, axis, N = batch.N
    cdef const View* view
    arrays.axes, arrays.count, arrays.attributes = node.axes, node.count, node.attributes
    for axis in range(node.axes):
        arrays.sizes[axis] = extent(node.sizes + axis, N)
    for i in range(MOST_EXTENTS):
        arrays.extents[i] = extent(node.extents + i, N)
    for i in range(node.count):
        view = node.views + i
        arrays.operands[i].at = place(&view.operand, batch) + extent(&view.offset, N) * view.itemsize
        arrays.operands[i].kind = view.kind
        for axis in range(node.axes):
            arrays.operands[i].strides[axis] = extent(view.strides + axis, N)


def run_node(
    str name not None, dict attributes not None, tuple sizes not None, list arrays not None, list strides not None,
    tuple extents=(), bint floats=True,
) -> int:
    """Run a node's kernel once.

    Args:
        name: of its descriptor.
        attributes: as the descriptor packs them.
        sizes: of the axes that it goes through.
        arrays: the output and the inputs, of the program's floating type, int64 or bool.
        strides: of each, in elements along each axis.
        extents: further sizes, as the kernel wants them.
        floats: whether the program's floating type is float32.

    Returns:
        The kernel's status: 0 where all is well.
    """
    cdef NodeDescriptor descriptor = NODES[name]
    cdef bytes packed = descriptor.attributes(attributes)
    cdef Arrays a
    cdef Py_ssize_t i, axis
    cdef cnp.ndarray array, scratch
    if len(sizes) > MOST_AXES or len(arrays) > MOST_OPERANDS or len(extents) > MOST_EXTENTS:
        raise ValueError(f"run_node: expected at most {MOST_AXES} axes and {MOST_OPERANDS} operands, got more")
    a.axes, a.count, a.attributes = len(sizes), len(arrays), <const void*><const char*>packed
    for axis in range(a.axes):
        a.sizes[axis] = sizes[axis]
    for i in range(MOST_EXTENTS):
        a.extents[i] = extents[i] if i < len(extents) else 0
    for i in range(a.count):
        array = arrays[i]
        a.operands[i].at = <char*>cnp.PyArray_DATA(array)
        a.operands[i].kind = FLOATING if array.dtype.kind == "f" else WHOLE if array.dtype.kind == "i" else TRUTH
        for axis in range(a.axes):
            a.operands[i].strides[axis] = strides[i][axis]
    scratch = np.empty(
        descriptor.kernels.scratch(&a, 4 if floats else 8) if descriptor.kernels.scratch != NULL else 0,
        np.float32 if floats else np.float64)
    if floats:
        return descriptor.kernels.run_float(&a, <float*>cnp.PyArray_DATA(scratch))
    return descriptor.kernels.run_double(&a, <double*>cnp.PyArray_DATA(scratch))


def _no_attributes(dict fields):
    return b""


cdef int run_size(const Arrays* a, real* scratch) noexcept nogil:
    """The first extent, which is a number of samples or of elements."""
    if a.operands[0].kind == WHOLE:
        (<int64_t*>a.operands[0].at)[0] = a.extents[0]
    else:
        (<real*>a.operands[0].at)[0] = <real>a.extents[0]
    return DONE


cdef NodeKernels size_kernels
size_kernels.run_float, size_kernels.run_double = run_size[float], run_size[double]
describe_node(NodeDescriptor("size", _no_attributes), &size_kernels)
