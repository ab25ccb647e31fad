"""Batch normalization of (N, C, D), some channels at a time, and layer normalization of (N, n), a row at a time.

A channel's moments are those of its blocks, each taken in two passes while it is in the cache, joined in double precision in
the order of the blocks. Where D is short, every element behind a channel is a column: columns are contiguous, so that
registers are full.
"""

cimport numpy as cnp
from cython.parallel cimport prange
from libc.math cimport sqrt
from libc.stdint cimport int64_t
from libc.string cimport memset

from fastdl._kernels.array cimport address, scratch_for
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for

cnp.import_array()

cdef enum:
    SHORT = 16  # a D below this is spread out in columns
    COLUMNS = 256  # the most columns that one task takes
    PLANE = 1024  # elements of a sample that one task takes at most, where they are not one channel's
    BLOCK = 8192  # elements whose moments are taken at a time
    PARTS = 8  # what C is cut into at least
    TASKS = 16  # the most parts that the rows of a layer norm are cut into
    TOGETHER = 16  # rows whose moments are taken at a time, at most
    ROWS = 8  # the least that a part has of rows, and of elements
    CHUNK = 8192
    WORK_PER_ELEMENT = 4

# What is known of the elements seen so far.
cdef struct Moments:
    double count, mean, squares


cdef inline void join(Moments* seen, double count, double center, double missed, double squares) noexcept nogil:
    """Add a block of which moments() told; T. Chan et al., 1983."""
    cdef double total = seen.count + count, share = count / total, off = missed / count, apart = center + off - seen.mean
    squares -= missed * off
    if squares < 0:
        squares = 0
    seen.mean += apart * share
    seen.squares += squares + apart * apart * seen.count * share
    seen.count = total


cdef inline Py_ssize_t parts(Py_ssize_t n, Py_ssize_t size) noexcept nogil:
    return (n + size - 1) // size


cdef inline real* at(const real* p, Py_ssize_t place) noexcept nogil:
    """The element at a place; NULL where there is no array."""
    return <real*>p + place if p != NULL else NULL


cdef inline Py_ssize_t channels_per_task(Py_ssize_t C, Py_ssize_t D) noexcept nogil:
    """So many that neither memory is read in crumbs nor a channel, over all samples, leaves the cache between two passes."""
    cdef Py_ssize_t least = parts(32, D) if D < SHORT else 1
    cdef Py_ssize_t most = COLUMNS // D if D < SHORT else max(<Py_ssize_t>1, PLANE // D)
    return min(C, most, max(least, parts(C, PARTS)))


# The channels of a task are `width` of them from c on; a channel is `each` columns of one element or one plane of D.
cdef inline Py_ssize_t columns_of_one(Py_ssize_t D) noexcept nogil:
    return D if D < SHORT else 1


