// The table of entry points into the core: one per CPU level, one of them chosen at import.
#pragma once
#include "arrays.hpp"

namespace fastdl {

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
#define VALUE(type, name, value) type name;
#define ENTRY(result, name, arguments) result(*name) arguments;
#define ENTRY_OF(result, name, function, arguments) result(*name) arguments;
#define TABLE(result, name, functions, arguments) result (*const* name) arguments;
#include "entries.inc"
};

struct Table {
    const char* level;
    const char* const* activation_names;  // ends with a null
    const bool* activation_keeps_output;
    const char* const* loss_names;  // ends with a null
    const char* const* instruction_names;  // ends with a null, as the next
    const char* const* whole_instruction_names;
    void (*philox)(uint64_t seed, uint64_t call, uint64_t first, uint32_t* words, Size n);
    Entries<float> of_float;
    Entries<double> of_double;
};

// The entry points for the type that the second argument points to.
inline const Entries<float>& entries(const Table* table, const float*) { return table->of_float; }
inline const Entries<double>& entries(const Table* table, const double*) { return table->of_double; }
}  // namespace fastdl
