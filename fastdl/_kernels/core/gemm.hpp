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

// One panel: `depth` lines of `width` elements; element (j, p) of the source sits at s[j * across + p * along].
// Lanes beyond `count` (count <= width) are zero.

// Lines lie in the source as they will in the panel. Rows are far apart there, which no hardware prefetcher foresees.
template <class T> void pack_lines(const T* s, Size along, Size count, Size depth, Size width, T* panel) {
    constexpr int W = lanes<T>, ahead = 4;
    for (Size p = 0; p < depth; ++p, s += along, panel += width) {
        Size j = 0;
        for (; j + W <= count; j += W) {
            __builtin_prefetch(s + j + ahead * along);
            store(panel + j, load(s + j));
        }
        for (; j < width; j += W) {
            const Size in = count - j < 0 ? 0 : count - j, out = width - j < W ? width - j : W;
            store_partial(panel + j, load_partial(s + j, int(in < W ? in : W)), int(out));
        }
    }
}

// Lines run across the source's rows: squares of registers are turned over.
template <class T> void pack_turned(const T* s, Size across, Size count, Size depth, Size width, T* panel) {
    constexpr int W = lanes<T>;
    for (Size j = 0; j < width; j += W) {
        const Size in = count - j, out = width - j < W ? width - j : W;
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
                    if (i < left) store_partial(line + i * width, r[i], int(out));
            }
        }
    }
}

template <class T> void pack_panel(const T* s, Size across, Size along, Size count, Size depth, Size width, T* panel) {
    if (across == 1) return pack_lines(s, along, count, depth, width, panel);
    if (along == 1) return pack_turned(s, across, count, depth, width, panel);
    for (Size p = 0; p < depth; ++p)
        for (Size j = 0; j < width; ++j) panel[p * width + j] = j < count ? s[j * across + p * along] : T(0);
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

// How a tile reads A: from whole panels (B from panels too, so that all strides are constants), or with rows or columns contiguous:
// where A lies, or the last panel.
enum class Layout { panels, contiguous_columns, contiguous_rows };

// R rows by NV registers of C, kept in registers over the whole of k. `last` lanes count in the last register.
template <class T, int R, int NV, Layout layout>
void multiply_tile(Size k, const T* a, Size a_row, Size a_column, const T* b, Size b_row, int last, bool accumulate,
                   const T* bias, bool bias_of_rows, T* c, Size c_row) {
    if constexpr (layout == Layout::contiguous_rows) a_column = 1;
    else a_row = 1;
    if constexpr (layout == Layout::panels) a_column = tile_rows, b_row = NV * lanes<T>;
    constexpr bool partial_line = direct_tails && layout != Layout::panels;
    Vec<T> sum[R][NV] = {};
    // C is needed last and asked for on the way, a few rows at a time: all at once they fill the queue that B comes through.
    const Size stretch = k < 128 ? k : (k + 3) / 4;
    int row = 0;
    for (Size from = 0; from < k; from += stretch) {
#pragma GCC unroll 1
        for (const int stop = row + (R + 3) / 4; row < stop && row < R; ++row) {
            __builtin_prefetch(c + row * c_row, 1, 2);
            __builtin_prefetch(c + row * c_row + (NV - 1) * lanes<T>, 1, 2);
        }
        const Size end = from + stretch < k ? from + stretch : k;
        // Two at a time, so that counting takes few of the ports that multiply. Unrolled by hand, sums change registers.
#pragma GCC unroll 2
        for (Size p = from; p < end; ++p, a += a_column, b += b_row) {
            Vec<T> line[NV];
#pragma GCC unroll 2
            for (int j = 0; j < NV; ++j)
                line[j] = partial_line && j == NV - 1 ? load_partial(b + j * lanes<T>, last) : load(b + j * lanes<T>);
#pragma GCC unroll 14
            for (int i = 0; i < R; ++i) {
                const Vec<T> factor = splat<Vec<T>>(a[i * a_row]);
#pragma GCC unroll 2
                for (int j = 0; j < NV; ++j) sum[i][j] += factor * line[j];
            }
        }
    }
    // Each question is asked once for the tile, not for each register.
    if (bias && bias_of_rows) {
#pragma GCC unroll 14
        for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
            for (int j = 0; j < NV; ++j) sum[i][j] += bias[i];
    }
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) {
        T* column = c + j * lanes<T>;
        if (bias && !bias_of_rows) {
            const Vec<T> add = load_partial(bias + j * lanes<T>, j < NV - 1 ? lanes<T> : last);
#pragma GCC unroll 14
            for (int i = 0; i < R; ++i) sum[i][j] += add;
        }
        if (j < NV - 1 || last == lanes<T>) {
            if (accumulate) {
#pragma GCC unroll 14
                for (int i = 0; i < R; ++i) sum[i][j] += load(column + i * c_row);
            }
#pragma GCC unroll 14
            for (int i = 0; i < R; ++i) store(column + i * c_row, sum[i][j]);
        } else {
            if (accumulate) {
#pragma GCC unroll 14
                for (int i = 0; i < R; ++i) sum[i][j] += load_partial(column + i * c_row, last);
            }
#pragma GCC unroll 14
            for (int i = 0; i < R; ++i) store_partial(column + i * c_row, sum[i][j], last);
        }
    }
}

