// Random words from a counter, Philox4x32-10, and dropout by them.
// J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.
#pragma once
#include "run.hpp"

namespace fastdl::FASTDL_LEVEL {

// 64-bit lanes with a 32-bit word in the lower half of each; the upper half is whatever arithmetic leaves there.
typedef uint64_t Wide __attribute__((vector_size(FASTDL_REGISTER_BYTES)));
static constexpr int wide_lanes = FASTDL_REGISTER_BYTES / 8;
static constexpr uint64_t low_half = 0xffffffff;

// The 64-bit product of the lower halves.
#if defined(__AVX512F__)
inline Wide product(Wide a, uint32_t b) { return (Wide)_mm512_maskz_mul_epu32((__mmask8)-1, (__m512i)a, (__m512i)(Wide{} + b)); }
#elif defined(__AVX2__)
inline Wide product(Wide a, uint32_t b) { return (Wide)_mm256_mul_epu32((__m256i)a, (__m256i)(Wide{} + b)); }
#elif defined(__x86_64__)
inline Wide product(Wide a, uint32_t b) { return (Wide)_mm_mul_epu32((__m128i)a, (__m128i)(Wide{} + b)); }
#else
inline Wide product(Wide a, uint32_t b) { return (a & low_half) * b; }
#endif

template <int... I> inline Wide count_up(Lanes<I...>) { return Wide{I...}; }
// Lanes of a and b in turn, from lane `first` on.
template <int first, int... I> inline Wide interleaved(Wide a, Wide b, Lanes<I...>) {
    return __builtin_shufflevector(a, b, (first + I / 2 + I % 2 * wide_lanes)...);
}

// The words of the groups of four `first`, first + 1, ...: as many groups as a register has wide lanes.
inline void philox_groups(uint64_t seed, uint64_t call, uint64_t first, uint32_t* words) {
    typedef typename CountUp<wide_lanes>::type All;
    const Wide index = count_up(All{}) + first;
    Wide c0 = index, c1 = index >> 32, c2 = Wide{} + call, c3 = Wide{} + (call >> 32);
    uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const Wide p0 = product(c0, 0xD2511F53), p1 = product(c2, 0xCD9E8D57);
        c0 = (p1 >> 32) ^ c1 ^ k0;
        c2 = (p0 >> 32) ^ c3 ^ k1;
        c1 = p1;
        c3 = p0;
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    const Wide a = (c0 & low_half) | (c1 << 32), b = (c2 & low_half) | (c3 << 32);
    const Wide lower = interleaved<0>(a, b, All{}), upper = interleaved<wide_lanes / 2>(a, b, All{});
    __builtin_memcpy(words, &lower, sizeof lower);
    __builtin_memcpy(words + 2 * wide_lanes, &upper, sizeof upper);
}

// Words 4 first, 4 first + 1, ... of the stream that (seed, call) names; there is room for a multiple of 4 wide_lanes.
inline void philox_block(uint64_t seed, uint64_t call, uint64_t first, Size n, uint32_t* words) {
    for (Size i = 0; i < n; i += 4 * wide_lanes) philox_groups(seed, call, first + uint64_t(i / 4), words + i);
}

static constexpr Size word_block = 256;

inline void philox(uint64_t seed, uint64_t call, uint64_t first, uint32_t* words, Size n) {
    uint32_t block[word_block];
    for (Size i = 0; i < n; i += word_block) {
        const Size count = n - i < word_block ? n - i : word_block;
        philox_block(seed, call, first + uint64_t(i / 4), count, block);
        __builtin_memcpy(words + i, block, size_t(count) * sizeof(uint32_t));
    }
}

// As many words as a register has lanes of T: zero where a word is below the threshold, else scale.
template <class T> inline Vec<T> keep_factor(const uint32_t* words, uint32_t threshold, T scale) {
    typedef uint32_t Words __attribute__((vector_size(4 * lanes<T>)));
    Words w;
    __builtin_memcpy(&w, words, sizeof w);
    if constexpr (sizeof(T) == 4) return w < threshold ? Vec<T>{} : splat<Vec<T>>(scale);
    else return __builtin_convertvector(w, Mask<T>) < int64_t(threshold) ? Vec<T>{} : splat<Vec<T>>(scale);
}

// y = x times 0 or scale: one word for each run of elements, the first of them word 4 first.
template <class T>
void dropout(const T* x, uint64_t seed, uint64_t call, uint64_t first, uint32_t threshold, T scale, Size run, T* y, Size words) {
    uint32_t block[word_block];
    for (Size start = 0; start < words; start += word_block) {
        const Size count = words - start < word_block ? words - start : word_block;
        philox_block(seed, call, first + uint64_t(start / 4), count, block);
        if (run == 1) {
            each_register<T>(count, [&](Size i, auto lanes) {
                lanes.store(y + start + i, lanes.load(x + start + i) * keep_factor<T>(block + i, threshold, scale));
            });
            continue;
        }
        for (Size word = 0; word < count; ++word) {
            const T factor = block[word] < threshold ? T(0) : scale;
            const T* from = x + (start + word) * run;
            T* to = y + (start + word) * run;
            each_register<T>(run, [&](Size i, auto lanes) { lanes.store(to + i, lanes.load(from + i) * factor); });
        }
    }
}
}  // namespace
