// The threads that share tasks with those who have them (workers.hpp).
//
// A thread of the pool waits for a job in a box of its own: spinning for a short while, then asleep. Who has tasks offers the job to
// those that wait, begins with the tasks itself, and in the end takes back the offers that nobody came to. So it waits for no thread that
// has not begun, and a thread whose core another process has delays it by one piece of the tasks at most. Even that is noticed, and
// nothing is shared for a while after it.
//
// Each thread has a range of the tasks of its own, the same one in every job of so many tasks, since its data may still be in that core's
// cache. It takes pieces of its own range and then of the others'.
#pragma once
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <new>

#include "denormal.hpp"
#include "workers.hpp"

namespace fastdl {
using Nanoseconds = long long;
constexpr int most_threads = 1024;

inline Nanoseconds now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1'000'000'000ll * t.tv_sec + t.tv_nsec;
}

// The time in units of the processor's own, which is read sooner.
inline long long ticks() {
#if defined(__x86_64__)
    return static_cast<long long>(__builtin_ia32_rdtsc());
#else
    return now();
#endif
}

// A moment in a loop that waits for another thread.
inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

class ThreadPool final : public Workers {
    // How long a thread spins before it sleeps: longer than what lies between two loops of a step.
    static constexpr Nanoseconds patience = 200'000;
    // What it takes to wake one, seen from who has the tasks: for less work than this it is not worth it.
    static constexpr Nanoseconds waking = 20'000;
    // A thread that did not run for so long was held up by another process, not by an interrupt.
    static constexpr Nanoseconds held_up = 400'000;
    // For how many times as long as it was held up nothing is shared, and at most.
    static constexpr Nanoseconds factor = 8, longest = 1'000'000'000;
    static constexpr int most_ranges = 64, pieces = 8, line = 64;

    struct alignas(line) Range {
        std::atomic<Py_ssize_t> next;
        Py_ssize_t end, piece;
    };
    struct Job {
        Task task;
        void* body;
        int ranges;
        std::atomic<int> finished{0};  // by how many threads of the pool
        Range range[most_ranges];

        Job(Task task, void* body, Py_ssize_t tasks, int most)
            : task(task), body(body), ranges(most < most_ranges ? most : most_ranges) {
            for (int i = 0; i < ranges; i++) {
                const Py_ssize_t first = tasks * i / ranges, end = tasks * (i + 1) / ranges, piece = (end - first) / pieces;
                range[i].next.store(first, std::memory_order_relaxed);
                range[i].end = end, range[i].piece = piece > 1 ? piece : 1;
            }
        }
        // The tasks of the range of this number, then of those behind it; after each piece `after(its tasks)`.
        template <class F>
        void work(int number, F after) {
            for (int i = 0; i < ranges; i++) {
                Range& own = range[(number + i) % ranges];
                while (own.next.load(std::memory_order_relaxed) < own.end) {
                    const Py_ssize_t first = own.next.fetch_add(own.piece, std::memory_order_relaxed);
                    const Py_ssize_t end = first + own.piece < own.end ? first + own.piece : own.end;
                    if (first >= end) break;  // another thread took the last of them
                    for (Py_ssize_t each = first; each < end; each++) task(body, each, number);
                    after(end - first);
                }
            }
        }
    };
    struct alignas(line) Thread {
        std::atomic<Job*> box{nullptr};
        int number = 0;  // in the job that is offered
        pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
        pthread_cond_t woken = PTHREAD_COND_INITIALIZER;
        ThreadPool* pool = nullptr;
    };
    // What a box holds beside a job that is offered: nothing (its thread spins), or one of these.
    static Job* mark(std::uintptr_t which) { return reinterpret_cast<Job*>(which); }
    static Job* asleep() { return mark(1); }
    static Job* reserved() { return mark(2); }  // someone is about to put a job in
    static Job* taken() { return mark(3); }
    static bool is_asleep(Job* box) { return box == asleep() || box == reserved(); }

