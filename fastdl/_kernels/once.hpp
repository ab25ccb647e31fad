// Numbers that another thread or process may change while kernels read them: looked at and used as one and the same.
#pragma once
#include <cstdint>

namespace fastdl {
inline int64_t read_once(const int64_t* place) { return *static_cast<const volatile int64_t*>(place); }
}  // namespace fastdl
