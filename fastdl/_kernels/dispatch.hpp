// One call for both types of elements: a kernel for float or the same for double, whichever the arrays hold.
#pragma once

namespace fastdl {

// An address that any kernel takes, whatever it points to.
struct Address {
    void* at;
    template <class T> operator T*() const noexcept { return static_cast<T*>(at); }
};

inline Address untyped(const void* at) noexcept { return {const_cast<void*>(at)}; }

template <class Float, class Double, class... Arguments>
inline auto dispatch(bool floats, Float of_floats, Double of_doubles, Arguments... arguments) {
    return floats ? of_floats(arguments...) : of_doubles(arguments...);
}

}  // namespace fastdl
