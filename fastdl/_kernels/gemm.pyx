"""The matrix product that everything multiplies with: blocks, packing and threads.

C (m, n) is cut into bands of rows and strips of columns, k into slices. For a slice, the strip of B and the band of A are
packed into panels that the core's register tiles read in order; then the tiles of C are computed. The cut depends on the
shape only, and an element of C is the sum over k in ascending order, so neither threads nor tiles change a bit.
"""

cimport numpy as cnp
from libc.math cimport INFINITY

from fastdl._kernels.activation cimport activation_code
from fastdl._kernels.array cimport scratch_for
from fastdl._kernels.dispatch cimport data, dispatch, floats, untyped
from fastdl._kernels.round_up cimport round_up
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for, workers

cnp.import_array()

# Long slices, because each passes over all of C, and longer ones yet where the rows are few; a band of A (at most 1 MB) and a
# strip of B (2 MB) stay within reach of one core. Many rows are cut into even bands of at most BAND.
cdef enum:
    SLICE = 512
    STRIP = 1024
    BAND = 350
    FEW_ROWS = 504
    ROWS_OF_LONG_SLICES = 316
    WIDEST_TILE = 64
    TAKEN_BAND = 42
    PERIOD = 4096
    SMALL = 32768


cdef Py_ssize_t slice_length(Py_ssize_t m) noexcept nogil:
    return 2 * SLICE if m <= ROWS_OF_LONG_SLICES else SLICE


