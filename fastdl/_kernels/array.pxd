# What all bindings share: pointers to arrays' elements, scratch memory, the check of an input.
cimport numpy as cnp


cdef inline void* address(cnp.ndarray array) noexcept:
    """The first element of a C-contiguous array; NULL for None."""
    return NULL if array is None else cnp.PyArray_DATA(array)


cdef bint is_plain(array) except -1
cdef cnp.ndarray contiguous(cnp.ndarray array)

cdef extern from "scratch.hpp" namespace "fastdl" nogil:
    cdef cppclass Block:
        void* at_least(size_t size)
        void release()

# At least `size` bytes, aligned to a cache line, that belong to the calling thread until it asks again: for kernels between which no
# Python code runs.
cdef void* scratch_for(Py_ssize_t size) except? NULL
# A block for longer, which begins as the calling thread's; at least `size` bytes of it; its end.
cdef Block take_scratch() noexcept
cdef void* scratch_in(Block* block, Py_ssize_t size) except? NULL
cdef void give_scratch(Block block) noexcept

# An array as kernels take it, see `ready`; the gradient of an output of this shape and dtype.
cdef cnp.ndarray as_ready(array, dtype, owner, name)
cdef cnp.ndarray ready_gradient_of(array, tuple shape, dtype, owner)
