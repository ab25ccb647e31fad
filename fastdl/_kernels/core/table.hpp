// The table of entry points into the core: one per CPU level, one of them chosen at import.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fastdl {
typedef ptrdiff_t Size;

// What an optimizer's options come to in the loops of update.hpp.
template <class T> struct SGDFactors { T sign, decay, shrink, keep, gain, from_velocity, from_gradient, lr; };
template <class T> struct RMSpropFactors { T sign, decay, shrink, keep, gain, inner_eps, outer_eps, momentum, lr; };
template <class T> struct AdamFactors { T sign, decay, shrink, mean_gain, keep, gain, inner_eps, outer_eps, step, unbias; };

// How pixels of a grid read an image (height, width): pixel (r, q) starts at row r row_step, column q column_step, and a tap
// reads so far from there. A run of pixels has at most patch_pixels.
struct PatchGrid { Size height, width, columns, row_step, column_step; };
struct PatchTap { Size row, column; };
enum { patch_pixels = 512 };
// Runs of pixels at equal distances in two arrays: rows of images.
struct PatchRuns { Size images, a_image, b_image, rows, a_pitch, b_pitch, pixels; };
// One axis of pooled images: output o sees `taps` places from o stride - padding on, `dilation` apart, where they lie within the
// axis' size; with no taps, share o of the axis cut into as many equal shares as there are outputs, rounded outwards.
// The outputs from inside_begin to before inside_end see all their taps.
struct PoolAxis { Size size, outputs, taps, stride, padding, dilation, inside_begin, inside_end; };

