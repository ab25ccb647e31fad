"""Nodes that read, or add to, the elements along an axis that an index names."""

from fastdl._kernels.node cimport Arrays, NodeDescriptor, NodeKernels, describe_node
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals


def _attributes(dict fields):
    return b""


cdef int run_gather(const Arrays* a, real* scratch) noexcept nogil:
    return entries(table, scratch).gather(a[0])


cdef int run_scatter_add(const Arrays* a, real* scratch) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    return entries(table, scratch).scatter_add(a[0])


cdef NodeKernels kernels
kernels.run_float, kernels.run_double = run_gather[float], run_gather[double]
describe_node(NodeDescriptor("gather", _attributes), &kernels)
kernels.run_float, kernels.run_double = run_scatter_add[float], run_scatter_add[double]
describe_node(NodeDescriptor("scatter_add", _attributes), &kernels)
