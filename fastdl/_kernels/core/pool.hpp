// Pooling of one image plane: each output is the maximum or the mean of a window, and sends its gradient back there.
#pragma once
#include "run.hpp"

namespace fastdl::FASTDL_LEVEL {

// The places of one output's window that lie in the image: `taps` of them from `begin` on.
struct Window { Size begin, taps; };

inline Window window_of(const PoolAxis& axis, Size o) {
    const Size start = o * axis.stride - axis.padding;
    if (axis.inside_begin <= o && o < axis.inside_end) return {start, axis.taps};
    if (!axis.taps) {
        const Size begin = o * axis.size / axis.outputs;
        return {begin, ((o + 1) * axis.size - 1) / axis.outputs + 1 - begin};
    }
    const Size step = axis.dilation, room = (axis.size - start + step - 1) / step;
    const Size first = start < 0 ? (step - 1 - start) / step : 0, last = room < axis.taps ? room : axis.taps;
    return {start + first * step, last > first ? last - first : 0};
}

// How a register computes outputs side by side: their stride, and their taps where these are 2 or 3 neighbours; 0 is any.
template <int Stride, int Taps> struct Form {};

// run(Form) for outputs at stride 1 or 2 that see all their taps; tells whether they are such.
template <class Run> inline bool with_form(const PoolAxis& columns, Run run) {
    const Size side_by_side = columns.dilation == 1 ? columns.taps : 0;
    if (columns.inside_end <= columns.inside_begin) return false;
    if (columns.stride == 1) {
        if (side_by_side == 2) run(Form<1, 2>{});
        else if (side_by_side == 3) run(Form<1, 3>{});
        else run(Form<1, 0>{});
        return true;
    }
    if (columns.stride != 2 || columns.taps < 2) return false;
    if (side_by_side == 2) run(Form<2, 2>{});
    else if (side_by_side == 3) run(Form<2, 3>{});
    else run(Form<2, 0>{});
    return true;
}

template <class V, int... I> inline V first_half_twice(V v, Lanes<I...>) { return __builtin_shufflevector(v, v, (I / 2)...); }
template <class V, int... I> inline V second_half_twice(V v, Lanes<I...>) {
    return __builtin_shufflevector(v, v, (int(sizeof...(I)) / 2 + I / 2)...);
}
template <class T, int... I> inline Mask<T> count_up(Lanes<I...>) { return Mask<T>{I...}; }

// As each_register, for a body that may do an element twice: where a run ends inside a register, the last one goes back.
template <class T, class Body> inline void cover(Size n, Body body) {
    Size i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) body(i, Whole{});
    if (i < n && n > lanes<T>) body(n - lanes<T>, Whole{});
    else if (i < n) body(i, Part{int(n)});
}

// The two registers of 2 n elements that n outputs at stride 2 read from or write to.
template <class T> struct Two { Vec<T> first, second; };
template <class T> inline Two<T> load_two(const T* p, Whole) { return {load(p), load(p + lanes<T>)}; }
template <class T> inline Two<T> load_two(const T* p, Part part) {
    const int n = 2 * part.n;
    return n <= lanes<T> ? Two<T>{load_partial(p, n), Vec<T>{}} : Two<T>{load(p), load_partial(p + lanes<T>, n - lanes<T>)};
}
template <class T> inline void store_two(T* p, Two<T> v, Whole) {
    store(p, v.first);
    store(p + lanes<T>, v.second);
}
template <class T> inline void store_two(T* p, Two<T> v, Part part) {
    const int n = 2 * part.n;
    if (n <= lanes<T>) return store_partial(p, v.first, n);
    store(p, v.first);
    store_partial(p + lanes<T>, v.second, n - lanes<T>);
}

// A register of elements `stride` apart; at the end of a run, what lies behind is filled with the last.
template <class T, int... I> inline Vec<T> load_apart(const T* p, Size stride, int n, Lanes<I...>) {
    return Vec<T>{p[(I < n ? I : n - 1) * stride]...};
}
template <class T> inline Vec<T> load_apart(const T* p, Size stride, Whole) {
    return load_apart(p, stride, lanes<T>, AllLanes<Vec<T>>{});
}
template <class T> inline Vec<T> load_apart(const T* p, Size stride, Part part) {
    return load_apart(p, stride, part.n, AllLanes<Vec<T>>{});
}

