"""Losses over classes: the negative log-likelihood of a target class, and the cross entropy of scores with a distribution.

Scores x are (N, C, D), targets (N, D) class indices or (N, C, D) probabilities; each kernel works sample by sample.
"""

cimport numpy as cnp
from libc.stdint cimport int64_t

from fastdl._kernels.array cimport address, scratch_for
from fastdl._kernels.softmax cimport gather, scatter
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals

cnp.import_array()


cdef void nll_forward_kernel(
    const real* x, const int64_t* target, const real* weight, int64_t ignore_index, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D,
    real* y) noexcept nogil:
    cdef Py_ssize_t n, d
    cdef int64_t k
    for n in range(N):
        for d in range(D):
            k = target[n * D + d]
            y[n * D + d] = 0
            if k != ignore_index:
                y[n * D + d] = -(weight[k] if weight != NULL else 1) * x[(n * C + k) * D + d]


cdef void nll_backward_kernel(
    const int64_t* target, const real* weight, int64_t ignore_index, const real* gy, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D,
    real* gx) noexcept nogil:
    cdef Py_ssize_t n, d, i
    cdef int64_t k
    for i in range(N * C * D):
        gx[i] = 0
    for n in range(N):
        for d in range(D):
            k = target[n * D + d]
            if k != ignore_index:
                gx[(n * C + k) * D + d] = -(weight[k] if weight != NULL else 1) * gy[n * D + d]


# The probability of a class in the smoothed target: q, or with indices 1 at class k.
cdef inline double smoothed(double q, double label_smoothing, Py_ssize_t C) noexcept nogil:
    return (1 - label_smoothing) * q + label_smoothing / C


cdef void cross_entropy_forward_kernel(
    const real* x, const int64_t* target, const real* t, const real* weight, int64_t ignore_index, double label_smoothing,
    Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, real* p, real* y, real* scratch) noexcept nogil:
    """p = softmax(x); y = - sum of weight q log p, log p = (x - top) - log_sum. `target` or `t` is NULL."""
    cdef FlushDenormals flush
    cdef Py_ssize_t n, d, c
    cdef int64_t k = 0
    cdef real top, log_sum
    cdef double q
    cdef double total
    cdef const real* row
    cdef real* out
    flush.on()
    for n in range(N):
        for d in range(D):
            row = x + n * C * D
            out = p + n * C * D
            if D > 1:
                gather(row + d, C, D, scratch)
                row = scratch
                out = scratch + C
            entries(table, x).softmax(row, out, &top, &log_sum, C)
            total = 0
            if t == NULL:
                k = target[n * D + d]
            if t == NULL and k != ignore_index and label_smoothing == 0:
                total = (weight[k] if weight != NULL else 1) * (log_sum - (row[k] - top))
            elif t != NULL or k != ignore_index:
                for c in range(C):
                    q = smoothed(t[(n * C + c) * D + d] if t != NULL else c == k, label_smoothing, C)
                    if t != NULL or q != 0:
                        total += (weight[c] if weight != NULL else 1) * q * (log_sum - (row[c] - top))
            y[n * D + d] = <real>total
            if D > 1:
                scatter(out, C, D, p + n * C * D + d)


cdef void cross_entropy_backward_kernel(
    const real* p, const int64_t* target, const real* t, const real* weight, int64_t ignore_index, double label_smoothing,
    const real* gy, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, real* gx) noexcept nogil:
    """gx = gy (p sum of weight q - weight q), 0 where the target is ignored. `target` or `t` is NULL."""
    cdef FlushDenormals flush
    cdef Py_ssize_t n, d, c, at
    cdef int64_t k = 0
    cdef double total, g, q
    flush.on()
    for n in range(N):
        for d in range(D):
            if t == NULL:
                k = target[n * D + d]
            g = gy[n * D + d]
            if t == NULL and k == ignore_index:
                for c in range(C):
                    gx[(n * C + c) * D + d] = 0
                continue
            if t == NULL and label_smoothing == 0:
                total = weight[k] if weight != NULL else 1
                for c in range(C):
                    gx[(n * C + c) * D + d] = <real>(g * total) * p[(n * C + c) * D + d]
                gx[(n * C + k) * D + d] -= <real>(g * total)
                continue
            total = 0
            for c in range(C):
                at = (n * C + c) * D + d
                q = smoothed(t[at] if t != NULL else c == k, label_smoothing, C) * (weight[c] if weight != NULL else 1)
                total += q
            for c in range(C):
                at = (n * C + c) * D + d
                q = smoothed(t[at] if t != NULL else c == k, label_smoothing, C) * (weight[c] if weight != NULL else 1)
                gx[at] = <real>(g * (p[at] * total - q))


