"""Nodes of running sums along the last axis."""

from fastdl._kernels.node cimport DONE, Arrays, NodeDescriptor, NodeKernels, describe_node
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals


def _attributes(dict fields):
    return b""


cdef int run(const Arrays* a, real* scratch) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    entries(table, scratch).cumsum(a[0])
    return DONE


cdef NodeKernels kernels
kernels.run_float, kernels.run_double = run[float], run[double]
describe_node(NodeDescriptor("cumsum", _attributes), &kernels)
