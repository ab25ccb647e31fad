"""The order in which an epoch sees its samples: a permutation that depends on a seed, at a few nanoseconds a number.

Fisher and Yates: the number at i changes places with one at j <= i, drawn by Lemire's method ("Fast Random Integer Generation in
an Interval", 2019) from words of Philox4x32-10: the upper half of word (i + 1), whose lower half must not be among the few that
would make some j likelier.
"""

cimport numpy as cnp
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastdl._kernels.array cimport address
from fastdl._kernels.table cimport table

cnp.import_array()

cdef enum:
    WORDS = 256  # drawn at a time

# This stream's number among those of a seed: dropout counts its calls from 0.
cdef uint64_t STREAM = <uint64_t>-1


cdef struct Words:
    uint64_t seed, group
    int left
    uint32_t word[WORDS]


cdef inline uint64_t next_word(Words* words) noexcept nogil:
    if words.left == 0:
        table.philox(words.seed, STREAM, words.group, words.word, WORDS)
        words.group += WORDS // 4
        words.left = WORDS
    words.left -= 1
    return words.word[WORDS - 1 - words.left]


cdef inline int64_t below(uint64_t bound, Words* words) noexcept nogil:
    """A number from 0 to bound - 1, all equally likely; bound is below 2^32."""
    cdef uint64_t product = next_word(words) * bound, least
    if <uint32_t>product < bound:
        least = (<uint64_t>1 << 32) % bound
        while <uint32_t>product < least:
            product = next_word(words) * bound
    return product >> 32


cdef void shuffle_kernel(uint64_t seed, Py_ssize_t n, int64_t* order) noexcept nogil:
    cdef Words words
    cdef Py_ssize_t i
    cdef int64_t j
    words.seed, words.group, words.left = seed, 0, 0
    for i in range(n):
        order[i] = i
    for i in range(n - 1, 0, -1):
        j = below(i + 1, &words)
        order[i], order[j] = order[j], order[i]


def shuffle(uint64_t seed, cnp.ndarray order not None):
    """Fill the int64 array of fewer than 2^32 elements with a permutation of 0, 1, ..."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(order)
    cdef int64_t* numbers = <int64_t*>address(order)
    with nogil:
        shuffle_kernel(seed, n, numbers)