// The elements x[offset + o stride] of outputs o. At stride 2, nothing is read before the first output's first tap, or after the
// last one's last: a tap that is not the first is found at the odd places behind the element before it.
template <int Stride, class T, class Reach> inline Vec<T> tap(const T* x, Size offset, Size stride, Reach reach) {
    if constexpr (Stride == 1) return reach.load(x + offset);
    else if constexpr (Stride == 2) {
        const Two<T> v = load_two(offset ? x + offset - 1 : x, reach);
        return offset ? odd_places(v.first, v.second, AllLanes<Vec<T>>{}) : even_places(v.first, v.second, AllLanes<Vec<T>>{});
    } else return load_apart(x + offset, stride, reach);
}

// visit(the elements of outputs side by side, their offsets from each window's first) for each tap, row by row.
template <class T, int Stride, int Taps, class Reach, class Visit>
inline void each_tap(
    const T* x, Form<Stride, Taps>, Size rows, Size row_step, const PoolAxis& columns, Reach reach, Visit visit) {
    typedef typename Register<T>::Integer Integer;
    for (Size i = 0; i < rows; ++i, x += row_step) {
        const Mask<T> offset = Integer(i * row_step) - Mask<T>{};
        if constexpr (Taps > 0) {
#pragma GCC unroll 3
            for (int j = 0; j < Taps; ++j) visit(tap<Stride>(x, j, Stride, reach), offset + j);
        } else {
            for (Size j = 0; j < columns.taps * columns.dilation; j += columns.dilation)
                visit(tap<Stride>(x, j, columns.stride, reach), offset + Integer(j));
        }
    }
}

// Positions in the plane, beside the elements of a register.
template <class T> inline void store_positions(int32_t* p, Mask<T> v, Whole) { store_integers(p, v, lanes<T>); }
template <class T> inline void store_positions(int32_t* p, Mask<T> v, Part part) { store_integers(p, v, part.n); }
template <class T> inline Mask<T> load_positions(const int32_t* p, Whole) { return load_integers<T>(p, lanes<T>); }
template <class T> inline Mask<T> load_positions(const int32_t* p, Part part) { return load_integers<T>(p, part.n); }

template <class T> constexpr T infinity = T(__builtin_inf());

// The largest of the elements seen so far in each lane, and its offset: the first of equals, the last NaN.
template <class T> struct Largest {
    Vec<T> value = splat<Vec<T>>(-infinity<T>);
    Mask<T> offset{};
    void see(Vec<T> v, Mask<T> its_offset) {
        offset = ((v > value) | (v != v)) ? its_offset : offset;
        value = larger_or_nan(v, value);
    }
};

constexpr bool of_pairs(Form<2, 2>) { return true; }
template <int Stride, int Taps> constexpr bool of_pairs(Form<Stride, Taps>) { return false; }

// The same for windows of two by two, their four elements compared at once; false where one of these may be no number.
template <class T, class Reach> inline bool largest_of_four(const T* x, Size width, Reach reach, Largest<T>& largest) {
    typedef typename Register<T>::Integer Integer;
    const AllLanes<Vec<T>> all;
    const Two<T> top = load_two(x, reach), bottom = load_two(x + width, reach);
    const Vec<T> a = even_places(top.first, top.second, all), b = odd_places(top.first, top.second, all);
    const Vec<T> c = even_places(bottom.first, bottom.second, all), d = odd_places(bottom.first, bottom.second, all);
    if (any_nan((a + b) + (c + d))) return false;
    const Vec<T> value = larger(larger(d, c), larger(b, a));
    const Mask<T> zero{}, below = zero + Integer(width);
    largest.value = value;
    largest.offset = value == a ? zero : value == b ? zero + 1 : value == c ? below : below + 1;
    return true;
}

// One output; returns the position of its maximum, -1 where the window holds nothing. In a register, so that nothing branches.
template <class T>
inline Size max_of_window(const T* x, Size width, Window row, Size row_step, Window column, Size step, T* y) {
    const T* const corner = x + row.begin * width + column.begin;
    typedef typename Register<T>::Integer Integer;
    Largest<T> largest;
    for (Size i = 0; i < row.taps; ++i)
        for (Size j = 0; j < column.taps; ++j) {
            const Size offset = i * row_step + j * step;
            largest.see(Vec<T>{corner[offset]}, Mask<T>{Integer(offset)});
        }
    *y = largest.value[0];
    return row.taps && column.taps ? corner - x + largest.offset[0] : -1;
}

