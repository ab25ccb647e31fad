"""Nodes of matrix products: axes (*batch, m, n, k); c (*batch, m, n), a (*batch, m, k), b (*batch, k, n)."""

from libc.stdint cimport uint64_t

from fastdl._kernels.gemm cimport gemm_kernel, gemm_scratch
from fastdl._kernels.node cimport DONE, MOST_AXES, WHOLE, Arrays, NodeDescriptor, NodeKernels, describe_node
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals


def _attributes(dict fields):
    return b""


# Products of a stack that take so few multiplications are done one by one.
cdef enum:
    FEW = 64


# A matrix whose element (i, j) sits at row i + column j.
cdef struct Layout:
    Py_ssize_t row, column


# How the product goes: rows of c taken in the batch where they continue, matrices copied that gemm_kernel does not read as they lie.
cdef struct Product:
    Py_ssize_t m, n, k, batch
    Layout a, b
    bint small, turned, copies_a, copies_b, copies_c


cdef void plan(const Arrays* arrays, Product* p) noexcept nogil:
    cdef Py_ssize_t axis = arrays.axes - 3, swapped_size
    cdef Layout swapped
    p.m, p.n, p.k, p.batch = arrays.sizes[axis], arrays.sizes[axis + 1], arrays.sizes[axis + 2], axis
    p.a.row, p.a.column = arrays.operands[1].strides[axis], arrays.operands[1].strides[axis + 2]
    p.b.row, p.b.column = arrays.operands[2].strides[axis + 2], arrays.operands[2].strides[axis + 1]
    # A stack of matrices times one matrix is one product.
    while (p.batch > 0 and p.n > 0 and arrays.operands[2].strides[p.batch - 1] == 0
            and arrays.operands[1].strides[p.batch - 1] == p.m * p.a.row
            and arrays.operands[0].strides[p.batch - 1] == p.m * arrays.operands[0].strides[axis]):
        p.batch -= 1
        p.m *= arrays.sizes[p.batch]
    p.small = p.batch > 0 and p.m * p.n * p.k <= FEW
    if p.small:
        p.turned = p.copies_a = p.copies_b = p.copies_c = False
        return
    # A strip of one column is the transposed product of one row, for which there is a kernel.
    p.turned = p.n == 1 and p.m > 1 and arrays.operands[0].strides[axis] == 1
    if p.turned:
        swapped.row, swapped.column = p.b.column, p.b.row
        p.b.row, p.b.column = p.a.column, p.a.row
        p.a = swapped
        swapped_size = p.m
        p.m, p.n = p.n, swapped_size
    if p.k == 1:
        p.a.column, p.b.row = 1, p.n
    if p.m == 1:
        p.a.row = p.k if p.a.column == 1 else 1
    if p.n == 1:
        p.b.column = 1
    # What repeats would be taken for packed, and A is read where it lies along one axis.
    p.copies_a, p.copies_b = p.a.row == 0 or p.a.row != 1 and p.a.column != 1, p.b.row == 0
    p.copies_c = not p.turned and p.m > 1 and arrays.operands[0].strides[axis] != p.n


cdef Py_ssize_t scratch_of(const Arrays* a, Py_ssize_t itemsize) noexcept nogil:
    cdef Product p
    if a.operands[0].kind == WHOLE:
        return 0
    plan(a, &p)
    if p.small:
        return 0
    return (gemm_scratch(p.m, p.n, p.k) + p.copies_a * p.m * p.k + p.copies_b * p.k * p.n + p.copies_c * p.m * p.n)


cdef void copy(const real* x, Layout layout, Py_ssize_t rows, Py_ssize_t columns, real* y) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(columns):
            y[i * columns + j] = x[i * layout.row + j * layout.column]


