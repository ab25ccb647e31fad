// Elements that an index names: read, or added to.
#pragma once
#include "strided.hpp"

namespace fastdl::FASTDL_LEVEL {

// The number of the element that an index names, which counts from the end where it is negative; -1 where there is none.
inline Size place_of(int64_t index, Size size) {
    const Size place = index < 0 ? index + size : index;
    return place >= 0 && place < size ? place : -1;
}

// Elements of a size, whatever they hold.
template <class E> int gather_elements(const Arrays& a) {
    const int operands[] = {0, 1, 2};
    const Axes<3> axes = axes_of(a, 0, a.axes, operands);
    const Size size = a.extents[0], step = a.extents[1], n = axes.count ? axes.sizes[0] : 1;
    E* out = reinterpret_cast<E*>(a.operands[0].at);
    const E* x = reinterpret_cast<const E*>(a.operands[1].at);
    const int64_t* index = reinterpret_cast<const int64_t*>(a.operands[2].at);
    const Size to = axes.count ? axes.strides[0][0] : 0, from = axes.count ? axes.strides[1][0] : 0, by = axes.count ? axes.strides[2][0] : 0;
    if (axes.total() == 0) return DONE;
    Walk<3> walk(axes);
    do {
        E* line = out + walk.at[0];
        const E* source = x + walk.at[1];
        const int64_t* numbers = index + walk.at[2];
        if (by == 0) {  // a line that one index names
            const Size place = place_of(*numbers, size);
            if (place < 0) return OUT_OF_RANGE;
            source += place * step;
            if (to == 1 && from == 1) __builtin_memcpy(line, source, size_t(n) * sizeof(E));
            else
                for (Size i = 0; i < n; ++i) line[i * to] = source[i * from];
        } else {
            for (Size i = 0; i < n; ++i) {
                const Size place = place_of(numbers[i * by], size);
                if (place < 0) return OUT_OF_RANGE;
                line[i * to] = source[i * from + place * step];
            }
        }
    } while (walk.skip_line());
    return DONE;
}
template <class T> int gather(const Arrays& a) {
    if (a.operands[0].kind == TRUTH) return gather_elements<uint8_t>(a);
    if (a.operands[0].kind == WHOLE) return gather_elements<int64_t>(a);
    return gather_elements<T>(a);
}

inline int64_t added(int64_t a, int64_t b) { return int64_t(uint64_t(a) + uint64_t(b)); }
template <class T> inline T added(T a, T b) { return a + b; }

template <class E> int scatter_elements(const Arrays& a) {
    const int operands[] = {0, 1, 2};
    const Axes<3> axes = axes_of(a, 0, a.axes, operands);
    const Size size = a.extents[0], step = a.extents[1], n = axes.count ? axes.sizes[0] : 1;
    E* out = reinterpret_cast<E*>(a.operands[0].at);
    const E* x = reinterpret_cast<const E*>(a.operands[1].at);
    const int64_t* index = reinterpret_cast<const int64_t*>(a.operands[2].at);
    const Size to = axes.count ? axes.strides[0][0] : 0, from = axes.count ? axes.strides[1][0] : 0, by = axes.count ? axes.strides[2][0] : 0;
    if (axes.total() == 0) return DONE;
    Walk<3> walk(axes);
    do {
        E* target = out + walk.at[0];
        const E* line = x + walk.at[1];
        const int64_t* numbers = index + walk.at[2];
        if (by == 0) {
            const Size place = place_of(*numbers, size);
            if (place < 0) return OUT_OF_RANGE;
            E* y = target + place * step;
            if (to == 1 && from == 1)
#pragma GCC ivdep
                for (Size i = 0; i < n; ++i) y[i] = added(y[i], line[i]);
            else
                for (Size i = 0; i < n; ++i) y[i * to] = added(y[i * to], line[i * from]);
        } else {
            for (Size i = 0; i < n; ++i) {
                const Size place = place_of(numbers[i * by], size);
                if (place < 0) return OUT_OF_RANGE;
                E& y = target[i * to + place * step];
                y = added(y, line[i * from]);
            }
        }
    } while (walk.skip_line());
    return DONE;
}
template <class T> int scatter_add(const Arrays& a) {
    return a.operands[0].kind == WHOLE ? scatter_elements<int64_t>(a) : scatter_elements<T>(a);
}
}  // namespace
