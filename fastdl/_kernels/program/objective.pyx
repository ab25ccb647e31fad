"""The loss of a program's output through its descriptor, forward beside backward."""


cdef double objective_divisor(const Objective* o, const Batch* batch, real* _) noexcept nogil:
    if o.batchmean:
        return batch.N
    if not o.mean:
        return 1
    if real is float:
        return o.kernels.divisor_float(o, batch, _)
    else:
        return o.kernels.divisor_double(o, batch, _)


cdef double objective_count(const Objective* o, double divisor, Py_ssize_t N) noexcept nogil:
    return divisor if o.mean and o.kernels.counts_by_divisor else N


cdef Py_ssize_t objective_scratch(const Objective* o) noexcept nogil:
    return o.kernels.scratch(o) if o.kernels.scratch != NULL else 0


cdef double objective_forward(const Objective* o, const Batch* batch, real* scratch) noexcept nogil:
    if real is float:
        return o.kernels.forward_float(o, batch, scratch)
    else:
        return o.kernels.forward_double(o, batch, scratch)


cdef void objective_backward(const Objective* o, const Batch* batch, double divisor, real* scratch) noexcept nogil:
    cdef double factor = 1 / divisor if divisor else 0
    if real is float:
        o.kernels.backward_float(o, batch, factor, scratch)
    else:
        o.kernels.backward_double(o, batch, factor, scratch)
