# A program's records as C structures; the records must outlive them.
from fastdl._kernels.descriptor cimport Objective, Operand, Operation

cdef int load_operand(Operand* operand, tuple given) except -1
cdef int load_operands(Operand* operands, Py_ssize_t most, tuple given) except -1
cdef int load_operation(Operation* op, Py_ssize_t number, record) except -1
cdef int load_objective(Objective* o, record) except -1
