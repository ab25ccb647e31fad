// Elementwise nodes: instructions over a block of elements, and programs of them over strided arrays.
#pragma once
#include "elementary.hpp"
#include "run.hpp"
#include "strided.hpp"

namespace fastdl::FASTDL_LEVEL {

// One instruction over a run: y = F(a, b, c). What is a single operation has a body for whole registers and one for the rest.
template <class F, class T> void unary(const T* a, const T*, const T*, T* y, Size n) {
    each_register<T>(n, [&](Size i, auto lanes) { lanes.store(y + i, F::value(lanes.load(a + i))); });
}
template <class F, class T> void binary(const T* a, const T* b, const T*, T* y, Size n) {
    each_register<T>(n, [&](Size i, auto lanes) { lanes.store(y + i, F::value(lanes.load(a + i), lanes.load(b + i))); });
}
template <class F, class T> void ternary(const T* a, const T* b, const T* c, T* y, Size n) {
    each_register<T>(n, [&](Size i, auto lanes) {
        lanes.store(y + i, F::value(lanes.load(a + i), lanes.load(b + i), lanes.load(c + i)));
    });
}
// One body for both, so that the compiler fuses multiplications and additions alike and an element's place does not matter.
template <class F, class T> void formula(const T* a, const T*, const T*, T* y, Size n) {
    for (Size i = 0; i < n; i += lanes<T>) {
        const bool whole = n - i >= lanes<T>;
        const Vec<T> v = F::value(whole ? load(a + i) : load_partial(a + i, int(n - i)));
        if (whole) store(y + i, v);
        else store_partial(y + i, v, int(n - i));
    }
}
template <class F, class T> void formula_of_two(const T* a, const T* b, const T*, T* y, Size n) {
    for (Size i = 0; i < n; i += lanes<T>) {
        const bool whole = n - i >= lanes<T>;
        const Vec<T> v = F::value(whole ? load(a + i) : load_partial(a + i, int(n - i)), whole ? load(b + i) : load_partial(b + i, int(n - i)));
        if (whole) store(y + i, v);
        else store_partial(y + i, v, int(n - i));
    }
}
// Element by element.
template <class F, class E> void scalar(const E* a, const E*, const E*, E* y, Size n) {
#pragma GCC ivdep
    for (Size i = 0; i < n; ++i) y[i] = F::value(a[i]);
}
template <class F, class E> void scalar_of_two(const E* a, const E* b, const E*, E* y, Size n) {
#pragma GCC ivdep
    for (Size i = 0; i < n; ++i) y[i] = F::value(a[i], b[i]);
}
template <class F, class E> void scalar_of_three(const E* a, const E* b, const E* c, E* y, Size n) {
#pragma GCC ivdep
    for (Size i = 0; i < n; ++i) y[i] = F::value(a[i], b[i], c[i]);
}

template <class T> void copy(const T* a, const T*, const T*, T* y, Size n) {
    if (y != a) __builtin_memmove(y, a, size_t(n) * sizeof(T));
}

// 1 where a comparison of registers holds, else 0.
template <class V, class M> inline V truth(M mask) { return mask ? splat<V>(1) : V{}; }

struct Add { template <class V> static V value(V a, V b) { return a + b; } };
struct Subtract { template <class V> static V value(V a, V b) { return a - b; } };
struct Multiply { template <class V> static V value(V a, V b) { return a * b; } };
struct Divide { template <class V> static V value(V a, V b) { return a / b; } };
struct MultiplyAdd { template <class V> static V value(V a, V b, V c) { return fused(a, b, c); } };
struct Negative { template <class V> static V value(V a) { return -a; } };
struct Absolute { template <class V> static V value(V a) { return abs(a); } };
struct Square { template <class V> static V value(V a) { return a * a; } };
struct Reciprocal { template <class V> static V value(V a) { return 1 / a; } };
struct SquareRoot { template <class V> static V value(V a) { return sqrt(a); } };
// A NaN stays, of either.
struct Maximum { template <class V> static V value(V a, V b) { return a != a ? a : a >= b ? a : b; } };
struct Minimum { template <class V> static V value(V a, V b) { return a != a ? a : a <= b ? a : b; } };
struct Sign {
    template <class V> static V value(V a) { return a > 0 ? splat<V>(1) : a < 0 ? splat<V>(-1) : a == 0 ? V{} : a; }
};
struct Where { template <class V> static V value(V condition, V x, V y) { return condition != 0 ? x : y; } };

struct Equal { template <class V> static V value(V a, V b) { return truth<V>(a == b); } };
struct NotEqual { template <class V> static V value(V a, V b) { return truth<V>(a != b); } };
struct Less { template <class V> static V value(V a, V b) { return truth<V>(a < b); } };
struct LessEqual { template <class V> static V value(V a, V b) { return truth<V>(a <= b); } };
struct Greater { template <class V> static V value(V a, V b) { return truth<V>(a > b); } };
struct GreaterEqual { template <class V> static V value(V a, V b) { return truth<V>(a >= b); } };
struct And { template <class V> static V value(V a, V b) { return a != 0 ? truth<V>(b != 0) : V{}; } };
struct Or { template <class V> static V value(V a, V b) { return a != 0 ? splat<V>(1) : truth<V>(b != 0); } };
struct Xor { template <class V> static V value(V a, V b) { return a != 0 ? truth<V>(b == 0) : truth<V>(b != 0); } };
struct Not { template <class V> static V value(V a) { return truth<V>(a == 0); } };
struct IsNaN { template <class V> static V value(V a) { return truth<V>(a != a); } };
struct IsInf { template <class V> static V value(V a) { return truth<V>(abs(a) == Element<V>(__builtin_inf())); } };
struct IsFinite { template <class V> static V value(V a) { return truth<V>(abs(a) < Element<V>(__builtin_inf())); } };

struct Exp { template <class V> static V value(V a) { return exp(a); } };
struct Log { template <class V> static V value(V a) { return log(a); } };
struct Tanh_ { template <class V> static V value(V a) { return tanh(a); } };
struct Expm1 { template <class V> static V value(V a) { return exp_minus_one(a); } };
struct Exp2 { template <class V> static V value(V a) { return exp_of_two(a); } };
struct Log1p { template <class V> static V value(V a) { return log_of_one_more(a); } };
struct Log2 { template <class V> static V value(V a) { return log_to_two(a); } };
struct Log10 { template <class V> static V value(V a) { return log_to_ten(a); } };
struct Arctan { template <class V> static V value(V a) { return arc_tangent(a); } };
struct Arcsin { template <class V> static V value(V a) { return arc_sine(a); } };
struct Arccos { template <class V> static V value(V a) { return arc_cosine(a); } };
struct Sinh { template <class V> static V value(V a) { return hyperbolic_sine(a); } };
struct Cosh { template <class V> static V value(V a) { return hyperbolic_cosine(a); } };
struct Erf { template <class V> static V value(V a) { return error_function(a); } };
struct LogAddExp { template <class V> static V value(V a, V b) { return log_add_exp(a, b); } };

// The C library's functions.
#define LIBM(Name, function)                                                   \
    struct Name {                                                              \
        static float value(float a) { return __builtin_##function##f(a); }     \
        static double value(double a) { return __builtin_##function(a); }      \
    };
#define LIBM_OF_TWO(Name, function)                                                         \
    struct Name {                                                                           \
        static float value(float a, float b) { return __builtin_##function##f(a, b); }      \
        static double value(double a, double b) { return __builtin_##function(a, b); }      \
    };
LIBM(FarSin, sin)
LIBM(FarCos, cos)
LIBM(FarTan, tan)
LIBM(Floor, floor)
LIBM(Ceil, ceil)
LIBM(Rint, rint)
LIBM(Trunc, trunc)
LIBM_OF_TWO(Arctan2, atan2)
LIBM_OF_TWO(AnyPower, pow)
LIBM_OF_TWO(Fmod, fmod)
#undef LIBM
#undef LIBM_OF_TWO

// Angles that are too far to be reduced here, and powers of numbers that have no logarithm, are left to the C library.
template <class F, class V> inline V with_far_angles(V a, V y) {
    if (__builtin_expect(any_below(minus_abs(a), Element<V>(-farthest_angle)), 0))
        for (int i = 0; i < lanes<Element<V>>; ++i)
            if (a[i] < -farthest_angle || a[i] > farthest_angle) y[i] = F::value(a[i]);
    return y;
}
struct Sin {
    template <class V> static V value(V a) {
        return with_far_angles<FarSin>(a, abs(a) < Element<V>(is_float<V> ? 1e-4 : 1e-9) ? a : sine<0>(a));
    }
};
struct Cos { template <class V> static V value(V a) { return with_far_angles<FarCos>(a, sine<1>(a)); } };
struct Tan { template <class V> static V value(V a) { return with_far_angles<FarTan>(a, tangent(a)); } };

struct Power {
    template <class V> static V value(V a, V b) {
        typedef Element<V> T;
        V y = a * a;
        auto open = b != 2;
        if (!any_true<V>(open)) return y;
        if constexpr (is_float<V>) {  // by logarithms in double precision
            auto [a_low, a_high] = widened(a);
            auto [b_low, b_high] = widened(b);
            const V power = narrowed({exp(b_low * log(a_low)), exp(b_high * log(a_high))});
            y = open ? power : y;
            open &= ~((a > 0) & (a < T(__builtin_inf())) & (abs(b) < T(__builtin_inf())));
        }
        if (any_true<V>(open))
            for (int i = 0; i < lanes<T>; ++i)
                if (open[i]) y[i] = AnyPower::value(a[i], b[i]);
        return y;
    }
};

// With the divisor's sign, as Python's %.
struct Remainder {
    template <class T> static T value(T a, T b) {
        const T rest = Fmod::value(a, b);
        if (b == 0) return rest;
        if (rest == 0) return __builtin_copysign(T(0), b);
        return (b < 0) != (rest < 0) ? rest + b : rest;
    }
};
struct FloorDivide {
    template <class T> static T value(T a, T b) {
        if (b == 0) return a / b;
        const T rest = Fmod::value(a, b);
        T ratio = (a - rest) / b;
        if (rest != 0 && (b < 0) != (rest < 0)) ratio -= 1;
        if (ratio == 0) return __builtin_copysign(T(0), a / b);
        const T whole = Floor::value(ratio);
        return ratio - whole > T(0.5) ? whole + 1 : whole;
    }
};

// Whole numbers wrap around.
struct Integers {
    typedef int64_t E;
    typedef uint64_t U;
    struct Add { static E value(E a, E b) { return E(U(a) + U(b)); } };
    struct Subtract { static E value(E a, E b) { return E(U(a) - U(b)); } };
    struct Multiply { static E value(E a, E b) { return E(U(a) * U(b)); } };
    struct Negative { static E value(E a) { return E(-U(a)); } };
    struct Absolute { static E value(E a) { return a < 0 ? E(-U(a)) : a; } };
    struct Square { static E value(E a) { return E(U(a) * U(a)); } };
    struct Sign { static E value(E a) { return (a > 0) - (a < 0); } };
    struct Maximum { static E value(E a, E b) { return a > b ? a : b; } };
    struct Minimum { static E value(E a, E b) { return a < b ? a : b; } };
    // 0 where the exponent is negative.
    struct Power {
        static E value(E a, E b) {
            U product = b >= 0, factor = U(a);
            for (; b > 0; b >>= 1, factor *= factor)
                if (b & 1) product *= factor;
            return E(product);
        }
    };
    // 0 where the divisor is.
    struct FloorDivide {
        static E value(E a, E b) {
            if (b == 0) return 0;
            if (b == -1) return E(-U(a));
            const E quotient = a / b;
            return quotient - (a % b != 0 && (a < 0) != (b < 0));
        }
    };
    struct Remainder {
        static E value(E a, E b) {
            if (b == 0 || b == -1) return 0;
            const E rest = a % b;
            return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
        }
    };
    struct BitAnd { static E value(E a, E b) { return a & b; } };
    struct BitOr { static E value(E a, E b) { return a | b; } };
    struct BitXor { static E value(E a, E b) { return a ^ b; } };
    struct BitNot { static E value(E a) { return ~a; } };
    // By 64 bits and more, and by negative numbers, all bits are shifted out.
    struct LeftShift { static E value(E a, E b) { return U(b) < 64 ? E(U(a) << b) : 0; } };
    struct RightShift { static E value(E a, E b) { return U(b) < 64 ? a >> b : a < 0 ? -1 : 0; } };
    struct Equal { static E value(E a, E b) { return a == b; } };
    struct NotEqual { static E value(E a, E b) { return a != b; } };
    struct Less { static E value(E a, E b) { return a < b; } };
    struct LessEqual { static E value(E a, E b) { return a <= b; } };
    struct Greater { static E value(E a, E b) { return a > b; } };
    struct GreaterEqual { static E value(E a, E b) { return a >= b; } };
    struct And { static E value(E a, E b) { return (a != 0) & (b != 0); } };
    struct Or { static E value(E a, E b) { return (a != 0) | (b != 0); } };
    struct Xor { static E value(E a, E b) { return (a != 0) != (b != 0); } };
    struct Not { static E value(E a) { return a == 0; } };
    struct IsFinite { static E value(E) { return 1; } };
    struct IsNotFinite { static E value(E) { return 0; } };
    struct Where { static E value(E condition, E x, E y) { return condition != 0 ? x : y; } };
};
}  // namespace

#define FASTDL_INSTRUCTIONS(ROW)                        \
    ROW("exp", (formula<Exp, T>))                       \
    ROW("expm1", (formula<Expm1, T>))                    \
    ROW("exp2", (formula<Exp2, T>))                      \
    ROW("log", (formula<Log, T>))                       \
    ROW("log1p", (formula<Log1p, T>))                    \
    ROW("log2", (formula<Log2, T>))                      \
    ROW("log10", (formula<Log10, T>))                    \
    ROW("sqrt", (unary<SquareRoot, T>))                 \
    ROW("reciprocal", (unary<Reciprocal, T>))           \
    ROW("sin", (formula<Sin, T>))                        \
    ROW("cos", (formula<Cos, T>))                        \
    ROW("tan", (formula<Tan, T>))                        \
    ROW("tanh", (formula<Tanh_, T>))                    \
    ROW("sinh", (formula<Sinh, T>))                      \
    ROW("cosh", (formula<Cosh, T>))                      \
    ROW("arctan", (formula<Arctan, T>))                  \
    ROW("arcsin", (formula<Arcsin, T>))                  \
    ROW("arccos", (formula<Arccos, T>))                  \
    ROW("erf", (formula<Erf, T>))                        \
    ROW("arctan2", (scalar_of_two<Arctan2, T>))         \
    ROW("logaddexp", (formula_of_two<LogAddExp, T>))     \
    ROW("floor", (scalar<Floor, T>))                    \
    ROW("ceil", (scalar<Ceil, T>))                      \
    ROW("rint", (scalar<Rint, T>))                      \
    ROW("trunc", (scalar<Trunc, T>))                    \
    ROW("divide", (binary<Divide, T>))                  \
    ROW("add", (binary<Add, T>))                        \
    ROW("subtract", (binary<Subtract, T>))              \
    ROW("multiply", (binary<Multiply, T>))              \
    ROW("negative", (unary<Negative, T>))               \
    ROW("absolute", (unary<Absolute, T>))               \
    ROW("sign", (unary<Sign, T>))                       \
    ROW("square", (unary<Square, T>))                   \
    ROW("maximum", (binary<Maximum, T>))                \
    ROW("minimum", (binary<Minimum, T>))                \
    ROW("power", (formula_of_two<Power, T>))             \
    ROW("remainder", (scalar_of_two<Remainder, T>))     \
    ROW("floor_divide", (scalar_of_two<FloorDivide, T>)) \
    ROW("equal", (binary<Equal, T>))                    \
    ROW("not_equal", (binary<NotEqual, T>))             \
    ROW("less", (binary<Less, T>))                      \
    ROW("less_equal", (binary<LessEqual, T>))           \
    ROW("greater", (binary<Greater, T>))                \
    ROW("greater_equal", (binary<GreaterEqual, T>))     \
    ROW("logical_and", (binary<And, T>))                \
    ROW("logical_or", (binary<Or, T>))                  \
    ROW("logical_xor", (binary<Xor, T>))                \
    ROW("logical_not", (unary<Not, T>))                 \
    ROW("isfinite", (unary<IsFinite, T>))               \
    ROW("isnan", (unary<IsNaN, T>))                     \
    ROW("isinf", (unary<IsInf, T>))                     \
    ROW("where", (ternary<Where, T>))                   \
    ROW("cast", (copy<T>))                              \
    ROW("multiply_add", (ternary<MultiplyAdd, T>))

#define FASTDL_WHOLE_INSTRUCTIONS(ROW)                               \
    ROW("add", (scalar_of_two<I::Add, E>))                           \
    ROW("subtract", (scalar_of_two<I::Subtract, E>))                 \
    ROW("multiply", (scalar_of_two<I::Multiply, E>))                 \
    ROW("negative", (scalar<I::Negative, E>))                        \
    ROW("absolute", (scalar<I::Absolute, E>))                        \
    ROW("sign", (scalar<I::Sign, E>))                                \
    ROW("square", (scalar<I::Square, E>))                            \
    ROW("maximum", (scalar_of_two<I::Maximum, E>))                   \
    ROW("minimum", (scalar_of_two<I::Minimum, E>))                   \
    ROW("power", (scalar_of_two<I::Power, E>))                       \
    ROW("remainder", (scalar_of_two<I::Remainder, E>))               \
    ROW("floor_divide", (scalar_of_two<I::FloorDivide, E>))          \
    ROW("bitwise_and", (scalar_of_two<I::BitAnd, E>))                \
    ROW("bitwise_or", (scalar_of_two<I::BitOr, E>))                  \
    ROW("bitwise_xor", (scalar_of_two<I::BitXor, E>))                \
    ROW("invert", (scalar<I::BitNot, E>))                            \
    ROW("left_shift", (scalar_of_two<I::LeftShift, E>))              \
    ROW("right_shift", (scalar_of_two<I::RightShift, E>))            \
    ROW("equal", (scalar_of_two<I::Equal, E>))                       \
    ROW("not_equal", (scalar_of_two<I::NotEqual, E>))                \
    ROW("less", (scalar_of_two<I::Less, E>))                         \
    ROW("less_equal", (scalar_of_two<I::LessEqual, E>))              \
    ROW("greater", (scalar_of_two<I::Greater, E>))                   \
    ROW("greater_equal", (scalar_of_two<I::GreaterEqual, E>))        \
    ROW("logical_and", (scalar_of_two<I::And, E>))                   \
    ROW("logical_or", (scalar_of_two<I::Or, E>))                     \
    ROW("logical_xor", (scalar_of_two<I::Xor, E>))                   \
    ROW("logical_not", (scalar<I::Not, E>))                          \
    ROW("isfinite", (scalar<I::IsFinite, E>))                        \
    ROW("isnan", (scalar<I::IsNotFinite, E>))                        \
    ROW("isinf", (scalar<I::IsNotFinite, E>))                        \
    ROW("where", (scalar_of_three<I::Where, E>))                     \
    ROW("cast", (copy<E>))

namespace fastdl::FASTDL_LEVEL {
template <class E> struct Instructions {
    typedef E T;
#define ROW(name, function) &FASTDL_INSIDE function,
#define FASTDL_INSIDE(...) __VA_ARGS__
    static constexpr void (*functions[])(const T*, const T*, const T*, T*, Size) = {FASTDL_INSTRUCTIONS(ROW)};
};
template <> struct Instructions<int64_t> {
    typedef int64_t E;
    typedef Integers I;
    static constexpr void (*functions[])(const E*, const E*, const E*, E*, Size) = {FASTDL_WHOLE_INSTRUCTIONS(ROW)};
#undef FASTDL_INSIDE
#undef ROW
};

// n elements of another kind, `stride` apart.
template <class From, class To> inline void convert(const From* x, Size stride, Size n, To* y) {
    if (stride == 1)
#pragma GCC ivdep
        for (Size i = 0; i < n; ++i) y[i] = To(x[i]);
    else if (stride == 0)
        for (Size i = 0; i < n; ++i) y[i] = To(x[0]);
    else
        for (Size i = 0; i < n; ++i) y[i] = To(x[i * stride]);
}
// The same, written `stride` apart; truth is whether an element is not 0.
template <class To> struct Stored { template <class From> static To value(From x) { return To(x); } };
template <> struct Stored<uint8_t> { template <class From> static uint8_t value(From x) { return x != 0; } };
template <class From, class To> inline void convert_to(const From* x, Size n, To* y, Size stride) {
    if (stride == 1)
#pragma GCC ivdep
        for (Size i = 0; i < n; ++i) y[i] = Stored<To>::value(x[i]);
    else
        for (Size i = 0; i < n; ++i) y[i * stride] = Stored<To>::value(x[i]);
}

// Whole lines of a few elements. Whole registers are written, what is too much overwritten by the next line: y has room behind.
template <class From, class To> inline void load_short_lines(const From* x, Size n, Size stride, Size lines, Size line_stride, To* y) {
    if constexpr (is_floating<To>) {
        if (stride == 0) {
            for (Size i = 0; i < lines; ++i) {
                const Vec<To> element = splat<Vec<To>>(To(x[i * line_stride]));
                for (Size j = 0; j < n; j += lanes<To>) store(y + i * n + j, element);
            }
            return;
        }
        if constexpr (sizeof(From) == sizeof(To) && is_floating<From>) {
            if (stride == 1) {
                for (Size i = 0; i < lines; ++i) {
                    const From* line = x + i * line_stride;
                    Size j = 0;
                    for (; j + lanes<To> <= n; j += lanes<To>) store(y + i * n + j, load(line + j));
                    if (j < n) store(y + i * n + j, load_partial(line + j, int(n - j)));
                }
                return;
            }
        }
    }
    if (n == 2) {
        for (Size i = 0; i < lines; ++i)
            y[2 * i] = To(x[i * line_stride]), y[2 * i + 1] = To(x[i * line_stride + stride]);
        return;
    }
    for (Size i = 0; i < lines; ++i)
        for (Size j = 0; j < n; ++j) y[i * n + j] = To(x[i * line_stride + j * stride]);
}
// Elements [first, first + n) in C order, line by line; y has room for a register more.
template <class From, class To> void load_lines(const char* at, const Axes<1>& axes, Size first, Size n, To* y) {
    const From* x = reinterpret_cast<const From*>(at);
    if (axes.count == 0) {
        for (Size i = 0; i < n; ++i) y[i] = To(x[0]);
        return;
    }
    const Size size = axes.sizes[0], stride = axes.strides[0][0];
    const bool short_lines = axes.count > 1 && size <= 128;
    Walk<1> walk(axes, first);
    while (n > 0) {
        if (short_lines && walk.place[0] == 0 && n >= size) {
            const Size left = axes.sizes[1] - walk.place[1], lines = n / size < left ? n / size : left;
            load_short_lines(x + walk.at[0], size, stride, lines, axes.strides[0][1], y);
            y += lines * size;
            n -= lines * size;
            walk.advance(1, lines);
        } else {
            const Size left = size - walk.place[0], count = n < left ? n : left;
            convert(x + walk.at[0], stride, count, y);
            y += count;
            n -= count;
            walk.skip_line();
        }
    }
}
template <class From, class To> void store_lines(const From* x, const Axes<1>& axes, Size first, Size n, char* at) {
    To* y = reinterpret_cast<To*>(at);
    Walk<1> walk(axes, first);
    while (n > 0) {
        const Size left = axes.count ? axes.sizes[0] - walk.place[0] : 1, count = n < left ? n : left;
        convert_to(x, count, y + walk.at[0], axes.count ? axes.strides[0][0] : 1);
        x += count;
        n -= count;
        walk.skip_line();
    }
}
template <class T, class E> void load_kind(Size kind, const char* at, const Axes<1>& axes, Size first, Size n, E* y) {
    if (kind == FLOATING) load_lines<T>(at, axes, first, n, y);
    else if (kind == WHOLE) load_lines<int64_t>(at, axes, first, n, y);
    else load_lines<uint8_t>(at, axes, first, n, y);
}
template <class T, class E> void store_kind(Size kind, const E* x, const Axes<1>& axes, Size first, Size n, char* at) {
    if (kind == FLOATING) store_lines<E, T>(x, axes, first, n, at);
    else if (kind == WHOLE) store_lines<E, int64_t>(x, axes, first, n, at);
    else store_lines<E, uint8_t>(x, axes, first, n, at);
}

// How the blocks of an input are read: where they lie, from memory prepared before the first, or one by one.
template <class T, class E> struct Input {
    enum Way { in_place, constant, tiled, rows, each } way;
    const char* at;
    Size kind, period;
    Axes<1> axes;
    E* memory;

    // For the elements [first, last), with memory of two blocks.
    void prepare(const Arrays& a, int operand, Size first, Size last, E* to) {
        constexpr Size block = ELEMENTWISE_BLOCK;
        const Size n = last - first < block ? last - first : block;
        at = a.operands[operand].at, kind = a.operands[operand].kind, memory = to;
        const int number[] = {operand};
        axes = axes_of(a, 0, a.axes, number);
        const bool same = kind == KindOf<E>::value;
        const bool row = axes.count == 0 || axes.strides[0][0] == 1, repeated = axes.count == 2 && axes.strides[0][1] == 0;
        period = axes.count ? axes.sizes[0] : 1;
        way = each;
        if (axes.count == 0 || (axes.count == 1 && axes.strides[0][0] == 0)) {
            way = constant;
            load_kind<T>(kind, at, axes, 0, n, memory);
        } else if (axes.count == 1 && row && same) {
            way = in_place;
        } else if (repeated && period <= block) {
            way = tiled;
            const Size wanted = (last - first <= block ? first % period : period) + n;
            load_kind<T>(kind, at, axes, 0, period, memory);
            for (Size ready = period; ready < wanted; ready *= 2)
                __builtin_memcpy(memory + ready, memory, size_t(wanted - ready < ready ? wanted - ready : ready) * sizeof(E));
        } else if (repeated && row && same) {
            way = rows;
        }
    }
    const E* block(Size first, Size n) const {
        const E* elements = reinterpret_cast<const E*>(at);
        if (way == in_place) return elements + first;
        if (way == constant) return memory;
        if (way == tiled) return memory + first % period;
        if (way == rows && first % period + n <= period) return elements + first % period;
        load_kind<T>(kind, at, axes, first, n, memory);
        return memory;
    }
};

template <class T, class E> void run_elementwise(const Arrays& a, const Elementwise& program, Size first, Size last, E* memory) {
    constexpr Size block = ELEMENTWISE_BLOCK;
    const int inputs = int(a.count) - 1;
    Input<T, E> input[MOST_OPERANDS - 1];
    for (int i = 0; i < inputs; ++i, memory += 2 * block) input[i].prepare(a, i + 1, first, last, memory);
    const E* slots[1 + MOST_OPERANDS - 1 + MOST_REGISTERS] = {};
    const E** slot = slots + 1;  // slot[-1] is none
    for (int i = inputs; i < program.slots; ++i, memory += block) slot[i] = memory;
    const Strided& out = a.operands[0];
    const int number[] = {0};
    const Axes<1> axes = axes_of(a, 0, a.axes, number);
    const bool direct = out.kind == KindOf<E>::value && (axes.count == 0 || (axes.count == 1 && axes.strides[0][0] == 1));
    for (; first < last; first += block) {
        const Size n = last - first < block ? last - first : block;
        for (int i = 0; i < inputs; ++i) slot[i] = input[i].block(first, n);
        E* y = nullptr;
        for (int i = 0; i < program.count; ++i) {
            const Instruction& f = program.instructions[i];
            y = direct && i + 1 == program.count ? reinterpret_cast<E*>(out.at) + first : const_cast<E*>(slot[f.y]);
            Instructions<E>::functions[f.operation](slot[f.a], slot[f.b], slot[f.c], y, n);
        }
        if (!direct) store_kind<T>(out.kind, y, axes, first, n, out.at);
    }
}

// Elements [first, last) of the output in C order, `first` at the beginning of a block.
template <class T> void elementwise(const Arrays& a, const Elementwise& program, Size first, Size last, T* scratch) {
    if (!program.whole) return run_elementwise<T>(a, program, first, last, scratch);
    char* memory = reinterpret_cast<char*>(scratch);
    run_elementwise<T>(a, program, first, last, reinterpret_cast<int64_t*>(memory + -reinterpret_cast<uintptr_t>(memory) % 8));
}
}  // namespace