template <class T> using Tile = void (*)(Size, const T*, Size, Size, const T*, Size, int, bool, const T*, bool, T*, Size);
template <class T, int NV, Layout layout, class = typename CountUp<tile_rows>::type> struct Tiles;
template <class T, int NV, Layout layout, int... I> struct Tiles<T, NV, layout, Lanes<I...>> {
    static constexpr Tile<T> of_rows[] = {multiply_tile<T, I + 1, NV, layout>...};
};
template <class T, int NV> Tile<T> tile(Layout layout, Size rows) {
    return layout == Layout::panels && rows == tile_rows ? multiply_tile<T, tile_rows, NV, Layout::panels>
           : layout == Layout::contiguous_rows           ? Tiles<T, NV, Layout::contiguous_rows>::of_rows[rows - 1]
                                                         : Tiles<T, NV, Layout::contiguous_columns>::of_rows[rows - 1];
}

// One block of C, with one bias for each column or for each row. A: panels (from pack_rows) where a_packed, else strides.
// B: b_row == 0 for panels (from pack_columns), else its rows as they are. Panels of A go with panels of B. One of A's strides is 1.
template <class T>
void multiply(Size m, Size n, Size k, const T* a, Size a_row, Size a_column, bool a_packed, const T* b, Size b_row,
              bool accumulate, const T* bias, bool bias_of_rows, T* c, Size c_row) {
    const Size down = a_packed ? k : a_row;  // rows of A are so far apart where tiles begin: panels follow one another
    if (a_packed) a_row = 1, a_column = tile_rows;
    const Layout layout = a_packed ? Layout::panels : a_row == 1 ? Layout::contiguous_columns : Layout::contiguous_rows;
    for (Size j = 0; j < n; j += tile_columns<T>) {
        const Size width = panel_width<T>(n - j), count = n - j < width ? n - j : width;
        const bool narrow = width == lanes<T>;
        const int last = int(narrow ? count : count - lanes<T>);
        const T* line = b_row ? b + j : b + j * k;
        for (Size i = 0; i < m; i += tile_rows) {
            const Size rows = m - i < tile_rows ? m - i : tile_rows;
            (narrow ? tile<T, 1>(layout, rows) : tile<T, 2>(layout, rows))(
                k, a + i * down, a_row, a_column, line, b_row ? b_row : width, last, accumulate,
                bias ? bias + (bias_of_rows ? i : j) : nullptr, bias_of_rows, c + i * c_row + j, c_row);
        }
    }
}

