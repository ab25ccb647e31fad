"""Nodes that number the elements along the last axis in ascending order."""

from fastdl._kernels.node cimport DONE, Arrays, NodeDescriptor, NodeKernels, describe_node
from fastdl._kernels.table cimport entries, real, table


def _attributes(dict fields):
    return b""


cdef Py_ssize_t scratch_of(const Arrays* a, Py_ssize_t itemsize) noexcept nogil:
    return (32 * a.sizes[a.axes - 1] + 8) // itemsize


cdef int run(const Arrays* a, real* scratch) noexcept nogil:
    entries(table, scratch).argsort(a[0], scratch)
    return DONE


cdef NodeKernels kernels
kernels.run_float, kernels.run_double = run[float], run[double]
kernels.scratch = scratch_of
describe_node(NodeDescriptor("argsort", _attributes), &kernels)
