# The optimizer's steps in a program; see update.pyx.
from fastdl._kernels.table cimport real

cdef enum OptimizerKind:
    SGD
    RMSPROP
    ADAM

# A stretch of parameters p with gradient g that one step covers. Where they are the weights of one operation (its number, else -1),
# its backward may take the step part by part, with gradients that are never stored; `taken` tells, and whether any part `failed`.
cdef struct Update:
    Py_ssize_t kind, n, step
    Py_ssize_t p, g, first_state, second_state, third_state
    Py_ssize_t nesterov, decoupled, maximize, eps_inside_sqrt
    Py_ssize_t operation, taken, failed
    double lr, weight_decay, momentum, dampening, alpha, eps, beta1, beta2

cdef void clip_values(const Update* update, Py_ssize_t count, double limit, real* _) noexcept nogil
cdef void clip_norm(const Update* update, Py_ssize_t count, double limit, real* _) noexcept nogil
# Whether all gradients were finite.
cdef bint take_step(Update* update, Py_ssize_t count, real* _) noexcept nogil
cdef void take_part(Update* update, Py_ssize_t start, Py_ssize_t n, const real* g) noexcept nogil
