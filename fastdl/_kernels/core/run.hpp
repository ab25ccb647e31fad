// Primitives over one contiguous run: activations, sums, softmax, scaling.
#pragma once
#include "activation.hpp"

namespace fastdl::FASTDL_LEVEL {

// How a body reaches the lanes it works on: a whole register, or the first n lanes at the end of a run.
struct Whole {
    template <class T> Vec<T> load(const T* p) const { return FASTDL_LEVEL::load(p); }
    template <class T> void store(T* p, Vec<T> v) const { FASTDL_LEVEL::store(p, v); }
    template <class T> Vec<T> zero_rest(Vec<T> v) const { return v; }
};
struct Part {
    int n;
    template <class T> Vec<T> load(const T* p) const { return load_partial(p, n); }
    template <class T> void store(T* p, Vec<T> v) const { store_partial(p, v, n); }
    template <class T> Vec<T> zero_rest(Vec<T> v) const { return keep_first(v, n); }
};
template <class T, class Body> inline void each_register(Size n, Body body) {
    Size i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) body(i, Whole{});
    if (i < n) body(i, Part{int(n - i)});
}

// The same for what is stored into `target`, in whole registers of its cache lines: one that straddles two costs double.
// Only for maps, with fused() for what may be fused: the order of a sum, say, would depend on where memory lies.
template <class T, class Body> inline void each_aligned_register(Size n, const T* target, Body body) {
    Size i = 0;
    if (n >= 8 * lanes<T>) {
        i = Size(-reinterpret_cast<uintptr_t>(target) % FASTDL_REGISTER_BYTES / sizeof(T));
        if (i > 0) body(0, Part{int(i)});
    }
    for (; i + lanes<T> <= n; i += lanes<T>) body(i, Whole{});
    if (i < n) body(i, Part{int(n - i)});
}

template <class T> inline void clear(T* to, Size length) {
    each_register<T>(length, [&](Size i, auto lanes) { lanes.store(to + i, Vec<T>{}); });
}

template <class Function, class T> void activation_forward(const T* x, T alpha, T beta, T* y, Size n) {
    const Vec<T> a = splat<Vec<T>>(alpha), b = splat<Vec<T>>(beta);
    each_register<T>(n, [&](Size i, auto lanes) { lanes.store(y + i, Function::value(lanes.load(x + i), a, b)); });
}
// `kept` is the input or the output of the forward, as Function::keeps says.
template <class Function, class T> void activation_backward(const T* gy, const T* kept, T alpha, T beta, T* gx, Size n) {
    const Vec<T> a = splat<Vec<T>>(alpha), b = splat<Vec<T>>(beta);
    each_register<T>(n, [&](Size i, auto lanes) {
        lanes.store(gx + i, lanes.load(gy + i) * Function::derivative(lanes.load(kept + i), a, b));
    });
}

// The sum of body(i, lanes) over a run, in a fixed order: four registers of partial sums, then their lanes.
template <class T, class Body> inline T sum_of(Size n, Body body) {
    Vec<T> part[4] = {};
    Size i = 0;
    for (; i + 4 * lanes<T> <= n; i += 4 * lanes<T>)
        for (int j = 0; j < 4; ++j) part[j] += body(i + j * lanes<T>, Whole{});
    for (; i + lanes<T> <= n; i += lanes<T>) part[0] += body(i, Whole{});
    if (i < n) {
        const Part rest{int(n - i)};
        part[1] += rest.zero_rest<T>(body(i, rest));
    }
    return sum((part[0] + part[1]) + (part[2] + part[3]));
}

template <class T> T dot(const T* a, const T* b, Size n) {
    return sum_of<T>(n, [&](Size i, auto lanes) { return lanes.load(a + i) * lanes.load(b + i); });
}
template <class T> T total(const T* x, Size n) {
    return sum_of<T>(n, [&](Size i, auto lanes) { return lanes.load(x + i); });
}
template <class T> void scale(T factor, T* x, Size n) {
    each_register<T>(n, [&](Size i, auto lanes) { lanes.store(x + i, lanes.load(x + i) * factor); });
}
template <class T> void clamp(T low, T high, T* x, Size n) {
    each_register<T>(n, [&](Size i, auto lanes) { lanes.store(x + i, at_most(at_least(lanes.load(x + i), low), high)); });
}
// total (n) += the sum of the rows of x (rows, n): partial sums in registers, rows in ascending order.
template <class T> void add_rows(const T* x, Size rows, Size n, T* total) {
    each_register<T>(n, [&](Size i, auto lanes) {
        Vec<T> part[4] = {};
        Size row = 0;
        for (; row + 4 <= rows; row += 4)
            for (int j = 0; j < 4; ++j) part[j] += lanes.load(x + (row + j) * n + i);
        for (; row < rows; ++row) part[0] += lanes.load(x + row * n + i);
        lanes.store(total + i, lanes.load(total + i) + ((part[0] + part[1]) + (part[2] + part[3])));
    });
}

