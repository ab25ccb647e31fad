// Threads that wait, without the GIL, until something has changed.
#pragma once
#include <pthread.h>
#include <time.h>

namespace fastdl {
class Changes {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    unsigned long count = 0;
public:
    unsigned long latest() {
        pthread_mutex_lock(&mutex);
        const unsigned long now = count;
        pthread_mutex_unlock(&mutex);
        return now;
    }
    void announce() {
        pthread_mutex_lock(&mutex);
        count += 1;
        pthread_cond_broadcast(&condition);
        pthread_mutex_unlock(&mutex);
    }
    // Until the count is no longer `seen`, but for so many milliseconds at most.
    void wait(unsigned long seen, long milliseconds) {
        timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += milliseconds * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_mutex_lock(&mutex);
        while (count == seen && pthread_cond_timedwait(&condition, &mutex, &until) == 0) {
        }
        pthread_mutex_unlock(&mutex);
    }
    // In a forked child: another thread may have held the mutex.
    void renew() {
        mutex = PTHREAD_MUTEX_INITIALIZER;
        condition = PTHREAD_COND_INITIALIZER;
    }
};
}  // namespace fastdl
