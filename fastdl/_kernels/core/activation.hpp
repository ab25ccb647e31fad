// f and f' of each activation, on registers. A row of the table at the end is all that a new one needs besides.
// `keeps` says what f' reads: the input x, or the output y where that is cheaper.
#pragma once
#include "math.hpp"

namespace fastdl::FASTDL_LEVEL {

enum class Keeps { input, output };

struct Identity {
    static constexpr Keeps keeps = Keeps::output;
    template <class V> static V value(V x, V, V) { return x; }
    template <class V> static V derivative(V, V, V) { return splat<V>(1); }
};

// Written so that a NaN passes.
struct ReLU {
    static constexpr Keeps keeps = Keeps::output;
    template <class V> static V value(V x, V, V) { return at_least(x, 0); }
    template <class V> static V derivative(V y, V, V) { return y <= 0 ? V{} : splat<V>(1); }
};

struct LeakyReLU {
    static constexpr Keeps keeps = Keeps::input;
    template <class V> static V value(V x, V slope, V) { return x > 0 ? x : slope * x; }
    template <class V> static V derivative(V x, V slope, V) { return x > 0 ? splat<V>(1) : slope; }
};

struct ELU {
    static constexpr Keeps keeps = Keeps::input;
    template <class V> static V value(V x, V alpha, V) { return x >= 0 ? x : alpha * expm1(at_most(x, 0)); }
    template <class V> static V derivative(V x, V alpha, V) {
        return x > 0 ? splat<V>(1) : alpha * lowered<V> * lifted_exp(saturated(at_most(x, 0)));
    }
};

struct Tanh {
    static constexpr Keeps keeps = Keeps::output;
    template <class V> static V value(V x, V, V) { return tanh(x); }
    template <class V> static V derivative(V y, V, V) { return 1 - y * y; }
};

struct Sigmoid {
    static constexpr Keeps keeps = Keeps::output;
    template <class V> static V value(V x, V, V) { return sigmoid(x); }
    template <class V> static V derivative(V y, V, V) { return y * (1 - y); }
};

// x Phi(x), Phi the normal distribution function; Phi' is the density.
struct GELU {
    static constexpr Keeps keeps = Keeps::input;
    template <class V> static V value(V x, V, V) {
        auto [magnitude, a, inner, tail, e] = normal_distribution(x);
        V beyond = tail * e, upper = 1 - beyond * lowered<V>;
        V factor = x < 0 ? magnitude * -lowered<V> : x;
        return a < 1 ? x * inner : factor * (x < 0 ? beyond : upper);
    }
    template <class V> static V derivative(V x, V, V) {
        auto [magnitude, a, inner, tail, e] = normal_distribution(x);
        V lower = x < 0 ? tail : -tail, step = x < 0 ? V{} : splat<V>(1);
        V slope = copy_sign(magnitude, x) * Element<V>(0.39894228040143267794) + (a < 1 ? V{} : lower);
        return slope * lowered<V> * e + (a < 1 ? inner : step);
    }
};

// x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3): Hendrycks and Gimpel's approximation, x (1 + tanh u) / 2.
struct GELUTanh {
    static constexpr Keeps keeps = Keeps::input;
    static constexpr long double twice_root = 1.595769121605730711759784239737527473903L;
    static constexpr long double cubic = 0.044715L, log2e = 1.442695040888963407359924681001892137427L;
    static constexpr double bend = 3 * 0.044715;
    // Below this, what is rounded in 2 u counts for more than some units in the last place of exp(2 u): see `lower`.
    static constexpr int far = -3;

