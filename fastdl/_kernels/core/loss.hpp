// The elementwise losses of x against a target t: value and derivative with respect to x, on registers, and their runs.
#pragma once
#include "run.hpp"

namespace fastdl::FASTDL_LEVEL {

struct SquaredError {
    template <class V> static V value(V x, V t, V, V) { return (x - t) * (x - t); }
    template <class V> static V derivative(V x, V t, V, V) { return 2 * (x - t); }
};
struct AbsoluteError {
    template <class V> static V value(V x, V t, V, V) { return abs(x - t); }
    template <class V> static V derivative(V x, V t, V, V) { return x > t ? splat<V>(1) : x < t ? splat<V>(-1) : x - t; }
};
struct Huber {
    template <class V> static V value(V x, V t, V, V delta) {
        V a = abs(x - t);
        return a <= delta ? Element<V>(0.5) * a * a : delta * (a - Element<V>(0.5) * delta);
    }
    template <class V> static V derivative(V x, V t, V, V delta) {
        V d = x - t;
        return d > delta ? delta : d < -delta ? -delta : d;
    }
};
// x is a probability; logarithms stop at -100, and the derivative's denominator at 1e-12, as torch has them.
struct BinaryCrossEntropy {
    template <class V> static V value(V x, V t, V, V) {
        V log_x = at_least(log(x), -100), log_rest = at_least(log1m(x), -100);
        return (t - 1) * log_rest - t * log_x;
    }
    template <class V> static V derivative(V x, V t, V, V) { return (x - t) / at_least(x * (1 - x), Element<V>(1e-12)); }
};
// x is a logit: w t log(1 + exp(-x)) + (1 - t) log(1 + exp(x)), w the weight of positive targets. Each is written with exp(-|x|), so
// that what is small is not lost beside |x|.
struct BinaryCrossEntropyWithLogits {
    template <class V> static V value(V x, V t, V positive, V) {
        V small = log1p(lifted_exp(saturated(minus_abs(x))) * lowered<V>);
        V against = 1 - t, with = positive * t;
        return (x < 0 ? with : against) * abs(x) + (against + with) * small;
    }
    template <class V> static V derivative(V x, V t, V positive, V) {
        V e = lifted_exp(saturated(minus_abs(x))), large = quotient(splat<V>(1), 1 + e * lowered<V>);
        V against = 1 - t, with = -positive * t;
        return ((x < 0 ? with : against) + (x < 0 ? against : with) * lowered<V> * e) * large;
    }
};

// weight and positive_weight may be null, for ones.
template <class Loss, class T> struct LossRun {
    template <class Lanes> static Vec<T> one_or(const T* weight, Size i, Lanes lanes) {
        return weight ? lanes.load(weight + i) : splat<Vec<T>>(1);
    }
    static void forward(const T* x, const T* t, const T* weight, const T* positive_weight, T delta, T* y, Size n) {
        const Vec<T> d = splat<Vec<T>>(delta);
        each_register<T>(n, [&](Size i, auto lanes) {
            Vec<T> value = Loss::value(lanes.load(x + i), lanes.load(t + i), one_or(positive_weight, i, lanes), d);
            lanes.store(y + i, one_or(weight, i, lanes) * value);
        });
    }
    static T sum(const T* x, const T* t, const T* weight, const T* positive_weight, T delta, Size n) {
        const Vec<T> d = splat<Vec<T>>(delta);
        return sum_of<T>(n, [&](Size i, auto lanes) {
            Vec<T> value = Loss::value(lanes.load(x + i), lanes.load(t + i), one_or(positive_weight, i, lanes), d);
            return one_or(weight, i, lanes) * value;
        });
    }
    static void backward(const T* x, const T* t, const T* weight, const T* positive_weight, T delta, T factor, T* gx, Size n) {
        const Vec<T> d = splat<Vec<T>>(delta);
        each_register<T>(n, [&](Size i, auto lanes) {
            Vec<T> slope = Loss::derivative(lanes.load(x + i), lanes.load(t + i), one_or(positive_weight, i, lanes), d);
            lanes.store(gx + i, factor * one_or(weight, i, lanes) * slope);
        });
    }
};
}  // namespace

#define FASTDL_LOSSES(ROW)             \
    ROW(SquaredError, "mse")           \
    ROW(AbsoluteError, "mae")          \
    ROW(Huber, "huber")                \
    ROW(BinaryCrossEntropy, "bce")     \
    ROW(BinaryCrossEntropyWithLogits, "bce_with_logits")
