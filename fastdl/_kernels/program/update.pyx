"""The optimizer's updates in a program, and the clipping of all gradients before them."""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.math cimport hypot, isinf, isnan

import numpy as np

from fastdl._kernels.array cimport address
from fastdl._kernels.descriptor cimport MOST_STATES, OptimizerDescriptor
from fastdl._kernels.optim cimport norm_kernel, shrink_kernel
from fastdl._kernels.table cimport entries, table

cnp.import_array()

# 2^-512
cdef double FAR_BELOW = 7.458340731200207e-155


cdef class Updates:
    """What a program's steps update: stretches of an optimizer's parameters.

    Args:
        updates: (descriptor, p, g, states, options, operation, members) for each: arrays of one length (None for a state that is
            not used), the options as the descriptor packs them, the number of the operation whose weights these are (-1 for none),
            and the optimizer's parameters that it covers.
    """

    def __init__(self, list updates not None):
        cdef Py_ssize_t i
        cdef OptimizerDescriptor descriptor
        cdef cnp.ndarray p, g, state
        if self.update != NULL:
            raise TypeError("Updates: expected to be made once; make it anew")
        self.update = <Update*>PyMem_Calloc(max(1, len(updates)), sizeof(Update))
        if self.update == NULL:
            raise MemoryError()
        self.count, self.kept, self.members = len(updates), [], []
        for number, (descriptor, p, g, states, options, operation, members) in enumerate(updates):
            if len(states) > MOST_STATES:
                raise ValueError(f"Updates: expected at most {MOST_STATES} states, got {len(states)}")
            self.update[number].kernels, self.update[number].operation = &descriptor.kernels, operation
            self.update[number].p, self.update[number].g = <char*>address(p), <const char*>address(g)
            self.update[number].n = cnp.PyArray_SIZE(p)
            for i in range(len(states)):
                state = states[i]
                self.update[number].states[i] = <char*>address(state)
            self.kept.append([descriptor, p, g, states, None])
            self.members.append(members)
            self.set_options(number, options)

    def __dealloc__(self):
        PyMem_Free(self.update)

    def __reduce__(self):
        raise TypeError("Updates: expected to stay in its process, for it holds addresses; make it again")

    def __len__(self):
        return self.count

    def set_options(self, Py_ssize_t number, bytes options not None):
        """Let an update go on with other options."""
        if not 0 <= number < self.count:
            raise IndexError(f"Updates: expected a number below {self.count}, got {number}")
        self.update[number].options = <const void*><const char*>options
        self.kept[number][4] = options

    def accumulate(self):
        """Have memory for the sums of gradients of several batches."""
        cdef cnp.ndarray sums
        cdef Py_ssize_t i
        for i in range(self.count):
            if self.update[i].sum == NULL:
                sums = np.zeros_like(self.kept[i][2])
                self.kept[i].append(sums)
                self.update[i].sum = <char*>cnp.PyArray_DATA(sums)

    cdef int read_steps(self, list counts) except -1:
        """Go on from the steps that the optimizer's parameters have taken."""
        cdef Py_ssize_t i
        for i in range(self.count):
            self.update[i].step = counts[self.members[i].start]
            self.update[i].taken = self.update[i].failed = False
        return 0

    cdef int count_steps(self, list counts) except -1:
        """Let the optimizer's parameters know how many steps they have taken."""
        cdef Py_ssize_t i
        for i in range(self.count):
            counts[self.members[i]] = [self.update[i].step] * (self.members[i].stop - self.members[i].start)
        return 0


cdef void add_batch(const Update* update, Py_ssize_t count, double weight, bint first, real* _) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real factor = <real>weight
    cdef real* sums
    cdef const real* g
    for i in range(count):
        sums, g = <real*>update[i].sum, <const real*>update[i].g
        for j in range(update[i].n):
            sums[j] = factor * g[j] + (0 if first else sums[j])


cdef void take_mean(const Update* update, Py_ssize_t count, double total, real* _) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real factor = <real>(1 / total if total != 0 else 0)
    cdef real* sums
    cdef real* g
    for i in range(count):
        sums, g = <real*>update[i].sum, <real*>update[i].g
        for j in range(update[i].n):
            g[j] = factor * sums[j]


cdef void clip_values(const Update* update, Py_ssize_t count, double limit, real* _) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        entries(table, _).clamp(<real>-limit, <real>limit, <real*>update[i].g, update[i].n)


cdef double norm_of_all(const Update* update, Py_ssize_t count, real* _) noexcept nogil:
    """The norm of all gradients as one vector; NaN where one is."""
    cdef Py_ssize_t i
    cdef double total = 0, norm
    for i in range(count):
        norm = norm_kernel(<const real*>update[i].g, update[i].n)
        if isnan(norm):
            return norm
        total = hypot(total, norm)
    return total


cdef void clip_norm(const Update* update, Py_ssize_t count, double limit, real* _) noexcept nogil:
    """All gradients together times limit / (norm + 1e-6), where that is below 1."""
    cdef Py_ssize_t i
    cdef double norm = norm_of_all(update, count, _)
    if isinf(norm) and sizeof(real) == sizeof(double):  # perhaps of finite gradients
        for i in range(count):
            entries(table, _).scale(<real>FAR_BELOW, <real*>update[i].g, update[i].n)
        norm = norm_of_all(update, count, _)
    if not limit / (norm + 1e-6) >= 1:
        for i in range(count):
            shrink_kernel(limit, norm, update[i].n, <real*>update[i].g)
