// Tasks that threads share, as kernels see it: workers.run(threads, count, f, arguments...) calls f(task, arguments...) for every task
// below count and returns when all are done. Each task is done by whichever thread comes to it first, the calling one among them.
//
// What f is called with is copied, so structures go by address. Cython passes the arguments as they are written, and the compiler looks
// at their types.
#pragma once
#include <Python.h>

namespace fastdl {
// What several tasks may say at once.
inline void raise_flag(int* flag) { __atomic_store_n(flag, 1, __ATOMIC_RELAXED); }

template <class T> struct Same { using type = T; };

class Workers {
public:
    template <class... A>
    void run(int threads, Py_ssize_t count, void (*f)(Py_ssize_t, A...), typename Same<A>::type... arguments) {
        auto body = [&](Py_ssize_t task, int) { f(task, arguments...); };
        run_body(threads, count, body);
    }
    // f(task, thread, arguments...): no two tasks that run at the same time have the same thread, a number below `threads`.
    template <class... A>
    void run_numbered(int threads, Py_ssize_t count, void (*f)(Py_ssize_t, int, A...), typename Same<A>::type... arguments) {
        auto body = [&](Py_ssize_t task, int thread) { f(task, thread, arguments...); };
        run_body(threads, count, body);
    }

    using Task = void (*)(void* body, Py_ssize_t task, int thread);
    // Several tasks, also by one thread. A caller that holds the interpreter's lock is without it meanwhile.
    virtual void share(int threads, Py_ssize_t count, Task task, void* body) = 0;

private:
    template <class F>
    void run_body(int threads, Py_ssize_t count, F& body) {
        if (count == 1) body(0, 0);
        if (count <= 1) return;
        share(threads, count, [](void* f, Py_ssize_t task, int thread) { (*static_cast<F*>(f))(task, thread); }, &body);
    }
};
}  // namespace fastdl
