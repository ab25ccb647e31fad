// Running sums along the last axis.
#pragma once
#include "gather.hpp"

namespace fastdl::FASTDL_LEVEL {

template <class E> void cumsum_elements(const Arrays& a) {
    const int both[] = {1, 0};
    const Axes<2> axes = axes_of(a, 0, a.axes - 1, both);
    const Size n = a.sizes[a.axes - 1], to = a.operands[0].strides[a.axes - 1], from = a.operands[1].strides[a.axes - 1];
    E* out = reinterpret_cast<E*>(a.operands[0].at);
    const E* in = reinterpret_cast<const E*>(a.operands[1].at);
    if (n == 0 || axes.total() == 0) return;
    Walk<2> walk(axes);
    if (axes.count && axes.strides[0][0] == 1 && axes.strides[1][0] == 1) {  // line by line
        const Size width = axes.sizes[0];
        do {
            const E* x = in + walk.at[0];
            E* y = out + walk.at[1];
            __builtin_memmove(y, x, size_t(width) * sizeof(E));
            for (Size i = 1; i < n; ++i) {
                const E *before = y + (i - 1) * to, *line = x + i * from;
                E* sums = y + i * to;
#pragma GCC ivdep
                for (Size j = 0; j < width; ++j) sums[j] = added(before[j], line[j]);
            }
        } while (walk.skip_line());
        return;
    }
    do {
        const E* x = in + walk.at[0];
        E* y = out + walk.at[1];
        E sum = 0;
        for (Size i = 0; i < n; ++i) y[i * to] = sum = added(sum, x[i * from]);
    } while (walk.step());
}
template <class T> void cumsum(const Arrays& a) {
    if (a.operands[0].kind == WHOLE) cumsum_elements<int64_t>(a);
    else cumsum_elements<T>(a);
}
}  // namespace
