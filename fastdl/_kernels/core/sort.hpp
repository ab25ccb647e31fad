// Numbers of elements in ascending order along the last axis.
#pragma once
#include "strided.hpp"

namespace fastdl::FASTDL_LEVEL {

// Whether one comes before the other; NaN last.
template <class E> inline bool before(E a, E b) { return a < b || (b != b && a == a); }

template <class E> struct Numbered { E value; int64_t number; };

// Sorted runs of a few elements by insertion, then merged from one memory to the other and back.
template <class E> Numbered<E>* sort_run(Numbered<E>* x, Size n, Numbered<E>* other) {
    constexpr Size few = 16;
    for (Size start = 0; start < n; start += few) {
        const Size end = n - start < few ? n : start + few;
        for (Size i = start + 1; i < end; ++i) {
            const Numbered<E> moved = x[i];
            Size j = i;
            for (; j > start && before(moved.value, x[j - 1].value); --j) x[j] = x[j - 1];
            x[j] = moved;
        }
    }
    for (Size length = few; length < n; length *= 2) {
        for (Size start = 0; start < n; start += 2 * length) {
            const Size middle = n - start < length ? n : start + length, end = n - start < 2 * length ? n : start + 2 * length;
            Size i = start, j = middle, to = start;
            for (; i < middle && j < end; ++to) {  // without a branch, which random elements would mislead
                const bool second = before(x[j].value, x[i].value);
                other[to] = x[second ? j : i];
                i += !second;
                j += second;
            }
            __builtin_memcpy(static_cast<void*>(other + to), x + i, size_t(middle - i) * sizeof(Numbered<E>));
            __builtin_memcpy(static_cast<void*>(other + to + middle - i), x + j, size_t(end - j) * sizeof(Numbered<E>));
        }
        Numbered<E>* sorted = other;
        other = x;
        x = sorted;
    }
    return x;
}

template <class E> void argsort_elements(const Arrays& a, char* memory) {
    const int both[] = {1, 0};
    const Axes<2> axes = axes_of(a, 0, a.axes - 1, both);
    const Size n = a.sizes[a.axes - 1], to = a.operands[0].strides[a.axes - 1], from = a.operands[1].strides[a.axes - 1];
    int64_t* out = reinterpret_cast<int64_t*>(a.operands[0].at);
    const E* in = reinterpret_cast<const E*>(a.operands[1].at);
    Numbered<E>* pairs = reinterpret_cast<Numbered<E>*>(memory);
    if (n == 0 || axes.total() == 0) return;
    Walk<2> walk(axes);
    do {
        const E* x = in + walk.at[0];
        int64_t* y = out + walk.at[1];
        for (Size i = 0; i < n; ++i) pairs[i] = {x[i * from], i};
        const Numbered<E>* sorted = sort_run(pairs, n, pairs + n);
        for (Size i = 0; i < n; ++i) y[i * to] = sorted[i].number;
    } while (walk.step());
}
// scratch: 32 bytes for each element of a run, and 8
template <class T> void argsort(const Arrays& a, T* scratch) {
    char* memory = reinterpret_cast<char*>(scratch);
    memory += -reinterpret_cast<uintptr_t>(memory) % 8;
    if (a.operands[1].kind == FLOATING) argsort_elements<T>(a, memory);
    else if (a.operands[1].kind == WHOLE) argsort_elements<int64_t>(a, memory);
    else argsort_elements<uint8_t>(a, memory);
}
}  // namespace
