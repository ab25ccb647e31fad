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
from fastdl._kernels.batch_norm cimport (
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
from fastdl._kernels.program.update cimport Update


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
    if op.own & OWN_X:
        return <const real*>(batch.memory + op.x)
    return (<const real*>op.x if op.x else <const real*>batch.x) + batch.first * op.x_size


cdef real* output_of(const Operation* op, const Batch* batch, real* like) noexcept nogil:
    if op.own & OWN_Y:
        return <real*>(batch.memory + op.y)
    return (<real*>op.y if op.y else <real*>batch.y) + batch.first * op.y_size


cdef inline int32_t* index_of(const Operation* op, const Batch* batch) noexcept nogil:
    return <int32_t*>op.index + batch.first * op.y_size if op.index else NULL


cdef inline Py_ssize_t outside(Py_ssize_t address, bint own, const Batch* batch) noexcept nogil:
    return <Py_ssize_t>batch.gx if address == OUTSIDE and not own else address


cdef inline real* gradient(Py_ssize_t address, bint own, Py_ssize_t size, const Batch* batch, real* _) noexcept nogil:
    """Where a gradient with `size` elements a sample stands for the batch, or block; NULL where nobody wants it."""
    if own:
        return <real*>(batch.memory + address)
    return <real*>address + batch.first * size if address else NULL


cdef Py_ssize_t size_of_W(const Operation* op) noexcept nogil:
    if op.kind == LINEAR:
        return op.O * op.I
    return op.s.O * (op.s.C // op.s.G) * op.s.KH * op.s.KW if op.kind == CONV else 0


cdef Py_ssize_t size_of_b(const Operation* op) noexcept nogil:
    return op.O if op.kind == LINEAR else op.s.O if op.kind == CONV else 0


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
    elif op.kind == ACTIVATION:
        activation_forward_kernel(x, op.activation, op.alpha, op.beta, op.x_size * (op.L if op.L else N), y)
    elif op.kind == SOFTMAX:
        softmax_forward_kernel(x, op.rows * N, op.I, op.O, y, scratch)
    elif op.kind == LOG_SOFTMAX:
        log_softmax_forward_kernel(x, op.rows * N, op.I, op.O, y, scratch)
    elif op.kind == MAX_POOL:
        rows, columns = axis_of(op, False), axis_of(op, True)
        max_pool_forward_kernel(x, &rows, &columns, op.s.C * N, y, index_of(op, batch))
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
        dropout_kernel(x, op.p, batch.seed, batch.call + op.draw, op.run, batch.first * op.x_size, op.x_size * N, y)
    elif op.kind == MOVE:
        for i in range(N):
            move(x + i * op.x_size + op.x_start, op.adds, op.I, y + i * op.y_size + op.y_start)
    elif op.kind == TO_LANES:
        to_lanes_kernel(x, N, op.x_size, op.L, y)
    elif op.kind == FROM_LANES:
        from_lanes_kernel(x, N, op.x_size, op.L, y)
    elif op.kind == LANES_LINEAR:
        lanes_forward_kernel(x, <real*>op.W, <real*>op.b, N, op.L, op.I, op.O, y)
    if op.activation and op.kind != ACTIVATION and op.kind != LINEAR:  # a product of rows applies it itself
        activation_forward_kernel(<const real*>y, op.activation, op.alpha, op.beta, op.y_size * (op.L if op.L else N), y)


cdef void backward_operation(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    cdef Py_ssize_t N = batch.N, i
    cdef bint steps
    cdef const real* x = input_of(op, batch, scratch)
    cdef const real* y = output_of(op, batch, scratch)
    cdef const real* gy = gradient(
        op.gy if op.gy or op.own & OWN_GY else <Py_ssize_t>batch.gy, op.own & OWN_GY, op.y_size, batch, scratch)
    cdef real* gx = gradient(outside(op.gx, op.own & OWN_GX, batch), op.own & OWN_GX, op.x_size, batch, scratch)
    cdef real* total = gradient(outside(op.total, op.own & OWN_TOTAL, batch), op.own & OWN_TOTAL, op.x_size, batch, scratch)
    cdef real* before = gradient(op.before, op.own & OWN_BEFORE, op.y_size, batch, scratch)
    cdef real* gW = <real*>op.gW
    cdef real* gb = <real*>op.gb
    cdef bint accumulate = op.accumulate
    cdef real* own
    cdef PoolAxis rows, columns
    if op.total == OUTSIDE and not op.own and total == NULL:
        gx = NULL
    if gx == NULL and not (op.gW or op.gb):
        return
    if op.activation and op.kind != ACTIVATION:
        activation_backward_kernel(
            gy, y, op.activation, op.alpha, op.beta, op.y_size * (op.L if op.L else N), before)
        gy = before
    if batch.sums != NULL:
        own = <real*>batch.sums + op.sums * batch.blocks
        gW = own + batch.block * size_of_W(op) if gW != NULL else NULL
        gb = own + batch.blocks * size_of_W(op) + batch.block * size_of_b(op) if gb != NULL else NULL
        accumulate = False
    if op.kind == LINEAR:
        steps = op.update and batch.steps and step_suits(op.rows * N, op.I, op.O)
        if steps:
            gW = NULL
        linear_backward_kernel(gy, x, <const real*>op.W, op.rows * N, op.I, op.O, accumulate, gW, gb, gx, scratch)
        if steps:  # after gx, which is for the weights before
            linear_backward_step_kernel(gy, x, op.rows * N, op.I, op.O, <Update*>op.update, scratch)
    elif op.kind == CONV:
        if op.gW or op.gb:
            conv_backward_weight_kernel(gy, x, of_batch(op.s, N), accumulate, gW, gb, scratch)
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
        max_pool_backward_kernel(gy, index_of(op, batch), &rows, &columns, op.s.C * N, gx)
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
        dropout_kernel(gy, op.p, batch.seed, batch.call + op.draw, op.run, batch.first * op.x_size, op.x_size * N, gx)
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
