// Numbers of elements in ascending order along the last axis.
#pragma once
#include "strided.hpp"

namespace fastdl::FASTDL_LEVEL {

// A whole number that orders as the element does: the bits of a floating one, of a negative one those of its size turned over. Both
// zeros are one, and a NaN is last.
inline int64_t sort_key(int64_t x) { return x; }
inline int64_t sort_key(uint8_t x) { return x; }
inline int64_t sort_key(double x) {
    int64_t bits;
    x += 0.0;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return x != x ? INT64_MAX : bits ^ ((bits >> 63) & INT64_MAX);
}
inline int64_t sort_key(float x) { return sort_key(double(x)); }

struct Numbered { int64_t key, number; };

// Sorted runs of a few elements by insertion, then merged from one memory to the other and back.
inline Numbered* sort_run(Numbered* x, Size n, Numbered* other) {
    constexpr Size few = 8;
    for (Size start = 0; start < n; start += few) {
        const Size end = n - start < few ? n : start + few;
        for (Size i = start + 1; i < end; ++i) {
            const Numbered moved = x[i];
            Size j = i;
            for (; j > start && moved.key < x[j - 1].key; --j) x[j] = x[j - 1];
            x[j] = moved;
        }
    }
    for (Size length = few; length < n; length *= 2) {
        for (Size start = 0; start < n; start += 2 * length) {
            const Size middle = n - start < length ? n : start + length, end = n - start < 2 * length ? n : start + 2 * length;
            Size i = start, j = middle;
            Numbered* to = other + start;
            while (i < middle && j < end) {  // without a branch, which random elements would mislead
                const Size second = x[j].key < x[i].key;
                *to++ = x[i ^ ((i ^ j) & -second)];
                j += second;
                i += 1 - second;
            }
            for (; i < middle; ++i) *to++ = x[i];
            for (; j < end; ++j) *to++ = x[j];
        }
        Numbered* sorted = other;
        other = x;
        x = sorted;
    }
    return x;
}

template <class E> void argsort_elements(const Arrays& a, Numbered* memory) {
    const int both[] = {1, 0};
    const Axes<2> axes = axes_of(a, 0, a.axes - 1, both);
    const Size n = a.sizes[a.axes - 1], to = a.operands[0].strides[a.axes - 1], from = a.operands[1].strides[a.axes - 1];
    int64_t* out = reinterpret_cast<int64_t*>(a.operands[0].at);
    const E* in = reinterpret_cast<const E*>(a.operands[1].at);
    if (n == 0 || axes.total() == 0) return;
    Walk<2> walk(axes);
    do {
        const E* x = in + walk.at[0];
        int64_t* y = out + walk.at[1];
        for (Size i = 0; i < n; ++i) memory[i] = {sort_key(x[i * from]), i};
        const Numbered* sorted = sort_run(memory, n, memory + n);
        for (Size i = 0; i < n; ++i) y[i * to] = sorted[i].number;
    } while (walk.step());
}
// scratch: 32 bytes for each element of a run, and 8
template <class T> void argsort(const Arrays& a, T* scratch) {
    char* at = reinterpret_cast<char*>(scratch);
    Numbered* memory = reinterpret_cast<Numbered*>(at + -reinterpret_cast<uintptr_t>(at) % 8);
    if (a.operands[1].kind == FLOATING) argsort_elements<T>(a, memory);
    else if (a.operands[1].kind == WHOLE) argsort_elements<int64_t>(a, memory);
    else argsort_elements<uint8_t>(a, memory);
}
}  // namespace
