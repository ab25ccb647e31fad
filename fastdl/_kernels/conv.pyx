"""Convolution: y = W * x + b, gx and gW, each one product of matrices with the patches of an image (im2col, unwritten).

A tap is an element of the kernel, a line what one tap of one channel reads for a run of pixels. For an image and a group:

    y (O, pixels)      = W (O, lines) patches (lines, pixels)
    gx (C, pixels)     = W (C, lines) patches of gy, each pixel gathering what it was read for; for stride S there are S x S
                         phases of pixels, each with the taps that reach it
    gW^T (lines, O)    = patches (lines, pixels) gy^T (pixels, O), summed over the images

Lines are packed where they are used, a panel of pixels at a time (patches.pyx): the column matrix never stands in memory. With
few channels not even that is done, lines are read where they lie (planes.pyx). With many, 3 x 3 weights in float32 go by Winograd's
method (winograd.pyx), unless it is forbidden.
"""

cimport numpy as cnp
from libc.string cimport memset

from fastdl._kernels.array cimport scratch_for
from fastdl._kernels.descriptor cimport Batch, Descriptor, Gradients, Operation, OperationKernels, describe, place
from fastdl._kernels.dispatch cimport data, dispatch, floats, untyped
from fastdl._kernels.interleaved cimport (
    correlation_of_interleaved, interleaved_scratch, interleaving_suits, product_of_interleaved)
from fastdl._kernels.patches cimport (
    Product, correlation_of_patches, operations, patches_correlation_scratch, patches_scratch, product_of_patches,
    scattered_product_of_patches, slice_channels, weights_size)
from fastdl._kernels.planes cimport (
    correlation_of_planes, correlation_suits, planes_correlation_scratch, planes_scratch, planes_suit, product_of_planes, rows_of_panel,
    scattered_product_of_planes)
from fastdl._kernels.round_up cimport round_up
from fastdl._kernels.table cimport PatchGrid, PatchTap, entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for, workers
from fastdl._kernels.winograd cimport (
    correlation_of_winograd, product_of_winograd, winograd_correlation_scratch, winograd_scratch, winograd_suits, winograd_wanted)

cnp.import_array()

# The ways a product with patches goes.
cdef enum Form:
    PATCHES
    PLANES
    INTERLEAVED
    WINOGRAD


cdef Py_ssize_t conv_scratch(const Convolution& s, PatchTap* taps) noexcept nogil:
    cdef Product p = forward_product(s, taps)
    cdef Py_ssize_t most
    cdef PatchTap phase
    forward_taps(s, taps)
    most = max(product_scratch(p), correlation_scratch(p))
    for phase.row in range(min(s.SH, s.H)):
        for phase.column in range(min(s.SW, s.W)):
            p = backward_product(s, phase, taps, <Py_ssize_t*>(taps + s.KH * s.KW))
            if p.taps:
                most = max(most, product_scratch(p))
    return taps_scratch(s) + most


cdef Form form_of(const Product& p, const real* x) noexcept nogil:
    if real is float:
        if winograd_wanted() and winograd_suits(p):
            return Form.WINOGRAD
    return Form.INTERLEAVED if interleaving_suits(p) else Form.PLANES if planes_suit(p) else Form.PATCHES


cdef Py_ssize_t product_scratch(const Product& p) noexcept nogil:
    cdef Py_ssize_t most = patches_scratch(p)
    if interleaving_suits(p):
        most = max(most, interleaved_scratch(p))
    if planes_suit(p):
        most = max(most, planes_scratch(p))
    # The setting may change before the product is computed: there is memory for either way.
    return max(weights_size(p) + most, winograd_scratch(p) if winograd_suits(p) else 0)


cdef Py_ssize_t correlation_scratch(const Product& p) noexcept nogil:
    cdef Py_ssize_t most = patches_correlation_scratch(p)
    if interleaving_suits(p):
        most = interleaved_scratch(p)
    elif correlation_suits(p):
        most = planes_correlation_scratch(p)
    return max(most, winograd_correlation_scratch(p) if winograd_suits(p) else 0)


