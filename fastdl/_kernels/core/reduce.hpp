// Reductions over some axes of strided arrays.
#pragma once
#include "gemm.hpp"
#include "strided.hpp"

namespace fastdl::FASTDL_LEVEL {

template <class E> struct LimitsOf {
    static constexpr E lowest = -E(__builtin_inf()), highest = E(__builtin_inf());
};
template <> struct LimitsOf<int64_t> { static constexpr int64_t lowest = INT64_MIN, highest = INT64_MAX; };
template <> struct LimitsOf<uint8_t> { static constexpr uint8_t lowest = 0, highest = 1; };

// Combinations of two elements, or of two registers of them; the identity is what nothing comes to.
struct SumOf {
    template <class E> static constexpr E identity = 0;
    static int64_t combined(int64_t a, int64_t b) { return int64_t(uint64_t(a) + uint64_t(b)); }
    template <class V> static V combined(V a, V b) { return a + b; }
};
struct ProductOf {
    template <class E> static constexpr E identity = 1;
    static int64_t combined(int64_t a, int64_t b) { return int64_t(uint64_t(a) * uint64_t(b)); }
    template <class V> static V combined(V a, V b) { return a * b; }
};
// A NaN stays.
struct LargestOf {
    template <class E> static constexpr E identity = LimitsOf<E>::lowest;
    template <class V> static V combined(V a, V b) {
        if constexpr (sizeof(V) == FASTDL_REGISTER_BYTES) return larger_or_nan(a, b);
        else return a != a ? a : a >= b ? a : b;
    }
    template <class V> static auto better(V v, V best) { return (v > best) | ((v != v) & (best == best)); }
};
struct SmallestOf {
    template <class E> static constexpr E identity = LimitsOf<E>::highest;
    template <class V> static V combined(V a, V b) {
        if constexpr (sizeof(V) == FASTDL_REGISTER_BYTES) return -larger_or_nan(-a, -b);
        else return a != a ? a : a <= b ? a : b;
    }
    template <class V> static auto better(V v, V best) { return (v < best) | ((v != v) & (best == best)); }
};

template <class Op, int S, class V> inline V combined_lanes(V v) {
    if constexpr (S > 0) return combined_lanes<Op, S / 2>(Op::combined(v, swapped<S>(v, AllLanes<V>{})));
    else return v;
}

// n contiguous elements. Few are combined in one register, then its lanes, as fold_short_runs does for several runs; more in four.
template <class T> constexpr Size short_run = 16 * lanes<T>;
template <class Op, class T> Vec<T> fold_to_register(const T* x, Size n) {
    const Vec<T> nothing = splat<Vec<T>>(Op::template identity<T>);
    Vec<T> found = nothing;
    Size i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) found = Op::combined(found, load(x + i));
    return i < n ? Op::combined(found, first_or(load_partial(x + i, int(n - i)), nothing, int(n - i))) : found;
}
template <class Op, class T> T fold_stretch(const T* x, Size n) {
    if (n <= short_run<T>) return combined_lanes<Op, lanes<T> / 2>(fold_to_register<Op>(x, n))[0];
    const Vec<T> nothing = splat<Vec<T>>(Op::template identity<T>);
    Vec<T> part[4] = {nothing, nothing, nothing, nothing};
    Size i = 0;
    for (; i + 4 * lanes<T> <= n; i += 4 * lanes<T>)
        for (int j = 0; j < 4; ++j) part[j] = Op::combined(part[j], load(x + i + j * lanes<T>));
    const Vec<T> rest = fold_to_register<Op>(x + i, n - i);
    const Vec<T> found = Op::combined(Op::combined(part[0], part[1]), Op::combined(part[2], part[3]));
    return combined_lanes<Op, lanes<T> / 2>(Op::combined(found, rest))[0];
}
// Long ones in stretches; sums of floats are added in double precision.
template <class Op, class T> T fold_run(const T* x, Size n) {
    constexpr Size stretch = 2048;
    if (n <= stretch) return fold_stretch<Op>(x, n);
    double y = Op::template identity<double>;
    for (Size i = 0; i < n; i += stretch) y = Op::combined(y, double(fold_stretch<Op>(x + i, n - i < stretch ? n - i : stretch)));
    return T(y);
}
template <class Op> int64_t fold_run(const int64_t* x, Size n) {
    int64_t y = Op::template identity<int64_t>;
    for (Size i = 0; i < n; ++i) y = Op::combined(y, x[i]);
    return y;
}
template <class Op> uint8_t fold_run(const uint8_t* x, Size n) {
    uint8_t y = Op::template identity<uint8_t>;
    for (Size i = 0; i < n; ++i) y = Op::combined(y, x[i]);
    return y;
}

