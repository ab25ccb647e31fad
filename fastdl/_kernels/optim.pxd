# The optimizers' steps as C functions that tell whether all gradients were finite; see optim.pyx.
from fastdl._kernels.descriptor cimport Update
from fastdl._kernels.table cimport real

# One step of all; of n elements from `start` on alone, with gradients g, whose number is the next.
cdef bint take_step(Update* update, Py_ssize_t count, real* _) noexcept nogil
cdef void take_part(Update* update, Py_ssize_t start, Py_ssize_t n, const real* g) noexcept nogil
cdef double norm_kernel(const real* g, Py_ssize_t n) noexcept nogil
cdef void shrink_kernel(double limit, double norm, Py_ssize_t n, real* g) noexcept nogil
