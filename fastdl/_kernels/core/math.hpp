// Elementary functions on one register, good to 4 units in the last place.
// Polynomials are Chebyshev fits (mpmath.chebyfit, 40 digits) on the reduced range named beside each; highest power first.
// Infinities, NaN and signed zeros come out as NumPy's functions give them; denormal results may be flushed.
#pragma once
#include "vec.hpp"

namespace fastdl::FASTDL_LEVEL {

template <class V, int N> inline V polynomial(V x, const double (&coefficient)[N]) {
    V y = splat<V>(Element<V>(coefficient[0]));
#pragma GCC unroll 20
    for (int i = 1; i < N; ++i) y = y * x + Element<V>(coefficient[i]);
    return y;
}

template <class V> inline constexpr bool is_float = sizeof(Element<V>) == 4;

// 2^n for a register of whole numbers within the exponent's range.
template <class V> inline V power_of_two(V n) {
    typedef Register<Element<V>> R;
    auto integer = bits(n + R::round_magic) - bits(splat<V>(R::round_magic));
    return (V)((integer + R::exponent_bias) << R::mantissa_bits);
}

// v 2^n for whole numbers n; in two factors where it must be, because n may be one more than the exponent holds.
#if defined(__AVX512F__)
inline Vec<float> scale_by_power(Vec<float> v, Vec<float> n) { return _mm512_maskz_scalef_ps((__mmask16)-1, v, n); }
inline Vec<double> scale_by_power(Vec<double> v, Vec<double> n) { return _mm512_maskz_scalef_pd((__mmask8)-1, v, n); }
#else
template <class V> inline V scale_by_power(V v, V n) {
    typedef Register<Element<V>> R;
    V half = n * Element<V>(0.5) + R::round_magic - R::round_magic;
    return v * power_of_two(half) * power_of_two(n - half);
}
#endif

// x + low = n log 2 + r with |r| <= log(2) / 2, and expm1(r) = r + r^2 P(r). low is what x was rounded by.
template <class V> struct ReducedExp { V n, expm1_r; };
template <class V, class... Low> inline ReducedExp<V> reduce_exp(V x, Low... low_x) {
    typedef Element<V> T;
    constexpr T log2e = T(1.442695040888963407);
    // log 2 in two parts: the first has trailing zeros, so that n times it is exact.
    constexpr T high = is_float<V> ? T(0.693359375) : T(0.693147180369123816490);
    constexpr T low = is_float<V> ? T(-2.12194440054690583e-4) : T(1.90821492927058770002e-10);
    V n = x * log2e + Register<T>::round_magic - Register<T>::round_magic;
    V r = (((x - n * high) - n * low) + ... + low_x);
    V p;
    if constexpr (is_float<V>) {
        constexpr double P[] = {0.001392618358771349454, 0.00836317905272257737, 0.0416665546172045742, 0.1666657698969877568,
                                0.5};
        p = polynomial(r, P);
    } else {
        constexpr double P[] = {2.091468696808687723e-9, 2.510521700472074516e-8,   2.755727364311029533e-7,
                                2.755725540020642443e-6, 0.00002480158732554774122, 0.0001984126987482062527,
                                0.00138888888888837483,  0.008333333333326135126,   0.04166666666666666975,
                                0.1666666666666667099,   0.5};
        p = polynomial(r, P);
    }
    return {n, r + r * r * p};
}

// exp(x) = 2^n (1 + expm1(r))
template <class V> inline V exp(V x) {
    constexpr auto highest = Element<V>(is_float<V> ? 89.0 : 710.0), lowest = Element<V>(is_float<V> ? -104.0 : -746.0);
    auto [n, expm1_r] = reduce_exp(at_most(at_least(x, lowest), highest));
    return scale_by_power(expm1_r + 1, n);
}

// 2^64 exp(x + low) for saturated x <= 0: a normal number far below where exp(x) is one, so that a product with it need not vanish
// before the true value does. `lowered` takes the factor off again.
template <class V> inline constexpr auto lifted = Element<V>(18446744073709551616.0);
template <class V> inline constexpr auto lowered = Element<V>(1 / 18446744073709551616.0);
template <class V> inline constexpr auto saturation = Element<V>(is_float<V> ? -131.0 : -752.0);
template <class V> inline V saturated(V x) { return at_least(x, saturation<V>); }
template <class V, class... Low> inline V lifted_exp(V x, Low... low) {
    auto [n, expm1_r] = reduce_exp(x, low...);
    return scale_by_power(expm1_r * lifted<V> + lifted<V>, n);
}

// exp(x) - 1 without cancellation near 0, for x up to 80; the sign of a zero is lost.
template <class V> inline V expm1(V x) {
    constexpr auto lowest = Element<V>(is_float<V> ? -80.0 : -700.0);
    auto [n, expm1_r] = reduce_exp(at_least(x, lowest));
    V scale = power_of_two(n);
    return expm1_r * scale + (scale - 1);
}

// tanh |x| = -m / (m + 2) with m = exp(-2 |x|) - 1
template <class V> inline V tanh(V x) {
    V m = expm1(-2 * abs(x));
    return copy_sign(quotient(m, m + 2), x);
}

// (2^r - 1) / r for |r| <= 1/2, which is log 2 + r P(r).
template <class V> inline V power_of_two_ratio(V r) {
    constexpr double log_2 = 0.69314718055994530942;
    if constexpr (is_float<V>) {
        constexpr double P[] = {0.0001544489223531530147, 0.001338131210261626008, 0.009618103242679848866, 0.05550381001841134677,
                                0.2402265069591007123,    log_2};
        return polynomial(r, P);
    } else {
        constexpr double P[] = {2.572508991439403222e-11,   4.454962484633212292e-10,  7.054899951703475986e-9,
                                1.017806243641276537e-7,    0.000001321548680291159207, 0.00001525273382985159561,
                                0.0001540353039337590876,   0.001333355814641692610,   0.009618129107628477874,
                                0.05550410866482159435,     0.2402265069591007123,     log_2};
        return polynomial(r, P);
    }
}

// 1 / (1 + exp(-x)), written with exp(-|x|), which cannot overflow.
template <class V> inline V sigmoid(V x) {
    V e = lifted_exp(saturated(minus_abs(x))) * lowered<V>;
    return quotient(x < 0 ? e : splat<V>(1), 1 + e);
}
// The same of x log 2, and 1 less that, for x from -126 (-1022) on, where the exponential is a normal number.
template <class V> struct Sigmoid2 { V value, rest; };
template <class V> inline Sigmoid2<V> sigmoid_of_two(V x) {
    typedef Element<V> T;
    V a = at_least(minus_abs(x), T(is_float<V> ? -126.0 : -1022.0));
    V n = a + Register<T>::round_magic - Register<T>::round_magic, r = a - n, q = power_of_two_ratio(r);
    V e = (r * q + 1) * power_of_two(n), one = splat<V>(1), large = quotient(one, 1 + e);
    return {(x < 0 ? e : one) * large, (x < 0 ? one : e) * large};
}

// m 2^e = x with m in [sqrt(1/2), sqrt(2)); log m = 2 s + s^3 P(s^2), s = (m - 1) / (m + 1).
template <class V> struct ReducedLog { V e, s, rest; };
template <class V> inline ReducedLog<V> reduce_log(V x) {
    typedef Element<V> T;
    typedef Register<T> R;
    constexpr T smallest = T(is_float<V> ? 1.17549435082228750797e-38 : 2.22507385850720138309e-308);
    constexpr T rescale = T(uint64_t(1) << R::mantissa_bits);
    auto denormal = x < smallest;
    V scaled = denormal ? x * rescale : x;
    auto shifted = bits(scaled) - bits(splat<V>(T(0.70710678118654752440)));
    auto exponent = shifted >> R::mantissa_bits;
    V m = (V)(bits(scaled) - (exponent << R::mantissa_bits));
    V e = __builtin_convertvector(exponent, V) - (denormal ? splat<V>(T(R::mantissa_bits)) : V{});
    V s = (m - 1) / (m + 1), z = s * s, p;
    if constexpr (is_float<V>) {
        constexpr double P[] = {0.2333161447184349923, 0.2855077863319196543, 0.400001222118106494, 0.6666666655404201243};
        p = polynomial(z, P);
    } else {
        constexpr double P[] = {0.1308803485092755383, 0.1326863836926682388, 0.1538624473762166661, 0.1818179554752113623,
                                0.222222223925810451,  0.2857142857079978503, 0.4000000000000088324, 0.6666666666666666646};
        p = polynomial(z, P);
    }
    return {e, s, s * z * p};
}
// What is not a finite logarithm: of 0, of negative numbers, of infinity and NaN, which are their own.
template <class V> inline V log_of_all(V x, V y) {
    typedef Element<V> T;
    y = x == 0 ? splat<V>(-T(__builtin_inf())) : y;
    y = x < 0 ? splat<V>(T(__builtin_nan(""))) : y;
    return x < T(__builtin_inf()) ? y : x;
}
template <class V> inline V log(V x) {
    typedef Element<V> T;
    // log 2 in two parts, so that e times the first is exact.
    constexpr T high = is_float<V> ? T(0.693359375) : T(0.693147180369123816490);
    constexpr T low = is_float<V> ? T(-2.12194440054690583e-4) : T(1.90821492927058770002e-10);
    auto [e, s, rest] = reduce_log(x);
    return log_of_all(x, e * high + (2 * s + (rest + e * low)));
}

// log(1 + u) for u >= 0: the rounding of 1 + u is made good to first order.
template <class V> inline V log1p(V u) {
    V w = u + 1;
    return log(w) + (u - (w - 1)) / w;
}
// log(1 - u) for u from 0 to 1: what 1 - u was rounded by is nothing where u is not small.
template <class V> inline V log1m(V u) {
    V w = 1 - u;
    return log(w) + ((1 - w) - u) * (1 + u);
}

// erf x = x P(x^2) on [-1, 1]; this is P.
template <class V> inline V erf_ratio(V square) {
    if constexpr (is_float<V>) {
        constexpr double P[] = {0.00007875875062685488341, -0.0008016864287165869529, 0.005189087423433973986,
                                -0.02685421201062641244,   0.1128359471516021773,     -0.3761262666672033102,
                                1.128379165848350946};
        return polynomial(square, P);
    } else {
        constexpr double P[] = {5.957176147748911404e-11, -1.137284885679167367e-9,  1.465977527404743581e-8,
                                -1.635031270105469501e-7, 1.646100048412136803e-6,   -0.00001492559526683118157,
                                0.0001205533111164271092, -0.0008548326980833789905, 0.005223977624818014467,
                                -0.02686617064507679325,  0.1128379167095487867,     -0.3761263890318374806,
                                1.128379167095512574};
        return polynomial(square, P);
    }
}
// (1 - erf a) / 2 = exp(-a^2) Q((a - 2) / (a + 2)) / (2 + 2 a) for a >= 1; this is all but the exponential.
template <class V> inline V erfc_ratio(V a) {
    V u = (a - 2) / (a + 2), q;
    if constexpr (is_float<V>) {
        constexpr double Q[] = {-0.0007928413962248530149, 0.004115499393511356725, -0.0003517893884599038439,
                                -0.0252934538850069214,    0.04252745576306284855,  0.03781647642623453991,
                                -0.2599746947612417292,    0.766187010582931684};
        q = polynomial(u, Q);
    } else {
        constexpr double Q[] = {9.125364856191501381e-7,    -3.748867748839224328e-6, 3.817714798623841725e-6,
                                1.282974325510570132e-6,    1.861243197778151003e-6,  -4.233628304163685447e-6,
                                -0.00001762755927208741211, -7.818411244020838834e-6, 0.00006176645396953504817,
                                0.0001169482718120156068,   -0.0001399935398573359665, -0.000706628852590681278,
                                0.0001446811448800410578,   0.003937755286358000989,  -0.0005182766755912845314,
                                -0.02524355429314524637,    0.04253634950889367109,   0.03781389831358195018,
                                -0.2599748369998523157,     0.7661870289315172412};
        q = polynomial(u, Q);
    }
    return q / (2 + 2 * a);
}

// The normal distribution function Phi(x), in the parts that its users put together:
// near (|x| < sqrt 2)  Phi(x) = `inner`;  else  Phi(-|x|) = `tail` `lifted` / 2^64, where `lifted` is 2^64 exp(-x^2 / 2).
template <class V> struct Normal { V magnitude, near_bound, inner, tail, lifted; };
template <class V> inline Normal<V> normal_distribution(V x) {
    typedef Element<V> T;
    constexpr T half = T(0.5), root_half = T(0.70710678118654752440), half_root_half = T(0.35355339059327376220);
    // Beyond this nothing is left of Phi(-|x|), nor of x Phi(-|x|).
    V magnitude = at_most(abs(x), T(is_float<V> ? 15.5 : 38.7));
    V square = magnitude * magnitude, a = magnitude * root_half, inner = x * half_root_half * erf_ratio(half * square) + half;
    return {magnitude, a, inner, erfc_ratio(a), lifted_exp(-half * square, -half * product_error(magnitude, magnitude, square))};
}
}  // namespace
