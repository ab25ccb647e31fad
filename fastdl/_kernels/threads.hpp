// OpenMP where the compiler has it, one thread where not; and what a fork leaves of it.
#pragma once
#if FASTDL_OPENMP
#include <omp.h>
#endif
#include <pthread.h>

namespace fastdl {
// GNU's OpenMP hangs when a forked child starts a team, so a child stays on one thread.
inline bool forked = false;
inline void watch_forks() { pthread_atfork(nullptr, nullptr, [] { forked = true; }); }

inline int openmp_threads() {
#if FASTDL_OPENMP
    return forked ? 1 : omp_get_max_threads();
#else
    return 1;
#endif
}
inline void set_openmp_threads(int n) {
#if FASTDL_OPENMP
    omp_set_num_threads(n);
#else
    (void)n;
#endif
}
// What the calling thread is held to, whatever the setting becomes meanwhile; 0 for nothing.
inline int& held_threads() {
    static thread_local int held = 0;
    return held;
}
inline int openmp_version() {
#if FASTDL_OPENMP
    return _OPENMP;
#else
    return 0;
#endif
}
}  // namespace fastdl
