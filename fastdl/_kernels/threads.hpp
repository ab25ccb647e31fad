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

// OpenMP keeps a number of threads for each thread that may start a team. `setting` is that of the process, and the count of its
// changes tells a thread whether it still has to take over the latest.
constexpr int most_threads = 1024;
inline int setting = 0;
inline unsigned changes = 0;

inline int processors() {
#if FASTDL_OPENMP
    return omp_get_num_procs();
#else
    return 1;
#endif
}
inline unsigned& followed_changes() {
    static thread_local unsigned seen = 0;
    return seen;
}
// The setting as the calling thread has taken it over: it stays for a whole call, whose scratch memory is for so many threads, though
// others may change the setting meanwhile. 0 before the first time.
inline int& followed_setting() {
    static thread_local int n = 0;
    return n;
}
// Take over the latest setting.
inline void follow_setting() {
    if (followed_changes() == changes && followed_setting()) return;
    followed_changes() = changes;
    followed_setting() = setting;
#if FASTDL_OPENMP
    if (changes) omp_set_num_threads(setting);
#endif
}
inline int openmp_threads() {
#if FASTDL_OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}
inline void set_threads(int n) {
    setting = n;
    changes += 1;
    follow_setting();
}
// Before any setting: what the environment asks OpenMP for, but no more threads than there are processors.
inline void begin_threads() {
    const int asked = openmp_threads(), most = processors();
    setting = asked < most ? asked : most;
}
// The most threads that the calling thread may start a team of: limits of threadpoolctl are kept to.
inline int available_threads() {
    if (forked) return 1;
    if (!followed_setting()) follow_setting();
    const int openmp = openmp_threads(), n = followed_setting();
    return n < openmp ? n : openmp;
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