    std::atomic<Thread*> threads[most_threads] = {};
    std::atomic<int> count{0};
    std::atomic_flag starting = ATOMIC_FLAG_INIT;
    std::atomic<Nanoseconds> start_again{0};
    // Until when nothing is shared, for how long, and when that began.
    std::atomic<Nanoseconds> alone_until{0}, penalty{0}, last_stop{0};
    // When tasks were last done with threads asleep that could have had some, and how long such tasks took.
    std::atomic<Nanoseconds> last_alone{0}, time_alone{0};
    int& (*held)();  // how many threads the calling one is held to

public:
    explicit ThreadPool(int& (*held_threads)()) : held(held_threads) {}

    void share(int asked, Py_ssize_t tasks, Task task, void* body) override {
        PyThreadState* const interpreter = holds_interpreter() ? PyEval_SaveThread() : nullptr;
        const int held_before = held();
        held() = 1;  // a task shares nothing: its scratch memory is for one thread
        if (asked <= 1 || alone()) {
            for (Py_ssize_t i = 0; i < tasks; i++) task(body, i, 0);
        } else {
            const int most = tasks < asked ? static_cast<int>(tasks) : asked;
            Job job(task, body, tasks, most);
            run(job, tasks, most);
        }
        held() = held_before;
        if (interpreter) PyEval_RestoreThread(interpreter);
    }

    // After a fork there is only the thread that forked; the others' memory is left alone.
    void begin_in_child() {
        count.store(0);
        for (auto& thread : threads) thread.store(nullptr);
        starting.clear();
        start_again.store(0), alone_until.store(0), penalty.store(0);
    }

private:
    static bool holds_interpreter() {
#if PY_VERSION_HEX >= 0x030D0000
        return PyThreadState_GetUnchecked() != nullptr;
#elif PY_VERSION_HEX >= 0x030C0000
        return _PyThreadState_UncheckedGet() != nullptr;
#else
        return PyGILState_Check();
#endif
    }

    // Share the job with up to most - 1 threads of the pool, and see it done.
    void run(Job& job, Py_ssize_t tasks, int most) {
        int offers[most_threads], offered = 0;
        if (count.load(std::memory_order_acquire) < most - 1) start(most - 1);
        offer(job, nullptr, most, offers, offered);
        const long long begun = ticks();
        if (offered == most - 1 || !count.load(std::memory_order_relaxed)) {
            job.work(0, [](Py_ssize_t) {});
        } else {
            work_and_wake(job, tasks, most, offers, offered);
        }
        finish(job, offers, offered, begun);
    }

    // Do tasks, and wake threads as soon as it is seen that they are worth it: for these tasks, or for those of many loops together.
    void work_and_wake(Job& job, Py_ssize_t tasks, int most, int* offers, int& offered) {
        const Nanoseconds begun = now();
        const bool in_a_row = begun - last_alone.load(std::memory_order_relaxed) < patience;
        const Nanoseconds before = in_a_row ? time_alone.load(std::memory_order_relaxed) : 0;
        bool woken = before > 2 * waking;
        Py_ssize_t done = 0;
        if (woken) offer(job, asleep(), most, offers, offered);
        job.work(0, [&](Py_ssize_t piece) {
            done += piece;
            if (woken || (now() - begun) / done * (tasks - done) < waking) return;
            offer(job, asleep(), most, offers, offered);
            woken = true;
        });
        const Nanoseconds end = now();
        time_alone.store(woken ? 0 : before + end - begun, std::memory_order_relaxed);
        last_alone.store(end, std::memory_order_relaxed);
    }

    // Put the job into the boxes that hold `state`.
    void offer(Job& job, Job* state, int most, int* offers, int& offered) {
        const int all = count.load(std::memory_order_acquire);
        for (int i = 0; i < all && offered < most - 1; i++) {
            Thread* thread = threads[i].load(std::memory_order_acquire);
            Job* expected = state;
            if (thread->box.load(std::memory_order_relaxed) != state) continue;
            if (!thread->box.compare_exchange_strong(expected, reserved())) continue;
            thread->number = offered + 1;
            offers[offered++] = i;
            if (state == asleep()) {
                pthread_mutex_lock(&thread->mutex);
                thread->box.store(&job, std::memory_order_release);
                pthread_cond_signal(&thread->woken);
                pthread_mutex_unlock(&thread->mutex);
            } else {
                thread->box.store(&job, std::memory_order_release);
            }
        }
    }

