// Patches of an image, line by line: what im2col would write, without the column matrix.
// A line belongs to one channel and one tap (an element of the kernel); it holds, for each pixel of a run, what the tap reads.
#pragma once
#include "gemm.hpp"

namespace fastdl::FASTDL_LEVEL {

// Pixels that read neighbouring elements of one image row: line[to + i] = plane[from + i column_step], i < length.
struct Stretch { Size to, from, length; };

inline Size floor_quotient(Size a, Size b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// The stretches of a run of pixels under one tap; all other pixels read zeros outside the image. Returns how many there are.
inline int stretches_of(const PatchGrid& grid, PatchTap tap, Size first, Size pixels, Stretch* stretch) {
    // Columns q of the grid whose element lies inside an image row.
    const Size from = -floor_quotient(tap.column, grid.column_step);
    const Size left = from < 0 ? 0 : from, right = floor_quotient(grid.width - 1 - tap.column, grid.column_step) + 1;
    int count = 0;
    Size to = 0, r = first / grid.columns, q = first % grid.columns;
    for (; to < pixels; ++r, q = 0) {
        const Size length = grid.columns - q < pixels - to ? grid.columns - q : pixels - to;
        const Size row = r * grid.row_step + tap.row;
        const Size begin = left > q ? left : q, stop = right < q + length ? right : q + length;
        if (row >= 0 && row < grid.height && begin < stop)
            stretch[count++] = {to + begin - q, row * grid.width + begin * grid.column_step + tap.column, stop - begin};
        to += length;
    }
    return count;
}

// to[i] = from[2 i], i < length > 0; nothing is read behind the last.
template <class T> inline void copy_every_second(const T* from, Size length, T* to) {
    constexpr int W = lanes<T>;
    for (; length > W; length -= W, from += 2 * W, to += W)
        store(to, even_places(load(from), load(from + W), AllLanes<Vec<T>>{}));
    const int n = int(length), read = 2 * n - 1;
    const Vec<T> second = read > W ? load_partial(from + W, read - W) : Vec<T>{};
    store_partial(to, even_places(load_partial(from, read < W ? read : W), second, AllLanes<Vec<T>>{}), n);
}

template <class T> inline void copy_stretch(const T* from, Size step, Size length, T* to) {
    if (step == 1) each_register<T>(length, [&](Size i, auto lanes) { lanes.store(to + i, lanes.load(from + i)); });
    else if (step == 2) copy_every_second(from, length, to);
    else
        for (Size i = 0; i < length; ++i) to[i] = from[i * step];
}

// The lines of one tap for all channels, a run of pixels of any length.
template <class T>
void pack_run(const T* from, Size plane, Size step, Size channels, const Stretch* stretch, int count, Size width, T* to, Size line) {
    for (Size c = 0; c < channels; ++c, from += plane, to += line) {
        Size done = 0;
        for (int s = 0; s < count; ++s) {
            if (stretch[s].to > done) clear(to + done, stretch[s].to - done);
            copy_stretch(from + stretch[s].from, step, stretch[s].length, to + stretch[s].to);
            done = stretch[s].to + stretch[s].length;
        }
        if (width > done) clear(to + done, width - done);
    }
}

// The same for one or two registers of pixels, each put together from at most N pieces of image rows.
template <class T, int N> struct Pieces {
    Size from[2][N];
    LaneRange<T> lanes_of[2][N];

    Pieces(const Stretch* stretch, int count, int registers) {
        for (int j = 0; j < registers; ++j)
            for (int n = 0, s = 0; n < N; ++n) {
                const Size start = j * lanes<T>, end = start + lanes<T>;
                while (s < count && stretch[s].to + stretch[s].length <= start) ++s;
                if (s < count && stretch[s].to < end) {
                    const Size low = stretch[s].to - start, high = low + stretch[s].length;
                    from[j][n] = stretch[s].from - low;
                    lanes_of[j][n] = lane_range<T>(int(low > 0 ? low : 0), int(high < lanes<T> ? high : lanes<T>));
                    ++s;
                } else from[j][n] = 0, lanes_of[j][n] = lane_range<T>(0, 0);
            }
    }
    // Whether N pieces hold all of the stretches.
    static bool hold(const Stretch* stretch, int count, int registers) {
        for (int j = 0; j < registers; ++j) {
            int pieces = 0;
            for (int s = 0; s < count; ++s)
                pieces += stretch[s].to < (j + 1) * lanes<T> && stretch[s].to + stretch[s].length > j * lanes<T>;
            if (pieces > N) return false;
        }
        return true;
    }
    template <int registers> void pack(const T* image, Size plane, Size channels, T* to, Size line) const {
        for (Size c = 0; c < channels; ++c, image += plane, to += line)
            for (int j = 0; j < registers; ++j) {
                auto all = bits(load_range(image + from[j][0], lanes_of[j][0]));
                for (int n = 1; n < N; ++n) all |= bits(load_range(image + from[j][n], lanes_of[j][n]));
                store(to + j * lanes<T>, from_bits<T>(all));
            }
    }
};
template <class T, int N>
bool pack_pieces(const T* image, Size plane, Size channels, const Stretch* stretch, int count, int registers, T* to, Size line) {
    if (!Pieces<T, N>::hold(stretch, count, registers)) return false;
    const Pieces<T, N> pieces(stretch, count, registers);
    if (registers == 1) pieces.template pack<1>(image, plane, channels, to, line);
    else pieces.template pack<2>(image, plane, channels, to, line);
    return true;
}

// Line (c, t) of a run of pixels (at most patch_pixels) to out + (c taps + t) out_row; pixels up to `width` become zeros.
template <class T>
void pack_patches(const T* image, const PatchGrid& grid, const PatchTap* tap, Size taps, Size channels, Size first, Size pixels,
                  Size width, T* out, Size out_row) {
    Stretch stretch[patch_pixels];
    const Size plane = grid.height * grid.width, line = taps * out_row, step = grid.column_step;
    const int registers = int(width / lanes<T>);
    const bool panel = step == 1 && width % lanes<T> == 0 && (registers == 1 || registers == 2);
    for (Size t = 0; t < taps; ++t, out += out_row) {
        const int count = stretches_of(grid, tap[t], first, pixels, stretch);
        if (!panel || !(pack_pieces<T, 1>(image, plane, channels, stretch, count, registers, out, line) ||
                        pack_pieces<T, 2>(image, plane, channels, stretch, count, registers, out, line)))
            pack_run(image, plane, step, channels, stretch, count, width, out, line);
    }
}

// A run of pixels of one plane from where pack_patches' lines with a tap lie: the way back, for outputs that are not contiguous.
template <class T> void unpack_line(const T* line, const PatchGrid& grid, PatchTap tap, Size first, Size pixels, T* plane) {
    Stretch stretch[patch_pixels];
    const int count = stretches_of(grid, tap, first, pixels, stretch);
    for (int s = 0; s < count; ++s)
        for (Size i = 0; i < stretch[s].length; ++i) plane[stretch[s].from + i * grid.column_step] = line[stretch[s].to + i];
}

// out (columns, rows) = the matrix s (rows, columns) turned over [+ out].
template <class T> void turn(const T* s, Size s_row, Size rows, Size columns, bool accumulate, T* out, Size out_row) {
    constexpr int W = lanes<T>;
    for (Size i = 0; i < rows; i += W)
        for (Size j = 0; j < columns; j += W) {
            const int high = int(rows - i < W ? rows - i : W), wide = int(columns - j < W ? columns - j : W);
            Vec<T> r[W] = {};
#pragma GCC unroll 16
            for (int p = 0; p < W; ++p)
                if (p < high) r[p] = wide == W ? load(s + (i + p) * s_row + j) : load_partial(s + (i + p) * s_row + j, wide);
            transpose<T>(r);
#pragma GCC unroll 16
            for (int p = 0; p < W; ++p)
                if (p < wide) {
                    T* line = out + (j + p) * out_row + i;
                    store_partial(line, accumulate ? r[p] + load_partial(line, high) : r[p], high);
                }
        }
}
}  // namespace
