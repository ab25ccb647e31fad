// Winograd's F(4x4, 3x3): a tile of 4 x 4 pixels of a convolution with 3 x 3 weights from 36 multiplications instead of 144.
// A convolution of two short rows is the product of two polynomials. Both are evaluated at six points, the values multiplied
// point by point, and the product's coefficients found again; in two dimensions so for columns, then for rows.
// Lines hold a register of channels for each pixel: every lane is a channel of its own.
#pragma once
#include "patches.hpp"

namespace fastdl::FASTDL_LEVEL {

// The points are 0, +-a, +-b and infinity. These errors are a quarter of those of the usual 1 and 2; their squares are exact.
template <class T> struct Points {
    static constexpr T a = T(5) / 8, b = T(3) / 2, aa = a * a, bb = b * b;
    // One over the product of a point's distances from the others.
    static constexpr T at_0 = 1 / (aa * bb), at_a = 1 / (2 * aa * (aa - bb)), at_b = 1 / (2 * bb * (bb - aa));
};
constexpr int tile_points = 6, all_points = 36;

// Values at the points, from `taps` coefficients: 3 for weights, 4 for the gradient of a tile.
template <class T, int taps> inline void evaluate(const Vec<T>* g, int step, Vec<T>* out, int out_step) {
    typedef Points<T> P;
    Vec<T> even_a = g[0] * P::at_a + g[2 * step] * (P::aa * P::at_a), odd_a = g[step] * (P::a * P::at_a);
    Vec<T> even_b = g[0] * P::at_b + g[2 * step] * (P::bb * P::at_b), odd_b = g[step] * (P::b * P::at_b);
    if constexpr (taps == 4) {
        odd_a += g[3 * step] * (P::a * P::aa * P::at_a);
        odd_b += g[3 * step] * (P::b * P::bb * P::at_b);
    }
    out[0] = g[0] * P::at_0;
    out[out_step] = even_a + odd_a;
    out[2 * out_step] = even_a - odd_a;
    out[3 * out_step] = even_b + odd_b;
    out[4 * out_step] = even_b - odd_b;
    out[5 * out_step] = g[(taps - 1) * step];
}

// What the values of six pixels of an image count at the points: evaluation and its scale, turned over.
template <class T> inline void weigh(const Vec<T>* d, int step, Vec<T>* out, int out_step) {
    typedef Points<T> P;
    const Vec<T> low_a = d[3 * step] - P::bb * d[step], high_a = d[4 * step] - P::bb * d[2 * step];
    const Vec<T> low_b = d[3 * step] - P::aa * d[step], high_b = d[4 * step] - P::aa * d[2 * step];
    out[0] = d[0] * (P::aa * P::bb) + (d[4 * step] - (P::aa + P::bb) * d[2 * step]);
    out[out_step] = high_a + P::a * low_a;
    out[2 * out_step] = high_a - P::a * low_a;
    out[3 * out_step] = high_b + P::b * low_b;
    out[4 * out_step] = high_b - P::b * low_b;
    out[5 * out_step] = d[step] * (P::aa * P::bb) + (d[5 * step] - (P::aa + P::bb) * d[3 * step]);
}

// Four pixels, or the gradients of three weights, from what the points hold.
template <class T, int count> inline void gather(const Vec<T>* m, int step, Vec<T>* out, int out_step) {
    typedef Points<T> P;
    const Vec<T> even_a = m[step] + m[2 * step], odd_a = m[step] - m[2 * step];
    const Vec<T> even_b = m[3 * step] + m[4 * step], odd_b = m[3 * step] - m[4 * step];
    out[0] = m[0] + (even_a + even_b);
    out[out_step] = P::a * odd_a + P::b * odd_b;
    if constexpr (count == 3) out[2 * out_step] = (P::aa * even_a + P::bb * even_b) + m[5 * step];
    else {
        out[2 * out_step] = P::aa * even_a + P::bb * even_b;
        out[3 * out_step] = (P::aa * P::a * odd_a + P::bb * P::b * odd_b) + m[5 * step];
    }
}

// The 36 values of one tile at its points: `size` pixels each way from (row, column) on, zeros outside the image.
template <class T, int size>
inline void point_tile(const T* image, Size height, Size width, Size row, Size column, T* out, Size point_step) {
    Vec<T> half[size * tile_points];
    const bool inside = row >= 0 && column >= 0 && row + size <= height && column + size <= width;
#pragma GCC unroll 6
    for (int j = 0; j < size; ++j) {
        Vec<T> d[size];
#pragma GCC unroll 6
        for (int i = 0; i < size; ++i) {
            const Size r = row + i, q = column + j;
            d[i] = inside || (r >= 0 && r < height && q >= 0 && q < width) ? load(image + (r * width + q) * lanes<T>) : Vec<T>{};
        }
        if constexpr (size == tile_points) weigh<T>(d, 1, half + j, size);
        else evaluate<T, size>(d, 1, half + j, size);
    }
#pragma GCC unroll 6
    for (int i = 0; i < tile_points; ++i) {
        Vec<T> at[tile_points];
        if constexpr (size == tile_points) weigh<T>(half + i * size, 1, at, 1);
        else evaluate<T, size>(half + i * size, 1, at, 1);
#pragma GCC unroll 6
        for (int j = 0; j < tile_points; ++j) store(out + (i * tile_points + j) * point_step, at[j]);
    }
}
// A row of tiles, four columns apart, of an image in lines: of 6 x 6 pixels that are read, or of 4 x 4 gradients.
template <class T, int size>
void point_tiles(const T* image, Size height, Size width, Size row, Size column, Size tiles, T* out, Size tile_step, Size point_step) {
    for (Size q = 0; q < tiles; ++q) point_tile<T, size>(image, height, width, row, column + 4 * q, out + q * tile_step, point_step);
}

// Up to four rows of pixels in lines, from a row of tiles of sums at the points; `count` channels have a bias.
template <class T>
void tiles_from_points(const T* in, Size tile_step, Size point_step, Size tiles, const T* bias, Size count, Size rows, Size width, T* out) {
    const Vec<T> add = bias ? load_partial(bias, int(count)) : Vec<T>{};
    for (Size q = 0; q < tiles; ++q, in += tile_step) {
        Vec<T> half[4 * tile_points];
#pragma GCC unroll 6
        for (int j = 0; j < tile_points; ++j) {
            Vec<T> m[tile_points];
#pragma GCC unroll 6
            for (int i = 0; i < tile_points; ++i) m[i] = load(in + (i * tile_points + j) * point_step);
            gather<T, 4>(m, 1, half + j, tile_points);
        }
        const Size columns = width - 4 * q < 4 ? width - 4 * q : 4;
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
            if (i >= rows) break;
            Vec<T> y[4];
            gather<T, 4>(half + i * tile_points, 1, y, 1);
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j)
                if (j < columns) store(out + (i * width + 4 * q + j) * lanes<T>, y[j] + add);
        }
    }
}

