// Normalization of channels: moments, and the sums and maps that forward and backward need.
// x is rows that begin `stride` elements apart, a row is `channels` planes of n elements. What is per channel is an array.
#pragma once
#include "run.hpp"

namespace fastdl::FASTDL_LEVEL {

static constexpr int most_planes = 64;  // the most channels where n > 1

// K sums over one plane: body(i, lanes, part) adds its terms to part[0] to part[K - 1]. The order is fixed: four registers
// of partial sums for each, and what these come to is added to total[0] to total[K - 1].
template <int K, class T, class Body> inline void add_plane(Size n, Vec<T>* total, Body body) {
    Vec<T> part[4][K] = {};
    Size i = 0;
    for (; i + 4 * lanes<T> <= n; i += 4 * lanes<T>)
        for (int j = 0; j < 4; ++j) body(i + j * lanes<T>, Whole{}, part[j]);
    for (int j = 0; j < 3; ++j)
        if (i + lanes<T> <= n) {
            body(i, Whole{}, part[j]);
            i += lanes<T>;
        }
    if (i < n) body(i, Part{int(n - i)}, part[3]);
    for (int k = 0; k < K; ++k) total[k] += (part[0][k] + part[1][k]) + (part[2][k] + part[3][k]);
}
// K sums for each channel over all rows: body(channel, place, lanes, part).
template <int K, class T, class Body>
inline void sums_of_planes(Size rows, Size stride, Size channels, Size n, T* const* sums, Body body) {
    Vec<T> total[most_planes][K];
    for (Size c = 0; c < channels; ++c)
        for (int k = 0; k < K; ++k) total[c][k] = Vec<T>{};
    for (Size row = 0; row < rows; ++row)
        for (Size c = 0; c < channels; ++c) {
            const Size start = row * stride + c * n;
            add_plane<K, T>(n, total[c], [&](Size i, auto lanes, Vec<T>* part) { body(c, start + i, lanes, part); });
        }
    for (Size c = 0; c < channels; ++c)
        for (int k = 0; k < K; ++k) sums[k][c] = sum(total[c][k]);
}
// The same where each element of a row is a channel (n is 1): rows in ascending order, R registers of columns side by side.
template <int K, int R, class T, class Lanes, class Body>
inline void sum_columns(Size rows, Size stride, Size first, Lanes lanes_in, T* const* sums, Body body) {
    Vec<T> part[R][K] = {};
    for (Size row = 0; row < rows; ++row)
        for (int r = 0; r < R; ++r) {
            const Size c = first + r * lanes<T>;
            body(c, row * stride + c, lanes_in, part[r]);
        }
    for (int r = 0; r < R; ++r)
        for (int k = 0; k < K; ++k) lanes_in.store(sums[k] + first + r * lanes<T>, part[r][k]);
}
template <int K, class T, class Body>
inline void sums_of_columns(Size rows, Size stride, Size channels, T* const* sums, Body body) {
    Size c = 0;
    for (; c + 4 * lanes<T> <= channels; c += 4 * lanes<T>) sum_columns<K, 4, T>(rows, stride, c, Whole{}, sums, body);
    for (; c + lanes<T> <= channels; c += lanes<T>) sum_columns<K, 1, T>(rows, stride, c, Whole{}, sums, body);
    if (c < channels) sum_columns<K, 1, T>(rows, stride, c, Part{int(channels - c)}, sums, body);
}
template <int K, class T, class Body>
inline void sums_of_rows(Size rows, Size stride, Size channels, Size n, T* const* sums, Body body) {
    if (n == 1) sums_of_columns<K, T>(rows, stride, channels, sums, body);
    else sums_of_planes<K, T>(rows, stride, channels, n, sums, body);
}

// What is per channel, as it stands beside the elements: n of them have one value, or each its own where n is 1.
template <class T, class Lanes> inline Vec<T> per_channel(const T* values, Size c, Size n, Lanes lanes) {
    return n == 1 ? lanes.load(values + c) : splat<Vec<T>>(values[c]);
}

// The mean to rounding, and the sums of what it is missed by and of the squares of that; rows >= 1.
template <class T>
void moments(const T* x, Size rows, Size stride, Size channels, Size n, T* center, T* missed, T* squares) {
    T* const first[] = {center};
    T* const second[] = {missed, squares};
    sums_of_rows<1, T>(rows, stride, channels, n, first,
                       [&](Size, Size i, auto lanes, Vec<T>* part) { part[0] += lanes.load(x + i); });
    for (Size c = 0; c < channels; ++c) center[c] /= T(rows * n);
    sums_of_rows<2, T>(rows, stride, channels, n, second, [&](Size c, Size i, auto lanes, Vec<T>* part) {
        Vec<T> d = lanes.template zero_rest<T>(lanes.load(x + i) - per_channel(center, c, n, lanes));
        part[0] += d;
        part[1] += d * d;
    });
}

// y = (x - mean) factor + shift
template <class T>
void normalize(const T* x, Size rows, Size stride, Size channels, Size n, const T* mean, const T* factor, const T* shift, T* y) {
    for (Size row = 0; row < rows; ++row) {
        const T* from = x + row * stride;
        T* to = y + row * stride;
        if (n == 1) {
            each_aligned_register<T>(channels, to, [&](Size c, auto lanes) {
                Vec<T> d = lanes.load(from + c) - lanes.load(mean + c);
                lanes.store(to + c, fused(d, lanes.load(factor + c), lanes.load(shift + c)));
            });
            continue;
        }
        for (Size c = 0; c < channels; ++c, from += n, to += n) {
            const T m = mean[c];
            const Vec<T> f = splat<Vec<T>>(factor[c]), s = splat<Vec<T>>(shift[c]);
            each_aligned_register<T>(n, to, [&](Size i, auto lanes) { lanes.store(to + i, fused(lanes.load(from + i) - m, f, s)); });
        }
    }
}

// The sums of gy and of gy (x - mean).
template <class T>
void gradient_sums(const T* gy, const T* x, Size rows, Size stride, Size channels, Size n, const T* mean, T* sums, T* products) {
    T* const both[] = {sums, products};
    sums_of_rows<2, T>(rows, stride, channels, n, both, [&](Size c, Size i, auto lanes, Vec<T>* part) {
        Vec<T> g = lanes.load(gy + i);
        part[0] += g;
        part[1] += g * (lanes.load(x + i) - per_channel(mean, c, n, lanes));
    });
}

// gx = gain gy + slope (x - mean) + shift
template <class T>
void normalize_backward(const T* gy, const T* x, Size rows, Size stride, Size channels, Size n, const T* mean, const T* gain,
                        const T* slope, const T* shift, T* gx) {
    for (Size row = 0; row < rows; ++row) {
        const T* g = gy + row * stride;
        const T* from = x + row * stride;
        T* to = gx + row * stride;
        if (n == 1) {
            each_aligned_register<T>(channels, to, [&](Size c, auto lanes) {
                Vec<T> d = lanes.load(from + c) - lanes.load(mean + c);
                d = fused(d, lanes.load(slope + c), lanes.load(shift + c));
                lanes.store(to + c, fused(lanes.load(g + c), lanes.load(gain + c), d));
            });
            continue;
        }
        for (Size c = 0; c < channels; ++c, g += n, from += n, to += n) {
            const T m = mean[c];
            const Vec<T> a = splat<Vec<T>>(gain[c]), l = splat<Vec<T>>(slope[c]), s = splat<Vec<T>>(shift[c]);
            each_aligned_register<T>(n, to, [&](Size i, auto lanes) {
                lanes.store(to + i, fused(lanes.load(g + i), a, fused(lanes.load(from + i) - m, l, s)));
            });
        }
    }
}

// One row with weights of its own elements, as layer normalization has it; W and b may be null.
// y = ((x - mean) inverse + shift) W + b, where shift mends the mean's rounding.
template <bool scaled, bool shifted, class T>
void layer_norm_row(const T* x, const T* W, const T* b, T mean, T inverse, T shift, T* y, Size n) {
    const Vec<T> factor = splat<Vec<T>>(inverse), mend = splat<Vec<T>>(shift);
    each_aligned_register<T>(n, y, [&](Size i, auto lanes) {
        Vec<T> v = fused(lanes.load(x + i) - mean, factor, mend);
        if constexpr (scaled && shifted) v = fused(v, lanes.load(W + i), lanes.load(b + i));
        else if constexpr (scaled) v = v * lanes.load(W + i);
        else if constexpr (shifted) v = v + lanes.load(b + i);
        lanes.store(y + i, v);
    });
}
template <class T> void layer_norm(const T* x, const T* W, const T* b, T mean, T inverse, T shift, T* y, Size n) {
    if (W && b) layer_norm_row<true, true, T>(x, W, b, mean, inverse, shift, y, n);
    else if (W) layer_norm_row<true, false, T>(x, W, b, mean, inverse, shift, y, n);
    else if (b) layer_norm_row<false, true, T>(x, W, b, mean, inverse, shift, y, n);
    else layer_norm_row<false, false, T>(x, W, b, mean, inverse, shift, y, n);
}
// The sums of u = gy W and of u (x - mean).
template <class T> void layer_norm_sums(const T* gy, const T* x, const T* W, T mean, T* sums, T* products, Size n) {
    Vec<T> total[2] = {};
    add_plane<2, T>(n, total, [&](Size i, auto lanes, Vec<T>* part) {
        Vec<T> u = lanes.load(gy + i);
        if (W) u *= lanes.load(W + i);
        part[0] += u;
        part[1] += u * (lanes.load(x + i) - mean);
    });
    *sums = sum(total[0]);
    *products = sum(total[1]);
}
// gx = gy W inverse + slope (x - mean) + shift;  gW += gy (x - mean) inverse;  gb += gy.  Each of the three may be null.
template <class T>
void layer_norm_backward(const T* gy, const T* x, const T* W, T mean, T inverse, T slope, T shift, T* gx, T* gW, T* gb, Size n) {
    each_register<T>(n, [&](Size i, auto lanes) {
        Vec<T> g = lanes.load(gy + i), d = lanes.load(x + i) - mean;
        if (gx) {
            Vec<T> u = g * inverse;
            if (W) u *= lanes.load(W + i);
            lanes.store(gx + i, u + (d * slope + shift));
        }
        if (gW) lanes.store(gW + i, lanes.load(gW + i) + g * (d * inverse));
        if (gb) lanes.store(gb + i, lanes.load(gb + i) + g);
    });
}
}  // namespace
