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
    template <class V> static V derivative(V x, V alpha, V) { return x > 0 ? splat<V>(1) : alpha * exp(at_most(x, 0)); }
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
    template <class V> static V value(V x, V, V) { return x * normal_distribution(x); }
    template <class V> static V derivative(V x, V, V) {
        V density = Element<V>(0.39894228040143267794) * exp(Element<V>(-0.5) * x * x);
        return normal_distribution(x) + x * density;
    }
};

// x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3): Hendrycks and Gimpel's approximation, x (1 + tanh u) / 2.
struct GELUTanh {
    static constexpr Keeps keeps = Keeps::input;
    static constexpr double twice_root = 2 * 0.79788456080286535588, cubic = 0.044715;
    template <class V> static V gate(V x) { return sigmoid(Element<V>(twice_root) * x * (1 + Element<V>(cubic) * x * x)); }
    template <class V> static V value(V x, V, V) { return x * gate(x); }
    template <class V> static V derivative(V x, V, V) {
        V g = gate(x);
        return g + x * g * (1 - g) * (Element<V>(twice_root) * (1 + Element<V>(3 * cubic) * x * x));
    }
};

// x sigmoid(x)
struct SiLU {
    static constexpr Keeps keeps = Keeps::input;
    template <class V> static V value(V x, V, V) { return x * sigmoid(x); }
    template <class V> static V derivative(V x, V, V) {
        V s = sigmoid(x);
        return s * (1 + x * (1 - s));
    }
};

// log(1 + exp(beta x)) / beta, and x itself where beta x passes the threshold.
struct Softplus {
    static constexpr Keeps keeps = Keeps::input;
    template <class V> static V value(V x, V beta, V threshold) {
        V u = beta * x;
        V y = (at_least(u, 0) + log1p_of_fraction(exp(-abs(u)))) / beta;
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