template <class T> void max_pool(const T* x, const PoolAxis& rows, const PoolAxis& columns, T* y, int32_t* index) {
    const Size width = columns.size, row_step = rows.dilation * width;
    const Size first = columns.inside_begin, inside = columns.inside_end - first;
    typedef typename Register<T>::Integer Integer;
    for (Size o = 0; o < rows.outputs; ++o, y += columns.outputs) {
        const Window row = window_of(rows, o);
        auto one_by_one = [&](Size begin, Size end) {
            for (Size p = begin; p < end; ++p) {
                const Size where = max_of_window(x, width, row, row_step, window_of(columns, p), columns.dilation, y + p);
                if (index) index[p] = int32_t(where);
            }
        };
        auto side_by_side = [&](auto form) {
            const Size corner = row.begin * width + first * columns.stride - columns.padding;
            cover<T>(inside, [&](Size p, auto lanes) {
                const Size start = corner + p * columns.stride;
                Largest<T> largest;
                auto see = [&](Vec<T> v, Mask<T> offset) { largest.see(v, offset); };
                if (!of_pairs(form) || row.taps != 2 || !largest_of_four(x + start, row_step, lanes, largest))
                    each_tap(x + start, form, row.taps, row_step, columns, lanes, see);
                lanes.store(y + first + p, largest.value);
                if (index) {
                    const Mask<T> corners = Integer(start) + Integer(columns.stride) * count_up<T>(AllLanes<Vec<T>>{});
                    store_positions<T>(index + first + p, corners + largest.offset, lanes);
                }
            });
            one_by_one(0, first);
            one_by_one(columns.inside_end, columns.outputs);
        };
        if (!row.taps) one_by_one(0, columns.outputs);
        else if (!with_form(columns, side_by_side)) {
            if (inside >= lanes<T> / 4) side_by_side(Form<0, 0>{});
            else one_by_one(0, columns.outputs);
        }
        if (index) index += columns.outputs;
    }
}

// Windows of 2 x 2 side by side: every element of gx belongs to one output at most, and is written once.
template <class T>
inline void max_pool_backward_2x2(const T* gy, const int32_t* index, const PoolAxis& rows, const PoolAxis& columns, T* gx) {
    const Size width = columns.size;
    typedef typename Register<T>::Integer Integer;
    const AllLanes<Vec<T>> all;
    Size position = 0;  // of the row of gx
    for (Size o = 0; o < rows.outputs; ++o, gy += columns.outputs, index += columns.outputs) {
        const Size taps = window_of(rows, o).taps;
        cover<T>(columns.inside_end, [&](Size p, auto lanes) {
            const Vec<T> g = lanes.load(gy + p), first = first_half_twice(g, all), second = second_half_twice(g, all);
            const Mask<T> at = load_positions<T>(index + p, lanes) - Integer(position + 2 * p), place = count_up<T>(all);
            Mask<T> at_first = first_half_twice(at, all), at_second = second_half_twice(at, all) - FASTDL_LEVEL::lanes<T>;
            for (Size i = 0; i < taps; ++i, at_first -= Integer(width), at_second -= Integer(width)) {
                const Two<T> v = {at_first == place ? first : Vec<T>{}, at_second == place ? second : Vec<T>{}};
                store_two(gx + i * width + 2 * p, v, lanes);
            }
        });
        for (Size i = 0; i < taps; ++i, position += width, gx += width)
            for (Size w = 2 * columns.inside_end; w < width; ++w)
                gx[w] = w / 2 < columns.outputs && index[w / 2] == position + w ? gy[w / 2] : 0;
    }
    clear(gx, rows.size * width - position);
}

template <class T>
void max_pool_backward(const T* gy, const int32_t* index, const PoolAxis& rows, const PoolAxis& columns, T* gx) {
    auto two = [](const PoolAxis& axis) { return axis.taps == 2 && axis.stride == 2 && axis.dilation == 1 && !axis.padding; };
    if (two(rows) && two(columns)) return max_pool_backward_2x2(gy, index, rows, columns, gx);
    clear(gx, rows.size * columns.size);
    for (Size o = 0; o < rows.outputs * columns.outputs; ++o)
        if (index[o] >= 0) gx[index[o]] += gy[o];
}

// What one axis contributes to the number that a sum is divided by.
inline Size places(const PoolAxis& axis, Size o, Window seen, bool count_padding) {
    if (!axis.taps || !count_padding) return seen.taps;
    const Size start = o * axis.stride - axis.padding, end = axis.size + axis.padding;
    return start + axis.taps < end ? axis.taps : end - start;
}

template <class T> inline T sum_of_window(const T* x, Size width, Size rows, Size taps) {
    if (taps == width) return sum_of<T>(rows * width, [&](Size i, auto lanes) { return lanes.load(x + i); });
    Vec<T> total{};
    for (Size i = 0; i < rows; ++i, x += width)
        each_register<T>(taps, [&](Size j, auto lanes) { total += lanes.load(x + j); });
    return sum(total);
}

