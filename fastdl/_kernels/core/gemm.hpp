// The one blocked matrix product: C (m, n) = A (m, k) B (k, n), added to C or to a bias.
// Both operands are reached by two strides, so plain and transposed are the same code; packers turn any source into panels.
// Each element of C is one sum over k in ascending order, whatever the tile, so the split into tiles never changes a bit.
#pragma once
#include "run.hpp"

namespace fastdl::FASTDL_LEVEL {

#if FASTDL_REGISTER_BYTES == 64
constexpr int tile_rows = 14;  // 28 of 32 registers hold sums, two a row of B, the rest broadcasts
#elif FASTDL_REGISTER_BYTES == 32 || defined(__x86_64__)
constexpr int tile_rows = 6;  // 12 of 16
#else
constexpr int tile_rows = 12;  // 24 of 32
#endif
template <class T> constexpr int tile_columns = 2 * lanes<T>;

// With cheap masks a row of B is read in place even where it ends inside a register; else such columns are packed first.
constexpr bool direct_tails = FASTDL_REGISTER_BYTES == 64;

// A square of registers turned over its diagonal: log2(lanes) rounds of block swaps.
template <class T, int S, int... I> inline void swap_blocks(Vec<T>& low, Vec<T>& high, Lanes<I...>) {
    constexpr int W = lanes<T>;
    Vec<T> a = __builtin_shufflevector(low, high, ((I & S) ? W + I - S : I)...);
    Vec<T> b = __builtin_shufflevector(low, high, ((I & S) ? W + I : I + S)...);
    low = a;
    high = b;
}
template <class T, int S = lanes<T> / 2> inline void transpose(Vec<T> (&r)[lanes<T>]) {
    if constexpr (S > 0) {
#pragma GCC unroll 16
        for (int i = 0; i < lanes<T>; ++i)
            if (!(i & S)) swap_blocks<T, S>(r[i], r[i + S], AllLanes<Vec<T>>{});
        transpose<T, S / 2>(r);
    }
}

// One panel: `depth` lines of `width` elements; element (j, p) of the source sits at s[j * across + p * along].
// Lanes beyond `count` (count <= width) are zero.
template <class T> void pack_panel(const T* s, Size across, Size along, Size count, Size depth, Size width, T* panel) {
    constexpr int W = lanes<T>;
    for (Size j = 0; j < width; j += W) {
        const int in = int(count - j < 0 ? 0 : count - j < W ? count - j : W);
        const int out = int(width - j < W ? width - j : W);
        if (along == 1 && in > 0) {
            for (Size p = 0; p < depth; p += W) {
                const int left = int(depth - p < W ? depth - p : W);
                Vec<T> r[W] = {};
#pragma GCC unroll 16
                for (int i = 0; i < W; ++i)
                    if (i < in) r[i] = left == W ? load(s + (j + i) * across + p) : load_partial(s + (j + i) * across + p, left);
                transpose<T>(r);
                T* line = panel + p * width + j;
                if (left == W && out == W) {
#pragma GCC unroll 16
                    for (int i = 0; i < W; ++i) store(line + i * width, r[i]);
                } else {
#pragma GCC unroll 16
                    for (int i = 0; i < W; ++i)
                        if (i < left) store_partial(line + i * width, r[i], out);
                }
            }
        } else if (across == 1 && in == W) {
            for (Size p = 0; p < depth; ++p) store(panel + p * width + j, load(s + j + p * along));
        } else if (across == 1 || in == 0) {
            for (Size p = 0; p < depth; ++p) store_partial(panel + p * width + j, load_partial(s + j + p * along, in), out);
        } else {
            for (Size p = 0; p < depth; ++p)
                for (int i = 0; i < out; ++i) panel[p * width + j + i] = i < in ? s[(j + i) * across + p * along] : T(0);
        }
    }
}
// Columns j of B (k, n) in panels of tile_columns, the last one of half the width where that holds it.
template <class T> Size panel_width(Size columns_left) { return columns_left <= lanes<T> ? lanes<T> : tile_columns<T>; }
template <class T> void pack_columns(const T* b, Size row, Size column, Size k, Size n, T* panels) {
    for (Size j = 0; j < n; j += tile_columns<T>) {
        const Size width = panel_width<T>(n - j), count = n - j < width ? n - j : width;
        pack_panel(b + j * column, column, row, count, k, width, panels + j * k);
    }
}
template <class T> void pack_rows(const T* a, Size row, Size column, Size m, Size k, T* panels) {
    for (Size i = 0; i < m; i += tile_rows)
        pack_panel(a + i * row, row, column, m - i < tile_rows ? m - i : tile_rows, k, tile_rows, panels + i * k);
}

// R rows by NV registers of C, kept in registers over the whole of k. `last` lanes count in the last register.
template <class T, int R, int NV, bool unit_rows>
void multiply_tile(Size k, const T* a, Size a_row, Size a_column, const T* b, Size b_row, int last, bool accumulate,
                   const T* bias, T* c, Size c_row) {
    if constexpr (unit_rows) a_row = 1;
    // C is needed last: ask for it first.
    for (int i = 0; i < R; ++i) {
        __builtin_prefetch(c + i * c_row, 1);
        __builtin_prefetch(c + i * c_row + (NV - 1) * lanes<T>, 1);
    }
    Vec<T> sum[R][NV] = {};
    for (Size p = 0; p < k; ++p) {
        Vec<T> line[NV];
#pragma GCC unroll 2
        for (int j = 0; j < NV; ++j) line[j] = direct_tails && j == NV - 1 ? load_partial(b + j * lanes<T>, last) : load(b + j * lanes<T>);
#pragma GCC unroll 14
        for (int i = 0; i < R; ++i) {
            const Vec<T> factor = splat<Vec<T>>(a[i * a_row]);
#pragma GCC unroll 2
            for (int j = 0; j < NV; ++j) sum[i][j] += factor * line[j];
        }
        a += a_column;
        b += b_row;
    }
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) {
        const bool whole = j < NV - 1 || last == lanes<T>;
        const Vec<T> add = bias ? (whole ? load(bias + j * lanes<T>) : load_partial(bias + j * lanes<T>, last)) : Vec<T>{};
#pragma GCC unroll 14
        for (int i = 0; i < R; ++i) {
            T* out = c + i * c_row + j * lanes<T>;
            Vec<T> y = sum[i][j] + add;
            if (accumulate) y += whole ? load(out) : load_partial(out, last);
            if (whole) store(out, y);
            else store_partial(out, y, last);
        }
    }
}

