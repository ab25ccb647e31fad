# The threads that kernels share their tasks with, how many a kernel uses, and what each of them does first.
cdef extern from "denormal.hpp" namespace "fastdl" nogil:
    cdef cppclass FlushDenormals:
        void on() noexcept

cdef extern from "workers.hpp" namespace "fastdl" nogil:
    # What several tasks may say at once, of a flag that is down before.
    void raise_flag(bint* flag) noexcept

    cdef cppclass Workers:
        # f(task, arguments...), behind f as they are written here, for each task below count, by up to so many threads.
        void run(int threads, Py_ssize_t count, ...) noexcept
        # f(task, thread, arguments...): no two tasks at the same time have the same thread, a number below `threads`.
        void run_numbered(int threads, Py_ssize_t count, ...) noexcept

cdef Workers* workers
# The threads that `work` scalar operations repay: one for little work, else the setting.
cdef int threads_for(double work) noexcept nogil
# Take over the latest setting: at the beginning of a call, before the size of its scratch memory is asked for. What others set in its
# midst holds from the calling thread's next call on.
cdef void follow_threads() noexcept nogil
# Let the calling thread use n from now on, whatever the setting becomes, or follow it again (0); returns the n that held before.
cdef int hold_threads(int n) noexcept nogil