// The largest element; n >= 1. A NaN may be passed over: what follows meets it.
template <class T> T maximum(const T* x, Size n) {
    Vec<T> best = splat<Vec<T>>(x[0]);
    Size i = 0;
    auto keep_larger = [&](Vec<T> v) { best = v > best ? v : best; };
    for (; i + lanes<T> <= n; i += lanes<T>) keep_larger(load(x + i));
    if (i < n) keep_larger(first_or(load_partial(x + i, int(n - i)), best, int(n - i)));
    return largest(best);
}

// Of exponentials of x - max: those that are not of the maximum.
template <class V> inline V below_one(V e) { return e == 1 ? V{} : e; }

// Rows of few elements n <= lanes go by columns, as many at a time as there are lanes: register j holds element j of each.
template <class T> struct Columns {
    static constexpr int W = lanes<T>;
    Vec<T> of[W];
    int n, rows;

    Columns(const T* x, Size left, Size n_) : n(int(n_)), rows(int(left < W ? left : W)) {
#pragma GCC unroll 16
        for (int p = 0; p < W; ++p)
            of[p] = p >= rows ? Vec<T>{} : p * n + W <= rows * n ? load(x + p * n) : load_partial(x + p * n, n);
        transpose<T>(of);
    }
    // What lies behind a row is the next one's, which is stored then.
    void store(T* y) {
        transpose<T>(of);
#pragma GCC unroll 16
        for (int p = 0; p < W; ++p)
            if (p < rows) {
                if (p * n + W <= rows * n) FASTDL_LEVEL::store(y + p * n, of[p]);
                else store_partial(y + p * n, of[p], n);
            }
    }
    template <class Body> void each(Body body) {
#pragma GCC unroll 16
        for (int j = 0; j < W; ++j)
            if (j < n) body(j, of[j]);
    }
    Vec<T> largest() {
        Vec<T> best = of[0];
        each([&](int, Vec<T>& v) { best = v > best ? v : best; });
        return best;
    }
    void put(Vec<T> values, T* to) const { store_partial(to, values, rows); }
};
// Replaces the elements by exp(x - top); returns their sum, and what log1p is to be taken of for its logarithm.
template <class T> inline Vec<T> exponentials(Columns<T>& c, Vec<T> top, Vec<T>& beyond_one) {
    Vec<T> total{}, others{};
    c.each([&](int, Vec<T>& v) {
        v = exp(v - top);
        total += v, others += below_one(v);
    });
    beyond_one = total < T(1.5) ? others : total - 1;
    return total;
}

