// One SIMD register of float or double: what the compiler's vector extensions leave open.
// Arithmetic, comparison and `mask ? a : b` are the compiler's own operators on Vec<T>.
// Everything here is compiled once per CPU level, so it sits in a namespace of that level and uses no standard template.
#pragma once
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#ifndef FASTDL_LEVEL
#error "FASTDL_LEVEL names the CPU level: compile level.cpp through setup.py"
#endif

#if defined(__AVX512F__)
#define FASTDL_REGISTER_BYTES 64
#elif defined(__AVX__)
#define FASTDL_REGISTER_BYTES 32
#else
#define FASTDL_REGISTER_BYTES 16
#endif

namespace fastdl::FASTDL_LEVEL {

template <class T> struct Register;
template <> struct Register<float> {
    typedef float Values __attribute__((vector_size(FASTDL_REGISTER_BYTES)));
    typedef int32_t Integers __attribute__((vector_size(FASTDL_REGISTER_BYTES)));
    typedef int32_t Integer;
    static constexpr int mantissa_bits = 23, exponent_bias = 127;
    static constexpr float round_magic = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
};
template <> struct Register<double> {
    typedef double Values __attribute__((vector_size(FASTDL_REGISTER_BYTES)));
    typedef int64_t Integers __attribute__((vector_size(FASTDL_REGISTER_BYTES)));
    typedef int64_t Integer;
    static constexpr int mantissa_bits = 52, exponent_bias = 1023;
    static constexpr double round_magic = 6755399441055744.0;  // 1.5 * 2^52
};

template <class T> using Vec = typename Register<T>::Values;
template <class T> using Mask = typename Register<T>::Integers;
template <class T> constexpr int lanes = FASTDL_REGISTER_BYTES / int(sizeof(T));

// The element type of a register, so that formulas can be written over the register type alone.
template <class V> struct ElementOf;
template <> struct ElementOf<Vec<float>> { typedef float type; };
template <> struct ElementOf<Vec<double>> { typedef double type; };
template <class V> using Element = typename ElementOf<V>::type;

// x - 0 is x for every x, so this is a broadcast and nothing else.
template <class V> inline V splat(Element<V> value) { return value - V{}; }

template <class T> inline Vec<T> load(const T* p) {
    Vec<T> v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
// A load that stays in its register: gcc would rather read memory again for each multiplication, which costs a port.
template <class T> inline Vec<T> held(const T* p) {
    Vec<T> v = load(p);
#if defined(__x86_64__)
    asm("" : "+v"(v));
#elif defined(__aarch64__)
    asm("" : "+w"(v));
#endif
    return v;
}
template <class T> inline void store(T* p, Vec<T> v) { __builtin_memcpy(p, &v, sizeof v); }

// The first n lanes (0 <= n <= lanes); the others are read as zero and never written. keep_first sets the others to zero,
// first_or to those of another register.
#if defined(__AVX512F__)
inline Vec<float> first_or(Vec<float> v, Vec<float> other, int n) { return _mm512_mask_mov_ps(other, (__mmask16)((1u << n) - 1), v); }
inline Vec<double> first_or(Vec<double> v, Vec<double> other, int n) { return _mm512_mask_mov_pd(other, (__mmask8)((1u << n) - 1), v); }
inline Vec<float> keep_first(Vec<float> v, int n) { return _mm512_maskz_mov_ps((__mmask16)((1u << n) - 1), v); }
inline Vec<double> keep_first(Vec<double> v, int n) { return _mm512_maskz_mov_pd((__mmask8)((1u << n) - 1), v); }
inline Vec<float> load_partial(const float* p, int n) { return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
inline Vec<double> load_partial(const double* p, int n) { return _mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p); }
inline void store_partial(float* p, Vec<float> v, int n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v); }
inline void store_partial(double* p, Vec<double> v, int n) { _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), v); }
#elif defined(__AVX__)
alignas(32) inline constexpr int32_t narrow_window[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
alignas(32) inline constexpr int64_t wide_window[8] = {-1, -1, -1, -1, 0, 0, 0, 0};
inline __m256i first(const float*, int n) { return _mm256_loadu_si256((const __m256i*)(narrow_window + 8 - n)); }
inline __m256i first(const double*, int n) { return _mm256_loadu_si256((const __m256i*)(wide_window + 4 - n)); }
inline Vec<float> first_or(Vec<float> v, Vec<float> other, int n) { return (Mask<float>)first((float*)0, n) ? v : other; }
inline Vec<double> first_or(Vec<double> v, Vec<double> other, int n) { return (Mask<double>)first((double*)0, n) ? v : other; }
inline Vec<float> keep_first(Vec<float> v, int n) { return (Vec<float>)((__m256i)v & first((float*)0, n)); }
inline Vec<double> keep_first(Vec<double> v, int n) { return (Vec<double>)((__m256i)v & first((double*)0, n)); }
inline Vec<float> load_partial(const float* p, int n) { return _mm256_maskload_ps(p, first(p, n)); }
inline Vec<double> load_partial(const double* p, int n) { return _mm256_maskload_pd(p, first(p, n)); }
// The first n words of 32 bits. AMD's processors take a masked store of this level apart into some forty operations.
inline void store_words(void* to, __m256i v, int n) {
    if (n == 8) return _mm256_storeu_si256((__m256i*)to, v);
    __m128i words = _mm256_castsi256_si128(v);
    char* at = (char*)to;
    if (n & 4) {
        _mm_storeu_si128((__m128i*)at, words);
        words = _mm256_extracti128_si256(v, 1);
        at += 16;
    }
    if (n & 2) {
        _mm_storel_epi64((__m128i*)at, words);
        words = _mm_unpackhi_epi64(words, words);
        at += 8;
    }
    if (n & 1) _mm_storeu_si32(at, words);
}
inline void store_partial(float* p, Vec<float> v, int n) { store_words(p, (__m256i)v, n); }
inline void store_partial(double* p, Vec<double> v, int n) { store_words(p, (__m256i)v, 2 * n); }
#else
template <class V> inline V first_or(V v, V other, int n) {
    for (int i = n; i < lanes<Element<V>>; ++i) v[i] = other[i];
    return v;
}
template <class V> inline V keep_first(V v, int n) {
    for (int i = n; i < lanes<Element<V>>; ++i) v[i] = 0;
    return v;
}
template <class T> inline Vec<T> load_partial(const T* p, int n) {
    Vec<T> v{};
    for (int i = 0; i < lanes<T>; ++i)
        if (i < n) v[i] = p[i];
    return v;
}
template <class T> inline void store_partial(T* p, Vec<T> v, int n) {
    for (int i = 0; i < lanes<T>; ++i)
        if (i < n) p[i] = v[i];
}
#endif

// int32 in memory, integers as wide as T in a register: the first n lanes as above.
template <class T> Mask<T> load_integers(const int32_t* p, int n);
#if defined(__AVX512F__)
template <> inline Mask<float> load_integers<float>(const int32_t* p, int n) {
    return (Mask<float>)_mm512_maskz_loadu_epi32((__mmask16)((1u << n) - 1), p);
}
template <> inline Mask<double> load_integers<double>(const int32_t* p, int n) {
    return (Mask<double>)_mm512_maskz_cvtepi32_epi64((__mmask8)-1, _mm256_maskz_loadu_epi32((__mmask8)((1u << n) - 1), p));
}
inline void store_integers(int32_t* p, Mask<float> v, int n) { _mm512_mask_storeu_epi32(p, (__mmask16)((1u << n) - 1), (__m512i)v); }
inline void store_integers(int32_t* p, Mask<double> v, int n) {
    _mm512_mask_cvtepi64_storeu_epi32(p, (__mmask8)((1u << n) - 1), (__m512i)v);
}
#elif defined(__AVX__)
inline __m128i narrow_first(int n) { return _mm_loadu_si128((const __m128i*)(narrow_window + 8 - n)); }
template <> inline Mask<float> load_integers<float>(const int32_t* p, int n) {
    return (Mask<float>)_mm256_maskload_epi32(p, first((float*)0, n));
}
template <> inline Mask<double> load_integers<double>(const int32_t* p, int n) {
    return (Mask<double>)_mm256_cvtepi32_epi64(_mm_maskload_epi32(p, narrow_first(n)));
}
inline void store_integers(int32_t* p, Mask<float> v, int n) { store_words(p, (__m256i)v, n); }
inline void store_integers(int32_t* p, Mask<double> v, int n) {
    const __m128i low = _mm256_castsi256_si128((__m256i)v), high = _mm256_extracti128_si256((__m256i)v, 1);
    store_words(p, _mm256_castsi128_si256((__m128i)_mm_shuffle_ps((__m128)low, (__m128)high, 0x88)), n);
}
#else
template <class T> inline Mask<T> load_integers(const int32_t* p, int n) {
    Mask<T> v{};
    for (int i = 0; i < lanes<T>; ++i)
        if (i < n) v[i] = p[i];
    return v;
}
template <class M> inline void store_integers(int32_t* p, M v, int n) {
    for (int i = 0; i < int(sizeof v / sizeof v[0]); ++i)
        if (i < n) p[i] = int32_t(v[i]);
}
#endif

// Some lanes, from one to another; the others are read as zero.
#if defined(__AVX512F__)
template <class T> using LaneRange = __mmask16;
template <class T> inline LaneRange<T> lane_range(int from, int to) { return LaneRange<T>(((1u << to) - 1) & ~((1u << from) - 1)); }
inline Vec<float> load_range(const float* p, __mmask16 w) { return _mm512_maskz_loadu_ps(w, p); }
inline Vec<double> load_range(const double* p, __mmask16 w) { return _mm512_maskz_loadu_pd((__mmask8)w, p); }
#elif defined(__AVX__)
template <class T> using LaneRange = __m256i;
template <class T> inline LaneRange<T> lane_range(int from, int to) { return first((const T*)0, to) & ~first((const T*)0, from); }
inline Vec<float> load_range(const float* p, __m256i w) { return _mm256_maskload_ps(p, w); }
inline Vec<double> load_range(const double* p, __m256i w) { return _mm256_maskload_pd(p, w); }
#else
template <class T> struct LaneRange { int from, to; };
template <class T> inline LaneRange<T> lane_range(int from, int to) { return {from, to}; }
template <class T> inline Vec<T> load_range(const T* p, LaneRange<T> w) {
    Vec<T> v{};
    for (int i = w.from; i < w.to; ++i) v[i] = p[i];
    return v;
}
#endif

#if defined(__AVX512F__)
inline Vec<float> sqrt(Vec<float> v) { return _mm512_maskz_sqrt_ps((__mmask16)-1, v); }
inline Vec<double> sqrt(Vec<double> v) { return _mm512_maskz_sqrt_pd((__mmask8)-1, v); }
#elif defined(__AVX__)
inline Vec<float> sqrt(Vec<float> v) { return _mm256_sqrt_ps(v); }
inline Vec<double> sqrt(Vec<double> v) { return _mm256_sqrt_pd(v); }
#elif defined(__x86_64__)
inline Vec<float> sqrt(Vec<float> v) { return _mm_sqrt_ps(v); }
inline Vec<double> sqrt(Vec<double> v) { return _mm_sqrt_pd(v); }
#else
inline Vec<float> sqrt(Vec<float> v) {
    for (int i = 0; i < lanes<float>; ++i) v[i] = __builtin_sqrtf(v[i]);
    return v;
}
inline Vec<double> sqrt(Vec<double> v) {
    for (int i = 0; i < lanes<double>; ++i) v[i] = __builtin_sqrt(v[i]);
    return v;
}
#endif

// a / d for a normal d whose reciprocal is normal too. AVX-512 divides a register in 16 cycles; an estimate of the reciprocal
// to 14 bits, made good by Newton's steps, takes a third of that and is off by less than two units in the last place.
#if defined(__AVX512F__)
inline Vec<float> reciprocal_estimate(Vec<float> d) { return _mm512_maskz_rcp14_ps((__mmask16)-1, d); }
inline Vec<double> reciprocal_estimate(Vec<double> d) { return _mm512_maskz_rcp14_pd((__mmask8)-1, d); }
template <class V> inline V quotient(V a, V d) {
    V r = reciprocal_estimate(d);
    r = r + r * (1 - d * r);
    if constexpr (sizeof(Element<V>) == 8) r = r + r * (1 - d * r);
    return a * r;
}
#else
template <class V> inline V quotient(V a, V d) { return a / d; }
#endif

// a b + c, rounded once wherever the level can. For what must not depend on how the compiler fuses: it may do so in one copy of
// a loop's body and not in the next.
#if defined(__AVX512F__)
inline Vec<float> fused(Vec<float> a, Vec<float> b, Vec<float> c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec<double> fused(Vec<double> a, Vec<double> b, Vec<double> c) { return _mm512_fmadd_pd(a, b, c); }
#elif defined(__FMA__)
inline Vec<float> fused(Vec<float> a, Vec<float> b, Vec<float> c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec<double> fused(Vec<double> a, Vec<double> b, Vec<double> c) { return _mm256_fmadd_pd(a, b, c); }
#elif defined(__FP_FAST_FMA) && defined(__FP_FAST_FMAF)
inline Vec<float> fused(Vec<float> a, Vec<float> b, Vec<float> c) {
    for (int i = 0; i < lanes<float>; ++i) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
}
inline Vec<double> fused(Vec<double> a, Vec<double> b, Vec<double> c) {
    for (int i = 0; i < lanes<double>; ++i) c[i] = __builtin_fma(a[i], b[i], c[i]);
    return c;
}
#else
template <class V> inline V fused(V a, V b, V c) { return a * b + c; }
#endif

#if defined(__FMA__) || (defined(__FP_FAST_FMA) && defined(__FP_FAST_FMAF))
inline float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double fused(double a, double b, double c) { return __builtin_fma(a, b, c); }
#endif

// What rounding has taken from p = a b, exactly.
template <class V> inline V product_error(V a, V b, V p) {
#if defined(__AVX512F__) || defined(__FMA__) || (defined(__FP_FAST_FMA) && defined(__FP_FAST_FMAF))
    return fused(a, b, -p);
#else
    // Each factor as two of half its digits (T. J. Dekker, 1971), by its bits.
    typedef Register<Element<V>> R;
    constexpr auto upper = typename R::Integer(~((uint64_t(1) << (R::mantissa_bits + 2) / 2) - 1));
    const V a_high = (V)((Mask<Element<V>>)a & upper), b_high = (V)((Mask<Element<V>>)b & upper);
    const V a_low = a - a_high, b_low = b - b_high;
    return ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low;
#endif
}

// A register's bits as integers and back.
template <class V> inline auto bits(V v) { return (Mask<Element<V>>)v; }
template <class T> inline Vec<T> from_bits(Mask<T> m) { return (Vec<T>)m; }

template <class V> inline V abs(V v) {
    typedef typename Register<Element<V>>::Integer Integer;
    constexpr Integer all_but_sign = Integer(~(uint64_t(1) << (sizeof(Integer) * 8 - 1)));
    return (V)(bits(v) & all_but_sign);
}
template <class V> inline V minus_abs(V v) {
    typedef typename Register<Element<V>>::Integer Integer;
    constexpr Integer sign = Integer(uint64_t(1) << (sizeof(Integer) * 8 - 1));
    return (V)(bits(v) | sign);
}
// The magnitude of v with the sign of `sign`.
template <class V> inline V copy_sign(V v, V sign) { return (V)(bits(abs(v)) | (bits(sign) ^ bits(abs(sign)))); }

// A NaN in v stays: the instructions give their second operand where the two do not compare.
#if defined(__AVX512F__)
inline Vec<float> at_least(Vec<float> v, float low) { return _mm512_maskz_max_ps((__mmask16)-1, splat<Vec<float>>(low), v); }
inline Vec<double> at_least(Vec<double> v, double low) { return _mm512_maskz_max_pd((__mmask8)-1, splat<Vec<double>>(low), v); }
inline Vec<float> at_most(Vec<float> v, float high) { return _mm512_maskz_min_ps((__mmask16)-1, splat<Vec<float>>(high), v); }
inline Vec<double> at_most(Vec<double> v, double high) { return _mm512_maskz_min_pd((__mmask8)-1, splat<Vec<double>>(high), v); }
#else
template <class V> inline V at_least(V v, Element<V> low) { return v < low ? splat<V>(low) : v; }
template <class V> inline V at_most(V v, Element<V> high) { return v > high ? splat<V>(high) : v; }
#endif

// The larger of two, the second where they do not compare: one instruction.
#if defined(__AVX512F__)
inline Vec<float> larger(Vec<float> a, Vec<float> b) { return _mm512_maskz_max_ps((__mmask16)-1, a, b); }
inline Vec<double> larger(Vec<double> a, Vec<double> b) { return _mm512_maskz_max_pd((__mmask8)-1, a, b); }
#elif defined(__AVX__)
inline Vec<float> larger(Vec<float> a, Vec<float> b) { return _mm256_max_ps(a, b); }
inline Vec<double> larger(Vec<double> a, Vec<double> b) { return _mm256_max_pd(a, b); }
#elif defined(__x86_64__)
inline Vec<float> larger(Vec<float> a, Vec<float> b) { return _mm_max_ps(a, b); }
inline Vec<double> larger(Vec<double> a, Vec<double> b) { return _mm_max_pd(a, b); }
#else
template <class V> inline V larger(V a, V b) { return a > b ? a : b; }
#endif
// A NaN in either stays; where masks are registers, one of all bits set is the cheapest.
template <class V> inline V larger_or_nan(V v, V other) {
#if defined(__AVX512F__)
    return v != v ? v : larger(v, other);
#else
    return (V)(bits(larger(v, other)) | (v != v));
#endif
}

// Whether any lane is a NaN.
template <class V> inline bool any_nan(V v) {
#if defined(__AVX512F__)
    if constexpr (sizeof(Element<V>) == 4) return _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_UNORD_Q);
    else return _mm512_cmp_pd_mask((__m512d)v, (__m512d)v, _CMP_UNORD_Q);
#elif defined(__AVX__)
    return _mm256_movemask_ps((__m256)(v != v));
#elif defined(__x86_64__)
    return _mm_movemask_ps((__m128)(v != v));
#else
    bool found = false;
    for (int i = 0; i < lanes<Element<V>>; ++i) found |= v[i] != v[i];
    return found;
#endif
}

// Whether any lane is below a number.
template <class V> inline bool any_below(V v, Element<V> low) {
#if defined(__AVX512F__)
    if constexpr (sizeof(Element<V>) == 4) return _mm512_cmp_ps_mask((__m512)v, _mm512_set1_ps(low), _CMP_LT_OQ);
    else return _mm512_cmp_pd_mask((__m512d)v, _mm512_set1_pd(low), _CMP_LT_OQ);
#elif defined(__AVX__)
    if constexpr (sizeof(Element<V>) == 4) return _mm256_movemask_ps((__m256)(v < low));
    else return _mm256_movemask_pd((__m256d)(v < low));
#elif defined(__x86_64__)
    if constexpr (sizeof(Element<V>) == 4) return _mm_movemask_ps((__m128)(v < low));
    else return _mm_movemask_pd((__m128d)(v < low));
#else
    bool found = false;
    for (int i = 0; i < lanes<Element<V>>; ++i) found |= v[i] < low;
    return found;
#endif
}

// Whether a comparison holds in any lane.
template <class V> inline bool any_true(Mask<Element<V>> mask) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask);
#elif defined(__AVX__)
    return _mm256_movemask_ps((__m256)mask);
#elif defined(__x86_64__)
    return _mm_movemask_ps((__m128)mask);
#else
    bool found = false;
    for (int i = 0; i < lanes<Element<V>>; ++i) found |= mask[i] != 0;
    return found;
#endif
}