// A plane: `kept` results, each of n elements.
struct Plane { Size kept, kept_stride, n, stride, y_stride; };

template <class Op, class E> inline void put(E found, bool combine, E* y) { *y = combine ? Op::combined(*y, found) : found; }

// Each register combined over its lanes, r[0] in the lane of its number; see sum_each.
template <class Op, class T, int S = lanes<T> / 2> inline void combine_each(Vec<T> (&r)[lanes<T>]) {
    if constexpr (S > 0) {
#pragma GCC unroll 8
        for (int i = 0; i < S; ++i) {
            swap_blocks<T, S>(r[i], r[i + S], AllLanes<Vec<T>>{});
            r[i] = Op::combined(r[i], r[i + S]);
        }
        combine_each<Op, T, S / 2>(r);
    }
}
template <class Op, class T> inline void put_register(Vec<T> found, int count, bool combine, T* y, Size y_stride) {
    if (y_stride == 1) {
        if (combine) found = Op::combined(load_partial(y, count), found);
        store_partial(y, found, count);
    } else {
        for (int i = 0; i < count; ++i) put<Op>(T(found[i]), combine, y + i * y_stride);
    }
}

// Results of two contiguous elements each.
template <class Op, class T, int... I> inline Vec<T> combined_pairs(Vec<T> a, Vec<T> b, Lanes<I...>) {
    return Op::combined(__builtin_shufflevector(a, b, (2 * I)...), __builtin_shufflevector(a, b, (2 * I + 1)...));
}
template <class Op, class T> void fold_pairs(const T* x, const Plane& p, bool combine, T* y) {
    constexpr int W = lanes<T>;
    for (Size i = 0; i < p.kept; i += W) {
        const int count = int(p.kept - i < W ? p.kept - i : W), first = 2 * count < W ? 2 * count : W;
        const Vec<T> a = load_partial(x + 2 * i, first), b = load_partial(x + 2 * i + W, 2 * count - first);
        put_register<Op, T>(combined_pairs<Op, T>(a, b, AllLanes<Vec<T>>{}), count, combine, y + i * p.y_stride, p.y_stride);
    }
}
// Results of a few contiguous elements each, as many at a time as a register has lanes.
template <class Op, class T> void fold_short_runs(const T* x, const Plane& p, bool combine, T* y) {
    constexpr int W = lanes<T>;
    const Vec<T> nothing = splat<Vec<T>>(Op::template identity<T>);
    for (Size i = 0; i < p.kept; i += W) {
        const int count = int(p.kept - i < W ? p.kept - i : W);
        Vec<T> r[W];
#pragma GCC unroll 16
        for (int j = 0; j < W; ++j) {
            const T* run = x + (i + j) * p.kept_stride;
            r[j] = j < count ? fold_to_register<Op>(run, p.n) : nothing;
        }
        combine_each<Op, T>(r);
        put_register<Op, T>(r[0], count, combine, y + i * p.y_stride, p.y_stride);
    }
}
// Lines of a few elements one behind the other, as long as a register at most: as many lines as it has lanes are as many registers
// as the line has elements.
template <class Op, class T> void fold_narrow_lines(const T* x, const Plane& p, bool combine, T* y) {
    constexpr int W = lanes<T>;
    constexpr Size most = 256 * W;  // lines whose partial results are kept apart
    for (Size row = 0; row < p.n; row += most) {
        const Size rows = p.n - row < most ? p.n - row : most, whole = rows / W;
        const T* line = x + row * p.kept;
        Vec<T> part[W];
        for (int j = 0; j < p.kept; ++j) part[j] = splat<Vec<T>>(Op::template identity<T>);
        for (Size i = 0; i < whole; ++i, line += p.kept * W)
            for (int j = 0; j < p.kept; ++j) part[j] = Op::combined(part[j], load(line + j * W));
        T all[W * W];
        for (int j = 0; j < p.kept; ++j) store(all + j * W, part[j]);
        for (Size i = 0; i < p.kept; ++i) {
            T found = all[i];
            for (int j = 1; j < W; ++j) found = Op::combined(found, all[j * p.kept + i]);
            for (Size j = 0; j < rows - whole * W; ++j) found = Op::combined(found, line[j * p.kept + i]);
            put<Op>(found, combine || row > 0, y + i * p.y_stride);
        }
    }
}
// Contiguous lines, eight at a time.
template <class Op, class E> inline E combined_lines(const E (&v)[8]) {
    const E first = Op::combined(Op::combined(v[0], v[1]), Op::combined(v[2], v[3]));
    return Op::combined(first, Op::combined(Op::combined(v[4], v[5]), Op::combined(v[6], v[7])));
}
template <class Op, class T> inline void fold_eight_lines(const T* x, Size stride, Size n, bool combine, T* y) {
    each_register<T>(n, [&](Size i, auto lanes) {
        Vec<T> v[8];
        for (int j = 0; j < 8; ++j) v[j] = lanes.load(x + j * stride + i);
        const Vec<T> found = combined_lines<Op>(v);
        lanes.store(y + i, combine ? Op::combined(lanes.load(y + i), found) : found);
    });
}
template <class Op, class T> inline void fold_line(const T* x, Size n, T* y) {
    each_register<T>(n, [&](Size i, auto lanes) { lanes.store(y + i, Op::combined(lanes.load(y + i), lanes.load(x + i))); });
}
// The same, of other elements.
#define FASTDL_ELEMENTS(E)                                                                                            \
    template <class Op> inline void fold_eight_lines(const E* x, Size stride, Size n, bool combine, E* y) {           \
        for (Size i = 0; i < n; ++i) {                                                                                \
            const E* a = x + i;                                                                                       \
            const E v[8] = {a[0], a[stride], a[2 * stride], a[3 * stride], a[4 * stride], a[5 * stride],              \
                            a[6 * stride], a[7 * stride]};                                                            \
            const E found = combined_lines<Op>(v);                                                                    \
            y[i] = combine ? Op::combined(y[i], found) : found;                                                       \
        }                                                                                                             \
    }                                                                                                                 \
    template <class Op> inline void fold_line(const E* x, Size n, E* y) {                                             \
        for (Size i = 0; i < n; ++i) y[i] = Op::combined(y[i], x[i]);                                                 \
    }