// y = exp(x - max) / sum in each row; returns maxima and log(sum), of which cross entropy is made, unless `log_sum` is NULL. Where
// one score is far above the others, the sum is a little more than 1: its logarithm is taken of what the others add.
template <class T> void softmax(const T* x, T* y, T* top, T* log_sum, Size rows, Size n) {
    if (n <= lanes<T> && n > 0) {
        for (Size row = 0; row < rows; row += lanes<T>) {
            Columns<T> c(x + row * n, rows - row, n);
            const Vec<T> m = c.largest();
            Vec<T> beyond_one;
            const Vec<T> factor = 1 / exponentials(c, m, beyond_one);
            c.each([&](int, Vec<T>& v) { v *= factor; });
            c.store(y + row * n);
            if (log_sum) c.put(m, top + row), c.put(log1p(beyond_one), log_sum + row);
        }
        return;
    }
    for (Size row = 0; row < rows; ++row, x += n, y += n) {
        const T m = maximum(x, n);
        if (log_sum) top[row] = m;
        auto exponential = [&](Size i, auto lanes) { return lanes.template zero_rest<T>(exp(lanes.load(x + i) - m)); };
        const T total = sum_of<T>(n, [&](Size i, auto lanes) {
            const Vec<T> e = exponential(i, lanes);
            lanes.store(y + i, e);
            return e;
        });
        if (log_sum)
            log_sum[row] =
                total < T(1.5) ? sum_of<T>(n, [&](Size i, auto lanes) { return below_one(lanes.load(y + i)); }) : total - 1;
        scale(1 / total, y, n);
    }
    if (log_sum)
        each_register<T>(rows, [&](Size i, auto lanes) { lanes.store(log_sum + i, log1p(lanes.load(log_sum + i))); });
}
// gx = y (gy - <gy, y>) in each row
template <class T> void softmax_backward(const T* gy, const T* y, T* gx, Size rows, Size n) {
    if (n <= lanes<T> && n > 0) {
        for (Size row = 0; row < rows; row += lanes<T>) {
            Columns<T> g(gy + row * n, rows - row, n), c(y + row * n, rows - row, n);
            Vec<T> mean{};
            c.each([&](int j, Vec<T>& v) { mean += g.of[j] * v; });
            c.each([&](int j, Vec<T>& v) { v *= g.of[j] - mean; });
            c.store(gx + row * n);
        }
        return;
    }
    for (; rows > 0; --rows, gy += n, y += n, gx += n) {
        const T mean = dot(gy, y, n);
        each_register<T>(n, [&](Size i, auto lanes) { lanes.store(gx + i, lanes.load(y + i) * (lanes.load(gy + i) - mean)); });
    }
}
// y = (x - max) - log sum exp(x - max) in each row. The logarithms of a block of rows are taken together, a register at a time.
template <class T> void log_softmax(const T* x, T* y, Size rows, Size n) {
    if (n <= lanes<T> && n > 0) {
        for (Size row = 0; row < rows; row += lanes<T>) {
            Columns<T> c(x + row * n, rows - row, n), e = c;
            const Vec<T> m = c.largest();
            Vec<T> beyond_one;
            exponentials(e, m, beyond_one);
            const Vec<T> log_sum = log1p(beyond_one);
            c.each([&](int, Vec<T>& v) { v = (v - m) - log_sum; });
            c.store(y + row * n);
        }
        return;
    }
    constexpr Size block = 64;
    T top[block], log_sum[block];
    for (; rows > 0; rows -= block, x += block * n, y += block * n) {
        const Size count = rows < block ? rows : block;
        for (Size row = 0; row < count; ++row) {
            const T* scores = x + row * n;
            const T m = top[row] = maximum(scores, n);
            Vec<T> others{};
            const T total = sum_of<T>(n, [&](Size i, auto lanes) {
                const Vec<T> e = lanes.template zero_rest<T>(exp(lanes.load(scores + i) - m));
                others += below_one(e);
                return e;
            });
            log_sum[row] = total < T(1.5) ? sum(others) : total - 1;
        }
        each_register<T>(count, [&](Size i, auto lanes) { lanes.store(log_sum + i, log1p(lanes.load(log_sum + i))); });
        for (Size row = 0; row < count; ++row)
            each_register<T>(n, [&](Size i, auto lanes) {
                lanes.store(y + row * n + i, (lanes.load(x + row * n + i) - top[row]) - log_sum[row]);
            });
    }
}
// gx = gy - exp(y) sum(gy) in each row
template <class T> void log_softmax_backward(const T* gy, const T* y, T* gx, Size rows, Size n) {
    if (n <= lanes<T> && n > 0) {
        for (Size row = 0; row < rows; row += lanes<T>) {
            Columns<T> g(gy + row * n, rows - row, n), c(y + row * n, rows - row, n);
            Vec<T> total{};
            g.each([&](int, Vec<T>& v) { total += v; });
            c.each([&](int j, Vec<T>& v) { v = g.of[j] - exp(v) * total; });
            c.store(gx + row * n);
        }
        return;
    }
    for (; rows > 0; --rows, gy += n, y += n, gx += n) {
        const T total = sum_of<T>(n, [&](Size i, auto lanes) { return lanes.load(gy + i); });
        each_register<T>(n, [&](Size i, auto lanes) {
            lanes.store(gx + i, lanes.load(gy + i) - exp(lanes.load(y + i)) * total);
        });
    }
}
}  // namespace