cdef void product(const Product* p, const real* a, const real* b, real* c, Py_ssize_t c_row, real* scratch) noexcept nogil:
    cdef Layout of_a = p.a, of_b = p.b
    cdef const real* no_bias = NULL
    cdef real* result = c
    cdef Py_ssize_t i, j
    if p.small:
        entries(table, c).multiply_small(p.m, p.n, p.k, a, of_a.row, of_a.column, b, of_b.row, of_b.column, c, c_row)
        return
    if p.copies_a:
        copy(a, of_a, p.m, p.k, scratch)
        a, of_a.row, of_a.column = scratch, p.k, 1
        scratch += p.m * p.k
    if p.copies_b:
        copy(b, of_b, p.k, p.n, scratch)
        b, of_b.row, of_b.column = scratch, p.n, 1
        scratch += p.k * p.n
    if p.copies_c:
        result = scratch
        scratch += p.m * p.n
    gemm_kernel(
        p.m, p.n, p.k, a, of_a.row, of_a.column, b, of_b.row, of_b.column, no_bias, False, 0, 0, 0, result, scratch)
    if p.copies_c:
        for i in range(p.m):
            for j in range(p.n):
                c[i * c_row + j] = result[i * p.n + j]


cdef void whole_product(
    const Arrays* arrays, const uint64_t* a, const uint64_t* b, uint64_t* c,
) noexcept nogil:
    """A product of whole numbers, which wrap around."""
    cdef Py_ssize_t axis = arrays.axes - 3, i, j, p, m = arrays.sizes[axis], n = arrays.sizes[axis + 1], k = arrays.sizes[axis + 2]
    cdef const Py_ssize_t* of_a = arrays.operands[1].strides + axis
    cdef const Py_ssize_t* of_b = arrays.operands[2].strides + axis
    cdef const Py_ssize_t* of_c = arrays.operands[0].strides + axis
    cdef uint64_t total
    for i in range(m):
        for j in range(n):
            total = 0
            for p in range(k):
                total += a[i * of_a[0] + p * of_a[2]] * b[p * of_b[2] + j * of_b[1]]
            c[i * of_c[0] + j * of_c[1]] = total


cdef int run(const Arrays* arrays, real* scratch) noexcept nogil:
    cdef FlushDenormals flush
    cdef Product p
    cdef Py_ssize_t place[MOST_AXES]
    cdef Py_ssize_t i, axis, rows = arrays.axes - 3, c_row = arrays.operands[0].strides[rows]
    cdef bint whole = arrays.operands[0].kind == WHOLE
    cdef Py_ssize_t itemsize = sizeof(uint64_t) if whole else sizeof(real)
    cdef char* c = arrays.operands[0].at
    cdef const char* a = arrays.operands[1].at
    cdef const char* b = arrays.operands[2].at
    flush.on()
    if whole:
        p.batch = rows
    else:
        plan(arrays, &p)
    for i in range(p.batch):
        if arrays.sizes[i] == 0:
            return DONE
        place[i] = 0
    while True:
        if whole:
            whole_product(arrays, <const uint64_t*>a, <const uint64_t*>b, <uint64_t*>c)
        elif p.turned:
            product(&p, <const real*>b, <const real*>a, <real*>c, c_row, scratch)
        else:
            product(&p, <const real*>a, <const real*>b, <real*>c, c_row, scratch)
        axis = p.batch - 1
        while axis >= 0:
            c += arrays.operands[0].strides[axis] * itemsize
            a += arrays.operands[1].strides[axis] * itemsize
            b += arrays.operands[2].strides[axis] * itemsize
            place[axis] += 1
            if place[axis] < arrays.sizes[axis]:
                break
            c -= arrays.operands[0].strides[axis] * place[axis] * itemsize
            a -= arrays.operands[1].strides[axis] * place[axis] * itemsize
            b -= arrays.operands[2].strides[axis] * place[axis] * itemsize
            place[axis] = 0
            axis -= 1
        if axis < 0:
            return DONE


cdef NodeKernels kernels
kernels.run_float, kernels.run_double = run[float], run[double]
kernels.scratch = scratch_of
describe_node(NodeDescriptor("matmul", _attributes), &kernels)
