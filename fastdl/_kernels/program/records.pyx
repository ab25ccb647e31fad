"""Reading the records that plans and lowerings make of operations and losses."""

from fastdl._kernels.descriptor cimport MOST_BUFFERS, MOST_PARAMETERS, MOST_SAVED, Descriptor, LossDescriptor


cdef int load_operand(Operand* operand, tuple given) except -1:
    operand.base, operand.offset, operand.stride = given
    return 0


cdef int load_operands(Operand* operands, Py_ssize_t most, tuple given) except -1:
    cdef Py_ssize_t i
    if len(given) > most:
        raise ValueError(f"Program: expected at most {most} operands of a kind, got {len(given)}")
    for i in range(len(given)):
        load_operand(operands + i, given[i])
    return 0


cdef int load_operation(Operation* op, Py_ssize_t number, record) except -1:
    """Fill in an operation from a plan's record, which must outlive it."""
    cdef Descriptor descriptor = record.descriptor
    cdef bytes attributes = record.attributes
    cdef Py_ssize_t i
    op.kernels, op.attributes, op.number = &descriptor.kernels, <const void*><const char*>attributes, number
    op.x_size, op.y_size, op.x_length, op.y_length = record.x_size, record.y_size, record.x_length, record.y_length
    op.differentiated, op.sums = record.differentiated, record.sums
    load_operand(&op.x, record.x)
    load_operand(&op.y, record.y)
    load_operand(&op.gy, record.gy)
    load_operand(&op.gx, record.gx)
    load_operand(&op.before, record.before)
    load_operands(op.parameters, MOST_PARAMETERS, record.parameters)
    load_operands(op.gradients, MOST_PARAMETERS, record.gradients)
    load_operands(op.saved, MOST_SAVED, record.saved)
    load_operands(op.buffers, MOST_BUFFERS, record.buffers)
    for i in range(len(record.sizes)):
        op.sizes[i] = record.sizes[i]
    op.activation.code, op.activation.alpha, op.activation.beta, op.activation.keeps_output = record.activation
    return 0


cdef int load_objective(Objective* o, record) except -1:
    cdef LossDescriptor descriptor = record.descriptor
    cdef bytes attributes = record.attributes
    o.kernels, o.attributes = &descriptor.kernels, <const void*><const char*>attributes
    load_operand(&o.x, record.x)
    load_operand(&o.gx, record.gx)
    load_operand(&o.target, record.target)
    load_operand(&o.saved, record.saved)
    load_operand(&o.losses, record.losses)
    load_operand(&o.weight, record.weight)
    load_operand(&o.pos_weight, record.pos_weight)
    o.mean, o.batchmean = record.mean, record.batchmean
    return 0