cdef Py_ssize_t gemm_scratch(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    """The number of elements of scratch that gemm_kernel needs."""
    return min(k, slice_length(m)) * (min(m, <Py_ssize_t>FEW_ROWS) + min(n, <Py_ssize_t>STRIP) + 2 * WIDEST_TILE)


cdef void gemm_kernel(
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_column,
    const real* b, Py_ssize_t b_row, Py_ssize_t b_column,
    const real* bias, bint accumulate, int activation, double alpha, double beta,
    real* c, real* scratch) noexcept nogil:
    cdef double work = 2.0 * m * n * k
    if m == 0 or n == 0:
        return
    if m == 1 and b_row == 1 and a_column == 1:
        product_of_vector(n, k, a, b, b_column, bias, accumulate, activation, alpha, beta, c)
    elif k == 0 or k <= SLICE and n <= STRIP and (work <= SMALL * 16 or n <= 2 * entries(table, c).tile_columns):
        small_product(m, n, k, a, a_row, a_column, b, b_row, b_column, bias, accumulate, activation, alpha, beta, c, scratch)
    else:
        blocked_product(m, n, k, a, a_row, a_column, b, b_row, b_column, bias, accumulate, activation, alpha, beta, c, scratch)


cdef void activate(int activation, double alpha, double beta, real* c, Py_ssize_t n) noexcept nogil:
    if activation > 0:
        entries(table, c).activation_forward[activation](c, <real>alpha, <real>beta, c, n)


cdef void product_of_vector(
    Py_ssize_t n, Py_ssize_t k, const real* x, const real* w, Py_ssize_t w_row,
    const real* bias, bint accumulate, int activation, double alpha, double beta, real* y) noexcept nogil:
    """One row times a transposed matrix: a dot product for each element."""
    cdef FlushDenormals flush
    flush.on()
    entries(table, y).multiply_vector(w, w_row, n, k, x, accumulate, bias, y)
    activate(activation, alpha, beta, y, n)


cdef void small_product(
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_column,
    const real* b, Py_ssize_t b_row, Py_ssize_t b_column,
    const real* bias, bint accumulate, int activation, double alpha, double beta,
    real* c, real* scratch) noexcept nogil:
    """One block, its rows shared among the threads: A read where it lies, B too where its rows are contiguous."""
    cdef FlushDenormals flush
    cdef Py_ssize_t tile_rows = entries(table, c).tile_rows, tiles = (m + tile_rows - 1) // tile_rows
    cdef int threads = <int>min(<Py_ssize_t>threads_for(2.0 * m * n * k), tiles)
    cdef Py_ssize_t rows = (m + threads - 1) // threads
    cdef bint direct = b_column == 1 and (entries(table, c).direct_tails or n % entries(table, c).tile_columns == 0)
    if not direct:
        flush.on()
        entries(table, c).pack_columns(b, b_row, b_column, k, n, scratch)
        b, b_row = scratch, 0
    workers.run(threads, (m + rows - 1) // rows, rows_of_small_product[real], rows, m, n, k, a, a_row, a_column, b, b_row, bias,
                accumulate, activation, alpha, beta, c)


cdef void rows_of_small_product(
    Py_ssize_t task, Py_ssize_t rows, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const real* a, Py_ssize_t a_row,
    Py_ssize_t a_column, const real* b, Py_ssize_t b_row, const real* bias, bint accumulate, int activation, double alpha,
    double beta, real* c) noexcept nogil:
    """B in panels where b_row is 0, else in place."""
    cdef FlushDenormals flush
    cdef Py_ssize_t first = task * rows, count = min(rows, m - first)
    flush.on()
    c += first * n
    entries(table, c).multiply(count, n, k, a + first * a_row, a_row, a_column, False, b, b_row, accumulate, bias, False, c, n)
    activate(activation, alpha, beta, c, count * n)


cdef void blocked_product(
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_column,
    const real* b, Py_ssize_t b_row, Py_ssize_t b_column,
    const real* bias, bint accumulate, int activation, double alpha, double beta,
    real* c, real* scratch) noexcept nogil:
    """Slices of k, strips of columns, bands of rows; packing and tiles shared among the threads.

    With few rows a panel of B serves one block only: whoever computes the block packs it just before, and it stays in cache.
    A is then read where it lies, unless its lines are a multiple of the cache's period apart and would push each other out.
    """
    cdef Py_ssize_t tile_rows = entries(table, c).tile_rows, tile_columns = entries(table, c).tile_columns
    cdef int threads = <int>min(<Py_ssize_t>threads_for(2.0 * m * n * k), (n + tile_columns - 1) // tile_columns)
    cdef bint few_rows = m <= FEW_ROWS, in_place = few_rows and max(a_row, a_column) * sizeof(real) % PERIOD != 0
    cdef Py_ssize_t bands = 1 if few_rows else (m + BAND - 1) // BAND, band = round_up((m + bands - 1) // bands, tile_rows)
    cdef Py_ssize_t longest = slice_length(m)
    cdef int slice_activation
    cdef Py_ssize_t strip, slice, in_band, width, depth, height, panels
    cdef const real* a_slice
    cdef const real* b_slice
    cdef const real* b_strip
    cdef const real* slice_bias
    cdef real* a_panels
    cdef real* c_band
    for strip in range((n + STRIP - 1) // STRIP):
        width = min(n - strip * STRIP, <Py_ssize_t>STRIP)
        panels = (width + tile_columns - 1) // tile_columns
        b_strip = b + strip * STRIP * b_column
        for slice in range((k + longest - 1) // longest):
            depth = min(k - slice * longest, longest)
            b_slice = b_strip + slice * longest * b_row
            a_panels = scratch + round_up(width, tile_columns) * depth
            # What comes to the sums with the last slice.
            slice_bias = bias + strip * STRIP if bias != NULL and slice * longest + depth == k else NULL
            slice_activation = activation if slice * longest + depth == k else 0
            for in_band in range((m + band - 1) // band):
                height = min(m - in_band * band, band)
                c_band = c + in_band * band * n + strip * STRIP
                a_slice = a + in_band * band * a_row + slice * longest * a_column
                if not in_place:
                    workers.run(threads, (height + tile_rows - 1) // tile_rows, pack_rows[real], height, depth, a_slice, a_row,
                                a_column, a_panels)
                    a_slice = a_panels
                if few_rows:
                    workers.run_numbered(
                        threads, panels, columns_of_few_rows[real], height, width, depth, a_slice, a_row if in_place else 0,
                        a_column, b_slice, b_row, b_column, scratch, accumulate or slice > 0, slice_bias, slice_activation, alpha,
                        beta, c_band, n)
                else:
                    if in_band == 0:
                        workers.run(threads, panels, pack_columns[real], width, depth, b_slice, b_row, b_column, scratch)
                    workers.run(threads, 2 * panels, half_of_band[real], height, width, depth, a_slice, scratch,
                                accumulate or slice > 0, slice_bias, slice_activation, alpha, beta, c_band, n)


cdef bint bands_suit(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    """Whether product_by_bands does as well: one slice, all of B in a cache, and an own memory for C worth avoiding."""
    return k <= SLICE and n * k <= STRIP * SLICE and m * n >= FEWEST_TAKEN


cdef Py_ssize_t bands_scratch(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    if not bands_suit(m, n, k):
        return 0
    return (n + WIDEST_TILE) * k + threads_for(INFINITY) * (TAKEN_BAND + WIDEST_TILE) * (n + k)


cdef void product_by_bands(
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_column,
    const real* b, Py_ssize_t b_row, Py_ssize_t b_column, Taker take, void* taker, real* scratch) noexcept nogil:
    """Bands of rows of C go to `take` as they are made, by several threads, in memory that is used again: C is never whole."""
    cdef Py_ssize_t tile_rows = entries(table, scratch).tile_rows, tile_columns = entries(table, scratch).tile_columns
    cdef Py_ssize_t band = round_up(TAKEN_BAND, tile_rows)
    cdef int threads = threads_for(2.0 * m * n * k)
    workers.run(threads, (n + tile_columns - 1) // tile_columns, pack_columns[real], n, k, b, b_row, b_column, scratch)
    workers.run_numbered(threads, (m + band - 1) // band, taken_band[real], band, m, n, k, a, a_row, a_column, scratch, take, taker,
                         scratch + round_up(n, tile_columns) * k)


cdef void taken_band(
    Py_ssize_t task, int thread, Py_ssize_t band, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const real* a, Py_ssize_t a_row,
    Py_ssize_t a_column, const real* b_panels, Taker take, void* taker, real* all_memory) noexcept nogil:
    cdef FlushDenormals flush
    cdef Py_ssize_t first = task * band, rows = min(band, m - first)
    cdef real* memory = all_memory + thread * band * (n + k)
    cdef real* c = memory + round_up(rows, entries(table, memory).tile_rows) * k
    cdef const real* no_bias = NULL
    flush.on()
    entries(table, memory).pack_rows(a + first * a_row, a_row, a_column, rows, k, memory)
    entries(table, memory).multiply(rows, n, k, memory, 0, 0, True, b_panels, 0, False, no_bias, False, c, n)
    take(taker, first * n, rows * n, c)


cdef void pack_columns(Py_ssize_t task, Py_ssize_t width, Py_ssize_t depth, const real* b, Py_ssize_t b_row,
                       Py_ssize_t b_column, real* panels) noexcept nogil:
    """One panel of B."""
    cdef Py_ssize_t tile_columns = entries(table, panels).tile_columns, j = task * tile_columns
    entries(table, panels).pack_columns(
        b + j * b_column, b_row, b_column, depth, min(width - j, tile_columns), panels + j * depth)


cdef void pack_rows(Py_ssize_t task, Py_ssize_t height, Py_ssize_t depth, const real* a, Py_ssize_t a_row,
                    Py_ssize_t a_column, real* panels) noexcept nogil:
    """One panel of A."""
    cdef Py_ssize_t tile_rows = entries(table, panels).tile_rows, i = task * tile_rows
    entries(table, panels).pack_rows(
        a + i * a_row, a_row, a_column, min(height - i, tile_rows), depth, panels + i * depth)


cdef void half_of_band(
    Py_ssize_t task, Py_ssize_t height, Py_ssize_t width, Py_ssize_t depth, const real* a_panels, const real* b_panels,
    bint accumulate, const real* bias, int activation, double alpha, double beta, real* c, Py_ssize_t c_row) noexcept nogil:
    """Half the rows of a band under one panel of B, so that an odd number of panels is shared evenly."""
    cdef Py_ssize_t half = round_up((height + 1) // 2, entries(table, c).tile_rows), first = task % 2 * half
    cdef Py_ssize_t j = task // 2 * entries(table, c).tile_columns
    columns_of_band(j, min(half, height - first), width, depth, a_panels + first * depth, 0, 0, b_panels + j * depth, accumulate,
                    bias, activation, alpha, beta, c + first * c_row, c_row)


cdef void columns_of_band(
    Py_ssize_t j, Py_ssize_t height, Py_ssize_t width, Py_ssize_t depth, const real* a, Py_ssize_t a_row, Py_ssize_t a_column,
    const real* b_panel, bint accumulate, const real* bias, int activation, double alpha, double beta, real* c,
    Py_ssize_t c_row) noexcept nogil:
    """The columns of C under one panel of B. A in panels where a_row is 0, else in place."""
    cdef FlushDenormals flush
    cdef Py_ssize_t count = min(width - j, <Py_ssize_t>entries(table, c).tile_columns), row
    flush.on()
    entries(table, c).multiply(height, count, depth, a, a_row, a_column, a_row == 0, b_panel, 0, accumulate,
                               bias + j if bias != NULL else NULL, False, c + j, c_row)
    if activation > 0:
        for row in range(height):
            activate(activation, alpha, beta, c + row * c_row + j, count)


cdef void columns_of_few_rows(
    Py_ssize_t task, int thread, Py_ssize_t height, Py_ssize_t width, Py_ssize_t depth, const real* a, Py_ssize_t a_row,
    Py_ssize_t a_column, const real* b, Py_ssize_t b_row, Py_ssize_t b_column, real* panels, bint accumulate, const real* bias,
    int activation, double alpha, double beta, real* c, Py_ssize_t c_row) noexcept nogil:
    """The same, with a panel of B that nobody else needs: it is packed and used at once."""
    cdef Py_ssize_t tile_columns = entries(table, c).tile_columns, j = task * tile_columns
    cdef real* panel = panels + thread * tile_columns * depth
    entries(table, c).pack_columns(b + j * b_column, b_row, b_column, depth, min(width - j, tile_columns), panel)
    columns_of_band(j, height, width, depth, a, a_row, a_column, panel, accumulate, bias, activation, alpha, beta, c, c_row)


def gemm(
    cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray bias, bint transpose_a, bint transpose_b, bint accumulate,
    str activation, double alpha, double beta, cnp.ndarray c not None,
):
    """c = f(op(a) op(b) [+ c] [+ bias]), op(a) (m, k), op(b) (k, n)."""
    cdef int code = activation_code(activation) if activation is not None else 0
    cdef Py_ssize_t m = c.shape[0], n = c.shape[1], k = a.shape[0] if transpose_a else a.shape[1]
    cdef Py_ssize_t a_row = 1 if transpose_a else k, a_column = m if transpose_a else 1
    cdef Py_ssize_t b_row = 1 if transpose_b else n, b_column = k if transpose_b else 1
    cdef void* scratch = scratch_for(gemm_scratch(m, n, k) * cnp.PyArray_ITEMSIZE(c))
    dispatch(
        floats(c), gemm_kernel[float], gemm_kernel[double], m, n, k, data(a), a_row, a_column, data(b), b_row, b_column,
        data(bias), accumulate, code, alpha, beta, data(c), untyped(scratch))
