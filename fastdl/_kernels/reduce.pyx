"""Nodes that reduce axes of arrays: sums, products, extremes, their places, any and all."""

from libc.stdint cimport int32_t

from fastdl._kernels.arrays cimport (
    REDUCE_FIND_LARGEST, REDUCE_FIND_SMALLEST, REDUCE_LARGEST, REDUCE_PRODUCT, REDUCE_SMALLEST, REDUCE_SUM,
)
from fastdl._kernels.node cimport DONE, Arrays, NodeDescriptor, NodeKernels, describe_node
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals

# Any and all are the largest and the smallest truth.
cdef dict CODES = {
    "sum": REDUCE_SUM, "prod": REDUCE_PRODUCT, "max": REDUCE_LARGEST, "min": REDUCE_SMALLEST, "any": REDUCE_LARGEST,
    "all": REDUCE_SMALLEST, "argmax": REDUCE_FIND_LARGEST, "argmin": REDUCE_FIND_SMALLEST,
}

cdef struct ReduceAttributes:
    int32_t operation, kept


def _attributes(dict fields):
    """{"operation": its name, "kept": how many axes are kept, the first ones}"""
    cdef ReduceAttributes attributes
    attributes.operation, attributes.kept = CODES[fields["operation"]], fields["kept"]
    return (<char*>&attributes)[:sizeof(attributes)]


cdef int run(const Arrays* a, real* scratch) noexcept nogil:
    cdef FlushDenormals flush
    cdef const ReduceAttributes* attributes = <const ReduceAttributes*>a.attributes
    flush.on()
    entries(table, scratch).reduce(a[0], attributes.operation, attributes.kept)
    return DONE


cdef NodeKernels kernels
kernels.run_float, kernels.run_double = run[float], run[double]
describe_node(NodeDescriptor("reduce", _attributes), &kernels)
