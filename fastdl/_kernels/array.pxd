# What the doors of all rooms share: pointers out of arrays, scratch memory, the check of an input.
cimport numpy as cnp


cdef inline void* address(cnp.ndarray array) noexcept:
    """The first element of a C-contiguous array; NULL for None."""
    return NULL if array is None else cnp.PyArray_DATA(array)


# At least `size` bytes, aligned to a cache line, that belong to the calling thread until its next call.
cdef void* scratch_for(Py_ssize_t size) except? NULL