FASTDL_ELEMENTS(int64_t)
FASTDL_ELEMENTS(uint8_t)
#undef FASTDL_ELEMENTS
template <class Op, class E> void fold_lines(const E* x, const Plane& p, bool combine, E* y) {
    Size row = 0;
    if (!combine && p.n < 8) {
        __builtin_memcpy(y, x, size_t(p.kept) * sizeof(E));
        row = 1;
    }
    for (; row + 8 <= p.n; row += 8) fold_eight_lines<Op>(x + row * p.stride, p.stride, p.kept, combine || row > 0, y);
    for (; row < p.n; ++row) fold_line<Op>(x + row * p.stride, p.kept, y);
}

// How a plane is gone through; the order of sums follows from it.
enum class Way { pairs, short_runs, narrow_lines, lines, runs };
template <class E> inline Way way_through(const Plane& p) {
    if constexpr (is_floating<E>) {
        constexpr Size W = lanes<E>;
        if (p.stride == 1 && p.n == 2 && p.kept_stride == 2) return Way::pairs;
        if (p.stride == 1 && p.n <= short_run<E> && p.kept > 1) return Way::short_runs;
        if (p.kept_stride == 1 && p.stride == p.kept && p.kept <= W && p.n >= 2 * W) return Way::narrow_lines;
    }
    return p.stride != 1 && (p.kept == 1 || (p.kept_stride == 1 && p.y_stride == 1)) ? Way::lines : Way::runs;
}
// y = the results, or combined with what is there.
template <class Op, class E> void fold_plane(Way way, const E* x, const Plane& p, bool combine, E* y) {
    if constexpr (is_floating<E>) {
        if (way == Way::pairs) return fold_pairs<Op>(x, p, combine, y);
        if (way == Way::short_runs) return fold_short_runs<Op>(x, p, combine, y);
        if (way == Way::narrow_lines) return fold_narrow_lines<Op>(x, p, combine, y);
    }
    if (way == Way::lines) return fold_lines<Op>(x, p, combine, y);
    for (Size i = 0; i < p.kept; ++i) {
        const E* run = x + i * p.kept_stride;
        E found = Op::template identity<E>;
        if (p.stride == 1) found = fold_run<Op>(run, p.n);
        else
            for (Size j = 0; j < p.n; ++j) found = Op::combined(found, run[j * p.stride]);
        put<Op>(found, combine, y + i * p.y_stride);
    }
}

