"""Running one operation of a program through its descriptor: the activation that follows it, and where its gradients go."""

from libc.math cimport isfinite

from fastdl._kernels.activation cimport activation_backward_kernel, activation_forward_kernel
from fastdl._kernels.descriptor cimport MOST_PARAMETERS, Gradients, place


cdef Py_ssize_t planning_memory(const Operation* op) noexcept nogil:
    return op.kernels.memory(op) if op.kernels.memory != NULL else 0


cdef Py_ssize_t operation_scratch(const Operation* op, Py_ssize_t N, Py_ssize_t itemsize, void* memory) noexcept nogil:
    return op.kernels.scratch(op, N, itemsize, memory) if op.kernels.scratch != NULL else 0


cdef inline Py_ssize_t elements_of_y(const Operation* op, const Batch* batch) noexcept nogil:
    return op.y_size * (op.y_length if op.y_length else batch.N)


cdef void forward_operation(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    cdef real* y
    if real is float:
        op.kernels.forward_float(op, batch, scratch)
    else:
        op.kernels.forward_double(op, batch, scratch)
    if op.activation.code and not op.kernels.activates_forward:
        y = <real*>place(&op.y, batch)
        activation_forward_kernel(
            <const real*>y, <int>op.activation.code, op.activation.alpha, op.activation.beta, elements_of_y(op, batch), y)


cdef bint finite_output(const Operation* op, const Batch* batch, real* _) noexcept nogil:
    cdef const real* y = <const real*>place(&op.y, batch)
    cdef Py_ssize_t i, j, N = batch.N, row = op.y_length if op.y_length else op.y_size
    for i in range(op.y_size if op.y_length else N):
        for j in range(N if op.y_length else op.y_size):
            if not isfinite(y[i * row + j]):
                return False
    return True


cdef void backward_operation(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    cdef Gradients g
    cdef real* before
    g.gy, g.gx = place(&op.gy, batch), place(&op.gx, batch)
    if not find_gradients(op, batch, &g, scratch) and g.gx == NULL:
        return
    if op.activation.code and not op.kernels.activates_backward:
        before = <real*>place(&op.before, batch)
        activation_backward_kernel(
            <const real*>g.gy, <const real*>place(&op.y, batch), <int>op.activation.code, op.activation.alpha, op.activation.beta,
            elements_of_y(op, batch), before)
        g.gy = before
    if real is float:
        op.kernels.backward_float(op, batch, &g, scratch)
    else:
        op.kernels.backward_double(op, batch, &g, scratch)


cdef inline bint find_gradients(const Operation* op, const Batch* batch, Gradients* g, real* _) noexcept nogil:
    """Where the gradients of parameters go, those of a block apart from the others'; whether there are some."""
    cdef Py_ssize_t i
    cdef bint some = False
    cdef real* own = <real*>batch.sums + op.sums * batch.blocks if batch.sums != NULL else NULL
    g.accumulate = own == NULL and batch.accumulates[op.number]
    for i in range(MOST_PARAMETERS):
        g.parameters[i] = place(op.gradients + i, batch)
        if g.parameters[i] != NULL:
            some = True
            if own != NULL:
                g.parameters[i] = own + batch.block * op.sizes[i]
        if own != NULL:
            own += batch.blocks * op.sizes[i]
    return some