// Numbers 0 to N - 1 as a type, for shuffles.
template <int... I> struct Lanes {};
template <int N, int... I> struct CountUp : CountUp<N - 1, N - 1, I...> {};
template <int... I> struct CountUp<0, I...> { typedef Lanes<I...> type; };
template <class V> using AllLanes = typename CountUp<lanes<Element<V>>>::type;

// Every second element of two registers.
template <class V, int... I> inline V even_places(V a, V b, Lanes<I...>) {
    return __builtin_shufflevector(a, b, (2 * I)...);
}
template <class V, int... I> inline V odd_places(V a, V b, Lanes<I...>) {
    return __builtin_shufflevector(a, b, (2 * I + 1)...);
}

// Lanes summed pairwise, a fixed order for each level: each with the one half a register away, then a quarter, ...
template <int S, class V, int... I> inline V swapped(V v, Lanes<I...>) { return __builtin_shufflevector(v, v, (I ^ S)...); }
template <int S, class V> inline V sum_lanes(V v) {
    if constexpr (S > 0) return sum_lanes<S / 2>(v + swapped<S>(v, AllLanes<V>{}));
    else return v;
}
template <class V> inline Element<V> sum(V v) { return sum_lanes<lanes<Element<V>> / 2>(v)[0]; }
template <int S, class V> inline V largest_lanes(V v) {
    if constexpr (S > 0) {
        V other = swapped<S>(v, AllLanes<V>{});
        return largest_lanes<S / 2>(v > other ? v : other);
    } else return v;
}
template <class V> inline Element<V> largest(V v) { return largest_lanes<lanes<Element<V>> / 2>(v)[0]; }
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

// r[0] = the sum of each register, in the lane of its number.
template <class T, int S = lanes<T> / 2> inline void sum_each(Vec<T> (&r)[lanes<T>]) {
    if constexpr (S > 0) {
#pragma GCC unroll 8
        for (int i = 0; i < S; ++i) {
            swap_blocks<T, S>(r[i], r[i + S], AllLanes<Vec<T>>{});
            r[i] += r[i + S];
        }
        sum_each<T, S / 2>(r);
    }
}

}  // namespace
