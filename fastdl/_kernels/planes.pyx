"""Convolution of few channels over padded planes: nothing is packed, a line of pixels is read where it lies.

The planes of an image are copied with zeros around them, rows of one pitch. What a tap reads for all pixels of several rows is
then one contiguous run that starts at an offset; the pixels beyond the end of a row are computed too, and left out. (In a
gradient they count zero times what is read there: a NaN of x may so reach taps that do not see it.)

For strides S_H and S_W a plane is copied as its S_H x S_W phases, each a plane of its own: the elements whose row and column
leave the same remainders. A tap reads one of them, and neighbouring pixels again read neighbouring elements.
"""

from libc.string cimport memset

from fastdl._kernels.patches cimport Product, operations
from fastdl._kernels.round_up cimport round_up
from fastdl._kernels.table cimport PatchGrid, PatchRuns, PatchTap, Size, entries, patch_pixels, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for, workers

cdef enum:
    # Elements of planes that a thread works on at a time, and how far a run may read past its end.
    BLOCK = 24576
    BEYOND = 256
    # Rows of weights up to which it always pays. With more of them, it pays where there are few lines, but more than a copy costs.
    FEW_ROWS = 16
    FEW_LINES = 256
    LINES_OF_COPY = 16
    # Sums that keep the multipliers busy.
    FEWEST_SUMS = 10
    # How far a tap may lie from its pixel.
    FAR = 65536
    # Parts of a gradient's sum, each with registers of its own; the most elements of these.
    PARTS = 8
    IMAGES_OF_PART = 16
    SUMS = 524288
    LANES = 16
    # Phases of a plane, at most.
    PHASES = 16


cdef struct Planes:
    # Padded planes for `rows` rows of pixels, each in `phases`: what the top left element of each of these reads. `image` is the
    # elements of all channels.
    Py_ssize_t rows, pitch, size, blocks, k, phases, image
    PatchTap first[PHASES]


