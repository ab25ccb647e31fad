"""Products of weights with the patches of images: im2col whose column matrix never stands in memory.

A tap is an element of the kernel, a line what one tap of one channel reads for a run of pixels. The lines of a panel of pixels
are packed where they are used, a slice of channels at a time, and multiplied with all rows of the weights.
"""

from libc.string cimport memset

from fastdl._kernels.round_up cimport round_up
from fastdl._kernels.table cimport PatchGrid, PatchTap, entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for, workers

cdef enum:
    # Lines of a slice of the sum, at most.
    SLICE = 640
    WIDEST_TILE = 64
    # For the gradient of the weights: pixels of a chunk of the sum; rows packed at a time, so far apart that they share no set of
    # the cache; the parts that the pixels are cut into, where their sums have no more elements than that.
    CHUNK = 512
    ROWS = 126
    ROW_STRIDE = 528
    PARTS = 8
    SUMS = 65536


cdef double operations(const Product& p) noexcept nogil:
    return 2.0 * p.N * p.G * p.rows * p.pixels * p.channels * p.taps


cdef Py_ssize_t slice_channels(Py_ssize_t channels, Py_ssize_t taps) noexcept nogil:
    cdef Py_ssize_t most = max(SLICE // taps, 1), slices = (channels + most - 1) // most
    return (channels + slices - 1) // slices


cdef Py_ssize_t weights_size(const Product& p) noexcept nogil:
    return p.G * round_up(p.rows, entries(table, <const float*>NULL).tile_rows) * p.channels * p.taps


cdef Py_ssize_t patches_scratch(const Product& p) noexcept nogil:
    return threads_for(operations(p)) * WIDEST_TILE * (slice_channels(p.channels, p.taps) * p.taps + p.rows)


cdef void product_of_patches(
    const Product& p, const real* x, const real* a, const real* b, real* y, real* scratch) noexcept nogil:
    cdef Py_ssize_t step = slice_channels(p.channels, p.taps), slices = (p.channels + step - 1) // step
    cdef Py_ssize_t tile_columns = entries(table, y).tile_columns, panels = (p.pixels + tile_columns - 1) // tile_columns, slice
    for slice in range(slices):
        workers.run_numbered(threads_for(operations(p)), p.N * p.G * panels, panel_of_product[real], panels, slice, step, p, x, a,
                             b if slice == slices - 1 else NULL, y, scratch)


cdef void panel_of_product(
    Py_ssize_t task, int thread, Py_ssize_t panels, Py_ssize_t slice, Py_ssize_t step, const Product& p, const real* x,
    const real* a, const real* b, real* y, real* scratch) noexcept nogil:
    cdef Py_ssize_t tile_columns = entries(table, y).tile_columns
    panel_of_pixels(task, panels, slice, step, p, x, a, b,
                    y + task // panels * p.rows * p.pixels + task % panels * tile_columns, p.pixels,
                    scratch + thread * tile_columns * step * p.taps)


cdef void panel_of_pixels(
    Py_ssize_t task, Py_ssize_t panels, Py_ssize_t slice, Py_ssize_t step, const Product& p, const real* x, const real* a,
    const real* b, real* y, Py_ssize_t y_row, real* panel) noexcept nogil:
    """All rows of y for a panel of pixels of one image and group, one slice of the sum."""
    cdef FlushDenormals flush
    cdef Py_ssize_t tile_rows = entries(table, y).tile_rows, tile_columns = entries(table, y).tile_columns
    cdef Py_ssize_t lanes = entries(table, y).lanes
    cdef Py_ssize_t first = task % panels * tile_columns, count = min(tile_columns, p.pixels - first)
    cdef Py_ssize_t width = lanes if count <= lanes else tile_columns
    cdef Py_ssize_t image = task // panels, g = image % p.G, c = slice * step, channels = min(step, p.channels - c)
    flush.on()
    entries(table, y).pack_patches(
        x + (image * p.channels + c) * p.grid.height * p.grid.width, p.grid, p.tap, p.taps, channels, first, count, width,
        panel, width)
    entries(table, y).multiply(
        p.rows, count, channels * p.taps, a + round_up(p.rows, tile_rows) * p.taps * (g * p.channels + c), 0, 0, True, panel, 0,
        slice > 0, b + g * p.rows if b != NULL else NULL, b != NULL, y, y_row)


cdef void scattered_product_of_patches(
    const Product& p, const real* x, const real* a, const PatchGrid& grid, PatchTap tap, real* y, real* scratch) noexcept nogil:
    cdef Py_ssize_t tile_columns = entries(table, y).tile_columns, step = slice_channels(p.channels, p.taps)
    cdef Py_ssize_t panels = (p.pixels + tile_columns - 1) // tile_columns
    workers.run_numbered(
        threads_for(operations(p)), p.N * p.G * panels, scattered_panel[real], panels, step, p, x, a, grid, tap, y, scratch)


cdef void scattered_panel(
    Py_ssize_t task, int thread, Py_ssize_t panels, Py_ssize_t step, const Product& p, const real* x, const real* a,
    const PatchGrid& grid, PatchTap tap, real* y, real* all_scratch) noexcept nogil:
    cdef Py_ssize_t tile_columns = entries(table, y).tile_columns, slice, row
    cdef real* scratch = all_scratch + thread * tile_columns * (step * p.taps + p.rows)
    cdef Py_ssize_t first = task % panels * tile_columns, count = min(tile_columns, p.pixels - first)
    cdef const real* no_bias = NULL
    cdef real* block = scratch + tile_columns * step * p.taps
    for slice in range((p.channels + step - 1) // step):
        panel_of_pixels(task, panels, slice, step, p, x, a, no_bias, block, tile_columns, scratch)
    for row in range(p.rows):
        entries(table, y).unpack_line(
            block + row * tile_columns, grid, tap, first, count, y + (task // panels * p.rows + row) * grid.height * grid.width)


cdef Py_ssize_t parts_of(const Product& p) noexcept nogil:
    """Few weights: the pixels are cut into parts with sums of their own. Many: the threads share the rows of one sum."""
    if p.G >= PARTS:
        return 1
    return PARTS if PARTS * p.G * p.rows * p.channels * p.taps <= SUMS else 0


cdef Py_ssize_t outputs_size(const Product& p) noexcept nogil:
    return round_up(p.rows, entries(table, <const float*>NULL).tile_columns) * CHUNK


cdef Py_ssize_t lines_size(const Product& p) noexcept nogil:
    return max(<Py_ssize_t>ROWS, p.taps) * ROW_STRIDE


cdef Py_ssize_t patches_correlation_scratch(const Product& p) noexcept nogil:
    cdef Py_ssize_t parts = parts_of(p), sums = p.rows * p.channels * p.taps, threads = threads_for(operations(p))
    if parts:
        return parts * p.G * sums + threads * (outputs_size(p) + lines_size(p))
    return sums + outputs_size(p) + threads * lines_size(p)


cdef void correlation_of_patches(
    const Product& p, const real* gy, const real* x, bint accumulate, real* gW, real* scratch) noexcept nogil:
    if parts_of(p):
        correlation_in_parts(parts_of(p), p, gy, x, accumulate, gW, scratch)
    else:
        correlation_by_rows(p, gy, x, accumulate, gW, scratch)


cdef void correlation_in_parts(
    Py_ssize_t parts, const Product& p, const real* gy, const real* x, bint accumulate, real* gW, real* scratch) noexcept nogil:
    cdef Py_ssize_t k = p.channels * p.taps, size = k * p.rows, task, part, i
    workers.run_numbered(threads_for(operations(p)), parts * p.G, part_of_correlation[real], parts, p, gy, x, scratch)
    # Part after part, so that the sum does not depend on who computed which.
    for task in range(p.G):
        for part in range(1, parts):
            for i in range(size):
                scratch[task * parts * size + i] += scratch[(task * parts + part) * size + i]
        entries(table, gW).turn(scratch + task * parts * size, p.rows, k, p.rows, accumulate, gW + task * size, k)


cdef void part_of_correlation(
    Py_ssize_t task, int thread, Py_ssize_t parts, const Product& p, const real* gy, const real* x, real* all_sums) noexcept nogil:
    """One group's pixels of one part. The scratch of each thread lies behind all the sums."""
    cdef Py_ssize_t g = task // parts, part = task % parts, total = p.N * p.pixels, step = max(ROWS // p.taps, 1)
    cdef Py_ssize_t begin = total * part // parts, end = total * (part + 1) // parts, start = begin, c, row, depth
    cdef Py_ssize_t size = p.rows * p.channels * p.taps
    cdef real* sums = all_sums + task * size
    cdef real* scratch = all_sums + parts * p.G * size + thread * (outputs_size(p) + lines_size(p))
    cdef real* lines = scratch + outputs_size(p)
    if begin == end:
        memset(sums, 0, size * sizeof(real))
    while start < end:
        depth = min(<Py_ssize_t>CHUNK, end - start)
        row = 0
        while row < p.rows:
            pack_outputs(row, g, start, depth, p, gy, scratch)
            row += entries(table, gy).tile_columns
        c = 0
        while c < p.channels:
            correlate_channels(c, min(step, p.channels - c), g, start, depth, p, x, scratch, start > begin, sums, lines)
            c += step
        start += depth


cdef void correlation_by_rows(
    const Product& p, const real* gy, const real* x, bint accumulate, real* gW, real* scratch) noexcept nogil:
    cdef Py_ssize_t k = p.channels * p.taps, total = p.N * p.pixels, step = max(ROWS // p.taps, 1), g, start, depth
    cdef Py_ssize_t tile_columns = entries(table, gy).tile_columns
    cdef int threads = threads_for(operations(p))
    cdef real* outputs = scratch + k * p.rows
    for g in range(p.G):
        start = 0
        while start < total:
            depth = min(<Py_ssize_t>CHUNK, total - start)
            workers.run(
                threads, (p.rows + tile_columns - 1) // tile_columns, panel_of_outputs[real], g, start, depth, p, gy, outputs)
            workers.run_numbered(
                threads, (p.channels + step - 1) // step, channels_of_correlation[real], step, g, start, depth, p, x, outputs,
                scratch)
            start += CHUNK
        workers.run(threads, (k + ROWS - 1) // ROWS, turn_rows[real], p, scratch, accumulate, gW + g * p.rows * k)


cdef void panel_of_outputs(
    Py_ssize_t task, Py_ssize_t g, Py_ssize_t start, Py_ssize_t depth, const Product& p, const real* gy,
    real* outputs) noexcept nogil:
    pack_outputs(task * entries(table, gy).tile_columns, g, start, depth, p, gy, outputs)


cdef void channels_of_correlation(
    Py_ssize_t task, int thread, Py_ssize_t step, Py_ssize_t g, Py_ssize_t start, Py_ssize_t depth, const Product& p,
    const real* x, const real* outputs, real* sums) noexcept nogil:
    cdef Py_ssize_t c = task * step
    cdef real* lines = sums + p.channels * p.taps * p.rows + outputs_size(p) + thread * lines_size(p)
    correlate_channels(c, min(step, p.channels - c), g, start, depth, p, x, outputs, start > 0, sums, lines)


cdef void turn_rows(Py_ssize_t task, const Product& p, const real* sums, bint accumulate, real* gW) noexcept nogil:
    """Some rows of gW^T into columns of gW."""
    cdef Py_ssize_t k = p.channels * p.taps, first = task * ROWS
    entries(table, gW).turn(
        sums + first * p.rows, p.rows, min(<Py_ssize_t>ROWS, k - first), p.rows, accumulate, gW + first, k)


cdef void pack_outputs(
    Py_ssize_t row, Py_ssize_t g, Py_ssize_t start, Py_ssize_t depth, const Product& p, const real* gy, real* panels
) noexcept nogil:
    """One panel of gy^T: a group's rows from `row` on, a chunk of the pixels of all images."""
    cdef Py_ssize_t done = 0, n, q, length
    cdef Py_ssize_t lanes = entries(table, gy).lanes, tile_columns = entries(table, gy).tile_columns
    cdef Py_ssize_t count = min(tile_columns, p.rows - row), width = lanes if count <= lanes else tile_columns
    while done < depth:
        n, q = (start + done) // p.pixels, (start + done) % p.pixels
        length = min(p.pixels - q, depth - done)
        entries(table, gy).pack_columns(
            gy + ((n * p.G + g) * p.rows + row) * p.pixels + q, 1, p.pixels, length, count, panels + row * depth + done * width)
        done += length


cdef void correlate_channels(
    Py_ssize_t c, Py_ssize_t channels, Py_ssize_t g, Py_ssize_t start, Py_ssize_t depth, const Product& p, const real* x,
    const real* outputs, bint accumulate, real* sums, real* lines) noexcept nogil:
    """The rows of gW^T for some channels, one chunk of the sum: their lines in rows, times the outputs in panels."""
    cdef FlushDenormals flush
    cdef Py_ssize_t tile_columns = entries(table, x).tile_columns, done = 0, n, q, length
    cdef const real* no_bias = NULL
    flush.on()
    while done < depth:
        n, q = (start + done) // p.pixels, (start + done) % p.pixels
        length = min(tile_columns, p.pixels - q, depth - done)
        entries(table, x).pack_patches(
            x + ((n * p.G + g) * p.channels + c) * p.grid.height * p.grid.width, p.grid, p.tap, p.taps, channels, q, length,
            length, lines + done, ROW_STRIDE)
        done += length
    entries(table, x).multiply(
        channels * p.taps, p.rows, depth, lines, ROW_STRIDE, 1, False, outputs, 0, accumulate, no_bias, False,
        sums + c * p.taps * p.rows, p.rows)
