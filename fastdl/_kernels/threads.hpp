// How many threads kernels use: one setting for the whole process, and what a thread has taken over of it.
#pragma once
#include "thread_pool.hpp"

namespace fastdl {
inline std::atomic<int> setting{1};

// What the calling thread is limited to beside the setting; 0 for nothing.
inline int& limit() {
    static thread_local int n = 0;
    return n;
}

// What the calling thread is held to, whatever the setting becomes meanwhile; 0 for nothing.
inline int& held_threads() {
    static thread_local int held = 0;
    return held;
}
// The setting as the calling thread has taken it over: it stays for a whole call, whose scratch memory is for so many threads, though
// others may change the setting meanwhile. 0 before the first time.
inline int& followed_setting() {
    static thread_local int n = 0;
    return n;
}
inline void follow_setting() {
    const int n = setting.load(std::memory_order_relaxed), most = limit();
    followed_setting() = most && most < n ? most : n;
}
inline int available_threads() {
    if (!followed_setting()) follow_setting();
    return followed_setting();
}
inline void set_threads(int n) {
    setting = n;
    limit() = 0;
    follow_setting();
}

// Made once and never freed: its threads may outlive everything else in the process.
inline ThreadPool* make_pool() {
    static ThreadPool* const pool = new ThreadPool(held_threads);
    pthread_atfork(nullptr, nullptr, [] { pool->begin_in_child(); });
    return pool;
}
}  // namespace fastdl

// What threadpoolctl calls. A limit is that of the calling thread, and as much as the setting is none.
extern "C" {
__attribute__((visibility("default"), used)) inline int fastdl_get_num_threads() {
    fastdl::follow_setting();
    return fastdl::available_threads();
}
__attribute__((visibility("default"), used)) inline void fastdl_limit_threads(int n) {
    fastdl::limit() = n < 1 || n == fastdl::setting.load(std::memory_order_relaxed) ? 0 : n;
    fastdl::follow_setting();
}
}