cdef Planes planes_of(const Product& p) noexcept nogil:
    cdef Planes planes
    cdef PatchTap first = p.tap[0]
    cdef Py_ssize_t t, i, bottom, right, all_rows = p.pixels // p.grid.columns if p.pixels else 0
    bottom, right = first.row, first.column
    for t in range(p.taps):
        first.row, first.column = min(first.row, p.tap[t].row), min(first.column, p.tap[t].column)
        bottom, right = max(bottom, p.tap[t].row), max(right, p.tap[t].column)
    bottom, right = (bottom - first.row) // p.grid.row_step, (right - first.column) // p.grid.column_step
    planes.phases = p.grid.row_step * p.grid.column_step
    for i in range(min(planes.phases, <Py_ssize_t>PHASES)):
        planes.first[i].row = first.row + i // p.grid.column_step
        planes.first[i].column = first.column + i % p.grid.column_step
    planes.pitch = p.grid.columns + right
    planes.rows = max(BLOCK // (p.channels * planes.phases * planes.pitch) - bottom, 1)
    if p.N * p.G < PARTS:  # several pieces of an image, for several threads
        planes.rows = min(planes.rows, (all_rows + PARTS - 1) // PARTS)
    planes.rows = max(min(planes.rows, all_rows), 1)
    planes.blocks = (all_rows + planes.rows - 1) // planes.rows
    planes.size = (planes.rows + bottom) * planes.pitch
    planes.k, planes.image = p.channels * p.taps, p.channels * planes.phases * planes.size
    return planes


cdef void find_offsets(const Product& p, const Planes& planes, Size* offset) noexcept nogil:
    """Where each line starts in the planes."""
    cdef Py_ssize_t c, t, row, column, phase
    for c in range(p.channels):
        for t in range(p.taps):
            row, column = p.tap[t].row - planes.first[0].row, p.tap[t].column - planes.first[0].column
            phase = row % p.grid.row_step * p.grid.column_step + column % p.grid.column_step
            offset[c * p.taps + t] = ((c * planes.phases + phase) * planes.size
                                      + row // p.grid.row_step * planes.pitch + column // p.grid.column_step)


cdef void fill_planes(
    const real* image, Py_ssize_t channels, PatchGrid grid, const PatchTap* first, Py_ssize_t phases, Py_ssize_t pitch,
    Py_ssize_t row, Py_ssize_t size, Py_ssize_t distance, real* planes) noexcept nogil:
    """Copy `size` elements of each phase, from row `row` on; zeros up to `distance`, where the next plane begins."""
    cdef Py_ssize_t done = 0, count, width
    grid.columns = pitch
    while done < size:
        count = min(<Py_ssize_t>patch_pixels, size - done)
        width = distance - done if done + count == size else count
        entries(table, image).pack_patches(
            image, grid, first, phases, channels, row * pitch + done, count, width, planes + done, distance)
        done += count


cdef bint planes_fit(const Product& p) noexcept nogil:
    """Whether pixels lie next to each other, and the taps so near that little more than the image is copied."""
    cdef Py_ssize_t t
    for t in range(p.taps):
        if not (-FAR <= p.tap[t].row <= FAR and -FAR <= p.tap[t].column <= FAR):
            return False
    return (p.grid.row_step <= PHASES and p.grid.row_step * p.grid.column_step <= PHASES
            and planes_of(p).image <= max(<Py_ssize_t>BLOCK, 4 * p.channels * p.grid.height * p.grid.width))


cdef bint planes_suit(const Product& p) noexcept nogil:
    cdef Py_ssize_t lines = p.channels * p.taps
    if not planes_fit(p):
        return False
    return p.rows <= FEW_ROWS or lines <= FEW_LINES and (lines >= LINES_OF_COPY or p.grid.columns % LANES == 0)


cdef Py_ssize_t rows_of_panel(Py_ssize_t rows, Py_ssize_t tile_rows) noexcept nogil:
    cdef Py_ssize_t panels = (rows + tile_rows - 1) // tile_rows
    return (rows + panels - 1) // panels


cdef Py_ssize_t product_size(const Product& p, const Planes& planes) noexcept nogil:
    return planes.image + BEYOND + LANES * (planes.rows * planes.pitch + BEYOND)


cdef Py_ssize_t offsets_size(const Planes& planes) noexcept nogil:
    return (planes.k * sizeof(Size) // sizeof(float) + 15) // 16 * 16


cdef Py_ssize_t planes_scratch(const Product& p) noexcept nogil:
    cdef Planes planes = planes_of(p)
    return offsets_size(planes) + threads_for(operations(p)) * product_size(p, planes)


cdef void product_of_planes(
    const Product& p, const real* x, const real* a, const real* b, real* y, real* scratch) noexcept nogil:
    cdef Planes planes = planes_of(p)
    find_offsets(p, planes, <Size*>scratch)
    workers.run_numbered(threads_for(operations(p)), p.N * p.G * planes.blocks, rows_of_pixels[real], p, planes, x, a, b, NULL,
                         planes.first[0], y, scratch)


cdef void scattered_product_of_planes(
    const Product& p, const real* x, const real* a, const PatchGrid& grid, PatchTap tap, real* y, real* scratch) noexcept nogil:
    cdef Planes planes = planes_of(p)
    find_offsets(p, planes, <Size*>scratch)
    workers.run_numbered(threads_for(operations(p)), p.N * p.G * planes.blocks, rows_of_pixels[real], p, planes, x, a, NULL, &grid,
                         tap, y, scratch)


cdef void rows_of_pixels(
    Py_ssize_t task, int thread, const Product& p, const Planes& planes, const real* x, const real* a, const real* b,
    const PatchGrid* scattered, PatchTap tap, real* y, real* offsets) noexcept nogil:
    """All outputs of one image and group for some rows of pixels; where a tap says in a `scattered` plane, or side by side."""
    cdef FlushDenormals flush
    cdef Py_ssize_t image = task // planes.blocks, g = image % p.G, row = task % planes.blocks * planes.rows, i = 0, j, r, count
    cdef Py_ssize_t rows = min(planes.rows, p.pixels // p.grid.columns - row), columns = p.grid.columns, k = planes.k
    cdef Py_ssize_t lanes = entries(table, y).lanes
    cdef Py_ssize_t height = rows_of_panel(p.rows, entries(table, y).tile_rows), panels = (p.rows + height - 1) // height
    cdef Py_ssize_t run = (rows - 1) * planes.pitch + columns, out_row = planes.rows * planes.pitch + BEYOND
    cdef const Size* offset = <const Size*>offsets
    cdef real* scratch = offsets + offsets_size(planes) + thread * product_size(p, planes)
    cdef const real* panel
    cdef const real* bias
    cdef real* to
    cdef real* out = scratch + planes.image + BEYOND
    flush.on()
    fill_planes(x + image * p.channels * p.grid.height * p.grid.width, p.channels, p.grid, planes.first, planes.phases,
                planes.pitch, row, planes.size, planes.size, scratch)
    while i < p.rows:
        count = min(height, p.rows - i)
        panel = a + (g * panels + i // height) * entries(table, y).tile_rows * k
        bias = b + g * p.rows + i if b != NULL else NULL
        if scattered != NULL:
            entries(table, y).multiply_lines(count, run, k, panel, scratch, offset, bias, out, out_row)
            for j in range(count):
                to = y + (image * p.rows + i + j) * scattered.height * scattered.width
                for r in range(rows):
                    entries(table, y).unpack_line(
                        out + j * out_row + r * planes.pitch, scattered[0], tap, (row + r) * columns, columns, to)
            i += count
            continue
        to = y + (image * p.rows + i) * p.pixels + row * columns
        if columns % lanes == 0 and columns // lanes * count >= FEWEST_SUMS:  # each row of pixels is whole registers
            for j in range(rows):
                entries(table, y).multiply_lines(
                    count, columns, k, panel, scratch + j * planes.pitch, offset, bias, to + j * columns, p.pixels)
        else:
            entries(table, y).multiply_lines(count, run, k, panel, scratch, offset, bias, out, out_row)
            for j in range(count):
                entries(table, y).copy_rows(out + j * out_row, planes.pitch, rows, columns, to + j * p.pixels, columns)
        i += count


cdef bint correlation_suits(const Product& p) noexcept nogil:
    return (planes_fit(p) and p.rows * p.channels * p.taps <= 4096
            and parts_of(p) * p.G * p.rows * p.channels * p.taps * LANES <= SUMS)


cdef Py_ssize_t parts_of(const Product& p) noexcept nogil:
    return min(<Py_ssize_t>PARTS, max(p.N // IMAGES_OF_PART, min(<Py_ssize_t>2, p.N))) if p.G < PARTS else 1


cdef Py_ssize_t run_of(const Planes& planes) noexcept nogil:
    """The pixels of a block, up to the end of a register."""
    return round_up(planes.rows * planes.pitch, LANES)


cdef Py_ssize_t images_at_once(const Product& p, const Planes& planes) noexcept nogil:
    """Small images go several at a time: sums are then fetched and put back less often."""
    return min(max(BLOCK // (planes.image + p.rows * run_of(planes)), 1), (p.N + PARTS - 1) // PARTS)


cdef Py_ssize_t correlation_size(const Product& p, const Planes& planes) noexcept nogil:
    return images_at_once(p, planes) * (planes.image + p.rows * run_of(planes)) + BEYOND


cdef Py_ssize_t planes_correlation_scratch(const Product& p) noexcept nogil:
    cdef Planes planes = planes_of(p)
    return (offsets_size(planes) + parts_of(p) * p.G * p.rows * planes.k * LANES
            + threads_for(operations(p)) * correlation_size(p, planes))


cdef void correlation_of_planes(
    const Product& p, const real* gy, const real* x, bint accumulate, real* gW, real* scratch) noexcept nogil:
    cdef Planes planes = planes_of(p)
    cdef Py_ssize_t task, parts = parts_of(p), part, i, size = p.rows * planes.k * entries(table, gW).lanes
    cdef real* sums = scratch + offsets_size(planes)
    find_offsets(p, planes, <Size*>scratch)
    workers.run_numbered(threads_for(operations(p)), parts * p.G, part_of_correlation[real], parts, p, planes, gy, x, scratch)
    # Part after part, so that the sum does not depend on who computed which.
    for task in range(p.G):
        for part in range(1, parts):
            for i in range(size):
                sums[task * parts * size + i] += sums[(task * parts + part) * size + i]
        entries(table, gW).sum_registers(sums + task * parts * size, p.rows * planes.k, accumulate, gW + task * p.rows * planes.k)


cdef void part_of_correlation(
    Py_ssize_t task, int thread, Py_ssize_t parts, const Product& p, const Planes& planes, const real* gy, const real* x,
    real* offsets) noexcept nogil:
    """One group's images of one part: offsets, the sums of each part and what each thread has lie one behind the other."""
    cdef FlushDenormals flush
    cdef Py_ssize_t g = task // parts, part = task % parts, n, image, row, rows, run, columns = p.grid.columns
    cdef Py_ssize_t at_once = images_at_once(p, planes), count, i, x_size = planes.image
    cdef Py_ssize_t lanes = entries(table, x).lanes, end = p.N * (part + 1) // parts
    cdef bint whole_registers = columns % lanes == 0
    cdef const Size* offset = <const Size*>offsets
    cdef Py_ssize_t size = p.rows * planes.k * lanes
    cdef real* sums = offsets + offsets_size(planes) + task * size
    cdef real* scratch = offsets + offsets_size(planes) + parts * p.G * size + thread * correlation_size(p, planes)
    cdef PatchGrid outputs
    cdef PatchTap origin
    cdef PatchRuns runs
    cdef real* own_x = scratch
    cdef real* own_gy = scratch + at_once * x_size + BEYOND
    flush.on()
    outputs.height, outputs.width = p.pixels // columns, columns
    outputs.row_step = outputs.column_step = 1
    origin.row = origin.column = 0
    memset(sums, 0, size * sizeof(real))
    memset(own_x + at_once * x_size, 0, BEYOND * sizeof(real))
    n = p.N * part // parts
    while n < end:
        count = min(at_once, end - n)
        row = 0
        while row < outputs.height:
            rows = min(planes.rows, outputs.height - row)
            run = rows * columns if whole_registers else round_up(rows * planes.pitch, LANES)
            for i in range(count):
                image = (n + i) * p.G + g
                fill_planes(x + image * p.channels * p.grid.height * p.grid.width, p.channels, p.grid, planes.first,
                            planes.phases, planes.pitch, row, planes.size, planes.size, own_x + i * x_size)
                if not whole_registers:
                    fill_planes(gy + image * p.rows * p.pixels, p.rows, outputs, &origin, 1, planes.pitch, row,
                                rows * planes.pitch, run, own_gy + i * p.rows * run)
            runs.images, runs.b_image, runs.b_pitch = count, x_size, planes.pitch
            if whole_registers:
                runs.a_image, runs.rows, runs.a_pitch, runs.pixels = p.G * p.rows * p.pixels, rows, columns, columns
                entries(table, x).correlate(p.rows, planes.k, runs, gy + (n * p.G + g) * p.rows * p.pixels + row * columns,
                                            p.pixels, own_x, offset, sums)
            else:
                runs.a_image, runs.rows, runs.a_pitch, runs.pixels = p.rows * run, 1, 0, run
                entries(table, x).correlate(p.rows, planes.k, runs, own_gy, run, own_x, offset, sums)
            row += rows
        n += count
