"""What lets an array into a kernel, and the memory that kernels work in."""

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.string cimport memset

from fastdl._kernels.threads cimport follow_threads

import numpy as np

from fastdl.errors import InvalidShapeError, InvalidTypeError, InvalidValueError
from fastdl.validation import is_masked, refuse_special

cnp.import_array()

cdef extern from "numpy/arrayobject.h":
    bint PyArray_SAMESHAPE(cnp.ndarray one, cnp.ndarray other)
    cnp.ndarray view_of "PyArray_View"(cnp.ndarray array, void* dtype, void* kind)

cdef extern from "scratch.hpp" namespace "fastdl" nogil:
    Block& thread_block()
    Block take_thread_block()
    void give_thread_block(Block block)


cdef void* scratch_for(Py_ssize_t size) except? NULL:
    return scratch_in(&thread_block(), size)


cdef void* scratch_in(Block* block, Py_ssize_t size) except? NULL:
    cdef void* memory = block.at_least(size)
    if memory == NULL:
        raise MemoryError(f"fastdl: no memory for {size:,} bytes to work in")
    return memory


cdef Block take_scratch() noexcept:
    return take_thread_block()


cdef void give_scratch(Block block) noexcept:
    give_thread_block(block)


cdef cnp.ndarray contiguous(cnp.ndarray array):
    """The array as kernels read it: C-contiguous, aligned, of native byte order, of no subclass; a view, or a copy where it must be.

    It is never the array itself, whose shape its owner may set in place.
    """
    if type(array) is not cnp.ndarray or not cnp.PyArray_ISNOTSWAPPED(array):
        return cnp.PyArray_FROM_OF(array, cnp.NPY_ARRAY_CARRAY_RO | cnp.NPY_ARRAY_NOTSWAPPED | cnp.NPY_ARRAY_ENSUREARRAY)
    return view_of(array, NULL, NULL) if cnp.PyArray_ISCARRAY_RO(array) else cnp.PyArray_NewCopy(array, cnp.NPY_CORDER)


cdef bint is_plain(array) except -1:
    """Whether this is an array, and not one whose values are only a part of it."""
    return type(array) is cnp.ndarray or isinstance(array, cnp.ndarray) and not is_masked(array)


def ready(array, dtype: np.dtype[Any] | None, owner, name: str = "x") -> Array:
    """Return the array as a kernel takes it: C-contiguous, aligned, of this dtype (float32 or float64 when dtype is None).

    Any layout is copied into that form, and a NumPy scalar is an array without axes; another dtype, a masked array, or what is
    neither, is a TypeError that names the owner (a module, or a string) and the argument, and says what to write.
    """
    return as_ready(array, dtype, owner, name)


cdef cnp.ndarray as_ready(array, dtype, owner, name):
    """See ready."""
    cdef int kind
    follow_threads()
    if is_plain(array):
        kind = cnp.PyArray_TYPE(array)
        if (<cnp.dtype>dtype).num == kind if dtype is not None else (kind == cnp.NPY_FLOAT32 or kind == cnp.NPY_FLOAT64):
            return contiguous(array)
    elif isinstance(array, np.generic):
        return as_ready(np.asarray(array), dtype, owner, name)
    raise refusal(array, dtype, owner, name)


def ready_gradient(array, cnp.ndarray like not None, owner) -> Array:
    """Return the gradient as a kernel takes it: as `ready` does, and of the dtype and shape of `like`."""
    cdef cnp.ndarray gradient = as_ready(array, like.dtype, owner, "grad_output")
    if not PyArray_SAMESHAPE(gradient, like):
        raise of_other_shape(owner, np.shape(like), np.shape(gradient))
    return gradient


cdef cnp.ndarray ready_gradient_of(array, tuple shape, dtype, owner):
    """The gradient as a kernel takes it, of this shape and dtype."""
    cdef cnp.ndarray gradient = as_ready(array, dtype, owner, "grad_output")
    cdef int axis, axes = len(shape)
    cdef bint same = cnp.PyArray_NDIM(gradient) == axes
    if same:
        for axis in range(axes):
            same = same and cnp.PyArray_DIM(gradient, axis) == <Py_ssize_t>shape[axis]
    if not same:
        raise of_other_shape(owner, shape, np.shape(gradient))
    return gradient


