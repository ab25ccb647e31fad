"""Convolution with 3 x 3 weights by Winograd's F(4x4, 3x3): a quarter of the multiplications.

The image is cut into tiles of 4 x 4 pixels of y. Weights and the 6 x 6 pixels that a tile reads are brought to 36 points
(core/winograd.hpp), where each point is a product of matrices of its own:

    y at a point (tiles, O)  = x at the point (tiles, C) W^T at the point (C, O)
    gW at a point (O, C)     = gy^T at the point (O, tiles) x at the point (tiles, C)

and back. The gradient of the input is the first with the weights turned round. A strip is a row of tiles across an image; so
many strips go at a time that what they hold at the points stays in cache.
"""

import os

from cython.parallel cimport parallel, prange, threadid

from fastdl._kernels.patches cimport Product, operations
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for

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
    # Between two points, so that theirs share no set of the cache.
    GAP = 48
    # Pieces of a register of channels on the way to the points.
    PIECES = 4
    # Channels below which, and tiles below which it does not pay.
    FEW_CHANNELS = 16

cdef bint wanted = True


cdef struct Tiles:
    # Tiles down and across an image; strips in all, of a block, and at most in lines; elements of a thread's lines; channels
    # and rows with those that fill a register.
    Py_ssize_t down, across, strips, of_block, blocks, of_lines, lines, x_step, y_step


cdef Py_ssize_t round_up(Py_ssize_t n, Py_ssize_t step) noexcept nogil:
    return (n + step - 1) // step * step


