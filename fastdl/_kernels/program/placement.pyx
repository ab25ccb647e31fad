"""Where arrays lie in an arena: each at the lowest place that is free while it lives."""

cimport numpy as cnp
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t
from libc.string cimport memmove

cnp.import_array()

cdef struct Array:
    int64_t size, first, last

# One that has its place.
cdef struct Placed:
    int64_t first, last, offset, end


def place(cnp.ndarray arrays not None, cnp.ndarray offsets not None) -> int:
    """Set the offsets of arrays, in the order in which they are given; returns the bytes of all.

    Args:
        arrays: int64 (n, 3): sizes in whole cache lines, the times of their first and of their last use; of two whose times overlap
            the places do not.
        offsets: int64 (n,), which are set.
    """
    cdef const Array* array = <const Array*>cnp.PyArray_DATA(arrays)
    cdef int64_t* offset_of = <int64_t*>cnp.PyArray_DATA(offsets)
    cdef Py_ssize_t count = arrays.shape[0], i, n = 0, at
    cdef int64_t offset, total = 0
    cdef Placed* placed = <Placed*>PyMem_Malloc(max(1, count) * sizeof(Placed))  # by their offsets
    if placed == NULL:
        raise MemoryError("fastdl: no memory to place arrays")
    for i in range(count):
        offset = 0
        for at in range(n):
            if placed[at].first > array.last or placed[at].last < array.first:
                continue
            if offset + array.size <= placed[at].offset:
                break
            offset = max(offset, placed[at].end)
        at = n
        while at > 0 and placed[at - 1].offset > offset:
            at -= 1
        memmove(placed + at + 1, placed + at, (n - at) * sizeof(Placed))
        placed[at].first, placed[at].last, placed[at].offset, placed[at].end = array.first, array.last, offset, offset + array.size
        offset_of[i] = offset
        total = max(total, offset + array.size)
        n += 1
        array += 1
    PyMem_Free(placed)
    return total
