// Further elementary functions on one register, over their full range and good to 4 units in the last place; see math.hpp.
#pragma once
#include "math.hpp"

namespace fastdl::FASTDL_LEVEL {

// Below this f(x) is x for a function with f(0) = 0, f'(0) = 1 and f''(0) of at most 1; which keeps the sign of a zero.
template <class V> inline constexpr auto linear_below = Element<V>(is_float<V> ? 2.9802322e-8 : 5.5511151231257827e-17);

template <class V> inline V exp_minus_one(V x) {
    typedef Element<V> T;
    auto [n, expm1_r] = reduce_exp(at_most(at_least(x, T(is_float<V> ? -80.0 : -700.0)), T(is_float<V> ? 89.0 : 710.0)));
    // Half of it, because n may be one more than the exponent holds.
    V half = power_of_two(n - 1), y = 2 * (expm1_r * half + (half - T(0.5)));
    return abs(x) < linear_below<V> ? x : y;
}

// 2^n 2^r, 2^r = 1 + r log 2 + r^2 P(r)
template <class V> inline V exp_of_two(V x) {
    typedef Element<V> T;
    V a = at_most(at_least(x, T(is_float<V> ? -151.0 : -1076.0)), T(is_float<V> ? 129.0 : 1025.0));
    V n = a + Register<T>::round_magic - Register<T>::round_magic, r = a - n;
    return scale_by_power(r * power_of_two_ratio(r) + 1, n);
}

// The rounding of 1 + u is made good to first order.
template <class V> inline V log_of_one_more(V u) {
    typedef Element<V> T;
    V w = u + 1, y = log(w);
    y = y + (w == 0 ? V{} : (u - (w - 1)) / w);
    return abs(u) < linear_below<V> ? u : u < T(__builtin_inf()) ? y : u;
}

template <class V> inline V log_to_two(V x) {
    typedef Element<V> T;
    constexpr T log2e = T(1.442695040888963407359925);
    auto [e, s, rest] = reduce_log(x);
    return log_of_all(x, e + (2 * s * log2e + rest * log2e));
}
template <class V> inline V log_to_ten(V x) {
    typedef Element<V> T;
    constexpr T log10e = T(0.4342944819032518276511289);
    // log10 2 in two parts, so that e times the first is exact.
    constexpr T high = T(is_float<V> ? 0.30078125 : 0.301029995663611771306);
    constexpr T low = T(is_float<V> ? 2.4874566398119521e-4 : 3.69423907715893078616e-13);
    auto [e, s, rest] = reduce_log(x);
    return log_of_all(x, e * high + (2 * s * log10e + (rest * log10e + e * low)));
}

// log(exp(a) + exp(b))
template <class V> inline V log_add_exp(V a, V b) {
    V larger = a > b ? a : b, distance = a == b ? V{} : minus_abs(a - b);
    return larger + log_of_one_more(exp(distance));
}

// A register of float as two of double, and back.
typedef float HalfFloats __attribute__((vector_size(FASTDL_REGISTER_BYTES / 2)));
struct TwoDoubles { Vec<double> low, high; };
template <int... I> inline TwoDoubles widened(Vec<float> v, Lanes<I...>) {
    return {__builtin_convertvector(__builtin_shufflevector(v, v, I...), Vec<double>),
            __builtin_convertvector(__builtin_shufflevector(v, v, (I + lanes<double>)...), Vec<double>)};
}
template <int... I> inline Vec<float> joined(HalfFloats low, HalfFloats high, Lanes<I...>) {
    return __builtin_shufflevector(low, high, I...);
}
inline TwoDoubles widened(Vec<float> v) { return widened(v, AllLanes<Vec<double>>{}); }
inline Vec<float> narrowed(TwoDoubles v) {
    return joined(__builtin_convertvector(v.low, HalfFloats), __builtin_convertvector(v.high, HalfFloats), AllLanes<Vec<float>>{});
}

// x = n pi / 2 + r with |r| a little above pi / 4 at most, for |x| up to `farthest` (W. J. Cody and W. Waite, 1980). n times each
// part but the last is exact.
template <class V> struct ReducedAngle { V n, r; };
inline constexpr double farthest_angle = 1e6;
inline ReducedAngle<Vec<double>> reduce_angle(Vec<double> x) {
    constexpr double magic = Register<double>::round_magic;
    Vec<double> n = x * 0.6366197723675813430755 + magic - magic;
    Vec<double> r = ((x - n * 1.57079632673412561416626) - n * 6.077100506303965976595549e-11) - n * 2.022266248711166455795996e-21;
    return {n, r - n * 8.478427660348229322860437e-32};
}
inline ReducedAngle<Vec<float>> reduce_angle(Vec<float> x) {
    auto [low, high] = widened(x);
    auto [low_n, low_r] = reduce_angle(low);
    auto [high_n, high_r] = reduce_angle(high);
    return {narrowed({low_n, high_n}), narrowed({low_r, high_r})};
}

// sin r = r + r^3 S(r^2) and cos r = 1 - r^2 / 2 + r^4 C(r^2); which of them, and its sign, says n.
template <int quadrants, class V> inline V sine(V x) {
    typedef Element<V> T;
    typedef typename Register<T>::Integer Integer;
    auto [n, r] = reduce_angle(x);
    V z = r * r, p, q;
    if constexpr (is_float<V>) {
        constexpr double S[] = {2.724980350123796045e-6, -0.0001984008579198555032, 0.008333331872963532478, -0.1666666666385079709};
        constexpr double C[] = {0.00002454784114961603708, -0.001388830256865384888, 0.04166666465709803645};
        p = polynomial(z, S), q = polynomial(z, C);
    } else {
        constexpr double S[] = {1.591807316292307259e-10,   -2.505113106573605e-8,  2.755731609881268644e-6,
                                -0.0001984126983675136319, 0.008333333333330943718, -0.1666666666666666462};
        constexpr double C[] = {-1.138259730986187716e-11,  2.087614578090354357e-9, -2.755731726939027217e-7,
                                0.00002480158729876117683, -0.001388888888888739425, 0.04166666666666666539};
        p = polynomial(z, S), q = polynomial(z, C);
    }
    V sine_r = r + r * z * p, cosine_r = 1 - (z * T(0.5) - z * z * q);
    Mask<T> quadrant = bits(n + Register<T>::round_magic) + Integer(quadrants);
    V y = (quadrant & Integer(1)) != 0 ? cosine_r : sine_r;
    return (V)(bits(y) ^ ((quadrant & Integer(2)) << (8 * int(sizeof(T)) - 2)));
}
}  // namespace
