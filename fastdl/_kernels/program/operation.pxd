# Running one operation of a program; see operation.pyx.
from fastdl._kernels.descriptor cimport Batch, Operation
from fastdl._kernels.table cimport real

# Elements of scratch for a batch of N, and bytes of memory that finding this out takes.
cdef Py_ssize_t operation_scratch(const Operation* op, Py_ssize_t N, Py_ssize_t itemsize, void* memory) noexcept nogil
cdef Py_ssize_t planning_memory(const Operation* op) noexcept nogil
# Whether all that an operation has yielded is finite.
cdef bint finite_output(const Operation* op, const Batch* batch, real* _) noexcept nogil
cdef void forward_operation(const Operation* op, const Batch* batch, real* scratch) noexcept nogil
cdef void backward_operation(const Operation* op, const Batch* batch, real* scratch) noexcept nogil
