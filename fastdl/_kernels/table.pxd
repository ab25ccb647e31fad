# The core's entry points as Cython sees them: `entries(table, x)` are those for the type that x points to.
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libcpp cimport bool as boolean

from fastdl._kernels.arrays cimport Arrays, Elementwise

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

# Entries[T], which setup.py writes from core/entries.inc.
include "entries.pxi"

cdef extern from "core/table.hpp" namespace "fastdl" nogil:
    cdef cppclass Table:
        const char* level
        const char** activation_names
        const boolean* activation_keeps_output
        const char** loss_names
        const char** instruction_names
        const char** whole_instruction_names
        void (*philox)(uint64_t, uint64_t, uint64_t, uint32_t*, Size) noexcept

    const Entries[float]& entries(const Table*, const float*)
    const Entries[double]& entries(const Table*, const double*)

cdef const Table* table