// The places of the first largest or smallest elements; a NaN is larger and smaller than all.
template <class T> struct Best {
    Vec<T> value;
    Mask<T> place;
    template <class Op> void see(Vec<T> v, Size number) {
        const Mask<T> better = Op::better(v, value);
        value = better ? v : value;
        place = better ? (Mask<T>{} + typename Register<T>::Integer(number)) : place;
    }
    void put(int count, int64_t* y, Size y_stride) const {
        for (int i = 0; i < count; ++i) y[i * y_stride] = place[i];
    }
};
template <class Op, class T> void find_in_lines(const T* x, const Plane& p, int64_t* y) {
    for (Size i = 0; i < p.kept; i += lanes<T>) {
        const int count = int(p.kept - i < lanes<T> ? p.kept - i : lanes<T>);
        Best<T> best = {load_partial(x + i, count), Mask<T>{}};
        for (Size row = 1; row < p.n; ++row) best.template see<Op>(load_partial(x + row * p.stride + i, count), row);
        best.put(count, y + i * p.y_stride, p.y_stride);
    }
}
// As many runs at a time as a register has lanes, turned into lines.
template <class Op, class T> void find_in_short_runs(const T* x, const Plane& p, int64_t* y) {
    constexpr int W = lanes<T>;
    for (Size i = 0; i < p.kept; i += W) {
        const int count = int(p.kept - i < W ? p.kept - i : W);
        Best<T> best;
        for (Size k = 0; k < p.n; k += W) {
            const int width = int(p.n - k < W ? p.n - k : W);
            Vec<T> r[W];
#pragma GCC unroll 16
            for (int j = 0; j < W; ++j) r[j] = j < count ? load_partial(x + (i + j) * p.kept_stride + k, width) : Vec<T>{};
            transpose<T>(r);
            if (k == 0) best = Best<T>{r[0], Mask<T>{}};
#pragma GCC unroll 16
            for (int j = 0; j < W; ++j)
                if (j < width) best.template see<Op>(r[j], k + j);
        }
        best.put(count, y + i * p.y_stride, p.y_stride);
    }
}
// The first place of what the whole run comes to.
template <class Op, class T> Size find_in_run(const T* x, Size n) {
    const T best = fold_run<Op>(x, n);
    const Vec<T> wanted = splat<Vec<T>>(best);
    Size i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) {
        const Vec<T> v = load(x + i);
        if (any_true<Vec<T>>((v == wanted) | ((v != v) & (wanted != wanted)))) break;
    }
    for (; i + 1 < n; ++i)
        if (x[i] == best || (x[i] != x[i] && best != best)) break;
    return i;
}
template <class Op, class E> void find_plane(const E* x, const Plane& p, int64_t* y) {
    if constexpr (is_floating<E>) {
        if (p.stride == 1 && p.kept > 1 && p.n <= 4 * lanes<E>) return find_in_short_runs<Op>(x, p, y);
        if (p.stride == 1) {
            for (Size i = 0; i < p.kept; ++i) y[i * p.y_stride] = find_in_run<Op>(x + i * p.kept_stride, p.n);
            return;
        }
        if (p.kept_stride == 1 && p.n < INT32_MAX) return find_in_lines<Op>(x, p, y);
    }
    for (Size i = 0; i < p.kept; ++i) {
        const E* run = x + i * p.kept_stride;
        E best = run[0];
        Size place = 0;
        for (Size j = 1; j < p.n; ++j)
            if (Op::better(run[j * p.stride], best)) best = run[j * p.stride], place = j;
        y[i * p.y_stride] = place;
    }
}

