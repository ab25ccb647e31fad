// Optimizer updates over one contiguous run of parameters p with gradient g, one pass over memory each.
// A choice that is the same for the whole run is folded into factors, so that the loops hold arithmetic only.
#pragma once
#include "run.hpp"

namespace fastdl::FASTDL_LEVEL {

// d = sign g + decay p;  v = keep v + gain d;  p = shrink p - lr (from_velocity v + from_gradient d); without v, p = shrink p - lr d
template <class T>
void sgd(const T* g, T sign, T decay, T shrink, T keep, T gain, T from_velocity, T from_gradient, T lr, T* p, T* velocity, Size n) {
    if (velocity)
        each_register<T>(n, [&](Size i, auto lanes) {
            Vec<T> w = lanes.load(p + i), d = sign * lanes.load(g + i) + decay * w;
            Vec<T> v = keep * lanes.load(velocity + i) + gain * d;
            lanes.store(velocity + i, v);
            lanes.store(p + i, shrink * w - lr * (from_velocity * v + from_gradient * d));
        });
    else
        each_register<T>(n, [&](Size i, auto lanes) {
            Vec<T> w = lanes.load(p + i), d = sign * lanes.load(g + i) + decay * w;
            lanes.store(p + i, shrink * w - lr * d);
        });
}

// s = keep s + gain d^2 (gain is 1 - keep in double precision), less the square of the running mean of d when centered;
// u = d / (sqrt(s) + eps) or d / sqrt(s + eps);  v = momentum v + u;  p = shrink p - lr v
template <class T>
void rmsprop(const T* g, T sign, T decay, T shrink, T keep, T gain, T inner_eps, T outer_eps, T momentum, T lr, T* p, T* square,
             T* mean, T* velocity, Size n) {
    each_register<T>(n, [&](Size i, auto lanes) {
        Vec<T> w = lanes.load(p + i), d = sign * lanes.load(g + i) + decay * w;
        Vec<T> s = keep * lanes.load(square + i) + gain * d * d;
        lanes.store(square + i, s);
        if (mean) {
            Vec<T> m = keep * lanes.load(mean + i) + gain * d;
            lanes.store(mean + i, m);
            s -= m * m;
        }
        Vec<T> u = d / (sqrt(s + inner_eps) + outer_eps);
        if (velocity) {
            u += momentum * lanes.load(velocity + i);
            lanes.store(velocity + i, u);
        }
        lanes.store(p + i, shrink * w - lr * u);
    });
}

// m = m + mean_gain (d - m);  s = keep s + gain d^2;  step and unbias hold lr and the corrections of m and s:
// p = shrink p - step m / (sqrt(unbias s + inner_eps) + outer_eps), with the largest s so far in amsgrad
template <class T>
void adam(const T* g, T sign, T decay, T shrink, T mean_gain, T keep, T gain, T inner_eps, T outer_eps, T step, T unbias, T* p, T* mean,
          T* square, T* largest_square, Size n) {
    each_register<T>(n, [&](Size i, auto lanes) {
        Vec<T> w = lanes.load(p + i), d = sign * lanes.load(g + i) + decay * w;
        Vec<T> m = lanes.load(mean + i), s = keep * lanes.load(square + i) + gain * d * d;
        m += mean_gain * (d - m);
        lanes.store(mean + i, m);
        lanes.store(square + i, s);
        if (largest_square) {
            Vec<T> top = lanes.load(largest_square + i);
            s = ((s > top) | (s != s)) ? s : top;
            lanes.store(largest_square + i, s);
        }
        lanes.store(p + i, shrink * w - step * m / (sqrt(unbias * s + inner_eps) + outer_eps));
    });
}
}  // namespace
