# The dispatch of kernels on the type of elements: dispatch(floats(x), kernel[float], kernel[double], *arguments) calls one of both.
# Addresses among the arguments are untyped: those of arrays by `data`, others by `untyped`.
cimport numpy as cnp

cdef extern from "dispatch.hpp" namespace "fastdl" nogil:
    cdef cppclass Address:
        pass
    Address untyped(const void*) noexcept
    void dispatch(bint floats, ...) noexcept
    double dispatch_double "fastdl::dispatch"(bint floats, ...) noexcept
    bint dispatch_bint "fastdl::dispatch"(bint floats, ...) noexcept
    Py_ssize_t dispatch_size "fastdl::dispatch"(bint floats, ...) noexcept


cdef inline bint floats(cnp.ndarray array) noexcept:
    return cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT32


cdef inline Address data(cnp.ndarray array) noexcept:
    """The first element of a C-contiguous array; NULL for None."""
    return untyped(NULL if array is None else cnp.PyArray_DATA(array))
