# The optimizers' steps over one run of parameters, as C functions that tell whether all gradients were finite; see optim.pyx.
# State arrays may be NULL where unused.
from fastdl._kernels.table cimport real

cdef bint sgd_step_kernel(
    const real* g, double lr, double momentum, double dampening, double weight_decay, bint nesterov, bint decoupled, bint maximize,
    bint first, Py_ssize_t n, real* p, real* momentum_buffer) noexcept nogil
cdef bint rmsprop_step_kernel(
    const real* g, double lr, double alpha, double eps, double weight_decay, bint decoupled, double momentum, bint maximize,
    bint eps_inside_sqrt, Py_ssize_t n, real* p, real* square_avg, real* grad_avg, real* momentum_buffer) noexcept nogil
cdef bint adam_step_kernel(
    const real* g, double lr, double beta1, double beta2, double eps, double weight_decay, bint decoupled, bint maximize,
    bint eps_inside_sqrt, Py_ssize_t step, Py_ssize_t n, real* p, real* exp_avg, real* exp_avg_sq,
    real* max_exp_avg_sq) noexcept nogil
cdef double norm_kernel(const real* g, Py_ssize_t n) noexcept nogil
cdef void shrink_kernel(double limit, double norm, Py_ssize_t n, real* g) noexcept nogil
