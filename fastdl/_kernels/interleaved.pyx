"""Convolution of many small images, interleaved: a register holds one pixel of as many images as it has lanes.

No lane is lost at the end of a short row, and a tap whose row lies outside the image is left out instead of read as zeros.
"""

from libc.string cimport memset

from fastdl._kernels.patches cimport Product, operations
from fastdl._kernels.table cimport PatchRuns, Size, entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for, workers

cdef enum:
    LANES = 16
    TILE_ROWS = 14
    # Columns up to which it pays, uses of an element that repay its way in and out, elements that stay in cache.
    NARROW = 16
    FAR = 64
    USES = 100
    BLOCK = 131072
    FEW_ROWS = 28
    # Parts of a gradient's sum, each with registers of its own; the most elements of these.
    PARTS = 8
    SUMS = 524288


cdef bint interleaving_suits(const Product& p) noexcept nogil:
    return (p.grid.row_step == 1 and p.grid.column_step == 1 and p.grid.columns <= NARROW and p.N >= LANES
            and p.rows <= FEW_ROWS and near_taps(p) and p.channels * p.taps >= USES and p.rows * p.taps >= USES
            and p.channels * plane_size(p) * LANES <= BLOCK and p.rows * p.pixels * LANES <= BLOCK
            and p.taps % p.across == 0 and parts_of(p) * p.G * p.rows * p.channels * p.taps * LANES <= SUMS)


cdef bint near_taps(const Product& p) noexcept nogil:
    return -FAR <= first_column(p) and pitch_of(p) <= FAR


cdef Py_ssize_t first_column(const Product& p) noexcept nogil:
    return min(p.tap[0].column, p.tap[p.across - 1].column)


cdef Py_ssize_t pitch_of(const Product& p) noexcept nogil:
    """The columns that the taps of a row read."""
    return p.grid.columns + max(p.tap[0].column, p.tap[p.across - 1].column) - first_column(p)


cdef Py_ssize_t plane_size(const Product& p) noexcept nogil:
    return p.grid.height * pitch_of(p)