// y (n) = W (n, k) x, each element one dot product: the form for a single row of X W^T. As many rows of W as a register has lanes
// share the loads of x, and are summed over their lanes together.
template <class T> void multiply_vector(const T* w, Size row, Size n, Size k, const T* x, bool accumulate, const T* bias, T* y) {
    constexpr int W = lanes<T>;
    for (Size j = 0; j < n; j += W) {
        const int count = int(n - j < W ? n - j : W);
        Vec<T> part[W] = {};
        each_register<T>(k, [&](Size p, auto lanes) {
            const Vec<T> factor = lanes.load(x + p);
#pragma GCC unroll 16
            for (int i = 0; i < W; ++i)
                if (i < count) part[i] += lanes.load(w + (j + i) * row + p) * factor;
        });
        sum_each<T>(part);
        Vec<T> sum = part[0];
        if (bias) sum += load_partial(bias + j, count);
        if (accumulate) sum += load_partial(y + j, count);
        store_partial(y + j, sum, count);
    }
}

// A product of a few elements, whose tiles would be mostly empty: the same sums one by one.
template <class T>
void multiply_small(Size m, Size n, Size k, const T* a, Size a_row, Size a_column, const T* b, Size b_row, Size b_column, T* c,
                    Size c_row) {
    for (Size i = 0; i < m; ++i)
        for (Size j = 0; j < n; ++j) {
            T sum = 0;
            for (Size p = 0; p < k; ++p) sum = fused(a[i * a_row + p * a_column], b[p * b_row + j * b_column], sum);
            c[i * c_row + j] = sum;
        }
}

// The columns of gW and gx, and of x and W, that R registers hold, the last of them `last`: see backward_of_row.
template <class T, int R>
void columns_of_row(const T* gy, const T* x, const T* w, Size I, Size O, int last, bool accumulate, T* gW, T* gx) {
    constexpr int W = lanes<T>, N = R - 1;
    Vec<T> sum[R] = {}, row[R];
#pragma GCC unroll 4
    for (int j = 0; j < R; ++j) row[j] = j < N ? load(x + j * W) : load_partial(x + N * W, last);
    for (Size o = 0; o < O; ++o, w += I) {
        const Vec<T> g = splat<Vec<T>>(gy[o]);
        if (gx) {
#pragma GCC unroll 4
            for (int j = 0; j < R; ++j) sum[j] += g * (j < N ? load(w + j * W) : load_partial(w + N * W, last));
        }
        if (!gW) continue;
#pragma GCC unroll 4
        for (int j = 0; j < N; ++j) store(gW + j * W, accumulate ? g * row[j] + load(gW + j * W) : g * row[j]);
        store_partial(gW + N * W, accumulate ? g * row[N] + load_partial(gW + N * W, last) : g * row[N], last);
        gW += I;
    }
    if (!gx) return;
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) store(gx + j * W, sum[j]);
    store_partial(gx + N * W, sum[N], last);
}

// What one row of gradients comes to, in one pass over the weights: gW (O, I) = gy x [+ gW], gb = gy [+ gb], gx = gy W. Each may be
// null.
template <class T>
void backward_of_row(const T* gy, const T* x, const T* w, Size I, Size O, bool accumulate, T* gW, T* gb, T* gx) {
    constexpr int W = lanes<T>, most = 4;
    decltype(&columns_of_row<T, 1>) const columns[most] = {
        columns_of_row<T, 1>, columns_of_row<T, 2>, columns_of_row<T, 3>, columns_of_row<T, 4>};
    for (Size i = 0; i < I; i += most * W) {
        const Size left = I - i < most * W ? I - i : most * W, registers = (left + W - 1) / W;
        columns[registers - 1](
            gy, x + i, w + i, I, O, int(left - (registers - 1) * W), accumulate, gW ? gW + i : nullptr, gx ? gx + i : nullptr);
    }
    if (gb)
        each_register<T>(O, [&](Size o, auto lanes) { lanes.store(gb + o, accumulate ? lanes.load(gb + o) + lanes.load(gy + o) : lanes.load(gy + o)); });
}
}  // namespace
