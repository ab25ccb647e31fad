# The loss at the end of a program and its gradient; see objective.pyx.
from fastdl._kernels.descriptor cimport Batch, Objective
from fastdl._kernels.table cimport real

# What the sum of a batch's losses is divided by.
cdef double objective_divisor(const Objective* o, const Batch* batch, real* _) noexcept nogil
# How much the loss of a batch counts among those of an epoch: what a mean over classes is divided by, else the samples.
cdef double objective_count(const Objective* o, double divisor, Py_ssize_t N) noexcept nogil
cdef Py_ssize_t objective_scratch(const Objective* o) noexcept nogil
# The sum of the losses of a batch or block, NaN where it cannot be taken (outputs beyond their range); their gradients, those of
# the sum divided by the divisor.
cdef double objective_forward(const Objective* o, const Batch* batch, real* scratch) noexcept nogil
cdef void objective_backward(const Objective* o, const Batch* batch, double divisor, real* scratch) noexcept nogil
