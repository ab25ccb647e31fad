// Optimizer updates over one contiguous run of parameters p with gradient g, one pass over memory each.
// A choice that is the same for the whole run is folded into factors, so that the loops hold arithmetic only.
// In all of them d = sign g + decay p is the gradient to descend, and shrink p is where the step starts.
// Each tells whether d was finite throughout: 0 d is 0 for a number, and NaN stays in a sum.
#pragma once
#include "run.hpp"

namespace fastdl::FASTDL_LEVEL {

// v = keep v + gain d;  p = shrink p - lr (from_velocity v + from_gradient d); without v, p = shrink p - lr d
template <class T> bool sgd(const T* g, const SGDFactors<T>& f, T* p, T* velocity, Size n) {
    Vec<T> none = {};
    if (velocity)
        each_register<T>(n, [&](Size i, auto lanes) {
            Vec<T> w = lanes.load(p + i), d = f.sign * lanes.load(g + i) + f.decay * w;
            Vec<T> v = f.keep * lanes.load(velocity + i) + f.gain * d;
            lanes.store(velocity + i, v);
            lanes.store(p + i, f.shrink * w - f.lr * (f.from_velocity * v + f.from_gradient * d));
            none += T(0) * d;
        });
    else
        each_register<T>(n, [&](Size i, auto lanes) {
            Vec<T> w = lanes.load(p + i), d = f.sign * lanes.load(g + i) + f.decay * w;
            lanes.store(p + i, f.shrink * w - f.lr * d);
            none += T(0) * d;
        });
    return sum(none) == 0;
}

// s = keep s + gain d^2 (gain is 1 - keep in double precision), less the square of the running mean of d when centered;
// u = d / (sqrt(s + inner_eps) + outer_eps);  v = momentum v + u;  p = shrink p - lr v
template <class T> bool rmsprop(const T* g, const RMSpropFactors<T>& f, T* p, T* square, T* mean, T* velocity, Size n) {
    Vec<T> none = {};
    each_register<T>(n, [&](Size i, auto lanes) {
        Vec<T> w = lanes.load(p + i), d = f.sign * lanes.load(g + i) + f.decay * w;
        Vec<T> s = f.keep * lanes.load(square + i) + f.gain * d * d;
        lanes.store(square + i, s);
        if (mean) {
            Vec<T> m = f.keep * lanes.load(mean + i) + f.gain * d;
            lanes.store(mean + i, m);
            s -= m * m;
        }
        Vec<T> u = d / (sqrt(s + f.inner_eps) + f.outer_eps);
        if (velocity) {
            u += f.momentum * lanes.load(velocity + i);
            lanes.store(velocity + i, u);
        }
        lanes.store(p + i, f.shrink * w - f.lr * u);
        none += T(0) * d;
    });
    return sum(none) == 0;
}

// m = m + mean_gain (d - m);  s = keep s + gain d^2, the largest so far in amsgrad; step and unbias hold lr and the
// corrections of m and s:  p = shrink p - step m / (sqrt(unbias s + inner_eps) + outer_eps)
template <class T> bool adam(const T* g, const AdamFactors<T>& f, T* p, T* mean, T* square, T* largest_square, Size n) {
    Vec<T> none = {};
    each_register<T>(n, [&](Size i, auto lanes) {
        Vec<T> w = lanes.load(p + i), d = f.sign * lanes.load(g + i) + f.decay * w;
        Vec<T> m = lanes.load(mean + i), s = f.keep * lanes.load(square + i) + f.gain * d * d;
        m += f.mean_gain * (d - m);
        lanes.store(mean + i, m);
        lanes.store(square + i, s);
        if (largest_square) {
            Vec<T> top = lanes.load(largest_square + i);
            s = ((s > top) | (s != s)) ? s : top;
            lanes.store(largest_square + i, s);
        }
        lanes.store(p + i, f.shrink * w - f.step * m / (sqrt(f.unbias * s + f.inner_eps) + f.outer_eps));
        none += T(0) * d;
    });
    return sum(none) == 0;
}
}  // namespace
