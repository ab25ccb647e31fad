// Small layers on batch-minor matrices: a matrix of features by samples, whose rows are whole registers with zeros behind the
// last sample. Weights are used where they lie, one by one, and no lane is lost to a width that is no multiple of a register.
#pragma once
#include "planes.hpp"

namespace fastdl::FASTDL_LEVEL {

// y (I, samples) = x (N, I) turned over; a row of y is y_row long and written to the end of its last register.
template <class T> void to_batch_minor(const T* x, Size N, Size I, T* y, Size y_row) {
    constexpr int W = lanes<T>, few = W / 4;
    for (Size n = 0; n < N; n += W) {
        const int high = int(N - n < W ? N - n : W);
        for (Size i = 0; i < I; i += W) {
            const int wide = int(I - i < W ? I - i : W);
            if (wide <= few) {
                for (int j = 0; j < wide; ++j) {
                    T line[W] = {};
                    for (int p = 0; p < high; ++p) line[p] = x[(n + p) * I + i + j];
                    store(y + (i + j) * y_row + n, load(line));
                }
                continue;
            }
            Vec<T> r[W] = {};
#pragma GCC unroll 16
            for (int p = 0; p < W; ++p)
                if (p < high) r[p] = wide == W ? load(x + (n + p) * I + i) : load_partial(x + (n + p) * I + i, wide);
            transpose<T>(r);
#pragma GCC unroll 16
            for (int j = 0; j < W; ++j)
                if (j < wide) store(y + (i + j) * y_row + n, r[j]);
        }
    }
}

// c (R, S) = the products of R rows of a with S rows of b, summed over n samples [+ c].
template <class T, int R, int S>
void correlate_batch_minor_tile(Size n, const T* a, Size a_row, const T* b, Size b_row, bool accumulate, T* c, Size c_row) {
    constexpr int W = lanes<T>, groups = (R * S + W - 1) / W;
    Vec<T> sum[groups * W] = {};
    for (Size q = 0; q < n; q += W) {
        Vec<T> read[S];
#pragma GCC unroll 5
        for (int s = 0; s < S; ++s) read[s] = load(b + s * b_row + q);
#pragma GCC unroll 5
        for (int i = 0; i < R; ++i) {
            const Vec<T> g = load(a + i * a_row + q);
#pragma GCC unroll 5
            for (int s = 0; s < S; ++s) sum[i * S + s] += g * read[s];
        }
    }
    T sums[groups * W];
#pragma GCC unroll 4
    for (int group = 0; group < groups; ++group) {
        Vec<T> r[W];
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) r[i] = sum[group * W + i];
        sum_each<T>(r);
        store(sums + group * W, r[0]);
    }
    for (int i = 0; i < R; ++i)
        for (int s = 0; s < S; ++s) c[i * c_row + s] = sums[i * S + s] + (accumulate ? c[i * c_row + s] : T(0));
}
template <class T> using LanesTile = void (*)(Size, const T*, Size, const T*, Size, bool, T*, Size);
template <class T, int R, class = typename CountUp<side>::type> struct LanesTiles;
template <class T, int R, int... I> struct LanesTiles<T, R, Lanes<I...>> {
    static constexpr LanesTile<T> of_columns[] = {correlate_batch_minor_tile<T, R, I + 1>...};
};
template <class T, class = typename CountUp<side>::type> struct LanesRows;
template <class T, int... I> struct LanesRows<T, Lanes<I...>> {
    static constexpr const LanesTile<T>* of_rows[] = {LanesTiles<T, I + 1>::of_columns...};
};

// c (rows, columns) = a b^T over n samples, a multiple of the lanes [+ c]. Tiles are as even as they come.
template <class T>
void correlate_batch_minor(Size rows, Size columns, Size n, const T* a, Size a_row, const T* b, Size b_row, bool accumulate, T* c) {
    const Size down = (rows + side - 1) / side, across = (columns + side - 1) / side;
    for (Size u = 0; u < down; ++u)
        for (Size v = 0; v < across; ++v) {
            const Size i = rows * u / down, j = columns * v / across;
            const Size high = rows * (u + 1) / down - i, wide = columns * (v + 1) / across - j;
            LanesRows<T>::of_rows[high - 1][wide - 1](n, a + i * a_row, a_row, b + j * b_row, b_row, accumulate, c + i * columns + j,
                                                      columns);
        }
}

// y[i] = the sum of row i over n samples, a multiple of the lanes [+ y[i]]
template <class T> void sum_batch_minor(Size rows, Size n, const T* a, Size a_row, bool accumulate, T* y) {
    constexpr int W = lanes<T>;
    for (Size i = 0; i < rows; i += W) {
        const int count = int(rows - i < W ? rows - i : W);
        Vec<T> r[W] = {};
        for (Size q = 0; q < n; q += W)
#pragma GCC unroll 16
            for (int p = 0; p < W; ++p)
                if (p < count) r[p] += load(a + (i + p) * a_row + q);
        sum_each<T>(r);
        store_partial(y + i, accumulate ? r[0] + load_partial(y + i, count) : r[0], count);
    }
}
}  // namespace
