"""Nodes that reduce axes of arrays: sums, products, extremes, their places, any and all."""

from libc.stdint cimport int32_t

from fastdl._kernels.arrays cimport (
    REDUCE_FIND_LARGEST, REDUCE_FIND_SMALLEST, REDUCE_LARGEST, REDUCE_PRODUCT, REDUCE_SMALLEST, REDUCE_SUM,
)
from fastdl._kernels.node cimport DONE, NO_ELEMENTS, TRUTH, Arrays, NodeDescriptor, NodeKernels, describe_node
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for, workers

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
    cdef double work = 1
    cdef Py_ssize_t axis
    cdef int shares
    for axis in range(a.axes):
        work *= a.sizes[axis]
    if work == 0 and lacks_elements(a):
        return NO_ELEMENTS
    shares = threads_for(work)
    workers.run(shares, shares, run_share[real], a, scratch, shares)
    return DONE


cdef bint lacks_elements(const Arrays* a) noexcept nogil:
    """Whether results are extremes, or their places, of nothing. That of truth values is False or True."""
    cdef const ReduceAttributes* attributes = <const ReduceAttributes*>a.attributes
    cdef Py_ssize_t axis
    cdef bint places = attributes.operation == REDUCE_FIND_LARGEST or attributes.operation == REDUCE_FIND_SMALLEST
    cdef bint extremes = attributes.operation == REDUCE_LARGEST or attributes.operation == REDUCE_SMALLEST
    if not places and (not extremes or a.operands[1].kind == TRUTH):
        return False
    for axis in range(attributes.kept):
        if a.sizes[axis] == 0:
            return False
    return True


cdef void run_share(Py_ssize_t share, const Arrays* a, const real* scratch, int shares) noexcept nogil:
    """The core chooses the order of sums before it takes the share, so that it does not depend on their number."""
    cdef FlushDenormals flush
    cdef const ReduceAttributes* attributes = <const ReduceAttributes*>a.attributes
    flush.on()
    entries(table, scratch).reduce(a[0], attributes.operation, attributes.kept, share, shares)


cdef NodeKernels kernels
kernels.run_float, kernels.run_double = run[float], run[double]
describe_node(NodeDescriptor("reduce", _attributes), &kernels)