cdef void channel_moments(
    const real* x, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, Py_ssize_t width, Moments* seen) noexcept nogil:
    cdef real center[COLUMNS]
    cdef real missed[COLUMNS]
    cdef real squares[COLUMNS]
    cdef Py_ssize_t each = columns_of_one(D), n = D // each, run = min(<Py_ssize_t>BLOCK, n)
    cdef Py_ssize_t rows = max(<Py_ssize_t>1, BLOCK // (width * each * run)), i, j, k, count, size
    memset(seen, 0, width * sizeof(Moments))
    for i in range(parts(N, rows)):
        count = min(rows, N - i * rows)
        for j in range(parts(n, run)):
            size = min(run, n - j * run)
            entries(table, x).moments(
                x + i * rows * C * D + j * run, count, C * D, width * each, size, center, missed, squares)
            for k in range(width * each):
                join(&seen[k // each], <double>count * size, center[k], missed[k], squares[k])


cdef void channel_sums(
    const real* gy, const real* x, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, Py_ssize_t width, const real* mean,
    double* total, double* product) noexcept nogil:
    cdef real sums[COLUMNS]
    cdef real products[COLUMNS]
    cdef Py_ssize_t each = columns_of_one(D), n = D // each, run = min(<Py_ssize_t>BLOCK, n)
    cdef Py_ssize_t rows = max(<Py_ssize_t>1, BLOCK // (width * each * run)), i, j, k, place
    memset(total, 0, width * sizeof(double))
    memset(product, 0, width * sizeof(double))
    for i in range(parts(N, rows)):
        for j in range(parts(n, run)):
            place = i * rows * C * D + j * run
            entries(table, x).gradient_sums(
                gy + place, x + place, min(rows, N - i * rows), C * D, width * each, min(run, n - j * run), mean, sums, products)
            for k in range(width * each):
                total[k // each] += sums[k]
                product[k // each] += products[k]


cdef void forward_channels(
    const real* x, const real* W, const real* b, double eps, double momentum, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D,
    Py_ssize_t c, Py_ssize_t width, real* running_mean, real* running_var, real* mean, real* inverse, real* y) noexcept nogil:
    cdef FlushDenormals _flush
    cdef Moments seen[COLUMNS]
    cdef real rounding[COLUMNS]  # what the mean is off by in its own type
    cdef Py_ssize_t k
    cdef double count = <double>N * D
    channel_moments(x + c * D, N, C, D, width, seen)
    for k in range(width):
        mean[c + k] = <real>seen[k].mean
        rounding[k] = <real>(mean[c + k] - seen[k].mean)
        inverse[c + k] = <real>(1 / sqrt(seen[k].squares / count + eps))
        if running_mean != NULL:
            running_mean[c + k] = <real>((1 - momentum) * running_mean[c + k] + momentum * seen[k].mean)
            running_var[c + k] = <real>((1 - momentum) * running_var[c + k] + momentum * (seen[k].squares / (count - 1)))
    write_channels(x, W, b, rounding, N, C, D, c, width, mean, inverse, y)


cdef void evaluate_channels(
    const real* x, const real* W, const real* b, const real* running_mean, const real* running_var, double eps,
    Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, Py_ssize_t c, Py_ssize_t width, real* mean, real* inverse, real* y) noexcept nogil:
    cdef FlushDenormals _flush
    cdef const real* no_rounding = NULL
    cdef Py_ssize_t k
    for k in range(c, c + width):
        mean[k] = running_mean[k]
        inverse[k] = <real>(1 / sqrt(running_var[k] + eps))
    write_channels(x, W, b, no_rounding, N, C, D, c, width, mean, inverse, y)


cdef void write_channels(
    const real* x, const real* W, const real* b, const real* rounding, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, Py_ssize_t c,
    Py_ssize_t width, const real* mean, const real* inverse, real* y) noexcept nogil:
    cdef real center[COLUMNS]
    cdef real factor[COLUMNS]
    cdef real shift[COLUMNS]
    cdef Py_ssize_t each = columns_of_one(D), i, k
    for i in range(width * each):
        k = c + i // each
        center[i] = mean[k]
        factor[i] = inverse[k] * (W[k] if W != NULL else 1)
        shift[i] = (b[k] if b != NULL else 0) + (rounding[k - c] * factor[i] if rounding != NULL else 0)
    entries(table, x).normalize(x + c * D, N, C * D, width * each, D // each, center, factor, shift, y + c * D)


cdef void backward_channels(
    const real* gy, const real* x, const real* W, const real* mean, const real* inverse, bint training, bint accumulate,
    Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, Py_ssize_t c, Py_ssize_t width, real* gx, real* gW, real* gb) noexcept nogil:
    cdef FlushDenormals _flush
    cdef double total[COLUMNS]
    cdef double product[COLUMNS]
    cdef real center[COLUMNS]
    cdef real gain[COLUMNS]
    cdef real slope[COLUMNS]
    cdef real shift[COLUMNS]
    cdef Py_ssize_t each = columns_of_one(D), start = c * D, i, k
    cdef double count = <double>N * D, factor
    for i in range(width * each):
        center[i] = mean[c + i // each]
    if training or gW != NULL or gb != NULL:
        channel_sums(gy + start, x + start, N, C, D, width, center, total, product)
    for k in range(width):
        if gW != NULL:
            gW[c + k] = <real>(product[k] * inverse[c + k] + (gW[c + k] if accumulate else 0))
        if gb != NULL:
            gb[c + k] = <real>(total[k] + (gb[c + k] if accumulate else 0))
    if gx == NULL:
        return
    for i in range(width * each):
        k = i // each
        factor = inverse[c + k] * (W[c + k] if W != NULL else 1)
        gain[i] = <real>factor
        if training:
            slope[i] = <real>(-product[k] / count * inverse[c + k] * inverse[c + k] * factor)
            shift[i] = <real>(-total[k] / count * factor)
        else:
            slope[i] = shift[i] = 0
    if training:
        entries(table, x).normalize_backward(
            gy + start, x + start, N, C * D, width * each, D // each, center, gain, slope, shift, gx + start)
    else:  # gx = (gy - 0) gain + 0
        entries(table, x).normalize(gy + start, N, C * D, width * each, D // each, slope, gain, shift, gx + start)


cdef void batch_norm_forward_kernel(
    const real* x, const real* W, const real* b, double eps, double momentum, Py_ssize_t N, Py_ssize_t C, Py_ssize_t D,
    real* running_mean, real* running_var, int64_t* batches, real* mean, real* inverse, real* y) noexcept nogil:
    cdef Py_ssize_t c, task, width
    cdef int threads = threads_for(<double>N * C * D * WORK_PER_ELEMENT)
    if N * D == 0:
        return
    width = channels_per_task(C, D)
    if batches != NULL:
        batches[0] += 1
        if momentum < 0:
            momentum = 1.0 / <double>batches[0]
    if threads == 1:
        for task in range(parts(C, width)):
            c = task * width
            forward_channels(x, W, b, eps, momentum, N, C, D, c, min(width, C - c), running_mean, running_var, mean, inverse, y)
        return
    for task in prange(parts(C, width), num_threads=threads, schedule="static"):
        c = task * width
        forward_channels(x, W, b, eps, momentum, N, C, D, c, min(width, C - c), running_mean, running_var, mean, inverse, y)


cdef void batch_norm_evaluate_kernel(
    const real* x, const real* W, const real* b, const real* running_mean, const real* running_var, double eps,
    Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, real* mean, real* inverse, real* y) noexcept nogil:
    cdef Py_ssize_t c, task, width
    cdef int threads = threads_for(<double>N * C * D * WORK_PER_ELEMENT)
    if N * D == 0:
        return
    width = channels_per_task(C, D)
    if threads == 1:
        for task in range(parts(C, width)):
            c = task * width
            evaluate_channels(x, W, b, running_mean, running_var, eps, N, C, D, c, min(width, C - c), mean, inverse, y)
        return
    for task in prange(parts(C, width), num_threads=threads, schedule="static"):
        c = task * width
        evaluate_channels(x, W, b, running_mean, running_var, eps, N, C, D, c, min(width, C - c), mean, inverse, y)


cdef void batch_norm_backward_kernel(
    const real* gy, const real* x, const real* W, const real* mean, const real* inverse, bint training, bint accumulate,
    Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, real* gx, real* gW, real* gb) noexcept nogil:
    cdef Py_ssize_t c, task, width
    cdef int threads = threads_for(<double>N * C * D * WORK_PER_ELEMENT)
    if N * D == 0:
        if gW != NULL and not accumulate:
            memset(gW, 0, C * sizeof(real))
        if gb != NULL and not accumulate:
            memset(gb, 0, C * sizeof(real))
        return
    width = channels_per_task(C, D)
    if threads == 1:
        for task in range(parts(C, width)):
            c = task * width
            backward_channels(gy, x, W, mean, inverse, training, accumulate, N, C, D, c, min(width, C - c), gx, gW, gb)
        return
    for task in prange(parts(C, width), num_threads=threads, schedule="static"):
        c = task * width
        backward_channels(gy, x, W, mean, inverse, training, accumulate, N, C, D, c, min(width, C - c), gx, gW, gb)


# Layer normalization: a task takes this many rows, so that tasks are not small and their sums take less room than x.
cdef inline Py_ssize_t rows_per_task(Py_ssize_t N, Py_ssize_t n) noexcept nogil:
    return max(<Py_ssize_t>ROWS, parts(CHUNK, max(<Py_ssize_t>1, n)), parts(N, TASKS))


cdef Py_ssize_t layer_norm_scratch(Py_ssize_t N, Py_ssize_t n) noexcept nogil:
    return 2 * n * parts(N, rows_per_task(N, n))


cdef void layer_norm_forward_kernel(
    const real* x, const real* W, const real* b, double eps, Py_ssize_t N, Py_ssize_t n, real* mean, real* inverse,
    real* y) noexcept nogil:
    cdef Py_ssize_t task, rows = rows_per_task(N, n)
    cdef int threads = threads_for(<double>N * n * WORK_PER_ELEMENT)
    if threads == 1:
        forward_rows(x, W, b, eps, 0, N, n, mean, inverse, y)
        return
    for task in prange(parts(N, rows), num_threads=threads, schedule="static"):
        forward_rows(x, W, b, eps, task * rows, min((task + 1) * rows, N), n, mean, inverse, y)


cdef void forward_rows(
    const real* x, const real* W, const real* b, double eps, Py_ssize_t first, Py_ssize_t last, Py_ssize_t n, real* mean,
    real* inverse, real* y) noexcept nogil:
    cdef FlushDenormals _flush
    cdef Moments seen[TOGETHER]
    cdef real center[TOGETHER]
    cdef real missed[TOGETHER]
    cdef real squares[TOGETHER]
    cdef Py_ssize_t together = max(<Py_ssize_t>1, min(<Py_ssize_t>TOGETHER, BLOCK // n)), run = min(<Py_ssize_t>BLOCK, n)
    cdef Py_ssize_t i, j, k, row, count
    for i in range(parts(last - first, together)):
        row = first + i * together
        count = min(together, last - row)
        memset(seen, 0, count * sizeof(Moments))
        for j in range(parts(n, run)):
            entries(table, x).moments(
                x + row * n + j * run, 1, 0, count, min(run, n - j * run), center, missed, squares)
            for k in range(count):
                join(&seen[k], min(run, n - j * run), center[k], missed[k], squares[k])
        for k in range(count):
            mean[row + k] = <real>seen[k].mean
            inverse[row + k] = <real>(1 / sqrt(seen[k].squares / n + eps))
            entries(table, x).layer_norm(
                x + (row + k) * n, W, b, mean[row + k], inverse[row + k], <real>((mean[row + k] - seen[k].mean) * inverse[row + k]),
                y + (row + k) * n, n)


cdef void layer_norm_backward_kernel(
    const real* gy, const real* x, const real* W, const real* mean, const real* inverse, bint accumulate, Py_ssize_t N,
    Py_ssize_t n, real* gx, real* gW, real* gb, real* scratch) noexcept nogil:
    """Each task sums its rows' shares of gW and gb in scratch; then the tasks are added, in their order."""
    cdef Py_ssize_t task, rows = rows_per_task(N, n), tasks = parts(N, rows)
    cdef real* weights = scratch if gW != NULL else NULL
    cdef real* biases = scratch + tasks * n if gb != NULL else NULL
    cdef int threads = threads_for(<double>N * n * WORK_PER_ELEMENT)
    if threads == 1:
        for task in range(tasks):
            backward_rows(gy, x, W, mean, inverse, task * rows, min((task + 1) * rows, N), n, gx, at(weights, task * n),
                          at(biases, task * n))
    else:
        for task in prange(tasks, num_threads=threads, schedule="static"):
            backward_rows(gy, x, W, mean, inverse, task * rows, min((task + 1) * rows, N), n, gx, at(weights, task * n),
                          at(biases, task * n))
    sum_tasks(weights, tasks, n, accumulate, gW)
    sum_tasks(biases, tasks, n, accumulate, gb)


cdef void backward_rows(
    const real* gy, const real* x, const real* W, const real* mean, const real* inverse, Py_ssize_t first, Py_ssize_t last,
    Py_ssize_t n, real* gx, real* gW, real* gb) noexcept nogil:
    cdef FlushDenormals _flush
    cdef real total = 0, product = 0, slope = 0, shift = 0
    cdef Py_ssize_t row, place
    if gW != NULL:
        memset(gW, 0, n * sizeof(real))
    if gb != NULL:
        memset(gb, 0, n * sizeof(real))
    for row in range(first, last):
        place = row * n
        if gx != NULL:
            entries(table, x).layer_norm_sums(gy + place, x + place, W, mean[row], &total, &product, n)
            slope = -product / n * inverse[row] * inverse[row] * inverse[row]
            shift = -total / n * inverse[row]
        entries(table, x).layer_norm_backward(
            gy + place, x + place, W, mean[row], inverse[row], slope, shift, at(gx, place), gW, gb, n)


cdef void sum_tasks(const real* parts_of, Py_ssize_t tasks, Py_ssize_t n, bint accumulate, real* gradient) noexcept nogil:
    cdef FlushDenormals _flush
    if gradient != NULL:
        if not accumulate:
            memset(gradient, 0, n * sizeof(real))
        entries(table, gradient).add_rows(parts_of, tasks, n, gradient)


cdef inline Py_ssize_t behind(cnp.ndarray x):
    """D of an x that is (N, C, ...)."""
    cdef Py_ssize_t D = 1
    cdef int axis
    for axis in range(2, x.ndim):
        D *= x.shape[axis]
    return D


def batch_norm_forward(
    cnp.ndarray x not None, cnp.ndarray W, cnp.ndarray b, double eps, double momentum, cnp.ndarray running_mean,
    cnp.ndarray running_var, cnp.ndarray batches, cnp.ndarray mean not None, cnp.ndarray inverse not None, cnp.ndarray y not None,
):
    """y = (x - mean) inverse W + b with the batch's mean and inverse = 1 / sqrt(var + eps), which move the running statistics.

    `batches` counts them; a negative momentum stands for 1 / batches. W, b, and all three of the statistics, may be None.
    """
    cdef Py_ssize_t N = x.shape[0], C = x.shape[1], D = behind(x)
    if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
        batch_norm_forward_kernel(
            <float*>address(x), <float*>address(W), <float*>address(b), eps, momentum, N, C, D, <float*>address(running_mean),
            <float*>address(running_var), <int64_t*>address(batches), <float*>address(mean), <float*>address(inverse),
            <float*>address(y))
    else:
        batch_norm_forward_kernel(
            <double*>address(x), <double*>address(W), <double*>address(b), eps, momentum, N, C, D, <double*>address(running_mean),
            <double*>address(running_var), <int64_t*>address(batches), <double*>address(mean), <double*>address(inverse),
            <double*>address(y))


def batch_norm_evaluate(
    cnp.ndarray x not None, cnp.ndarray W, cnp.ndarray b, cnp.ndarray running_mean not None, cnp.ndarray running_var not None,
    double eps, cnp.ndarray mean not None, cnp.ndarray inverse not None, cnp.ndarray y not None,
):
    """y = (x - mean) inverse W + b with the running statistics; W and b may be None."""
    cdef Py_ssize_t N = x.shape[0], C = x.shape[1], D = behind(x)
    if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
        batch_norm_evaluate_kernel(
            <float*>address(x), <float*>address(W), <float*>address(b), <float*>address(running_mean),
            <float*>address(running_var), eps, N, C, D, <float*>address(mean), <float*>address(inverse), <float*>address(y))
    else:
        batch_norm_evaluate_kernel(
            <double*>address(x), <double*>address(W), <double*>address(b), <double*>address(running_mean),
            <double*>address(running_var), eps, N, C, D, <double*>address(mean), <double*>address(inverse), <double*>address(y))


def batch_norm_backward(
    cnp.ndarray gy not None, cnp.ndarray x not None, cnp.ndarray W, cnp.ndarray mean not None, cnp.ndarray inverse not None,
    bint training, bint accumulate, cnp.ndarray gx, cnp.ndarray gW, cnp.ndarray gb,
):
    """gx, and the sums of gy (x - mean) inverse and gy [+ gW, gb]; any of the three may be None.

    With `training` mean and inverse are the batch's and vary with x; else they are constants.
    """
    cdef Py_ssize_t N = x.shape[0], C = x.shape[1], D = behind(x)
    if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
        batch_norm_backward_kernel(
            <float*>address(gy), <float*>address(x), <float*>address(W), <float*>address(mean), <float*>address(inverse),
            training, accumulate, N, C, D, <float*>address(gx), <float*>address(gW), <float*>address(gb))
    else:
        batch_norm_backward_kernel(
            <double*>address(gy), <double*>address(x), <double*>address(W), <double*>address(mean), <double*>address(inverse),
            training, accumulate, N, C, D, <double*>address(gx), <double*>address(gW), <double*>address(gb))


def layer_norm_forward(
    cnp.ndarray x not None, cnp.ndarray W, cnp.ndarray b, double eps, cnp.ndarray mean not None, cnp.ndarray inverse not None,
    cnp.ndarray y not None,
):
    """y = (x - mean) inverse W + b for each row, inverse = 1 / sqrt(var + eps); W and b may be None."""
    cdef Py_ssize_t N = x.shape[0], n = x.shape[1]
    if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
        layer_norm_forward_kernel(<float*>address(x), <float*>address(W), <float*>address(b), eps, N, n, <float*>address(mean),
                                  <float*>address(inverse), <float*>address(y))
    else:
        layer_norm_forward_kernel(<double*>address(x), <double*>address(W), <double*>address(b), eps, N, n,
                                  <double*>address(mean), <double*>address(inverse), <double*>address(y))


def layer_norm_backward(
    cnp.ndarray gy not None, cnp.ndarray x not None, cnp.ndarray W, cnp.ndarray mean not None, cnp.ndarray inverse not None,
    bint accumulate, cnp.ndarray gx, cnp.ndarray gW, cnp.ndarray gb,
):
    """gx, and the sums over rows of gy (x - mean) inverse and gy [+ gW, gb]; any of the three may be None."""
    cdef Py_ssize_t N = x.shape[0], n = x.shape[1]
    cdef void* scratch = scratch_for(layer_norm_scratch(N, n) * cnp.PyArray_ITEMSIZE(x))
    if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
        layer_norm_backward_kernel(
            <float*>address(gy), <float*>address(x), <float*>address(W), <float*>address(mean), <float*>address(inverse),
            accumulate, N, n, <float*>address(gx), <float*>address(gW), <float*>address(gb), <float*>scratch)
    else:
        layer_norm_backward_kernel(
            <double*>address(gy), <double*>address(x), <double*>address(W), <double*>address(mean), <double*>address(inverse),
            accumulate, N, n, <double*>address(gx), <double*>address(gW), <double*>address(gb), <double*>scratch)
