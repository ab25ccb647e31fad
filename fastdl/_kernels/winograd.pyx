"""Convolution with 3 x 3 weights by Winograd's F(4x4, 3x3): a quarter of the multiplications.

The image is cut into tiles of 4 x 4 pixels of y. Weights and the 6 x 6 pixels that a tile reads are brought to 36 points
(core/winograd.hpp), where each point is a product of matrices of its own:

    y at a point (tiles, O)  = x at the point (tiles, C) W^T at the point (C, O)
    gW at a point (O, C)     = gy^T at the point (O, tiles) x at the point (tiles, C)

and back. The gradient of the input is the first with the weights turned round. A strip is a row of tiles across an image; so
many strips go at a time that what they hold at the points stays in cache.
"""

import os

from fastdl._kernels.patches cimport Product, operations
from fastdl._kernels.round_up cimport round_up
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for, workers

cdef enum:
    POINTS = 36
    LANES = 16
    # Elements of memory of a thread; of the lines that pixels of a register of channels make.
    MEMORY = 983040
    LINES = 16384
    # Tiles of a block: at most, and where there are enough for this many blocks; for the gradient of the weights, at most.
    TILES = 64
    FEW_TILES = 28
    BLOCKS = 8
    SUMMED_TILES = 128
    # The parts that blocks are cut into, where their sums have no more elements than that.
    PARTS = 8
    SUMS = 600000
    # Between two points, so that theirs share no set of the cache.
    GAP = 48
    # Channels of a slice of the sum, at most: long sums would round off more than the way to the points does.
    SLICE = 64
    # Pieces of a register of channels of a block on the way to the points.
    PIECES = 4
    # Channels, and pixels of all images, that repay the way to the points and back; weights for each of these pixels at most, since
    # they are brought to the points in every call.
    ENOUGH_CHANNELS = 16
    ENOUGH_PIXELS = 128
    WEIGHTS_OF_PIXEL = 150
    # Operations of an element on its way.
    WAY = 100

cdef bint wanted = True


cdef struct Tiles:
    # Tiles down and across an image; strips in all, of a block, and at most in lines; elements of a thread's lines; channels
    # and rows with those that fill a register; slices of the channels, and the channels of each.
    Py_ssize_t down, across, strips, of_block, blocks, of_lines, lines, x_step, y_step, slices, of_slice


