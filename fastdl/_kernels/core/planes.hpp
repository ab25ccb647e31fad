// Convolution of few channels without any packing: images are padded with zeros, so that for one tap the pixels of all rows lie
// one after the other. The ends of rows, where a pixel would wrap around, are computed too and left out afterwards.
#pragma once
#include "gemm.hpp"

namespace fastdl::FASTDL_LEVEL {

// Few rows of weights take more registers of pixels, so that there are sums enough to keep the multipliers busy.
constexpr int most_sums = FASTDL_REGISTER_BYTES == 32 || (FASTDL_REGISTER_BYTES == 16 && tile_rows == 6) ? 12 : 24;
constexpr int line_columns(int rows) {
    const int fitting = most_sums / rows;
    return fitting > 8 ? 8 : fitting < 2 ? 2 : fitting;
}

// out (R, NV registers) = a (R, k) lines (k, pixels) + bias; line p starts at b + offset[p]. a in a panel of tile_rows.
template <class T, int R, int NV>
void multiply_lines_tile(Size k, const T* a, const T* b, const Size* offset, const T* bias, T* out, Size out_row) {
    Vec<T> sum[R][NV] = {};
    for (Size p = 0; p < k; ++p, a += tile_rows) {
        const T* line = b + offset[p];
        if constexpr (R < NV) {
            Vec<T> factor[R];
#pragma GCC unroll 14
            for (int i = 0; i < R; ++i) factor[i] = splat<Vec<T>>(a[i]);
#pragma GCC unroll 8
            for (int j = 0; j < NV; ++j) {
                const Vec<T> x = held(line + j * lanes<T>);
#pragma GCC unroll 14
                for (int i = 0; i < R; ++i) sum[i][j] += factor[i] * x;
            }
        } else {
            Vec<T> x[NV];
#pragma GCC unroll 8
            for (int j = 0; j < NV; ++j) x[j] = held(line + j * lanes<T>);
#pragma GCC unroll 14
            for (int i = 0; i < R; ++i) {
                const Vec<T> factor = splat<Vec<T>>(a[i]);
#pragma GCC unroll 8
                for (int j = 0; j < NV; ++j) sum[i][j] += factor * x[j];
            }
        }
    }
#pragma GCC unroll 14
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < NV; ++j) store(out + i * out_row + j * lanes<T>, bias ? sum[i][j] + bias[i] : sum[i][j]);
}

// The same over a run of pixels; what is read and written beyond it stays below 8 registers.
template <class T, int R, int NV> void multiply_lines_rows(Size pixels, Size k, const T* a, const T* b, const Size* offset,
                                                           const T* bias, T* out, Size out_row) {
    Size q = 0;
    for (; q + (NV - 1) * lanes<T> < pixels; q += NV * lanes<T>)
        multiply_lines_tile<T, R, NV>(k, a, b + q, offset, bias, out + q, out_row);
    if constexpr (NV > 1)
        if (q < pixels) multiply_lines_rows<T, R, NV / 2>(pixels - q, k, a, b + q, offset, bias, out + q, out_row);
}
template <class T, class = typename CountUp<tile_rows>::type> struct LineTiles;
template <class T, int... I> struct LineTiles<T, Lanes<I...>> {
    static constexpr void (*of_rows[])(Size, Size, const T*, const T*, const Size*, const T*, T*, Size) = {
        multiply_lines_rows<T, I + 1, line_columns(I + 1)>...};
};
// Up to tile_rows rows.
template <class T>
void multiply_lines(Size rows, Size pixels, Size k, const T* a, const T* b, const Size* offset, const T* bias, T* out, Size out_row) {
    LineTiles<T>::of_rows[rows - 1](pixels, k, a, b, offset, bias, out, out_row);
}

