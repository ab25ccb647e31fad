"""The optimizer's steps in a program: all at once when the gradients stand, or part by part as they are made."""

from libc.math cimport hypot, isinf, isnan

from fastdl._kernels.optim cimport adam_step_kernel, norm_kernel, rmsprop_step_kernel, sgd_step_kernel, shrink_kernel
from fastdl._kernels.table cimport entries, real, table

# A part is stepped in runs that one thread takes without asking for others.
cdef enum:
    RUN = 16384

# 2^-512
cdef double FAR_BELOW = 7.458340731200207e-155


cdef void clip_values(const Update* update, Py_ssize_t count, double limit, real* _) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        entries(table, _).clamp(<real>-limit, <real>limit, <real*>update[i].g, update[i].n)


cdef double norm_of_all(const Update* update, Py_ssize_t count, real* _) noexcept nogil:
    """The norm of all gradients as one vector; NaN where one is."""
    cdef Py_ssize_t i
    cdef double total = 0, norm
    for i in range(count):
        norm = norm_kernel(<const real*>update[i].g, update[i].n)
        if isnan(norm):
            return norm
        total = hypot(total, norm)
    return total


cdef void clip_norm(const Update* update, Py_ssize_t count, double limit, real* _) noexcept nogil:
    """All gradients together times limit / (norm + 1e-6), where that is below 1."""
    cdef Py_ssize_t i
    cdef double norm = norm_of_all(update, count, _)
    if isinf(norm) and sizeof(real) == sizeof(double):  # perhaps of finite gradients
        for i in range(count):
            entries(table, _).scale(<real>FAR_BELOW, <real*>update[i].g, update[i].n)
        norm = norm_of_all(update, count, _)
    if not limit / (norm + 1e-6) >= 1:
        for i in range(count):
            shrink_kernel(limit, norm, update[i].n, <real*>update[i].g)


cdef inline real* after(Py_ssize_t state, Py_ssize_t start, real* _) noexcept nogil:
    return <real*>state + start if state else NULL


cdef bint step_of(const Update* u, Py_ssize_t step, Py_ssize_t start, Py_ssize_t n, const real* g) noexcept nogil:
    """Step number `step` of n parameters from `start` on, whose gradients are g; whether these were finite."""
    cdef real* p = <real*>u.p + start
    cdef real* first = after(u.first_state, start, p)
    cdef real* second = after(u.second_state, start, p)
    cdef real* third = after(u.third_state, start, p)
    if u.kind == SGD:
        return sgd_step_kernel(
            g, u.lr, u.momentum, u.dampening, u.weight_decay, u.nesterov, u.decoupled, u.maximize, step == 1, n, p, first)
    if u.kind == RMSPROP:
        return rmsprop_step_kernel(
            g, u.lr, u.alpha, u.eps, u.weight_decay, u.decoupled, u.momentum, u.maximize, u.eps_inside_sqrt, n, p, first, second,
            third)
    return adam_step_kernel(
        g, u.lr, u.beta1, u.beta2, u.eps, u.weight_decay, u.decoupled, u.maximize, u.eps_inside_sqrt, step, n, p, first, second,
        third)


cdef bint take_step(Update* update, Py_ssize_t count, real* _) noexcept nogil:
    cdef Py_ssize_t i
    cdef Update* u
    cdef bint finite = True
    for i in range(count):
        u = update + i
        u.step += 1
        if u.taken:
            finite = finite and not u.failed
            u.taken = 0
        else:
            finite = step_of(u, u.step, 0, u.n, <const real*>u.g) and finite
    return finite


cdef void take_part(Update* u, Py_ssize_t start, Py_ssize_t n, const real* g) noexcept nogil:
    cdef Py_ssize_t done = 0, run
    while done < n:
        run = min(n - done, <Py_ssize_t>RUN)
        if not step_of(u, u.step + 1, start + done, run, g + done):
            u.failed = 1
        done += run
