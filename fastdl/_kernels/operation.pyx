"""Operations of a program: a layer's kernels, forward beside backward, called with what the operation's record holds."""

from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

from fastdl._kernels.activation cimport activation_backward_kernel, activation_forward_kernel
from fastdl._kernels.conv cimport (
    Convolution, conv_backward_input_kernel, conv_backward_weight_kernel, conv_forward_kernel, conv_scratch, taps_scratch,
)
from fastdl._kernels.dropout cimport dropout_kernel
from fastdl._kernels.lanes cimport (
    from_lanes_kernel, lanes_backward_input_kernel, lanes_backward_weight_kernel, lanes_forward_kernel, lanes_scratch,
    to_lanes_kernel,
)
from fastdl._kernels.layer_norm cimport layer_norm_backward_kernel, layer_norm_forward_kernel, layer_norm_scratch
from fastdl._kernels.linear cimport (
    linear_backward_kernel, linear_backward_step_kernel, linear_forward_kernel, linear_scratch, step_suits,
)
from fastdl._kernels.norm cimport (
    batch_norm_backward_kernel, batch_norm_evaluate_kernel, batch_norm_forward_kernel, batch_norm_scratch,
)
from fastdl._kernels.pool cimport (
    avg_pool_backward_kernel, avg_pool_forward_kernel, max_pool_backward_kernel, max_pool_forward_kernel, shares, windows,
)
from fastdl._kernels.softmax cimport (
    log_softmax_backward_kernel, log_softmax_forward_kernel, softmax_backward_kernel, softmax_forward_kernel, softmax_scratch,
)
from fastdl._kernels.table cimport PatchTap, PoolAxis, entries, real, table
from fastdl._kernels.threads cimport FlushDenormals
from fastdl._kernels.update cimport Update


cdef Py_ssize_t planning_memory(const Operation* op) noexcept nogil:
    return taps_scratch(op.s) * sizeof(double) if op.kind == CONV else 0


cdef Py_ssize_t operation_scratch(const Operation* op, Py_ssize_t N, Py_ssize_t itemsize, void* memory) noexcept nogil:
    if op.kind == LINEAR:
        return linear_scratch(op.rows * N, op.I, op.O)
    if op.kind == LANES_LINEAR:
        return lanes_scratch(N, op.I, op.O)
    if op.kind == CONV:
        return conv_scratch(of_batch(op.s, N), <PatchTap*>memory)
    if op.kind == SOFTMAX or op.kind == LOG_SOFTMAX:
        return softmax_scratch(op.I, op.O)
    if op.kind == BATCH_NORM:
        return batch_norm_scratch(N, op.rows, op.I) * <Py_ssize_t>sizeof(double) // itemsize
    if op.kind == LAYER_NORM:
        return layer_norm_scratch(op.rows * N, op.I)
    return 0


cdef inline Convolution of_batch(Convolution s, Py_ssize_t N) noexcept nogil:
    s.N = N
    return s


cdef PoolAxis axis_of(const Operation* op, bint columns) noexcept nogil:
    """Rows or columns of the pooled images."""
    if op.kind == ADAPTIVE_AVG_POOL:
        return shares(op.s.W, op.s.OW) if columns else shares(op.s.H, op.s.OH)
    if columns:
        return windows(op.s.W, op.s.OW, op.s.KW, op.s.SW, op.s.PW, op.s.DW)
    return windows(op.s.H, op.s.OH, op.s.KH, op.s.SH, op.s.PH, op.s.DH)


cdef inline const real* input_of(const Operation* op, const Batch* batch, real* _) noexcept nogil:
    return <const real*>op.x if op.x else <const real*>batch.x


cdef inline real* output_of(const Operation* op, const Batch* batch, real* _) noexcept nogil:
    return <real*>op.y if op.y else <real*>batch.y