    // Take back the offers that nobody came to, and wait for those who came.
    void finish(Job& job, const int* offers, int offered, long long begun) {
        int came = 0;
        for (int i = 0; i < offered; i++) {
            Job* expected = &job;
            came += !threads[offers[i]].load(std::memory_order_relaxed)->box.compare_exchange_strong(expected, nullptr);
        }
        if (job.finished.load(std::memory_order_acquire) == came) return;
        const long long worked = ticks() - begun;
        Nanoseconds start = 0;
        for (int spins = 0; job.finished.load(std::memory_order_acquire) < came; spins++) {
            if (spins < 1000) {
                pause();
            } else {
                if (!start) start = now();
                sched_yield();
            }
        }
        if (!start) return;
        const Nanoseconds end = now();
        if (end - start > held_up && ticks() - begun > 2 * worked) stop_sharing(end, end - start);
    }

    bool alone() {
        const Nanoseconds until = alone_until.load(std::memory_order_relaxed);
        if (!until) return false;
        if (now() < until) return true;
        alone_until.store(0, std::memory_order_relaxed);
        return false;
    }

    // Another process has the core of one of the threads: the longer, the sooner it happens again.
    void stop_sharing(Nanoseconds at, Nanoseconds lost) {
        const Nanoseconds before = penalty.load(std::memory_order_relaxed), last = last_stop.load(std::memory_order_relaxed);
        Nanoseconds next = factor * lost;
        if (before && at - last < 2 * before) next = next > 2 * before ? next : 2 * before;
        if (next > longest) next = longest;
        penalty.store(next, std::memory_order_relaxed);
        last_stop.store(at, std::memory_order_relaxed);
        alone_until.store(at + next, std::memory_order_relaxed);
    }

    // Have at least so many threads, or as many as can be started.
    void start(int wanted) {
        if (now() < start_again.load(std::memory_order_relaxed) || starting.test_and_set(std::memory_order_acquire)) return;
        sigset_t others, before;
        sigfillset(&others);
        for (int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) sigdelset(&others, own);
        pthread_sigmask(SIG_SETMASK, &others, &before);  // signals are for the interpreter's threads
        pthread_attr_t detached;
        pthread_attr_init(&detached);
        pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
        for (int i = count.load(); i < wanted; i++) {
            Thread* thread = new (std::nothrow) Thread;
            pthread_t handle;
            if (thread) thread->pool = this;
            if (!thread || pthread_create(&handle, &detached, serve, thread)) {
                delete thread;
                start_again.store(now() + 1'000'000'000, std::memory_order_relaxed);
                break;
            }
            threads[i].store(thread, std::memory_order_release);
            count.store(i + 1, std::memory_order_release);
        }
        pthread_attr_destroy(&detached);
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        starting.clear(std::memory_order_release);
    }

    static void* serve(void* given) {
        Thread& self = *static_cast<Thread*>(given);
        ThreadPool& pool = *self.pool;
        FlushDenormals flush;
        flush.on();
        pool.held() = 1;
        while (true) {
            Job* job = pool.wait(self);
            if (!self.box.compare_exchange_strong(job, taken(), std::memory_order_acquire)) continue;
            job->work(self.number, [](Py_ssize_t) {});
            job->finished.fetch_add(1, std::memory_order_release);  // after which the job is no more
            self.box.store(nullptr, std::memory_order_release);
        }
        return nullptr;
    }

    // Until a job is offered.
    Job* wait(Thread& self) {
        Nanoseconds start = now(), last = start;
        for (unsigned spins = 1;; spins++) {
            Job* job = self.box.load(std::memory_order_acquire);
            if (job && job != reserved()) return job;
            pause();
            if (spins % 16) continue;
            const Nanoseconds at = now();
            if (at - last > held_up) stop_sharing(at, at - last), start = at;
            last = at;
            if (at - start > patience) {
                sleep(self);
                start = last = now();
            }
        }
    }

    static void sleep(Thread& self) {
        Job* expected = nullptr;
        if (!self.box.compare_exchange_strong(expected, asleep())) return;
        pthread_mutex_lock(&self.mutex);
        while (is_asleep(self.box.load(std::memory_order_acquire))) pthread_cond_wait(&self.woken, &self.mutex);
        pthread_mutex_unlock(&self.mutex);
    }
};
}  // namespace fastdl