cdef Tiles tiles_of(const Product& p, Py_ssize_t most) noexcept nogil:
    cdef Tiles t
    cdef Py_ssize_t width = max(p.grid.width, p.grid.columns), fitting, tiles
    t.down = (p.pixels // p.grid.columns + 3) // 4
    t.across = (p.grid.columns + 3) // 4
    t.strips = p.N * t.down
    t.of_lines = min(max((LINES // (LANES * width) - 2) // 4, 1), t.down)
    t.lines = (4 * t.of_lines + 2) * width * LANES
    t.x_step, t.y_step = round_up(p.channels, LANES), round_up(p.rows, LANES)
    fitting = (MEMORY - t.lines - 2 * POINTS * GAP) // (POINTS * t.across * (t.x_step + t.y_step))
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


cdef bint winograd_wanted() noexcept nogil:
    return wanted


cdef bint winograd_suits(const Product& p) noexcept nogil:
    if not (p.G == 1 and p.taps == 9 and p.across == 3 and p.grid.row_step == 1 and p.grid.column_step == 1):
        return False
    if p.tap[8].row - p.tap[0].row not in (2, -2) or p.tap[8].column - p.tap[0].column not in (2, -2):
        return False
    if not (-2 <= first_row(p) <= 0 and -2 <= first_column(p) <= 0):
        return False
    return p.channels >= FEW_CHANNELS and p.rows >= FEW_CHANNELS and p.N * p.pixels > 0 and tiles_of(p, TILES).of_block > 0


cdef Py_ssize_t first_row(const Product& p) noexcept nogil:
    return min(p.tap[0].row, p.tap[8].row)


cdef Py_ssize_t first_column(const Product& p) noexcept nogil:
    return min(p.tap[0].column, p.tap[8].column)


# --- weights times tiles


cdef Py_ssize_t weights_point(const Product& p) noexcept nogil:
    return p.channels * round_up(p.rows, LANES) + GAP


cdef Py_ssize_t block_size(const Tiles& t) noexcept nogil:
    return t.lines + POINTS * (t.of_block * t.across * (t.x_step + t.y_step) + 2 * GAP)


cdef Py_ssize_t winograd_scratch(const Product& p) noexcept nogil:
    return POINTS * weights_point(p) + threads_for(operations(p)) * block_size(tiles_of(p, TILES))


cdef void product_of_winograd(
    const Product& p, const real* x, const real* W, Py_ssize_t row_step, Py_ssize_t channel_step, const real* b, real* y,
    real* scratch) noexcept nogil:
    cdef Tiles t = tiles_of(p, TILES)
    cdef Py_ssize_t lanes = entries(table, y).lanes, registers = (p.rows + lanes - 1) // lanes, task
    cdef int threads = threads_for(operations(p))
    cdef real* own = scratch + POINTS * weights_point(p)
    for task in prange(registers * PIECES, num_threads=threads, schedule="static"):
        point_panel(task, p, W, row_step, channel_step, scratch)
    for task in prange(t.blocks, num_threads=threads, schedule="static"):
        block_of_tiles(task, p, t, x, scratch, b, y, own + threadid() * block_size(t))


cdef void point_panel(
    Py_ssize_t task, const Product& p, const real* W, Py_ssize_t row_step, Py_ssize_t channel_step, real* points) noexcept nogil:
    """A register of rows of the weights, a piece of the channels, in panels of the product's columns."""
    cdef FlushDenormals _flush
    cdef Py_ssize_t lanes = entries(table, W).lanes, tile_columns = entries(table, W).tile_columns
    cdef Py_ssize_t row = task // PIECES * lanes, panel = row // tile_columns * tile_columns
    cdef Py_ssize_t width = lanes if p.rows - panel <= lanes else tile_columns
    cdef Py_ssize_t c = p.channels * (task % PIECES) // PIECES, end = p.channels * (task % PIECES + 1) // PIECES
    entries(table, W).point_weights(
        W + row * row_step + c * channel_step, row_step, min(lanes, p.rows - row), channel_step, end - c,
        p.tap[0].row > p.tap[8].row, points + panel * p.channels + c * width + row - panel, width, weights_point(p))


cdef void block_of_tiles(
    Py_ssize_t task, const Product& p, const Tiles& t, const real* x, const real* weights, const real* b, real* y, real* scratch
) noexcept nogil:
    """All rows of y for some strips."""
    cdef FlushDenormals _flush
    cdef Py_ssize_t lanes = entries(table, y).lanes, first = task * t.of_block, strips = min(t.of_block, t.strips - first), c, point
    cdef Py_ssize_t tiles = strips * t.across, x_point = tiles * t.x_step + GAP, y_point = tiles * t.y_step + GAP
    cdef real* x_points = scratch + t.lines
    cdef real* y_points = x_points + POINTS * x_point
    cdef const real* no_bias = NULL
    c = 0
    while c < p.channels:
        bring_image(c, first, strips, p, t, x, scratch, x_points + c, x_point)
        c += lanes
    for point in range(POINTS):
        entries(table, y).multiply(
            tiles, p.rows, p.channels, x_points + point * x_point, t.x_step, 1, False, weights + point * weights_point(p), 0, False,
            no_bias, False, y_points + point * y_point, t.y_step)
    c = 0
    while c < p.rows:
        fetch_image(c, first, strips, p, t, y_points + c, y_point, b, scratch, y)
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


# --- the gradient of the weights


cdef Py_ssize_t sums_point(const Product& p, const Tiles& t) noexcept nogil:
    return p.rows * t.x_step + GAP


cdef Py_ssize_t winograd_correlation_scratch(const Product& p) noexcept nogil:
    cdef Tiles t = tiles_of(p, SUMMED_TILES)
    return POINTS * sums_point(p, t) + block_size(t) + (threads_for(operations(p)) - 1) * t.lines


cdef void correlation_of_winograd(
    const Product& p, const real* gy, const real* x, bint accumulate, real* gW, real* scratch) noexcept nogil:
    """The threads share the tiles on their way to the points, then the points; sums are added up block after block."""
    cdef Tiles t = tiles_of(p, SUMMED_TILES)
    cdef Py_ssize_t lanes = entries(table, gW).lanes, groups = (max(p.channels, p.rows) + lanes - 1) // lanes, block = 0, task
    cdef Py_ssize_t x_point = t.of_block * t.across * t.x_step + GAP
    cdef real* x_points = scratch + POINTS * sums_point(p, t)
    cdef real* gy_points = x_points + POINTS * x_point
    cdef real* lines = gy_points + POINTS * (t.of_block * t.across * t.y_step + GAP)
    with parallel(num_threads=threads_for(operations(p))):
        for block in range(t.blocks):
            for task in prange(groups * PIECES, schedule="static"):
                bring_piece(task, block, p, t, gy, x, lines + threadid() * t.lines, x_points, gy_points)
            for task in prange(POINTS, schedule="static"):
                correlate_point(task, block, p, t, x_points, gy_points, scratch)
        for task in prange(p.rows, schedule="static"):
            entries(table, gW).weights_from_points(
                scratch + task * t.x_step, sums_point(p, t), p.channels, accumulate, gW + task * p.channels * p.taps)


cdef void bring_piece(
    Py_ssize_t task, Py_ssize_t block, const Product& p, const Tiles& t, const real* gy, const real* x, real* lines,
    real* x_points, real* gy_points) noexcept nogil:
    """A register of channels of x, and one of gy, to the points, for a piece of a block's strips."""
    cdef FlushDenormals _flush
    cdef Py_ssize_t first = block * t.of_block, strips = min(t.of_block, t.strips - first)
    cdef Py_ssize_t begin = strips * (task % PIECES) // PIECES, count = strips * (task % PIECES + 1) // PIECES - begin
    cdef Py_ssize_t c = task // PIECES * entries(table, x).lanes, tiles = t.of_block * t.across
    if c < p.channels:
        bring_image(c, first + begin, count, p, t, x, lines, x_points + begin * t.across * t.x_step + c, tiles * t.x_step + GAP)
    if c < p.rows:
        bring_gradient(c, first + begin, count, p, t, gy, lines, gy_points + begin * t.across * t.y_step + c, tiles * t.y_step + GAP)


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
    Py_ssize_t point, Py_ssize_t block, const Product& p, const Tiles& t, const real* x_points, const real* gy_points, real* sums
) noexcept nogil:
    """The sums of one point, a block's part."""
    cdef FlushDenormals _flush
    cdef Py_ssize_t tiles = t.of_block * t.across, count = min(t.of_block, t.strips - block * t.of_block) * t.across
    cdef const real* no_bias = NULL
    entries(table, sums).multiply(
        p.rows, p.channels, count, gy_points + point * (tiles * t.y_step + GAP), 1, t.y_step, False,
        x_points + point * (tiles * t.x_step + GAP), t.x_step, block > 0, no_bias, False, sums + point * sums_point(p, t), t.x_step)


# --- the setting


def set_winograd(enabled) -> None:
    """Let convolutions take Winograd's way where it is faster, in the whole process, or forbid it."""
    global wanted
    if not isinstance(enabled, bool):
        raise TypeError(f"set_winograd: expected True or False, got {enabled!r}")
    wanted = enabled


def get_winograd() -> bool:
    """Return whether convolutions may take Winograd's way."""
    return wanted


if os.environ.get("FASTDL_WINOGRAD"):
    if os.environ["FASTDL_WINOGRAD"] not in ("0", "1"):
        raise ImportError(f"FASTDL_WINOGRAD: expected 0 or 1, got {os.environ['FASTDL_WINOGRAD']!r}")
    wanted = os.environ["FASTDL_WINOGRAD"] == "1"