cdef Py_ssize_t parts_of(const Product& p) noexcept nogil:
    return min(<Py_ssize_t>PARTS, p.N // LANES)


cdef Py_ssize_t own_size(const Product& p) noexcept nogil:
    return (p.channels * plane_size(p) + (p.rows + TILE_ROWS) * p.pixels) * LANES


cdef Py_ssize_t offsets_size(const Product& p) noexcept nogil:
    return (p.channels * p.taps * sizeof(Size) // sizeof(float) + 15) // 16 * 16


cdef Py_ssize_t interleaved_scratch(const Product& p) noexcept nogil:
    return (offsets_size(p) + parts_of(p) * p.G * p.rows * p.channels * p.taps * LANES
            + threads_for(operations(p)) * own_size(p))


cdef void find_offsets(const Product& p, Py_ssize_t lanes, Size* offset) noexcept nogil:
    """Where each line starts, seen from the pixel's row of the first plane."""
    cdef Py_ssize_t u, c, t, place = 0
    for u in range(p.taps // p.across):
        for c in range(p.channels):
            for t in range(u * p.across, (u + 1) * p.across):
                offset[place] = lanes * (c * plane_size(p) + p.tap[t].row * pitch_of(p) + p.tap[t].column - first_column(p))
                place += 1


cdef void interleave(const Product& p, const real* x, Py_ssize_t images, real* planes) noexcept nogil:
    """The planes of some images of one group, with the zeros that lie beside their rows."""
    cdef Py_ssize_t lanes = entries(table, x).lanes, pitch = pitch_of(p), first = first_column(p), width = p.grid.width
    cdef Py_ssize_t begin = min(max(first, 0), first + pitch), end = max(min(width, first + pitch), begin)
    cdef Py_ssize_t row, plane = p.grid.height * width
    cdef real* to = planes
    for row in range(p.channels * p.grid.height):
        memset(to, 0, (begin - first) * lanes * sizeof(real))
        entries(table, x).pack_columns(
            x + row * width + begin, 1, p.G * p.channels * plane, end - begin, images, to + (begin - first) * lanes)
        memset(to + (end - first) * lanes, 0, (first + pitch - end) * lanes * sizeof(real))
        to += pitch * lanes


cdef void product_of_interleaved(
    const Product& p, const real* x, const real* a, const real* b, real* y, real* scratch) noexcept nogil:
    cdef Py_ssize_t lanes = entries(table, y).lanes, sets = (p.N + lanes - 1) // lanes
    cdef real* own = scratch + offsets_size(p)
    find_offsets(p, lanes, <Size*>scratch)
    workers.run_numbered(threads_for(operations(p)), sets * p.G, set_of_images[real], p, scratch, x, a, b, y, own)


cdef void set_of_images(
    Py_ssize_t task, int thread, const Product& p, const real* offsets, const real* x, const real* a, const real* b, real* y,
    real* own) noexcept nogil:
    """All outputs of one group for a register's images."""
    cdef FlushDenormals flush
    cdef const Size* offset = <const Size*>offsets
    cdef real* planes = own + thread * own_size(p)
    cdef Py_ssize_t n = task // p.G * entries(table, y).lanes, g = task % p.G
    cdef Py_ssize_t lanes = entries(table, y).lanes, tile_rows = entries(table, y).tile_rows, columns = p.grid.columns
    cdef Py_ssize_t panels = (p.rows + tile_rows - 1) // tile_rows, height = (p.rows + panels - 1) // panels
    cdef Py_ssize_t images = min(lanes, p.N - n), lines = p.channels * p.across, panel, i, row, u, count, begin, end
    cdef Py_ssize_t out_row = p.pixels * lanes
    cdef real* out = planes + p.channels * plane_size(p) * lanes
    flush.on()
    interleave(p, x + (n * p.G + g) * p.channels * p.grid.height * p.grid.width, images, planes)
    for panel in range(panels):
        count = min(height, p.rows - panel * height)
        for row in range(p.pixels // columns):
            begin = end = 0
            for u in range(p.taps // p.across):
                if 0 <= row + p.tap[u * p.across].row < p.grid.height:
                    begin = begin if end else u
                    end = u + 1
            entries(table, y).multiply_lines(
                count, columns * lanes, (end - begin) * lines,
                a + tile_rows * ((g * panels + panel) * p.channels * p.taps + begin * lines), planes + row * pitch_of(p) * lanes,
                offset + begin * lines, b + g * p.rows + panel * height if b != NULL else NULL, out + row * columns * lanes,
                out_row)
        for i in range(count):
            entries(table, y).turn(
                out + i * out_row, lanes, p.pixels, images, False, y + ((n * p.G + g) * p.rows + panel * height + i) * p.pixels,
                p.G * p.rows * p.pixels)


cdef void correlation_of_interleaved(
    const Product& p, const real* gy, const real* x, bint accumulate, real* gW, real* scratch) noexcept nogil:
    cdef Py_ssize_t lanes = entries(table, gW).lanes, size = p.rows * p.channels * p.taps * lanes, parts = parts_of(p)
    cdef Py_ssize_t task, part, i
    cdef real* sums = scratch + offsets_size(p)
    cdef real* own = sums + parts * p.G * size
    find_offsets(p, lanes, <Size*>scratch)
    workers.run_numbered(
        threads_for(operations(p)), parts * p.G, part_of_correlation[real], parts, p, scratch, gy, x, sums, own)
    # Part after part, so that the sum does not depend on who computed which.
    for task in range(p.G):
        for part in range(1, parts):
            for i in range(size):
                sums[task * parts * size + i] += sums[(task * parts + part) * size + i]
        gather_sums(p, sums + task * parts * size, accumulate, gW + task * p.rows * p.channels * p.taps)


cdef void part_of_correlation(
    Py_ssize_t task, int thread, Py_ssize_t parts, const Product& p, const real* offsets, const real* gy, const real* x,
    real* all_sums, real* own) noexcept nogil:
    """One group's sets of images of one part."""
    cdef FlushDenormals flush
    cdef const Size* offset = <const Size*>offsets
    cdef real* planes = own + thread * own_size(p)
    cdef real* sums = all_sums + task * p.rows * p.channels * p.taps * entries(table, x).lanes
    cdef Py_ssize_t g = task // parts, part = task % parts, lanes = entries(table, x).lanes, sets = (p.N + lanes - 1) // lanes
    cdef Py_ssize_t set, n, images, u, begin, end, row, lines = p.channels * p.across, height = p.pixels // p.grid.columns, i
    cdef PatchRuns runs
    cdef real* outputs = planes + p.channels * plane_size(p) * lanes
    flush.on()
    memset(sums, 0, p.rows * p.channels * p.taps * lanes * sizeof(real))
    runs.images = 1
    runs.a_image = runs.b_image = 0
    runs.a_pitch = runs.pixels = p.grid.columns * lanes
    runs.b_pitch = pitch_of(p) * lanes
    for set in range(sets * part // parts, sets * (part + 1) // parts):
        n = set * lanes
        images = min(lanes, p.N - n)
        interleave(p, x + (n * p.G + g) * p.channels * p.grid.height * p.grid.width, images, planes)
        for i in range(p.rows):
            entries(table, gy).pack_columns(
                gy + ((n * p.G + g) * p.rows + i) * p.pixels, 1, p.G * p.rows * p.pixels, p.pixels, images,
                outputs + i * p.pixels * lanes)
        for u in range(p.taps // p.across):
            row = p.tap[u * p.across].row
            begin, end = max(-row, 0), min(height, p.grid.height - row)
            if begin < end:
                runs.rows = end - begin
                entries(table, x).correlate(
                    p.rows, lines, runs, outputs + begin * runs.a_pitch, p.pixels * lanes, planes + begin * runs.b_pitch,
                    offset + u * lines, sums + u * p.rows * lines * lanes)


cdef void gather_sums(const Product& p, const real* sums, bint accumulate, real* gW) noexcept nogil:
    """From registers in the order of tap row, output, channel, tap to gW (rows, channels, taps)."""
    cdef Py_ssize_t lanes = entries(table, gW).lanes, u, o, c
    for u in range(p.taps // p.across):
        for o in range(p.rows):
            for c in range(p.channels):
                entries(table, gW).sum_registers(
                    sums + ((u * p.rows + o) * p.channels + c) * p.across * lanes, p.across, accumulate,
                    gW + (o * p.channels + c) * p.taps + u * p.across)
