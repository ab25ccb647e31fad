# The core's entry points as Cython sees them: `entries(table, x)` are those for the type that x points to.
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libcpp cimport bool as boolean

ctypedef fused real:
    float
    double

cdef extern from "core/table.hpp" namespace "fastdl" nogil:
    ctypedef Py_ssize_t Size

    cdef cppclass SGDFactors[T]:
        T sign, decay, shrink, keep, gain, from_velocity, from_gradient, lr

    cdef cppclass RMSpropFactors[T]:
        T sign, decay, shrink, keep, gain, inner_eps, outer_eps, momentum, lr

    cdef cppclass AdamFactors[T]:
        T sign, decay, shrink, mean_gain, keep, gain, inner_eps, outer_eps, step, unbias

    cdef cppclass PatchGrid:
        Size height, width, columns, row_step, column_step

    cdef cppclass PatchTap:
        Size row, column

    cdef cppclass PatchRuns:
        Size images, a_image, b_image, rows, a_pitch, b_pitch, pixels

    cdef Size patch_pixels
    cdef cppclass PoolAxis:
        Size size, outputs, taps, stride, padding, dilation, inside_begin, inside_end

    cdef cppclass Entries[T]:
        int tile_rows
        int tile_columns
        int lanes
        boolean direct_tails
        void (*pack_columns)(const T*, Size, Size, Size, Size, T*) noexcept
        void (*pack_rows)(const T*, Size, Size, Size, Size, T*) noexcept
        void (*multiply)(Size, Size, Size, const T*, Size, Size, boolean, const T*, Size, boolean, const T*, boolean, T*, Size) noexcept
        void (*multiply_vector)(const T*, Size, Size, Size, const T*, boolean, const T*, T*) noexcept
        void (*backward_of_row)(const T*, const T*, const T*, Size, Size, boolean, T*, T*, T*) noexcept
        void (*pack_patches)(const T*, const PatchGrid&, const PatchTap*, Size, Size, Size, Size, Size, T*, Size) noexcept
        void (*unpack_line)(const T*, const PatchGrid&, PatchTap, Size, Size, T*) noexcept
        void (*turn)(const T*, Size, Size, Size, boolean, T*, Size) noexcept
        void (*multiply_lines)(Size, Size, Size, const T*, const T*, const Size*, const T*, T*, Size) noexcept
        void (*correlate)(Size, Size, const PatchRuns&, const T*, Size, const T*, const Size*, T*) noexcept
        void (*sum_registers)(const T*, Size, boolean, T*) noexcept
        void (*copy_rows)(const T*, Size, Size, Size, T*, Size) noexcept
        void (*to_lanes)(const T*, Size, Size, T*, Size) noexcept
        void (*correlate_lanes)(Size, Size, Size, const T*, Size, const T*, Size, boolean, T*) noexcept
        void (*sum_lanes)(Size, Size, const T*, Size, boolean, T*) noexcept
        void (*point_image)(const T*, Size, Size, Size, Size, Size, T*, Size, Size) noexcept
        void (*point_gradient)(const T*, Size, Size, Size, Size, Size, T*, Size, Size) noexcept
        void (*tiles_from_points)(const T*, Size, Size, Size, const T*, Size, Size, Size, T*) noexcept
        void (*point_weights)(const T*, Size, Size, Size, Size, boolean, T*, Size, Size) noexcept
        void (*weights_from_points)(const T*, Size, Size, boolean, T*) noexcept
        void (**activation_forward)(const T*, T, T, T*, Size) noexcept
        void (**activation_backward)(const T*, const T*, T, T, T*, Size) noexcept
        void (**loss_forward)(const T*, const T*, const T*, const T*, T, T*, Size) noexcept
        T (**loss_sum)(const T*, const T*, const T*, const T*, T, Size) noexcept
        void (**loss_backward)(const T*, const T*, const T*, const T*, T, T, T*, Size) noexcept
        T (*dot)(const T*, const T*, Size) noexcept
        T (*sum)(const T*, Size) noexcept
        void (*scale)(T, T*, Size) noexcept
        void (*clamp)(T, T, T*, Size) noexcept
        void (*add_rows)(const T*, Size, Size, T*) noexcept
        void (*softmax)(const T*, T*, T*, T*, Size, Size) noexcept
        void (*softmax_backward)(const T*, const T*, T*, Size) noexcept
        void (*log_softmax)(const T*, T*, Size, Size) noexcept
        void (*log_softmax_backward)(const T*, const T*, T*, Size) noexcept
        void (*max_pool)(const T*, const PoolAxis&, const PoolAxis&, T*, int32_t*) noexcept
        void (*max_pool_backward)(const T*, const int32_t*, const PoolAxis&, const PoolAxis&, T*) noexcept
        void (*avg_pool)(const T*, const PoolAxis&, const PoolAxis&, boolean, Size, T*) noexcept
        void (*avg_pool_backward)(const T*, const PoolAxis&, const PoolAxis&, boolean, Size, T*) noexcept
        void (*moments)(const T*, Size, Size, Size, Size, T*, T*, T*) noexcept
        void (*normalize)(const T*, Size, Size, Size, Size, const T*, const T*, const T*, T*) noexcept
        void (*gradient_sums)(const T*, const T*, Size, Size, Size, Size, const T*, T*, T*) noexcept
        void (*normalize_backward)(const T*, const T*, Size, Size, Size, Size, const T*, const T*, const T*, const T*, T*) noexcept
        void (*layer_norm)(const T*, const T*, const T*, T, T, T, T*, Size) noexcept
        void (*layer_norm_sums)(const T*, const T*, const T*, T, T*, T*, Size) noexcept
        void (*layer_norm_backward)(const T*, const T*, const T*, T, T, T, T, T*, T*, T*, Size) noexcept
        void (*dropout)(const T*, uint64_t, uint64_t, uint64_t, uint32_t, T, Size, T*, Size) noexcept
        boolean (*sgd)(const T*, const SGDFactors[T]&, T*, T*, Size) noexcept
        boolean (*rmsprop)(const T*, const RMSpropFactors[T]&, T*, T*, T*, T*, Size) noexcept
        boolean (*adam)(const T*, const AdamFactors[T]&, T*, T*, T*, T*, Size) noexcept

    cdef cppclass Table:
        const char* level
        const char** activation_names
        const boolean* activation_keeps_output
        const char** loss_names
        void (*philox)(uint64_t, uint64_t, uint64_t, uint32_t*, Size) noexcept

    const Entries[float]& entries(const Table*, const float*)
    const Entries[double]& entries(const Table*, const double*)

cdef const Table* table
