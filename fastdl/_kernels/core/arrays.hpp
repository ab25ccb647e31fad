// The strided arrays that a node of a traced graph works on; Cython's declarations of them are in node.pxd.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fastdl {
typedef ptrdiff_t Size;

// The most axes that a node goes through, operands that it has, and sizes beside those of its axes.
enum { MOST_AXES = 6, MOST_OPERANDS = 10, MOST_EXTENTS = 2 };
// The kinds of elements: the program's floating type, int64, and one byte of 0 or 1.
enum { FLOATING, WHOLE, TRUTH };
// What a node's kernel returns: 0, or that an index is out of range, or that there is no element to find an extreme among.
enum { DONE, OUT_OF_RANGE, NO_ELEMENTS };

// An operand: its strides are in elements along each axis; 0 repeats.
struct Strided {
    char* at;
    Size kind;
    Size strides[MOST_AXES];
};

// The axes that a node goes through, and its operands along them, the output first.
struct Arrays {
    Size axes, count;
    Size sizes[MOST_AXES];
    Size extents[MOST_EXTENTS];
    Strided operands[MOST_OPERANDS];
    const void* attributes;
};

// A program of instructions, each y = operation(a, b, c), where a slot is one of k inputs (0 to k - 1) or a register (from k on).
enum { MOST_INSTRUCTIONS = 24, MOST_REGISTERS = 8, ELEMENTWISE_BLOCK = 512 };
struct Instruction { int32_t operation, y, a, b, c; };
struct Elementwise {
    int32_t whole, count, slots, cost;  // whether registers hold int64; the cost is in scalar operations an element
    Instruction instructions[MOST_INSTRUCTIONS];
};

// What is reduced; any and all are the largest and the smallest truth.
enum { REDUCE_SUM, REDUCE_PRODUCT, REDUCE_LARGEST, REDUCE_SMALLEST, REDUCE_FIND_LARGEST, REDUCE_FIND_SMALLEST };
}  // namespace fastdl