// `divisor` is 0 where each window's own number of places counts.
template <class T>
void avg_pool(const T* x, const PoolAxis& rows, const PoolAxis& columns, bool count_padding, Size divisor, T* y) {
    const Size width = columns.size, first = columns.inside_begin;
    for (Size o = 0; o < rows.outputs; ++o, y += columns.outputs) {
        const Window row = window_of(rows, o);
        const Size row_places = places(rows, o, row, count_padding);
        const T* const first_row = x + row.begin * width;
        auto one_by_one = [&](Size begin, Size end) {
            for (Size p = begin; p < end; ++p) {
                const Window column = window_of(columns, p);
                const Size own = row_places * places(columns, p, column, count_padding);
                y[p] = sum_of_window(first_row + column.begin, width, row.taps, column.taps) / T(divisor ? divisor : own);
            }
        };
        auto side_by_side = [&](auto form) {
            const T* const corner = first_row + first * columns.stride - columns.padding;
            const Vec<T> over = splat<Vec<T>>(T(divisor ? divisor : row_places * columns.taps));
            cover<T>(columns.inside_end - first, [&](Size p, auto lanes) {
                Vec<T> total{};
                auto add = [&](Vec<T> v, Mask<T>) { total += v; };
                each_tap(corner + p * columns.stride, form, row.taps, width, columns, lanes, add);
                lanes.store(y + first + p, total / over);
            });
            one_by_one(0, first);
            one_by_one(columns.inside_end, columns.outputs);
        };
        if (!with_form(columns, side_by_side)) one_by_one(0, columns.outputs);
    }
}

// Adds to each element of a row of gx what the outputs that see it send.
template <class T>
inline void spread(const T* gy, const PoolAxis& columns, bool count_padding, Size divisor, Size row_places, T* gx) {
    auto one_by_one = [&](Size begin, Size end) {
        for (Size p = begin; p < end; ++p) {
            const Window column = window_of(columns, p);
            const Size own = row_places * places(columns, p, column, count_padding);
            const T g = gy[p] / T(divisor ? divisor : own);
            for (Size j = 0; j < column.taps; ++j) gx[column.begin + j] += g;
        }
    };
    if (columns.stride != 2 || columns.taps < 2) return one_by_one(0, columns.outputs);
    const Size first = columns.inside_begin, inside = columns.inside_end - first;
    const AllLanes<Vec<T>> all;
    const Vec<T> over = splat<Vec<T>>(T(divisor ? divisor : row_places * columns.taps));
    // Each output's gradient to those of two places, from tap j on, that `mask` names.
    auto add = [&](Size j, Mask<T> mask) {
        T* const corner = gx + first * 2 - columns.padding + j;
        each_register<T>(inside, [&](Size p, auto lanes) {
            const Vec<T> g = lanes.load(gy + first + p) / over;
            Two<T> v = load_two(corner + 2 * p, lanes);
            v.first += mask ? first_half_twice(g, all) : Vec<T>{};
            v.second += mask ? second_half_twice(g, all) : Vec<T>{};
            store_two(corner + 2 * p, v, lanes);
        });
    };
    for (Size j = 0; j + 1 < columns.taps; j += 2) add(j, Mask<T>{} - 1);
    if (columns.taps % 2) add(columns.taps - 2, -(count_up<T>(all) & 1));
    one_by_one(0, first);
    one_by_one(columns.inside_end, columns.outputs);
}

// Row by row of gy: rows of gx that no window has reached before are stored, the others added to.
template <class T>
void avg_pool_backward(const T* gy, const PoolAxis& rows, const PoolAxis& columns, bool count_padding, Size divisor, T* gx) {
    const Size width = columns.size;
    Size reached = 0;
    for (Size o = 0; o < rows.outputs; ++o, gy += columns.outputs) {
        const Window row = window_of(rows, o);
        const Size end = row.begin + row.taps, row_places = places(rows, o, row, count_padding);
        auto send = [&](Size h) { spread(gy, columns, count_padding, divisor, row_places, gx + h * width); };
        if (end <= reached) {
            for (Size h = row.begin; h < end; ++h) send(h);
            continue;
        }
        const Size fresh = row.begin > reached ? row.begin : reached;
        const T* const sent = gx + fresh * width;
        clear(gx + reached * width, (fresh + 1 - reached) * width);
        send(fresh);
        for (Size h = row.begin; h < fresh; ++h) add_rows(sent, 1, width, gx + h * width);
        for (Size h = fresh + 1; h < end; ++h) __builtin_memcpy(gx + h * width, sent, width * sizeof(T));
        reached = end;
    }
    clear(gx + reached * width, (rows.size - reached) * width);
}
}  // namespace
