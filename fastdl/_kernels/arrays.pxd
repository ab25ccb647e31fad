# The strided arrays that a node of a traced graph works on, and what the core takes beside them.
from libc.stdint cimport int32_t

cdef extern from "core/arrays.hpp" namespace "fastdl" nogil:
    # The most axes that a node goes through, operands that it has, and sizes beside those of its axes.
    enum:
        MOST_AXES
        MOST_OPERANDS
        MOST_EXTENTS

    # The kinds of elements: the program's floating type, int64, and one byte of 0 or 1.
    enum:
        FLOATING
        WHOLE
        TRUTH

    # What a kernel returns: 0, or that an index is out of range, or that there is no element to find an extreme among.
    enum:
        DONE
        OUT_OF_RANGE
        NO_ELEMENTS

    # How a node goes through an operand in one batch: elements from one to the next along each axis; 0 repeats.
    cdef struct Strided:
        char* at
        Py_ssize_t kind
        Py_ssize_t strides[MOST_AXES]

    # What a node's kernel takes: the axes that it goes through, and its operands along them, the output first.
    cdef cppclass Arrays:
        Py_ssize_t axes, count
        Py_ssize_t sizes[MOST_AXES]
        Py_ssize_t extents[MOST_EXTENTS]
        Strided operands[MOST_OPERANDS]
        const void* attributes

    # The program of an elementwise node.
    enum:
        MOST_INSTRUCTIONS
        MOST_REGISTERS
        ELEMENTWISE_BLOCK

    cdef struct Instruction:
        int32_t operation, y, a, b, c

    cdef struct Elementwise:
        int32_t whole, count, slots, cost
        Instruction instructions[MOST_INSTRUCTIONS]

    # What a node reduces.
    enum:
        REDUCE_SUM
        REDUCE_PRODUCT
        REDUCE_LARGEST
        REDUCE_SMALLEST
        REDUCE_FIND_LARGEST
        REDUCE_FIND_SMALLEST