def nll_forward(
    cnp.ndarray x not None, cnp.ndarray target not None, cnp.ndarray weight, int64_t ignore_index, cnp.ndarray y not None,
):
    """y = -weight[target] x[target], 0 where the target is ignore_index."""
    cdef Py_ssize_t N = x.shape[0], C = x.shape[1], D = x.shape[2]
    cdef const int64_t* k = <int64_t*>address(target)
    if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
        nll_forward_kernel(<float*>address(x), k, <float*>address(weight), ignore_index, N, C, D, <float*>address(y))
    else:
        nll_forward_kernel(<double*>address(x), k, <double*>address(weight), ignore_index, N, C, D, <double*>address(y))


def nll_backward(
    cnp.ndarray target not None, cnp.ndarray weight, int64_t ignore_index, cnp.ndarray gy not None, cnp.ndarray gx not None,
):
    """gx = -weight[target] gy at the target class, 0 elsewhere and where the target is ignore_index."""
    cdef Py_ssize_t N = gx.shape[0], C = gx.shape[1], D = gx.shape[2]
    cdef const int64_t* k = <int64_t*>address(target)
    if cnp.PyArray_TYPE(gx) == cnp.NPY_FLOAT32:
        nll_backward_kernel(k, <float*>address(weight), ignore_index, <float*>address(gy), N, C, D, <float*>address(gx))
    else:
        nll_backward_kernel(k, <double*>address(weight), ignore_index, <double*>address(gy), N, C, D, <double*>address(gx))


cdef int forward_door(
    cnp.ndarray x, cnp.ndarray target, cnp.ndarray t, cnp.ndarray weight, int64_t ignore_index, double label_smoothing,
    cnp.ndarray p, cnp.ndarray y) except -1:
    cdef Py_ssize_t N = x.shape[0], C = x.shape[1], D = x.shape[2]
    cdef void* scratch = scratch_for(2 * C * cnp.PyArray_ITEMSIZE(x))
    if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
        cross_entropy_forward_kernel(
            <float*>address(x), <int64_t*>address(target), <float*>address(t), <float*>address(weight), ignore_index,
            label_smoothing, N, C, D, <float*>address(p), <float*>address(y), <float*>scratch)
    else:
        cross_entropy_forward_kernel(
            <double*>address(x), <int64_t*>address(target), <double*>address(t), <double*>address(weight), ignore_index,
            label_smoothing, N, C, D, <double*>address(p), <double*>address(y), <double*>scratch)
    return 0


cdef int backward_door(
    cnp.ndarray p, cnp.ndarray target, cnp.ndarray t, cnp.ndarray weight, int64_t ignore_index, double label_smoothing,
    cnp.ndarray gy, cnp.ndarray gx) except -1:
    cdef Py_ssize_t N = p.shape[0], C = p.shape[1], D = p.shape[2]
    if cnp.PyArray_TYPE(p) == cnp.NPY_FLOAT32:
        cross_entropy_backward_kernel(
            <float*>address(p), <int64_t*>address(target), <float*>address(t), <float*>address(weight), ignore_index,
            label_smoothing, <float*>address(gy), N, C, D, <float*>address(gx))
    else:
        cross_entropy_backward_kernel(
            <double*>address(p), <int64_t*>address(target), <double*>address(t), <double*>address(weight), ignore_index,
            label_smoothing, <double*>address(gy), N, C, D, <double*>address(gx))
    return 0


def cross_entropy_forward(
    cnp.ndarray x not None, cnp.ndarray target not None, cnp.ndarray weight, int64_t ignore_index, double label_smoothing,
    cnp.ndarray p not None, cnp.ndarray y not None,
):
    """p = softmax(x); y = - sum of weight q log p, q the target class smoothed; 0 where the target is ignore_index."""
    forward_door(x, target, None, weight, ignore_index, label_smoothing, p, y)


def cross_entropy_backward(
    cnp.ndarray p not None, cnp.ndarray target not None, cnp.ndarray weight, int64_t ignore_index, double label_smoothing,
    cnp.ndarray gy not None, cnp.ndarray gx not None,
):
    """gx = gy (p sum of weight q - weight q), 0 where the target is ignore_index."""
    backward_door(p, target, None, weight, ignore_index, label_smoothing, gy, gx)


def cross_entropy_probabilities_forward(
    cnp.ndarray x not None, cnp.ndarray t not None, cnp.ndarray weight, double label_smoothing, cnp.ndarray p not None,
    cnp.ndarray y not None,
):
    """p = softmax(x); y = - sum of weight q log p, q the probabilities t smoothed."""
    forward_door(x, None, t, weight, 0, label_smoothing, p, y)


def cross_entropy_probabilities_backward(
    cnp.ndarray p not None, cnp.ndarray t not None, cnp.ndarray weight, double label_smoothing, cnp.ndarray gy not None,
    cnp.ndarray gx not None,
):
    """gx = gy (p sum of weight q - weight q)."""
    backward_door(p, None, t, weight, 0, label_smoothing, gy, gx)