cdef Tiles tiles_of(const Product& p, Py_ssize_t most, Py_ssize_t memory) noexcept nogil:
    """The cut into blocks of up to `most` tiles that fit into memory; no blocks where not one strip does."""
    cdef Tiles t
    cdef Py_ssize_t width = max(p.grid.width, p.grid.columns), fitting, tiles
    t.down = (p.pixels // p.grid.columns + 3) // 4
    t.across = (p.grid.columns + 3) // 4
    t.strips = p.N * t.down
    t.of_lines = min(max((LINES // (LANES * width) - 2) // 4, 1), t.down)
    t.lines = (4 * t.of_lines + 2) * width * LANES
    t.x_step, t.y_step = round_up(p.channels, LANES), round_up(p.rows, LANES)
    t.slices = (p.channels + SLICE - 1) // SLICE
    t.of_slice = (p.channels + t.slices - 1) // t.slices
    fitting = (memory - t.lines - 2 * POINTS * GAP) // (POINTS * t.across * (t.x_step + t.y_step))
    t.of_block = max(min(fitting, most // t.across), 1) if fitting > 0 else 0
    tiles = t.strips * t.across
    t.blocks = 0
    if t.of_block:
        # Enough blocks for several threads where they are not too small, and as large as each other.
        t.blocks = max((t.strips + t.of_block - 1) // t.of_block, min(<Py_ssize_t>BLOCKS, tiles // FEW_TILES))
        t.blocks = min(t.blocks + t.blocks % 2, t.strips)
        t.of_block = (t.strips + t.blocks - 1) // t.blocks
        t.blocks = (t.strips + t.of_block - 1) // t.of_block
    return t


cdef Tiles tiles_of_product(const Product& p) noexcept nogil:
    return tiles_of(p, TILES, MEMORY)


cdef bint winograd_wanted() noexcept nogil:
    return wanted


cdef bint winograd_suits(const Product& p) noexcept nogil:
    if not (p.G == 1 and p.taps == 9 and p.across == 3 and p.grid.row_step == 1 and p.grid.column_step == 1):
        return False
    if p.tap[8].row - p.tap[0].row not in (2, -2) or p.tap[8].column - p.tap[0].column not in (2, -2):
        return False
    if not (-2 <= first_row(p) <= 0 and -2 <= first_column(p) <= 0):
        return False
    return (p.channels >= ENOUGH_CHANNELS and p.rows >= ENOUGH_CHANNELS and p.N * p.pixels >= ENOUGH_PIXELS
            and p.N * p.pixels * WEIGHTS_OF_PIXEL >= p.rows * p.channels and tiles_of_product(p).blocks > 0)


cdef Py_ssize_t first_row(const Product& p) noexcept nogil:
    return min(p.tap[0].row, p.tap[8].row)


cdef Py_ssize_t first_column(const Product& p) noexcept nogil:
    return min(p.tap[0].column, p.tap[8].column)


cdef Py_ssize_t weights_point(const Product& p) noexcept nogil:
    return p.channels * round_up(p.rows, LANES) + GAP


cdef Py_ssize_t x_point(const Tiles& t) noexcept nogil:
    return t.of_block * t.across * t.x_step + GAP


cdef Py_ssize_t y_point(const Tiles& t) noexcept nogil:
    return t.of_block * t.across * t.y_step + GAP


cdef Py_ssize_t block_size(const Tiles& t) noexcept nogil:
    return t.lines + POINTS * (x_point(t) + y_point(t))


cdef Py_ssize_t winograd_scratch(const Product& p) noexcept nogil:
    return POINTS * weights_point(p) + threads_for(operations(p)) * block_size(tiles_of_product(p))


cdef void product_of_winograd(
    const Product& p, const real* x, const real* W, Py_ssize_t row_step, Py_ssize_t channel_step, const real* b, real* y,
    real* scratch) noexcept nogil:
    cdef Tiles t = tiles_of_product(p)
    cdef Py_ssize_t tile_columns = entries(table, y).tile_columns, panels = (p.rows + tile_columns - 1) // tile_columns
    workers.run(
        threads_for(<double>WAY * p.rows * p.channels), panels * t.slices, point_panel[real], p, t, W, row_step, channel_step, scratch)
    workers.run_numbered(threads_for(operations(p)), t.blocks, block_of_tiles[real], p, t, x, scratch, b, y,
                         scratch + POINTS * weights_point(p))


cdef void point_panel(
    Py_ssize_t task, const Product& p, const Tiles& t, const real* W, Py_ssize_t row_step, Py_ssize_t channel_step, real* points
) noexcept nogil:
    """A panel of the product's columns, rows of the weights, for a slice of the channels."""
    cdef FlushDenormals flush
    cdef Py_ssize_t lanes = entries(table, W).lanes, tile_columns = entries(table, W).tile_columns
    cdef Py_ssize_t row = task // t.slices * tile_columns, rows = min(tile_columns, p.rows - row)
    cdef Py_ssize_t c = task % t.slices * t.of_slice, depth = min(t.of_slice, p.channels - c)
    flush.on()
    entries(table, W).point_weights(
        W + row * row_step + c * channel_step, row_step, rows, channel_step, depth, p.tap[0].row > p.tap[8].row,
        points + c * t.y_step + row * depth, lanes if rows <= lanes else tile_columns, weights_point(p))


cdef void block_of_tiles(
    Py_ssize_t task, int thread, const Product& p, const Tiles& t, const real* x, const real* weights, const real* b, real* y,
    real* all_scratch) noexcept nogil:
    """All rows of y for some strips."""
    cdef FlushDenormals flush
    cdef Py_ssize_t lanes = entries(table, y).lanes, first = task * t.of_block, strips = min(t.of_block, t.strips - first), point
    cdef Py_ssize_t c
    cdef real* scratch = all_scratch + thread * block_size(t)
    cdef real* x_points = scratch + t.lines
    cdef real* y_points = x_points + POINTS * x_point(t)
    cdef const real* no_bias = NULL
    flush.on()
    c = 0
    while c < p.channels:
        bring_image(c, first, strips, p, t, x, scratch, x_points + c, x_point(t))
        c += lanes
    for point in range(POINTS):
        c = 0
        while c < p.channels:
            entries(table, y).multiply(
                strips * t.across, p.rows, min(t.of_slice, p.channels - c), x_points + point * x_point(t) + c, t.x_step, 1, False,
                weights + point * weights_point(p) + c * t.y_step, 0, c > 0, no_bias, False, y_points + point * y_point(t), t.y_step)
            c += t.of_slice
    c = 0
    while c < p.rows:
        fetch_image(c, first, strips, p, t, y_points + c, y_point(t), b, scratch, y)
        c += lanes


cdef void bring_image(
    Py_ssize_t c, Py_ssize_t first, Py_ssize_t strips, const Product& p, const Tiles& t, const real* x, real* lines, real* points,
    Py_ssize_t point_step) noexcept nogil:
    """A register of channels of x to the points, for some strips."""
    cdef Py_ssize_t lanes = entries(table, x).lanes, plane = p.grid.height * p.grid.width
    cdef Py_ssize_t done = 0, count, image, top, row, end, i
    while done < strips:
        image, top = (first + done) // t.down, (first + done) % t.down * 4
        count = min(strips - done, t.of_lines, t.down - top // 4)
        top += first_row(p)
        row, end = max(top, <Py_ssize_t>0), min(top + 4 * count + 2, p.grid.height)
        if row < end:
            entries(table, x).turn(
                x + (image * p.channels + c) * plane + row * p.grid.width, plane, min(lanes, p.channels - c),
                (end - row) * p.grid.width, False, lines, lanes)
        for i in range(count):
            entries(table, x).point_image(
                lines, max(end - row, <Py_ssize_t>0), p.grid.width, top - row + 4 * i, first_column(p), t.across,
                points + (done + i) * t.across * t.x_step, t.x_step, point_step)
        done += count


cdef void fetch_image(
    Py_ssize_t o, Py_ssize_t first, Py_ssize_t strips, const Product& p, const Tiles& t, const real* points, Py_ssize_t point_step,
    const real* b, real* lines, real* y) noexcept nogil:
    """A register of rows of y from the points, for some strips."""
    cdef Py_ssize_t lanes = entries(table, y).lanes, columns = p.grid.columns, height = p.pixels // columns
    cdef Py_ssize_t done = 0, count, image, top, i, rows = min(lanes, p.rows - o)
    while done < strips:
        image, top = (first + done) // t.down, (first + done) % t.down * 4
        count = min(strips - done, t.of_lines, t.down - top // 4)
        for i in range(count):
            entries(table, y).tiles_from_points(
                points + (done + i) * t.across * t.y_step, t.y_step, point_step, t.across, b + o if b != NULL else NULL, rows,
                height - top - 4 * i, columns, lines + 4 * i * columns * lanes)
        entries(table, y).turn(
            lines, lanes, min(4 * count, height - top) * columns, rows, False, y + (image * p.rows + o) * p.pixels + top * columns,
            p.pixels)
        done += count


cdef Py_ssize_t sums_point(const Product& p) noexcept nogil:
    return p.rows * round_up(p.channels, LANES) + GAP


cdef Py_ssize_t parts_of(const Product& p) noexcept nogil:
    """Few weights: the blocks are cut into parts with sums of their own. Many: the threads share the points of one sum."""
    cdef Py_ssize_t parts = min(<Py_ssize_t>PARTS, SUMS // (POINTS * sums_point(p)))
    return parts if parts > 1 and tiles_of(p, TILES, MEMORY - SUMS).blocks > 0 else 1


cdef Tiles summed_tiles(const Product& p) noexcept nogil:
    return tiles_of(p, TILES, MEMORY - SUMS) if parts_of(p) > 1 else tiles_of(p, SUMMED_TILES, MEMORY)


cdef Py_ssize_t winograd_correlation_scratch(const Product& p) noexcept nogil:
    cdef Tiles t = summed_tiles(p)
    cdef Py_ssize_t threads = threads_for(operations(p)), sums = POINTS * parts_of(p) * sums_point(p)
    return sums + (threads * block_size(t) if parts_of(p) > 1 else block_size(t) + (threads - 1) * t.lines)


cdef void correlation_of_winograd(
    const Product& p, const real* gy, const real* x, bint accumulate, real* gW, real* scratch) noexcept nogil:
    cdef Tiles t = summed_tiles(p)
    cdef Py_ssize_t parts = min(parts_of(p), t.blocks), sums = sums_point(p)
    cdef real* own = scratch + POINTS * parts * sums
    if parts_of(p) > 1:
        workers.run_numbered(threads_for(operations(p)), parts, part_of_correlation[real], parts, p, t, gy, x, scratch, own)
    else:
        correlation_by_points(p, t, gy, x, scratch, own)
    # Part after part, so that the sum does not depend on who computed which.
    workers.run(threads_for(<double>POINTS * parts * sums), POINTS, add_parts[real], parts, sums, scratch)
    workers.run(threads_for(<double>WAY * p.rows * p.channels), p.rows, fetch_weights[real], parts * sums, p, t, scratch, accumulate,
                gW)


cdef void add_parts(Py_ssize_t point, Py_ssize_t parts, Py_ssize_t size, real* sums) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    sums += point * parts * size
    entries(table, sums).add_rows(sums + size, parts - 1, size, sums)


cdef void fetch_weights(
    Py_ssize_t row, Py_ssize_t point_step, const Product& p, const Tiles& t, const real* sums, bint accumulate, real* gW
) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    entries(table, gW).weights_from_points(
        sums + row * t.x_step, point_step, p.channels, accumulate, gW + row * p.channels * p.taps)


cdef void part_of_correlation(
    Py_ssize_t part, int thread, Py_ssize_t parts, const Product& p, const Tiles& t, const real* gy, const real* x, real* sums,
    real* all_scratch) noexcept nogil:
    """Some of the blocks, one after another."""
    cdef FlushDenormals flush
    cdef Py_ssize_t begin = t.blocks * part // parts, lanes = entries(table, x).lanes, block, piece, point
    cdef real* scratch = all_scratch + thread * block_size(t)
    cdef real* points = scratch + t.lines
    flush.on()
    for block in range(begin, t.blocks * (part + 1) // parts):
        for piece in range((max(p.channels, p.rows) + lanes - 1) // lanes):
            bring_piece(piece, 0, 1, block, p, t, gy, x, scratch, points)
        for point in range(POINTS):
            correlate_point(
                point, block, p, t, points, block > begin, sums + part * sums_point(p), parts * sums_point(p))


cdef void correlation_by_points(
    const Product& p, const Tiles& t, const real* gy, const real* x, real* sums, real* scratch) noexcept nogil:
    """The threads share a block's tiles on their way to the points, then the points."""
    cdef Py_ssize_t lanes = entries(table, x).lanes, pieces = (max(p.channels, p.rows) + lanes - 1) // lanes * PIECES
    cdef Py_ssize_t block
    cdef int threads = threads_for(operations(p))
    for block in range(t.blocks):
        workers.run_numbered(
            threads, pieces, bring_piece[real], PIECES, block, p, t, gy, x, scratch + block_size(t) - t.lines, scratch)
        workers.run(threads, POINTS, correlate_point[real], block, p, t, scratch, block > 0, sums, sums_point(p))


cdef void bring_piece(
    Py_ssize_t task, int thread, Py_ssize_t pieces, Py_ssize_t block, const Product& p, const Tiles& t, const real* gy,
    const real* x, real* all_lines, real* points) noexcept nogil:
    """A register of channels of x, and one of gy, to the points, for a piece of a block's strips."""
    cdef FlushDenormals flush
    cdef Py_ssize_t first = block * t.of_block, strips = min(t.of_block, t.strips - first)
    cdef Py_ssize_t begin = strips * (task % pieces) // pieces, count = strips * (task % pieces + 1) // pieces - begin
    cdef Py_ssize_t c = task // pieces * entries(table, x).lanes, start = begin * t.across
    cdef real* lines = all_lines + thread * t.lines
    flush.on()
    if c < p.channels:
        bring_image(c, first + begin, count, p, t, x, lines, points + start * t.x_step + c, x_point(t))
    if c < p.rows:
        bring_gradient(c, first + begin, count, p, t, gy, lines, points + POINTS * x_point(t) + start * t.y_step + c, y_point(t))


cdef void bring_gradient(
    Py_ssize_t o, Py_ssize_t first, Py_ssize_t strips, const Product& p, const Tiles& t, const real* gy, real* lines, real* points,
    Py_ssize_t point_step) noexcept nogil:
    """A register of rows of gy to the points, for some strips."""
    cdef Py_ssize_t lanes = entries(table, gy).lanes, columns = p.grid.columns, height = p.pixels // columns
    cdef Py_ssize_t done = 0, count, image, top, rows, i
    while done < strips:
        image, top = (first + done) // t.down, (first + done) % t.down * 4
        count = min(strips - done, t.of_lines, t.down - top // 4)
        rows = min(4 * count, height - top)
        entries(table, gy).turn(
            gy + (image * p.rows + o) * p.pixels + top * columns, p.pixels, min(lanes, p.rows - o), rows * columns, False, lines, lanes)
        for i in range(count):
            entries(table, gy).point_gradient(
                lines, rows, columns, 4 * i, 0, t.across, points + (done + i) * t.across * t.y_step, t.y_step, point_step)
        done += count


cdef void correlate_point(
    Py_ssize_t point, Py_ssize_t block, const Product& p, const Tiles& t, const real* points, bint accumulate, real* sums,
    Py_ssize_t point_step) noexcept nogil:
    """The sums of one point over a block."""
    cdef FlushDenormals flush
    cdef Py_ssize_t tiles = min(t.of_block, t.strips - block * t.of_block) * t.across
    cdef const real* no_bias = NULL
    flush.on()
    entries(table, sums).multiply(
        p.rows, p.channels, tiles, points + POINTS * x_point(t) + point * y_point(t), 1, t.y_step, False,
        points + point * x_point(t), t.x_step, accumulate, no_bias, False, sums + point * point_step, t.x_step)


def set_winograd(enabled: bool) -> None:
    """Let convolutions multiply by Winograd's method where that is faster (the default), or forbid it; in the whole process.

    float32 convolutions of 3 x 3 weights with stride 1, dilation 1, one group and 16 channels or more each way take about half
    the time so, forward and backward. The price is accuracy: with unit-normal data, 16 to 512 channels, errors relative to the
    root mean square of the result are

    =========  =============  ============  ============  ===========
    .          Winograd, max  Winograd, rms  direct, max   direct, rms
    =========  =============  ============  ============  ===========
    y, gx      1e-5           9e-7          6e-6          4e-7
    gW         6e-6           9e-7          4e-6          4e-7
    =========  =============  ============  ============  ===========

    A NaN or an infinity in an image makes NaN of all pixels of the 4 x 4 tiles that see it, and values above 1e36 overflow.
    float64 always takes the direct way. `FASTDL_WINOGRAD=0` in the environment forbids it from the start.

    Raises:
        TypeError: if `enabled` is neither True nor False.

    Example:
        >>> import fastdl
        >>> fastdl.set_winograd(False)
        >>> fastdl.get_winograd()
        False
        >>> fastdl.set_winograd(True)

    Source:
        Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2015; points after Barabasz et al., 2018.
    """
    global wanted
    if not isinstance(enabled, bool):
        from fastdl.errors import InvalidTypeError
        from fastdl.messages import shown
        raise InvalidTypeError("set_winograd", "True or False", shown(enabled))
    wanted = enabled


def get_winograd() -> bool:
    """Return whether convolutions may multiply by Winograd's method."""
    return wanted


if os.environ.get("FASTDL_WINOGRAD"):
    if os.environ["FASTDL_WINOGRAD"] not in ("0", "1"):
        raise ImportError(f"FASTDL_WINOGRAD: expected 0 or 1, got {os.environ['FASTDL_WINOGRAD']!r}")
    wanted = os.environ["FASTDL_WINOGRAD"] == "1"
