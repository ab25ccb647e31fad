# A node of a traced graph in a program: the strided arrays that its kernel reads and writes, and how a batch decides their sizes.
from fastdl._kernels.arrays cimport (
    DONE, FLOATING, MOST_AXES, MOST_EXTENTS, MOST_OPERANDS, NO_ELEMENTS, OUT_OF_RANGE, TRUTH, WHOLE, Arrays, Strided,
)
from fastdl._kernels.descriptor cimport Batch, Operand

# count N^power, for a batch of N.
cdef struct Extent:
    Py_ssize_t count, power

cdef inline Py_ssize_t extent(const Extent* given, Py_ssize_t N) noexcept nogil:
    cdef Py_ssize_t value = given.count, _
    for _ in range(given.power):
        value *= N
    return value

# How a node goes through an operand: elements from its place, and from one element to the next along each axis; 0 repeats.
cdef struct View:
    Operand operand
    Py_ssize_t kind, itemsize
    Extent offset
    Extent strides[MOST_AXES]

ctypedef int (*RunFloat)(const Arrays* a, float* scratch) noexcept nogil
ctypedef int (*RunDouble)(const Arrays* a, double* scratch) noexcept nogil
ctypedef Py_ssize_t (*ArraysElements)(const Arrays* a, Py_ssize_t itemsize) noexcept nogil

# A node's C functions; `scratch` is the elements that it needs, which may be NULL.
cdef struct NodeKernels:
    RunFloat run_float
    RunDouble run_double
    ArraysElements scratch

cdef struct Node:
    const NodeKernels* kernels
    const void* attributes
    Py_ssize_t axes, count
    Extent sizes[MOST_AXES]
    Extent extents[MOST_EXTENTS]
    View* views

cdef class NodeDescriptor:
    cdef NodeKernels kernels
    cdef readonly str name
    cdef readonly object attributes

cdef int describe_node(NodeDescriptor descriptor, const NodeKernels* kernels) except -1

# A node's arrays for a batch.
cdef void resolve(const Node* node, const Batch* batch, Arrays* arrays) noexcept nogil