// Registers of sums for R outputs and S lines: sums[i][s] += a[i][q] line_s[q], lane by lane, over runs of pixels at their
// distances (see PatchRuns). Reads a whole register at the end of a run.
constexpr int side = FASTDL_REGISTER_BYTES == 64 ? 5 : 3;
template <class T, int R, int S>
void correlate_tile(const PatchRuns& runs, const T* a, Size a_row, const T* b, const Size* offset, T* sums, Size sums_row) {
    Vec<T> sum[R][S];
#pragma GCC unroll 5
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 5
        for (int s = 0; s < S; ++s) sum[i][s] = load(sums + i * sums_row + s * lanes<T>);
    for (Size image = 0; image < runs.images; ++image)
        for (Size row = 0; row < runs.rows; ++row) {
            const T* gy = a + image * runs.a_image + row * runs.a_pitch;
            const T* x = b + image * runs.b_image + row * runs.b_pitch;
            const T* line[S];
            for (int s = 0; s < S; ++s) line[s] = x + offset[s];
            for (Size q = 0; q < runs.pixels; q += lanes<T>) {
                Vec<T> read[S];
#pragma GCC unroll 5
                for (int s = 0; s < S; ++s) read[s] = held(line[s] + q);
#pragma GCC unroll 5
                for (int i = 0; i < R; ++i) {
                    const Vec<T> g = held(gy + i * a_row + q);
#pragma GCC unroll 5
                    for (int s = 0; s < S; ++s) sum[i][s] += g * read[s];
                }
            }
        }
#pragma GCC unroll 5
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 5
        for (int s = 0; s < S; ++s) store(sums + i * sums_row + s * lanes<T>, sum[i][s]);
}
template <class T, int R, class = typename CountUp<side>::type> struct CorrelateTiles;
template <class T> using CorrelateTile = void (*)(const PatchRuns&, const T*, Size, const T*, const Size*, T*, Size);
template <class T, int R, int... I> struct CorrelateTiles<T, R, Lanes<I...>> {
    static constexpr CorrelateTile<T> of_lines[] = {correlate_tile<T, R, I + 1>...};
};
template <class T, class = typename CountUp<side>::type> struct CorrelateRows;
template <class T, int... I> struct CorrelateRows<T, Lanes<I...>> {
    static constexpr const CorrelateTile<T>* of_rows[] = {CorrelateTiles<T, I + 1>::of_lines...};
};
// sums (rows, k, one register each) += the correlation of a (rows, runs) with the lines. Tiles are as even as they come.
template <class T>
void correlate(Size rows, Size k, const PatchRuns& runs, const T* a, Size a_row, const T* b, const Size* offset, T* sums) {
    const Size down = (rows + side - 1) / side, across = (k + side - 1) / side;
    for (Size u = 0; u < down; ++u)
        for (Size v = 0; v < across; ++v) {
            const Size i = rows * u / down, p = k * v / across;
            const Size high = rows * (u + 1) / down - i, wide = k * (v + 1) / across - p;
            CorrelateRows<T>::of_rows[high - 1][wide - 1](runs, a + i * a_row, a_row, b, offset + p,
                                                          sums + (i * k + p) * lanes<T>, k * lanes<T>);
        }
}
// y[i] = the sum of register i's lanes [+ y[i]]
template <class T> void sum_registers(const T* registers, Size n, bool accumulate, T* y) {
    constexpr int W = lanes<T>;
    for (Size i = 0; i < n; i += W) {
        const int count = int(n - i < W ? n - i : W);
        Vec<T> r[W] = {};
#pragma GCC unroll 16
        for (int p = 0; p < W; ++p)
            if (p < count) r[p] = load(registers + (i + p) * W);
        sum_each<T>(r);
        store_partial(y + i, accumulate ? r[0] + load_partial(y + i, count) : r[0], count);
    }
}

// Rows of a matrix to where they lie at another distance.
template <class T> void copy_rows(const T* from, Size from_row, Size rows, Size columns, T* to, Size to_row) {
    for (Size i = 0; i < rows; ++i, from += from_row, to += to_row)
        each_register<T>(columns, [&](Size j, auto lanes) { lanes.store(to + j, lanes.load(from + j)); });
}
}  // namespace
