"""Elementwise nodes: programs of instructions over broadcast arrays, a block of elements at a time."""

from fastdl._kernels.arrays cimport ELEMENTWISE_BLOCK, MOST_INSTRUCTIONS, MOST_OPERANDS, MOST_REGISTERS, Elementwise
from fastdl._kernels.node cimport DONE, Arrays, NodeDescriptor, NodeKernels, describe_node
from fastdl._kernels.table cimport entries, real, table
from fastdl._kernels.threads cimport FlushDenormals, threads_for, workers

# The blocks that one thread takes at a time; the scalar operations that an elementary function repays.
cdef enum:
    BLOCKS = 16
    COST_OF_FUNCTION = 12

# The operations that are done in few instructions.
cdef frozenset CHEAP = frozenset((
    "sqrt", "reciprocal", "floor", "ceil", "rint", "trunc", "divide", "add", "subtract", "multiply", "negative", "absolute",
    "sign", "square", "maximum", "minimum", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and",
    "logical_or", "logical_xor", "logical_not", "isfinite", "isnan", "isinf", "where", "cast", "multiply_add",
    "bitwise_and", "bitwise_or", "bitwise_xor", "invert", "left_shift", "right_shift",
))


# By name, for registers of the floating type and of int64.
cdef dict CODES = {}, WHOLE_CODES = {}
while table.instruction_names[len(CODES)] != NULL:
    CODES[table.instruction_names[len(CODES)].decode()] = len(CODES)
while table.whole_instruction_names[len(WHOLE_CODES)] != NULL:
    WHOLE_CODES[table.whole_instruction_names[len(WHOLE_CODES)].decode()] = len(WHOLE_CODES)


def _attributes(dict fields):
    """{"registers": "float" or "whole", "instructions": [(operation, y, a, b, c), ...]}; slots of no use are -1."""
    cdef Elementwise program
    cdef Py_ssize_t i
    cdef dict known = WHOLE_CODES if fields["registers"] == "whole" else CODES
    program.whole, program.count = fields["registers"] == "whole", len(fields["instructions"])
    program.slots = program.cost = 0
    if program.count > MOST_INSTRUCTIONS:
        raise ValueError(f"elementwise: expected at most {MOST_INSTRUCTIONS} instructions, got {program.count}")
    for i, (operation, y, a, b, c) in enumerate(fields["instructions"]):
        program.instructions[i].operation = known[operation]
        program.instructions[i].y, program.instructions[i].a = y, a
        program.instructions[i].b, program.instructions[i].c = b, c
        program.slots = max(program.slots, <int>y + 1)
        program.cost += 1 if operation in CHEAP else COST_OF_FUNCTION
    if program.slots > MOST_OPERANDS - 1 + MOST_REGISTERS:
        raise ValueError(f"elementwise: expected at most {MOST_REGISTERS} registers, got slot {program.slots - 1}")
    return (<char*>&program)[:sizeof(program)]


# Registers are numbered from the inputs on; an input takes two blocks, a register one.
cdef Py_ssize_t scratch_of_thread(const Arrays* a, Py_ssize_t itemsize) noexcept nogil:
    cdef const Elementwise* program = <const Elementwise*>a.attributes
    cdef Py_ssize_t inputs = a.count - 1, blocks = 2 * inputs + program.slots - inputs
    return (blocks * ELEMENTWISE_BLOCK + 1) * (8 // itemsize if program.whole else 1)


cdef inline double work_of(const Arrays* a, Py_ssize_t* total) noexcept nogil:
    cdef Py_ssize_t axis
    total[0] = 1
    for axis in range(a.axes):
        total[0] *= a.sizes[axis]
    return <double>total[0] * (<const Elementwise*>a.attributes).cost


cdef Py_ssize_t scratch_of(const Arrays* a, Py_ssize_t itemsize) noexcept nogil:
    cdef Py_ssize_t total
    return scratch_of_thread(a, itemsize) * threads_for(work_of(a, &total))


cdef int run(const Arrays* a, real* scratch) noexcept nogil:
    cdef Py_ssize_t total, length = BLOCKS * ELEMENTWISE_BLOCK
    cdef int threads = threads_for(work_of(a, &total))
    if threads == 1:
        length = max(total, <Py_ssize_t>1)
    workers.run_numbered(threads, (total + length - 1) // length, run_chunk[real], length, total, a, scratch)
    return DONE


cdef void run_chunk(
    Py_ssize_t task, int thread, Py_ssize_t length, Py_ssize_t total, const Arrays* a, real* scratch) noexcept nogil:
    cdef FlushDenormals flush
    flush.on()
    entries(table, scratch).elementwise(
        a[0], (<const Elementwise*>a.attributes)[0], task * length, min(total, (task + 1) * length),
        scratch + thread * scratch_of_thread(a, sizeof(real)))


cdef NodeKernels kernels
kernels.run_float, kernels.run_double = run[float], run[double]
kernels.scratch = scratch_of
describe_node(NodeDescriptor("elementwise", _attributes), &kernels)