cdef void forward_operation(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    cdef Py_ssize_t N = batch.N, i
    cdef const real* x = input_of(op, batch, scratch)
    cdef real* y = output_of(op, batch, scratch)
    cdef PoolAxis rows, columns
    if op.kind == LINEAR:
        linear_forward_kernel(x, <real*>op.W, <real*>op.b, op.rows * N, op.I, op.O, op.activation, op.alpha, op.beta, y,
                              scratch)
    elif op.kind == CONV:
        conv_forward_kernel(x, <real*>op.W, <real*>op.b, of_batch(op.s, N), y, scratch)
        if op.activation:
            activation_forward_kernel(<const real*>y, op.activation, op.alpha, op.beta, op.y_size * N, y)
    elif op.kind == ACTIVATION:
        activation_forward_kernel(x, op.activation, op.alpha, op.beta, op.x_size * (op.L if op.L else N), y)
    elif op.kind == SOFTMAX:
        softmax_forward_kernel(x, op.rows * N, op.I, op.O, y, scratch)
    elif op.kind == LOG_SOFTMAX:
        log_softmax_forward_kernel(x, op.rows * N, op.I, op.O, y, scratch)
    elif op.kind == MAX_POOL:
        rows, columns = axis_of(op, False), axis_of(op, True)
        max_pool_forward_kernel(x, &rows, &columns, op.s.C * N, y, <int32_t*>op.index)
    elif op.kind == AVG_POOL or op.kind == ADAPTIVE_AVG_POOL:
        rows, columns = axis_of(op, False), axis_of(op, True)
        avg_pool_forward_kernel(x, &rows, &columns, op.count_padding, op.divisor, op.s.C * N, y)
    elif op.kind == BATCH_NORM and op.training:
        batch_norm_forward_kernel(
            x, <real*>op.W, <real*>op.b, op.eps, op.momentum, N, op.rows, op.I, <real*>op.running_mean, <real*>op.running_var,
            <int64_t*>op.batches, <real*>op.mean, <real*>op.inverse, y, <double*>scratch)
    elif op.kind == BATCH_NORM:
        batch_norm_evaluate_kernel(
            x, <real*>op.W, <real*>op.b, <real*>op.running_mean, <real*>op.running_var, op.eps, N, op.rows, op.I,
            <real*>op.mean, <real*>op.inverse, y, <double*>scratch)
    elif op.kind == LAYER_NORM:
        layer_norm_forward_kernel(
            x, <real*>op.W, <real*>op.b, op.eps, op.rows * N, op.I, <real*>op.mean, <real*>op.inverse, y)
    elif op.kind == DROPOUT:
        dropout_kernel(x, op.p, batch.seed, batch.call + op.draw, op.run, op.x_size * N, y)
    elif op.kind == MOVE:
        for i in range(N):
            move(x + i * op.x_size + op.x_start, op.adds, op.I, y + i * op.y_size + op.y_start)
    elif op.kind == TO_LANES:
        to_lanes_kernel(x, N, op.x_size, op.L, y)
    elif op.kind == FROM_LANES:
        from_lanes_kernel(x, N, op.x_size, op.L, y)
    elif op.kind == LANES_LINEAR:
        lanes_forward_kernel(x, <real*>op.W, <real*>op.b, N, op.L, op.I, op.O, y)
        if op.activation:
            activation_forward_kernel(<const real*>y, op.activation, op.alpha, op.beta, op.y_size * op.L, y)


cdef void backward_operation(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    cdef Py_ssize_t N = batch.N, i
    cdef bint steps
    cdef const real* x = input_of(op, batch, scratch)
    cdef const real* y = output_of(op, batch, scratch)
    cdef const real* gy = <const real*>op.gy if op.gy else <const real*>batch.gy
    cdef real* gx = <real*>batch.gx if op.gx == OUTSIDE else <real*>op.gx
    cdef real* total = <real*>batch.gx if op.total == OUTSIDE else <real*>op.total
    cdef real* gW = <real*>op.gW
    cdef PoolAxis rows, columns
    if op.total == OUTSIDE and total == NULL:
        gx = NULL
    if gx == NULL and not (op.gW or op.gb):
        return
    if op.activation and op.kind != ACTIVATION:
        activation_backward_kernel(
            gy, y, op.activation, op.alpha, op.beta, op.y_size * (op.L if op.L else N), <real*>op.before)
        gy = <const real*>op.before
    if op.kind == LINEAR:
        steps = op.update and batch.steps and step_suits(op.rows * N, op.I, op.O)
        if steps:
            gW = NULL
        linear_backward_kernel(gy, x, <const real*>op.W, op.rows * N, op.I, op.O, op.accumulate, gW,
                               <real*>op.gb, gx, scratch)
        if steps:  # after gx, which is for the weights before
            linear_backward_step_kernel(gy, x, op.rows * N, op.I, op.O, <Update*>op.update, scratch)
    elif op.kind == CONV:
        if op.gW or op.gb:
            conv_backward_weight_kernel(
                gy, x, of_batch(op.s, N), op.accumulate, <real*>op.gW, <real*>op.gb, scratch)
        if gx != NULL:
            conv_backward_input_kernel(gy, <const real*>op.W, of_batch(op.s, N), gx, scratch)
    elif op.kind == ACTIVATION:
        x = y if op.keeps_output else x
        activation_backward_kernel(gy, x, op.activation, op.alpha, op.beta, op.x_size * (op.L if op.L else N), gx)
    elif op.kind == SOFTMAX:
        softmax_backward_kernel(gy, y, op.rows * N, op.I, op.O, gx, scratch)
    elif op.kind == LOG_SOFTMAX:
        log_softmax_backward_kernel(gy, y, op.rows * N, op.I, op.O, gx, scratch)
    elif op.kind == MAX_POOL:
        rows, columns = axis_of(op, False), axis_of(op, True)
        max_pool_backward_kernel(gy, <const int32_t*>op.index, &rows, &columns, op.s.C * N, gx)
    elif op.kind == AVG_POOL or op.kind == ADAPTIVE_AVG_POOL:
        rows, columns = axis_of(op, False), axis_of(op, True)
        avg_pool_backward_kernel(gy, &rows, &columns, op.count_padding, op.divisor, op.s.C * N, gx)
    elif op.kind == BATCH_NORM:
        batch_norm_backward_kernel(
            gy, x, <const real*>op.W, <const real*>op.mean, <const real*>op.inverse, op.training, op.accumulate,
            N, op.rows, op.I, gx, <real*>op.gW, <real*>op.gb, <double*>scratch)
    elif op.kind == LAYER_NORM:
        layer_norm_backward_kernel(
            gy, x, <const real*>op.W, <const real*>op.mean, <const real*>op.inverse, op.accumulate, op.rows * N,
            op.I, gx, <real*>op.gW, <real*>op.gb, scratch)
    elif op.kind == DROPOUT:
        dropout_kernel(gy, op.p, batch.seed, batch.call + op.draw, op.run, op.x_size * N, gx)
    elif op.kind == MOVE:
        for i in range(N):
            move(gy + i * op.y_size + op.y_start, op.adds_back, op.I, gx + i * op.x_size + op.x_start)
    elif op.kind == TO_LANES:
        from_lanes_kernel(gy, N, op.x_size, op.L, gx)
    elif op.kind == FROM_LANES:
        to_lanes_kernel(gy, N, op.x_size, op.L, gx)
    elif op.kind == LANES_LINEAR:
        if op.gW or op.gb:
            lanes_backward_weight_kernel(
                gy, x, N, op.L, op.I, op.O, op.accumulate, <real*>op.gW, <real*>op.gb, scratch)
        if gx != NULL:
            lanes_backward_input_kernel(gy, <const real*>op.W, N, op.L, op.I, op.O, gx)
    if total != NULL and gx != NULL:
        move(<const real*>gx, True, op.x_size * N, total)


cdef void move(const real* x, bint adds, Py_ssize_t n, real* y) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    if adds:
        entries(table, x).add_rows(x, 1, n, y)
    else:
        memcpy(y, x, n * sizeof(real))
