// Going through strided arrays: the axes of some operands, merged where they continue each other, and a walk over them in C order.
#pragma once
#include "table.hpp"
#include "vec.hpp"

namespace fastdl::FASTDL_LEVEL {

// Axes from the innermost on, with the strides of P operands along each.
template <int P> struct Axes {
    int count = 0;
    Size sizes[MOST_AXES], strides[P][MOST_AXES];

    // A further axis outside of the others: left out where its size is 1, merged where it continues the last.
    void add(Size size, const Size (&stride)[P]) {
        if (size == 1) return;
        bool continues = count > 0;
        for (int p = 0; p < P && continues; ++p) continues = stride[p] == strides[p][count - 1] * sizes[count - 1];
        if (continues) {
            sizes[count - 1] *= size;
            return;
        }
        sizes[count] = size;
        for (int p = 0; p < P; ++p) strides[p][count] = stride[p];
        ++count;
    }
    Size total() const {
        Size product = 1;
        for (int i = 0; i < count; ++i) product *= sizes[i];
        return product;
    }
    // The axes without one of them.
    Axes without(int axis) const {
        Axes rest;
        for (int i = 0; i < count; ++i) {
            if (i == axis) continue;
            rest.sizes[rest.count] = sizes[i];
            for (int p = 0; p < P; ++p) rest.strides[p][rest.count] = strides[p][i];
            ++rest.count;
        }
        return rest;
    }
};

// The axes [from, to) of an array, for some of its operands.
template <int P> inline Axes<P> axes_of(const Arrays& a, Size from, Size to, const int (&operands)[P]) {
    Axes<P> axes;
    for (Size axis = to - 1; axis >= from; --axis) {
        Size stride[P];
        for (int p = 0; p < P; ++p) stride[p] = a.operands[operands[p]].strides[axis];
        axes.add(a.sizes[axis], stride);
    }
    return axes;
}

// A place on the axes: `at` is how far the operands' elements are from their first ones.
template <int P> struct Walk {
    const Axes<P>& axes;
    Size at[P] = {}, place[MOST_AXES] = {};

    explicit Walk(const Axes<P>& axes) : axes(axes) {}
    Walk(const Axes<P>& axes, Size number) : axes(axes) {
        for (int i = 0; i < axes.count; ++i) {
            place[i] = number % axes.sizes[i];
            number /= axes.sizes[i];
            for (int p = 0; p < P; ++p) at[p] += place[i] * axes.strides[p][i];
        }
    }
    // To the next place along an axis and those outside of it; false after the last.
    bool step(int axis = 0) {
        for (; axis < axes.count; ++axis) {
            for (int p = 0; p < P; ++p) at[p] += axes.strides[p][axis];
            if (++place[axis] < axes.sizes[axis]) return true;
            for (int p = 0; p < P; ++p) at[p] -= place[axis] * axes.strides[p][axis];
            place[axis] = 0;
        }
        return false;
    }
    // Some places along an axis whose inner ones are at their start: no further than the axis goes.
    bool advance(int axis, Size places) {
        for (int p = 0; p < P; ++p) at[p] += (places - 1) * axes.strides[p][axis];
        place[axis] += places - 1;
        return step(axis);
    }
    // The rest of the innermost axis, at once.
    bool skip_line() {
        if (axes.count == 0) return false;
        for (int p = 0; p < P; ++p) at[p] -= place[0] * axes.strides[p][0];
        place[0] = 0;
        return step(1);
    }
};

template <class E> inline constexpr bool is_floating = false;
template <> inline constexpr bool is_floating<float> = true;
template <> inline constexpr bool is_floating<double> = true;

template <class T> struct KindOf { static constexpr Size value = FLOATING; };
template <> struct KindOf<int64_t> { static constexpr Size value = WHOLE; };
template <> struct KindOf<uint8_t> { static constexpr Size value = TRUTH; };
}  // namespace
