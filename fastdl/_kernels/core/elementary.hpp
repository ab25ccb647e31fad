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

// 1 - exp(-a^2) Q / (1 + a) for a of 1 and more, of which less than a sixth is taken away: what exp's argument is rounded by is
// nothing there.
template <class V> inline V error_function(V x) {
    V square = x * x, a = at_most(abs(x), Element<V>(7)), beyond = 1 - 2 * exp(-a * a) * erfc_ratio(a);
    return a < 1 ? x * erf_ratio(square) : x != x ? x : x < 0 ? -beyond : beyond;
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

// sin r = r + r^3 S(r^2) and cos r = 1 - r^2 / 2 + r^4 C(r^2)
template <class V> struct SineAndCosine { V sine, cosine; };
template <class V> inline SineAndCosine<V> of_reduced_angle(V r) {
    typedef Element<V> T;
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
    return {r + r * z * p, 1 - (z * T(0.5) - z * z * q)};
}
// sin(x + quadrants pi / 2)
template <int quadrants, class V> inline V sine(V x) {
    typedef Element<V> T;
    typedef typename Register<T>::Integer Integer;
    auto [n, r] = reduce_angle(x);
    auto [sine_r, cosine_r] = of_reduced_angle(r);
    Mask<T> quadrant = bits(n + Register<T>::round_magic) + Integer(quadrants);
    V y = (quadrant & Integer(1)) != 0 ? cosine_r : sine_r;
    return (V)(bits(y) ^ ((quadrant & Integer(2)) << (8 * int(sizeof(T)) - 2)));
}
template <class V> inline V tangent(V x) {
    typedef Element<V> T;
    typedef typename Register<T>::Integer Integer;
    auto [n, r] = reduce_angle(x);
    auto [sine_r, cosine_r] = of_reduced_angle(r);
    auto odd = (bits(n + Register<T>::round_magic) & Integer(1)) != 0;
    V y = (odd ? -cosine_r : sine_r) / (odd ? sine_r : cosine_r);
    return abs(x) < T(is_float<V> ? 1e-4 : 1e-9) ? x : y;
}

// arctan |x| = the angle of a corner (0, pi / 4 or pi / 2) + arctan t with |t| <= tan(pi / 8), and arctan t = t + t^3 P(t^2).
template <class V> inline V arc_tangent(V x) {
    typedef Element<V> T;
    constexpr T near = T(0.41421356237309504880), far = T(2.41421356237309504880);
    constexpr T quarter = T(0.78539816339744830962), quarter_low = T(is_float<V> ? -2.1855694e-8 : 3.0616169978683830e-17);
    V a = abs(x), above = a - 1, below = a + 1;
    V t = (a > far ? splat<V>(-1) : a > near ? above : a) / (a > far ? a : a > near ? below : splat<V>(1)), z = t * t, p;
    V corners = a > far ? splat<V>(2) : a > near ? splat<V>(1) : V{};
    if constexpr (is_float<V>) {
        constexpr double P[] = {-0.06447741047112403937, 0.1074246684909075442, -0.1426383847613100223, 0.199995370998240874,
                                -0.3333333174643151379};
        p = polynomial(z, P);
    } else {
        constexpr double P[] = {-0.01914724896461176532, 0.03920743321261196149, -0.05084610357631765136, 0.05857988350245762191,
                                -0.06664492945806264124, 0.07692181876036845531, -0.09090904521471690746, 0.111111110138606878,
                                -0.1428571428464917351,  0.1999999999999543734,  -0.3333333333333333009};
        p = polynomial(z, P);
    }
    return copy_sign(corners * quarter + (t + (t * z * p + corners * quarter_low)), x);
}

// arcsin s = s + s^3 P(s^2) for s <= 1/2; else arcsin a = pi / 2 - 2 arcsin s with s^2 = (1 - a) / 2. Of a = |x|.
template <class V> struct ReducedArcSine { V arc; Mask<Element<V>> near; };
template <class V> inline ReducedArcSine<V> reduce_arc_sine(V a) {
    typedef Element<V> T;
    auto near = a <= T(0.5);
    V z = near ? a * a : (1 - a) * T(0.5), s = near ? a : sqrt(z), p;
    if constexpr (is_float<V>) {
        constexpr double P[] = {0.03370072632136513158, 0.01714371681925356854, 0.03110172782906716667, 0.04459931916287113813,
                                0.07500094761172901133, 0.1666666633654048985};
        p = polynomial(z, P);
    } else {
        constexpr double P[] = {0.02877844261259304085, -0.01488140939281806664, 0.01741935796488485717, 0.005450878187720549948,
                                0.01032431828874411205, 0.01147895269025738674,  0.01397123530112453915, 0.01735239126590922786,
                                0.02237217300200559739, 0.0303819441370852143,   0.04464285714637338088, 0.0749999999999842426,
                                0.1666666666666666783};
        p = polynomial(z, P);
    }
    return {s + s * z * p, near};
}
template <class V> inline constexpr auto right_angle = Element<V>(1.57079632679489661923);
template <class V> inline constexpr auto right_angle_low = Element<V>(is_float<V> ? -4.3711388e-8 : 6.1232339957367660e-17);
template <class V> inline V arc_sine(V x) {
    auto [arc, near] = reduce_arc_sine(abs(x));
    return copy_sign(near ? arc : right_angle<V> - (2 * arc - right_angle_low<V>), x);
}
template <class V> inline V arc_cosine(V x) {
    auto [arc, near] = reduce_arc_sine(abs(x));
    V signed_arc = copy_sign(arc, x), twice = 2 * arc;
    V far = x < 0 ? 2 * right_angle<V> - (twice - 2 * right_angle_low<V>) : twice;
    return near ? right_angle<V> - (signed_arc - right_angle_low<V>) : far;
}

// (e + e / (1 + e)) / 2 with e = exp |x| - 1; and exp(|x| / 2)^2 / 2 where the rest is nothing.
template <class V> inline V hyperbolic_sine(V x) {
    typedef Element<V> T;
    V a = abs(x), e = exp_minus_one(at_most(a, 20)), root = exp(a * T(0.5));
    V y = a < 20 ? (e + e / (1 + e)) * T(0.5) : root * T(0.5) * root;
    return a < linear_below<V> ? x : copy_sign(y, x);
}
template <class V> inline V hyperbolic_cosine(V x) {
    typedef Element<V> T;
    V a = abs(x), e = exp(at_most(a, 20)), root = exp(a * T(0.5));
    return a < 20 ? (e + 1 / e) * T(0.5) : root * T(0.5) * root;
}
}  // namespace