cdef void product(
    const Product& p, Form form, const real* x, const real* a, const real* b, real* y, real* scratch) noexcept nogil:
    if form == Form.INTERLEAVED:
        product_of_interleaved(p, x, a, b, y, scratch)
    elif form == Form.PLANES:
        product_of_planes(p, x, a, b, y, scratch)
    else:
        product_of_patches(p, x, a, b, y, scratch)


cdef Py_ssize_t taps_scratch(const Convolution& s) noexcept nogil:
    """The elements that the list of taps takes, of either type, and their places in the kernel."""
    return round_up((sizeof(PatchTap) + sizeof(Py_ssize_t)) // sizeof(float) * s.KH * s.KW, 16)


cdef void forward_taps(const Convolution& s, PatchTap* taps) noexcept nogil:
    cdef Py_ssize_t kh, kw
    for kh in range(s.KH):
        for kw in range(s.KW):
            taps[kh * s.KW + kw].row = kh * s.DH - s.PH
            taps[kh * s.KW + kw].column = kw * s.DW - s.PW


cdef Product forward_product(const Convolution& s, const PatchTap* taps) noexcept nogil:
    cdef Product p
    p.N, p.G, p.rows, p.channels, p.taps, p.pixels = s.N, s.G, s.O // s.G, s.C // s.G, s.KH * s.KW, s.OH * s.OW
    p.grid.height, p.grid.width, p.grid.columns, p.grid.row_step, p.grid.column_step = s.H, s.W, s.OW, s.SH, s.SW
    p.tap, p.across = taps, s.KW
    return p


cdef void conv_forward_kernel(
    const real* x, const real* W, const real* b, const Convolution& s, real* y, real* scratch) noexcept nogil:
    cdef PatchTap* taps = <PatchTap*>scratch
    cdef Product p = forward_product(s, taps)
    cdef Py_ssize_t height = entries(table, y).tile_rows, panels = (p.rows + height - 1) // height, step, slices
    cdef real* a = scratch + taps_scratch(s)
    cdef Form form
    if s.N * s.O * s.OH * s.OW == 0:
        return
    forward_taps(s, taps)
    form = form_of(p, x)
    if form == Form.WINOGRAD:
        product_of_winograd(p, x, W, p.channels * p.taps, p.taps, b, y, a)
        return
    step = slice_channels(p.channels, p.taps) if form == Form.PATCHES else p.channels
    height = height if form == Form.PATCHES else rows_of_panel(p.rows, height)
    slices = (p.channels + step - 1) // step
    workers.run(threads_for(operations(p)), s.G * slices * panels, pack_forward_weights[real], panels, height, slices, step,
                form == Form.INTERLEAVED, p, W, a)
    product(p, form, x, a, b, y, a + weights_size(p))


cdef void pack_forward_weights(
    Py_ssize_t task, Py_ssize_t panels, Py_ssize_t height, Py_ssize_t slices, Py_ssize_t step, bint by_tap_row, const Product& p,
    const real* W, real* a) noexcept nogil:
    """One panel: `height` outputs of a group, the lines of a slice, in the order of W or of their taps' rows."""
    cdef Py_ssize_t tile_rows = entries(table, W).tile_rows, k = p.channels * p.taps, panel = task % panels, c, u
    cdef Py_ssize_t slice = task // panels % slices, g = task // (panels * slices), count = min(height, p.rows - panel * height)
    cdef Py_ssize_t start = slice * step * p.taps, depth = min(step * p.taps, k - start)
    cdef const real* source = W + (g * p.rows + panel * height) * k + start
    cdef real* to = a + tile_rows * (panels * (g * k + start) + panel * depth)
    if not by_tap_row:
        entries(table, W).pack_rows(source, k, 1, count, depth, to)
        return
    for c in range(p.channels):
        for u in range(p.taps // p.across):
            entries(table, W).pack_rows(
                source + c * p.taps + u * p.across, k, 1, count, p.across, to + tile_rows * (u * p.channels + c) * p.across)


cdef void conv_backward_input_kernel(
    const real* gy, const real* W, const Convolution& s, real* gx, real* scratch) noexcept nogil:
    cdef PatchTap* taps = <PatchTap*>scratch
    cdef Py_ssize_t* elements = <Py_ssize_t*>(taps + s.KH * s.KW)
    cdef Product p
    cdef PatchGrid grid
    cdef PatchTap phase
    cdef Py_ssize_t tile_rows = entries(table, gx).tile_rows, height, step
    cdef Py_ssize_t panels = (s.C // s.G + tile_rows - 1) // tile_rows
    cdef bint in_phases = s.SH > 1 or s.SW > 1
    cdef Form form
    cdef const real* no_bias = NULL
    cdef real* a = scratch + taps_scratch(s)
    if s.N * s.C * s.H * s.W == 0:
        return
    memset(gx, 0, s.N * s.C * s.H * s.W * sizeof(real) if unread(s) else 0)
    grid.height, grid.width, grid.row_step, grid.column_step = s.H, s.W, s.SH, s.SW
    for phase.row in range(min(s.SH, s.H)):
        for phase.column in range(min(s.SW, s.W)):
            p = backward_product(s, phase, taps, elements)
            if p.taps == 0 or s.O * s.OH * s.OW == 0:
                continue
            form = form_of(p, gy) if not in_phases else Form.PLANES if planes_suit(p) else Form.PATCHES
            if form == Form.WINOGRAD:
                product_of_winograd(p, gy, W, p.taps, p.rows * p.taps, no_bias, gx, a)
                return
            step = slice_channels(p.channels, p.taps) if form == Form.PATCHES else p.channels
            height = tile_rows if form == Form.PATCHES else rows_of_panel(p.rows, tile_rows)
            workers.run(threads_for(operations(p)), s.G * panels, pack_backward_weights[real], panels, height, step,
                        form == Form.INTERLEAVED, s.KH * s.KW, elements, p, W, a)
            if in_phases:
                grid.columns = p.grid.columns
                if form == Form.PLANES:
                    scattered_product_of_planes(p, gy, a, grid, phase, gx, a + weights_size(p))
                else:
                    scattered_product_of_patches(p, gy, a, grid, phase, gx, a + weights_size(p))
            else:
                product(p, form, gy, a, no_bias, gx, a + weights_size(p))


cdef bint unread(const Convolution& s) noexcept nogil:
    """Whether whole phases of x may be read by no tap, or nothing is there to be read for."""
    return s.SH > s.KH or s.SW > s.KW or (s.SH > 1 or s.SW > 1) and (s.DH > 1 or s.DW > 1) or s.O * s.OH * s.OW == 0


cdef Product backward_product(
    const Convolution& s, PatchTap phase, PatchTap* taps, Py_ssize_t* elements) noexcept nogil:
    """The product for the pixels (row + SH i, column + SW j) of x: over gy, with the taps that read them."""
    cdef Product p
    p.N, p.G, p.rows, p.channels = s.N, s.G, s.C // s.G, s.O // s.G
    p.taps = phase_taps(s, phase.row, phase.column, taps, elements)
    p.grid.height, p.grid.width, p.grid.row_step, p.grid.column_step = s.OH, s.OW, 1, 1
    p.grid.columns = (s.W - phase.column + s.SW - 1) // s.SW
    p.pixels = (s.H - phase.row + s.SH - 1) // s.SH * p.grid.columns
    p.tap, p.across = taps, s.KW
    return p


cdef Py_ssize_t phase_taps(
    const Convolution& s, Py_ssize_t row, Py_ssize_t column, PatchTap* taps, Py_ssize_t* elements) noexcept nogil:
    """Where pixels (row + SH i, column + SW j) of x were read: by which elements of the kernel, for which pixels of y."""
    cdef Py_ssize_t kh, kw, count = 0
    for kh in range(s.KH):
        for kw in range(s.KW):
            if (row + s.PH - kh * s.DH) % s.SH == 0 and (column + s.PW - kw * s.DW) % s.SW == 0:
                taps[count].row = (row + s.PH - kh * s.DH) // s.SH
                taps[count].column = (column + s.PW - kw * s.DW) // s.SW
                elements[count] = kh * s.KW + kw
                count += 1
    return count


cdef void pack_backward_weights(
    Py_ssize_t task, Py_ssize_t panels, Py_ssize_t height, Py_ssize_t step, bint by_tap_row, Py_ssize_t KK,
    const Py_ssize_t* elements, const Product& p, const real* W, real* a) noexcept nogil:
    """All slices of one panel: `height` inputs of a group, the lines of all its outputs, or of all taps of one row after another."""
    cdef Py_ssize_t tile_rows = entries(table, W).tile_rows, panel = task % panels, g = task // panels
    cdef Py_ssize_t count = min(height, p.rows - panel * height), o, t, u, start, depth
    cdef const real* source
    cdef real* to
    for o in range(p.channels):
        start = o // step * step
        depth = min(step, p.channels - start) * p.taps
        source = W + ((g * p.channels + o) * p.rows + panel * height) * KK
        to = a + tile_rows * (panels * p.taps * (g * p.channels + start) + panel * depth)
        if by_tap_row:
            for u in range(p.taps // p.across):
                entries(table, W).pack_rows(
                    source + u * p.across, KK, 1, count, p.across, to + tile_rows * (u * p.channels + o) * p.across)
        elif p.taps == KK:
            entries(table, W).pack_rows(source, KK, 1, count, KK, to + tile_rows * (o - start) * p.taps)
        else:
            for t in range(p.taps):
                entries(table, W).pack_rows(source + elements[t], KK, 1, count, 1, to + tile_rows * ((o - start) * p.taps + t))


cdef void conv_backward_weight_kernel(
    const real* gy, const real* x, const Convolution& s, bint accumulate, real* gW, real* gb, real* scratch) noexcept nogil:
    cdef Product p = forward_product(s, <const PatchTap*>scratch)
    if s.N * s.OH * s.OW == 0:
        if not accumulate:
            if gW != NULL:
                memset(gW, 0, s.O * p.channels * p.taps * sizeof(real))
            if gb != NULL:
                memset(gb, 0, s.O * sizeof(real))
        return
    if gb != NULL:
        workers.run(threads_for(operations(p)), s.O, sum_of_output[real], gy, s, accumulate, gb)
    if gW == NULL:
        return
    forward_taps(s, <PatchTap*>scratch)
    if form_of(p, x) == Form.WINOGRAD:
        correlation_of_winograd(p, gy, x, accumulate, gW, scratch + taps_scratch(s))
    elif interleaving_suits(p):
        correlation_of_interleaved(p, gy, x, accumulate, gW, scratch + taps_scratch(s))
    elif correlation_suits(p):
        correlation_of_planes(p, gy, x, accumulate, gW, scratch + taps_scratch(s))
    else:
        correlation_of_patches(p, gy, x, accumulate, gW, scratch + taps_scratch(s))


cdef void sum_of_output(Py_ssize_t o, const real* gy, const Convolution& s, bint accumulate, real* gb) noexcept nogil:
    cdef FlushDenormals flush
    cdef Py_ssize_t n, pixels = s.OH * s.OW
    cdef double total = gb[o] if accumulate else 0
    flush.on()
    for n in range(s.N):
        total += entries(table, gy).sum(gy + (n * s.O + o) * pixels, pixels)
    gb[o] = <real>total


cdef Py_ssize_t rows(cnp.ndarray image) noexcept:
    """The rows of images, or of filters; a sequence is an image of one."""
    return image.shape[2] if cnp.PyArray_NDIM(image) == 4 else 1


cdef Py_ssize_t columns(cnp.ndarray image) noexcept:
    return image.shape[cnp.PyArray_NDIM(image) - 1]


cdef Convolution described(
    cnp.ndarray x, cnp.ndarray W, cnp.ndarray y, tuple stride, tuple padding, tuple dilation, Py_ssize_t groups) except *:
    cdef Convolution s
    s.N, s.C, s.H, s.W = x.shape[0], x.shape[1], rows(x), columns(x)
    s.O, s.OH, s.OW = y.shape[1], rows(y), columns(y)
    s.KH, s.KW = rows(W), columns(W)
    s.SH, s.SW = stride
    s.PH, s.PW = padding
    s.DH, s.DW = dilation
    s.G = groups
    return s


cdef void* memory_for(const Convolution& s, Py_ssize_t itemsize) except? NULL:
    cdef void* taps = scratch_for(taps_scratch(s) * sizeof(double))
    return scratch_for(conv_scratch(s, <PatchTap*>taps) * itemsize)


def conv_forward(
    cnp.ndarray x not None, cnp.ndarray W not None, cnp.ndarray b, tuple stride not None, tuple padding not None,
    tuple dilation not None, Py_ssize_t groups, cnp.ndarray y not None,
):
    """y = W * x + b"""
    cdef Convolution s = described(x, W, y, stride, padding, dilation, groups)
    cdef void* scratch = memory_for(s, cnp.PyArray_ITEMSIZE(x))
    dispatch(
        floats(x), conv_forward_kernel[float], conv_forward_kernel[double], data(x), data(W), data(b), s, data(y),
        untyped(scratch))


def conv_backward(
    cnp.ndarray gy not None, cnp.ndarray x not None, cnp.ndarray W not None, tuple stride not None, tuple padding not None,
    tuple dilation not None, Py_ssize_t groups, bint accumulate, cnp.ndarray gx, cnp.ndarray gW, cnp.ndarray gb,
):
    """gW = gy times the patches of x [+ gW], gb = the sum of gy over images and pixels [+ gb], gx; each may be None.

    Each pixel of gx gathers gy from where it was read.
    """
    cdef Convolution s = described(x, W, gy, stride, padding, dilation, groups)
    cdef void* scratch = memory_for(s, cnp.PyArray_ITEMSIZE(gy))
    if gW is not None or gb is not None:
        dispatch(
            floats(gy), conv_backward_weight_kernel[float], conv_backward_weight_kernel[double], data(gy), data(x), s, accumulate,
            data(gW), data(gb), untyped(scratch))
    if gx is not None:
        dispatch(
            floats(gy), conv_backward_input_kernel[float], conv_backward_input_kernel[double], data(gy), data(W), s, data(gx),
            untyped(scratch))


def _attributes(dict fields):
    cdef Convolution attributes = fields
    return (<char*>&attributes)[:sizeof(attributes)]


cdef inline Convolution of_batch(const Operation* op, Py_ssize_t N) noexcept nogil:
    cdef Convolution s = (<const Convolution*>op.attributes)[0]
    s.N = N
    return s


cdef Py_ssize_t memory_of(const Operation* op) noexcept nogil:
    return taps_scratch((<const Convolution*>op.attributes)[0]) * <Py_ssize_t>sizeof(double)


cdef Py_ssize_t scratch_of(const Operation* op, Py_ssize_t N, Py_ssize_t itemsize, void* memory) noexcept nogil:
    return conv_scratch(of_batch(op, N), <PatchTap*>memory)


cdef void forward(const Operation* op, const Batch* batch, real* scratch) noexcept nogil:
    conv_forward_kernel(
        <const real*>place(&op.x, batch), <const real*>place(op.parameters, batch), <const real*>place(op.parameters + 1, batch),
        of_batch(op, batch.N), <real*>place(&op.y, batch), scratch)


cdef void backward(const Operation* op, const Batch* batch, const Gradients* g, real* scratch) noexcept nogil:
    cdef const real* gy = <const real*>g.gy
    cdef Convolution s = of_batch(op, batch.N)
    if g.parameters[0] != NULL or g.parameters[1] != NULL:
        conv_backward_weight_kernel(
            gy, <const real*>place(&op.x, batch), s, g.accumulate, <real*>g.parameters[0], <real*>g.parameters[1], scratch)
    if g.gx != NULL:
        conv_backward_input_kernel(gy, <const real*>place(op.parameters, batch), s, <real*>g.gx, scratch)


cdef OperationKernels kernels
kernels.scratch, kernels.memory = scratch_of, memory_of
kernels.forward_float, kernels.forward_double = forward[float], forward[double]
kernels.backward_float, kernels.backward_double = backward[float], backward[double]
describe(
    Descriptor("conv", _attributes, parameters=("W", "b"), reads="x", in_blocks=True, convolves=True, activates=True), &kernels)