    // 2 u log2(e)
    template <class V> static V exponent(V x) {
        return x * (Element<V>(twice_root * cubic * log2e) * (x * x) + Element<V>(twice_root * log2e));
    }
    template <class V> static V slope(V x) { return Element<V>(twice_root) * (1 + Element<V>(bend) * (x * x)); }
    // 2 u in two parts, for an x below 0 that is no more than the least whose exp(2 u) can be lifted.
    template <class V> struct Lower { V x, lifted, rest; };
    template <class V> static Lower<V> lower(V x) {
        typedef Element<V> T;
        constexpr T linear = T(twice_root), bent = T(twice_root * cubic);
        constexpr T linear_low = T(twice_root - (long double)linear), bent_low = T(twice_root * cubic - (long double)bent);
        x = at_least(x, T(is_float<V> ? -10.7 : -21.7));
        V s = x * x, s_low = product_error(x, x, s);
        V b = bent * s, b_low = product_error(splat<V>(bent), s, b) + (bent * s_low + bent_low * s);
        V p = b + linear, from_b = p - linear, p_low = ((b - from_b) + (linear - (p - from_b))) + (b_low + linear_low);
        V t = x * p, e = lifted_exp(t, product_error(x, p, t) + x * p_low);
        return {x, e, quotient(splat<V>(1), 1 + e * lowered<V>)};
    }
    template <class V> static V value(V x, V, V) {
        V y = x * sigmoid_of_two(exponent(x)).value;
        if (__builtin_expect(any_below(x, far), 0)) {
            auto [least, e, rest] = lower(x);
            y = x < far ? least * lowered<V> * e * rest : y;
        }
        return y;
    }
    template <class V> static V derivative(V x, V, V) {
        // What is to the right of this has a slope of 1.
        V right = at_most(x, Element<V>(is_float<V> ? 10.7 : 21.7));
        auto [g, rest_of_g] = sigmoid_of_two(exponent(x));
        V y = g + right * g * rest_of_g * slope(right);
        if (__builtin_expect(any_below(x, far), 0)) {
            auto [least, e, rest] = lower(x);
            y = x < far ? (lowered<V> + least * lowered<V> * rest * slope(least)) * rest * e : y;
        }
        return y;
    }
};

// x sigmoid(x)
struct SiLU {
    static constexpr Keeps keeps = Keeps::input;
    template <class V> static V value(V x, V, V) {
        V a = saturated(minus_abs(x)), e = lifted_exp(a);
        return quotient(x < 0 ? a * e * lowered<V> : x, 1 + e * lowered<V>);
    }
    template <class V> static V derivative(V x, V, V) {
        x = at_most(saturated(x), -saturation<V>);
        V e = lifted_exp(minus_abs(x)), large = quotient(splat<V>(1), 1 + e * lowered<V>), low = large * lowered<V>;
        // sigmoid(-x) is `large` or its product with exp(-|x|), and sigmoid(x) the other.
        V rest = x < 0 ? large : e * low;
        return (1 + x * rest) * low * (x < 0 ? e : splat<V>(lifted<V>));
    }
};

// log(1 + exp(beta x)) / beta, and x itself where beta x passes the threshold.
struct Softplus {
    static constexpr Keeps keeps = Keeps::input;
    // Below this log(1 + e) is e, which may be divided by a small beta before it vanishes.
    template <class V> static constexpr Element<V> far = is_float<V> ? -20 : -40;
    template <class V> static V value(V x, V beta, V threshold) {
        V u = beta * x, e = lifted_exp(saturated(minus_abs(u)));
        V y = (at_least(u, 0) + log1p(e * lowered<V>)) / beta;
        y = u < far<V> ? lowered<V> / beta * e : y;
        return u > threshold ? x : y;
    }
    template <class V> static V derivative(V x, V beta, V threshold) {
        V u = beta * x;
        return u > threshold ? splat<V>(1) : sigmoid(u);
    }
};
}  // namespace

#define FASTDL_ACTIVATIONS(ROW) \
    ROW(Identity, "identity")   \
    ROW(ReLU, "relu")           \
    ROW(LeakyReLU, "leaky_relu") \
    ROW(ELU, "elu")             \
    ROW(Tanh, "tanh")           \
    ROW(Sigmoid, "sigmoid")     \
    ROW(GELU, "gelu")           \
    ROW(GELUTanh, "gelu_tanh")  \
    ROW(SiLU, "silu")           \
    ROW(Softplus, "softplus")