def ready_gradient_of_rows(array, cnp.ndarray x not None, cnp.ndarray W not None, owner) -> Array:
    """Return the gradient of what a matrix W (out, in) makes of x (..., in) as a kernel takes it."""
    cdef cnp.ndarray gradient = as_ready(array, x.dtype, owner, "grad_output")
    cdef int axis, last = cnp.PyArray_NDIM(x) - 1
    cdef bint same = cnp.PyArray_NDIM(gradient) == last + 1 and cnp.PyArray_DIM(gradient, last) == cnp.PyArray_DIM(W, 0)
    if same:
        for axis in range(last):
            same = same and cnp.PyArray_DIM(gradient, axis) == cnp.PyArray_DIM(x, axis)
    if not same:
        raise of_other_shape(owner, (*np.shape(x)[:-1], len(W)), np.shape(gradient))
    return gradient


cdef of_other_shape(owner, wanted, got):
    from fastdl.messages import shown
    return InvalidValueError(shown(owner), f"a gradient of shape {wanted}", got)


cdef refusal(array, dtype, owner, name):
    from fastdl.messages import shown
    owner = owner if isinstance(owner, str) else shown(owner)
    wanted = "float32 or float64" if dtype is None else dtype.name
    example = "float32" if dtype is None else dtype.name
    refuse_special(array, name, owner)
    if not isinstance(array, np.ndarray):
        hint = f"write np.asarray({name}, dtype=np.{example})"
        return InvalidTypeError(owner, f"a NumPy array of {wanted}", type(array).__name__, hint, argument=name)
    return InvalidTypeError(owner, f"an array of {wanted}", array.dtype, f"write {name}.astype(np.{example})", argument=name)


def empty(tuple shape not None, cnp.dtype dtype not None) -> Array:
    """Return an uninitialized C-contiguous array."""
    cdef cnp.npy_intp dims[32]
    cdef int i, n = len(shape)
    if n > 32:
        return np.empty(shape, dtype)
    for i in range(n):
        dims[i] = shape[i]
    return cnp.PyArray_EMPTY(n, dims, dtype.num, 0)


def rows_through(x, cnp.ndarray W not None, owner) -> tuple[Array, Array]:
    """Return x (..., in) as `ready` does, for a matrix W (out, in), and an uninitialized array (..., out)."""
    cdef cnp.ndarray rows = as_ready(x, W.dtype, owner, "x")
    cdef cnp.npy_intp dims[64]
    cdef int axis, last = cnp.PyArray_NDIM(rows) - 1
    if last < 0 or cnp.PyArray_DIM(rows, last) != cnp.PyArray_DIM(W, 1):
        from fastdl.messages import shown
        raise InvalidShapeError(shown(owner), f"input of shape (..., {cnp.PyArray_DIM(W, 1)})", np.shape(rows))
    for axis in range(last):
        dims[axis] = cnp.PyArray_DIM(rows, axis)
    dims[last] = cnp.PyArray_DIM(W, 0)
    return rows, cnp.PyArray_EMPTY(last + 1, dims, cnp.PyArray_TYPE(rows), 0)


def empty_like(cnp.ndarray array not None) -> Array:
    """Return an uninitialized C-contiguous array of the same shape and dtype."""
    return cnp.PyArray_EMPTY(cnp.PyArray_NDIM(array), cnp.PyArray_DIMS(array), cnp.PyArray_TYPE(array), 0)


def clear(cnp.ndarray array not None):
    """Set an array of a parameter's kind to zeros; no other thread runs meanwhile that wants the interpreter's lock."""
    memset(cnp.PyArray_DATA(array), 0, cnp.PyArray_NBYTES(array))


def count_targets(cnp.ndarray target not None, int64_t classes, int64_t ignored) -> tuple[int, int]:
    """Return how many of the int64 targets are classes, and the place of the first that is neither one nor ignored (or -1)."""
    cdef const int64_t* k = <const int64_t*>cnp.PyArray_DATA(target)
    cdef Py_ssize_t i, count = 0
    for i in range(cnp.PyArray_SIZE(target)):
        if k[i] == ignored:
            continue
        if not 0 <= k[i] < classes:
            return count, i
        count += 1
    return count, -1