template <class T> struct Entries {
    // gemm.hpp
    int tile_rows, tile_columns, lanes;
    bool direct_tails;  // a row of B may be read in place even where it ends inside a register
    void (*pack_columns)(const T* b, Size row, Size column, Size k, Size n, T* panels);
    void (*pack_rows)(const T* a, Size row, Size column, Size m, Size k, T* panels);
    void (*multiply)(Size m, Size n, Size k, const T* a, Size a_row, Size a_column, bool a_packed, const T* b, Size b_row,
                     bool accumulate, const T* bias, bool bias_of_rows, T* c, Size c_row);
    void (*multiply_vector)(const T* w, Size row, Size n, Size k, const T* x, bool accumulate, const T* bias, T* y);
    void (*backward_of_row)(const T* gy, const T* x, const T* w, Size I, Size O, bool accumulate, T* gW, T* gb, T* gx);

    // patches.hpp
    void (*pack_patches)(const T* image, const PatchGrid& grid, const PatchTap* tap, Size taps, Size channels, Size first,
                         Size pixels, Size width, T* out, Size out_row);
    void (*unpack_line)(const T* line, const PatchGrid& grid, PatchTap tap, Size first, Size pixels, T* plane);
    void (*turn)(const T* s, Size s_row, Size rows, Size columns, bool accumulate, T* out, Size out_row);

    // planes.hpp
    void (*multiply_lines)(Size rows, Size pixels, Size k, const T* a, const T* b, const Size* offset, const T* bias, T* out, Size out_row);
    void (*correlate)(Size rows, Size k, const PatchRuns& runs, const T* a, Size a_row, const T* b, const Size* offset, T* sums);
    void (*sum_registers)(const T* registers, Size n, bool accumulate, T* y);
    void (*copy_rows)(const T* from, Size from_row, Size rows, Size columns, T* to, Size to_row);

    // lanes.hpp
    void (*to_lanes)(const T* x, Size N, Size I, T* y, Size y_row);
    void (*correlate_lanes)(Size rows, Size columns, Size n, const T* a, Size a_row, const T* b, Size b_row, bool accumulate, T* c);
    void (*sum_lanes)(Size rows, Size n, const T* a, Size a_row, bool accumulate, T* y);

    // winograd.hpp
    void (*point_image)(const T* image, Size height, Size width, Size row, Size column, Size tiles, T* out, Size tile_step, Size point_step);
    void (*point_gradient)(const T* image, Size height, Size width, Size row, Size column, Size tiles, T* out, Size tile_step,
                           Size point_step);
    void (*tiles_from_points)(const T* in, Size tile_step, Size point_step, Size tiles, const T* bias, Size count, Size rows, Size width,
                              T* out);
    void (*point_weights)(const T* w, Size row_step, Size rows, Size depth_step, Size depth, bool flipped, T* out, Size out_step,
                          Size point_step);
    void (*weights_from_points)(const T* sums, Size point_step, Size count, bool accumulate, T* gW);

    // activation.hpp, indexed like activation_names
    void (*const* activation_forward)(const T* x, T alpha, T beta, T* y, Size n);
    void (*const* activation_backward)(const T* gy, const T* kept, T alpha, T beta, T* gx, Size n);

    // loss.hpp, indexed like loss_names
    void (*const* loss_forward)(const T* x, const T* t, const T* weight, const T* positive_weight, T delta, T* y, Size n);
    T (*const* loss_sum)(const T* x, const T* t, const T* weight, const T* positive_weight, T delta, Size n);
    void (*const* loss_backward)(const T* x, const T* t, const T* weight, const T* positive_weight, T delta, T factor, T* gx, Size n);

    // run.hpp
    T (*dot)(const T* a, const T* b, Size n);
    T (*sum)(const T* x, Size n);
    void (*scale)(T factor, T* x, Size n);
    void (*clamp)(T low, T high, T* x, Size n);
    void (*add_rows)(const T* x, Size rows, Size n, T* total);
    void (*softmax)(const T* x, T* y, T* top, T* log_sum, Size rows, Size n);
    void (*softmax_backward)(const T* gy, const T* y, T* gx, Size n);
    void (*log_softmax)(const T* x, T* y, Size rows, Size n);
    void (*log_softmax_backward)(const T* gy, const T* y, T* gx, Size n);

    // pool.hpp, one image plane each
    void (*max_pool)(const T* x, const PoolAxis& rows, const PoolAxis& columns, T* y, int32_t* index);
    void (*max_pool_backward)(const T* gy, const int32_t* index, const PoolAxis& rows, const PoolAxis& columns, T* gx);
    void (*avg_pool)(const T* x, const PoolAxis& rows, const PoolAxis& columns, bool count_padding, Size divisor, T* y);
    void (*avg_pool_backward)(const T* gy, const PoolAxis& rows, const PoolAxis& columns, bool count_padding, Size divisor, T* gx);

    // norm.hpp
    void (*moments)(const T* x, Size rows, Size stride, Size channels, Size n, T* center, T* missed, T* squares);
    void (*normalize)(const T* x, Size rows, Size stride, Size channels, Size n, const T* mean, const T* factor, const T* shift, T* y);
    void (*gradient_sums)(const T* gy, const T* x, Size rows, Size stride, Size channels, Size n, const T* mean, T* sums, T* products);
    void (*normalize_backward)(const T* gy, const T* x, Size rows, Size stride, Size channels, Size n, const T* mean, const T* gain,
                               const T* slope, const T* shift, T* gx);
    void (*layer_norm)(const T* x, const T* W, const T* b, T mean, T inverse, T shift, T* y, Size n);
    void (*layer_norm_sums)(const T* gy, const T* x, const T* W, T mean, T* sums, T* products, Size n);
    void (*layer_norm_backward)(const T* gy, const T* x, const T* W, T mean, T inverse, T slope, T shift, T* gx, T* gW, T* gb, Size n);

    // philox.hpp
    void (*dropout)(const T* x, uint64_t seed, uint64_t call, uint64_t first, uint32_t threshold, T scale, Size run, T* y, Size words);

    // update.hpp
    bool (*sgd)(const T* g, const SGDFactors<T>& f, T* p, T* velocity, Size n);
    bool (*rmsprop)(const T* g, const RMSpropFactors<T>& f, T* p, T* square, T* mean, T* velocity, Size n);
    bool (*adam)(const T* g, const AdamFactors<T>& f, T* p, T* mean, T* square, T* largest_square, Size n);
};

struct Table {
    const char* level;
    const char* const* activation_names;  // ends with a null
    const bool* activation_keeps_output;
    const char* const* loss_names;  // ends with a null
    void (*philox)(uint64_t seed, uint64_t call, uint64_t first, uint32_t* words, Size n);
    Entries<float> of_float;
    Entries<double> of_double;
};

// The entry points for the type that the second argument points to.
inline const Entries<float>& entries(const Table* table, const float*) { return table->of_float; }
inline const Entries<double>& entries(const Table* table, const double*) { return table->of_double; }
}  // namespace fastdl