template <class T> using Tile = void (*)(Size, const T*, Size, Size, const T*, Size, int, bool, const T*, T*, Size);
template <class T, int NV, bool unit_rows, class = typename CountUp<tile_rows>::type> struct Tiles;
template <class T, int NV, bool unit_rows, int... I> struct Tiles<T, NV, unit_rows, Lanes<I...>> {
    static constexpr Tile<T> of_rows[] = {multiply_tile<T, I + 1, NV, unit_rows>...};
};

// One block of C. A: a_packed panels (from pack_rows) or strides. B: b_row == 0 for panels (from pack_columns), else rows of B as they are.
template <class T>
void multiply(Size m, Size n, Size k, const T* a, Size a_row, Size a_column, bool a_packed, const T* b, Size b_row,
              bool accumulate, const T* bias, T* c, Size c_row) {
    for (Size j = 0; j < n; j += tile_columns<T>) {
        const Size width = panel_width<T>(n - j), count = n - j < width ? n - j : width;
        const bool narrow = width == lanes<T>;
        const int last = int(narrow ? count : count - lanes<T>);
        const T* line = b_row ? b + j : b + j * k;
        const Size line_stride = b_row ? b_row : width;
        const T* column_bias = bias ? bias + j : nullptr;
        for (Size i = 0; i < m; i += tile_rows) {
            const int rows = int(m - i < tile_rows ? m - i : tile_rows);
            const T* first = a_packed ? a + i * k : a + i * a_row;
            const bool unit = a_packed || a_row == 1;
            const Size along = a_packed ? tile_rows : a_column;
            const Tile<T> tile = narrow ? (unit ? Tiles<T, 1, true>::of_rows[rows - 1] : Tiles<T, 1, false>::of_rows[rows - 1])
                                        : (unit ? Tiles<T, 2, true>::of_rows[rows - 1] : Tiles<T, 2, false>::of_rows[rows - 1]);
            tile(k, first, a_row, along, line, line_stride, last, accumulate, column_bias, c + i * c_row + j, c_row);
        }
    }
}

// y (n) = W (n, k) x, each element one dot product: the form for a single row of X W^T. R rows of W share the loads of x.
template <class T, int R> void multiply_vector_rows(const T* w, Size row, Size k, const T* x, bool accumulate, const T* bias, T* y) {
    Vec<T> part[R] = {};
    each_register<T>(k, [&](Size p, auto lanes) {
        const Vec<T> factor = lanes.load(x + p);
        for (int i = 0; i < R; ++i) part[i] += lanes.load(w + i * row + p) * factor;
    });
    for (int i = 0; i < R; ++i) y[i] = sum(part[i]) + ((bias ? bias[i] : T(0)) + (accumulate ? y[i] : T(0)));
}
template <class T> void multiply_vector(const T* w, Size row, Size n, Size k, const T* x, bool accumulate, const T* bias, T* y) {
    Size j = 0;
    for (; j + 8 <= n; j += 8) multiply_vector_rows<T, 8>(w + j * row, row, k, x, accumulate, bias ? bias + j : bias, y + j);
    for (; j < n; ++j) multiply_vector_rows<T, 1>(w + j * row, row, k, x, accumulate, bias ? bias + j : bias, y + j);
}
}  // namespace