// A panel of rows of 3 x 3 weights at the points, for each of `depth` channels; both ways turned round where `flipped`.
template <class T>
void point_weights(const T* w, Size row_step, Size rows, Size depth_step, Size depth, bool flipped, T* out, Size out_step, Size point_step) {
    T lines[9 * lanes<T>] = {};
    for (Size p = 0; p < depth; ++p, w += depth_step, out += out_step)
        for (Size r = 0; r < rows; r += lanes<T>) {
            turn(w + r * row_step, row_step, rows - r < lanes<T> ? rows - r : lanes<T>, 9, false, lines, lanes<T>);
            Vec<T> g[9], half[3 * tile_points];
#pragma GCC unroll 9
            for (int t = 0; t < 9; ++t) g[t] = load(lines + (flipped ? 8 - t : t) * lanes<T>);
#pragma GCC unroll 3
            for (int j = 0; j < 3; ++j) evaluate<T, 3>(g + j, 3, half + j, 3);
#pragma GCC unroll 6
            for (int i = 0; i < tile_points; ++i) {
                Vec<T> at[tile_points];
                evaluate<T, 3>(half + 3 * i, 1, at, 1);
#pragma GCC unroll 6
                for (int j = 0; j < tile_points; ++j) store(out + (i * tile_points + j) * point_step + r, at[j]);
            }
        }
}
// The gradients of `count` 3 x 3 weights that stand one after another [+ gW], from their sums at the points.
template <class T> void weights_from_points(const T* sums, Size point_step, Size count, bool accumulate, T* gW) {
    T lines[9 * lanes<T>];
    for (Size c = 0; c < count; c += lanes<T>) {
        Vec<T> half[3 * tile_points], g[9];
#pragma GCC unroll 6
        for (int j = 0; j < tile_points; ++j) {
            Vec<T> m[tile_points];
#pragma GCC unroll 6
            for (int i = 0; i < tile_points; ++i) m[i] = load(sums + (i * tile_points + j) * point_step + c);
            gather<T, 3>(m, 1, half + j, tile_points);
        }
#pragma GCC unroll 3
        for (int i = 0; i < 3; ++i) gather<T, 3>(half + i * tile_points, 1, g + 3 * i, 1);
#pragma GCC unroll 9
        for (int t = 0; t < 9; ++t) store(lines + t * lanes<T>, g[t]);
        turn(lines, lanes<T>, 9, count - c < lanes<T> ? count - c : lanes<T>, accumulate, gW + 9 * c, 9);
    }
}
}  // namespace
