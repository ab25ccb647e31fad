// Which of the compiled-in tables this processor can run, best last. Compiled with baseline flags.
#pragma once
#include "core/table.hpp"

namespace fastdl {
#if defined(__clang__)
inline const char* compiler_version() { return "clang " __clang_version__; }
#else
inline const char* compiler_version() { return "gcc " __VERSION__; }
#endif

#if defined(__x86_64__)
namespace v2 { extern const Table table; }
namespace v3 { extern const Table table; }
namespace v4 { extern const Table table; }
inline int available_tables(const Table** tables) {
    __builtin_cpu_init();
    int n = 0;
#if defined(__clang__)
    // clang's __builtin_cpu_supports takes feature names only: those that tell the levels apart.
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt")) tables[n++] = &v2::table;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) tables[n++] = &v3::table;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        tables[n++] = &v4::table;
#else
    if (__builtin_cpu_supports("x86-64-v2")) tables[n++] = &v2::table;
    if (__builtin_cpu_supports("x86-64-v3")) tables[n++] = &v3::table;
    if (__builtin_cpu_supports("x86-64-v4")) tables[n++] = &v4::table;
#endif
    return n;
}
#else
namespace portable { extern const Table table; }
inline int available_tables(const Table** tables) {
    tables[0] = &portable::table;
    return 1;
}
#endif
}  // namespace fastdl