// The axis along which elements are contiguous, else the innermost.
template <int P> inline int contiguous_axis(const Axes<P>& axes) {
    for (int i = 0; i < axes.count; ++i)
        if (axes.strides[0][i] == 1) return i;
    return 0;
}

// What the elements of a plane come to, of whatever kind: sizes of an element and of a result in bytes, and how a plane is gone through.
struct Folding {
    Size element, result;
    bool places;
    Way (*way)(const Plane&);
    void (*fold)(Way, const char* x, const Plane&, bool combine, char* y);
};
template <class Op, class E> void fold_elements(Way way, const char* x, const Plane& p, bool combine, char* y) {
    fold_plane<Op>(way, reinterpret_cast<const E*>(x), p, combine, reinterpret_cast<E*>(y));
}
template <class Op, class E> void find_elements(Way, const char* x, const Plane& p, bool, char* y) {
    find_plane<Op>(reinterpret_cast<const E*>(x), p, reinterpret_cast<int64_t*>(y));
}

// One share of the results: of those of each plane where they are many, else of the planes.
inline void fold(const Arrays& a, const Folding& folding, Size kept, Size share, Size shares) {
    constexpr Size together = 64;
    const int both[] = {1, 0}, one[] = {1};
    const Axes<2> outer = axes_of(a, 0, kept, both);
    const Axes<1> inner = axes_of(a, kept, a.axes, one);
    const int line = contiguous_axis(outer), run = contiguous_axis(inner);
    Plane p = {1, 0, 1, 0, 1};
    if (outer.count) p.kept = outer.sizes[line], p.kept_stride = outer.strides[0][line], p.y_stride = outer.strides[1][line];
    if (inner.count) p.n = inner.sizes[run], p.stride = inner.strides[0][run];
    Way way = folding.way(p);
    const Axes<2> planes = outer.without(line);
    const Axes<1> parts = inner.without(run);
    const bool nothing = inner.total() == 0;
    if (nothing) way = Way::runs, p.n = 0;
    Size from = 0, to = p.kept, first = 0, last = planes.total();
    if (way != Way::narrow_lines && p.kept >= together * shares) {
        const Size groups = (p.kept + together - 1) / together;
        from = groups * share / shares * together, to = groups * (share + 1) / shares * together;
        if (to > p.kept) to = p.kept;
    } else {
        first = last * share / shares, last = last * (share + 1) / shares;
    }
    if (first >= last || from >= to) return;
    const char* x = a.operands[1].at + from * p.kept_stride * folding.element;
    char* y = a.operands[0].at + from * p.y_stride * folding.result;
    p.kept = to - from;
    Walk<2> place(planes, first);
    for (; first < last; ++first, place.step()) {
        Walk<1> part(parts);
        bool combine = false;
        do {
            folding.fold(way, x + (place.at[0] + part.at[0]) * folding.element, p, combine, y + place.at[1] * folding.result);
            combine = true;
        } while (!nothing && !folding.places && part.step());
    }
}

template <class Op, class E> constexpr Folding folding_of = {sizeof(E), sizeof(E), false, way_through<E>, fold_elements<Op, E>};
template <class Op, class E> constexpr Folding search_of = {sizeof(E), sizeof(int64_t), true, way_through<E>, find_elements<Op, E>};
template <class E> void reduce_kind(const Arrays& a, int operation, Size kept, Size share, Size shares) {
    fold(a,
         operation == REDUCE_SUM              ? folding_of<SumOf, E>
         : operation == REDUCE_PRODUCT        ? folding_of<ProductOf, E>
         : operation == REDUCE_LARGEST        ? folding_of<LargestOf, E>
         : operation == REDUCE_SMALLEST       ? folding_of<SmallestOf, E>
         : operation == REDUCE_FIND_LARGEST   ? search_of<LargestOf, E>
                                              : search_of<SmallestOf, E>,
         kept, share, shares);
}
// Any and all are the largest and smallest truth.
template <class T> void reduce(const Arrays& a, int operation, Size kept, Size share, Size shares) {
    const Size kind = a.operands[1].kind;
    if (kind == FLOATING) reduce_kind<T>(a, operation, kept, share, shares);
    else if (kind == WHOLE) reduce_kind<int64_t>(a, operation, kept, share, shares);
    else reduce_kind<uint8_t>(a, operation, kept, share, shares);
}
}  // namespace
