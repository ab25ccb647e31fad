# How many threads a kernel uses, and what each of them does first.
cdef extern from "denormal.hpp" namespace "fastdl" nogil:
    cdef cppclass FlushDenormals:
        void on() noexcept

# The threads that `work` scalar operations repay: one for little work, else the setting.
cdef int threads_for(double work) noexcept nogil
# Take over the latest setting: at the beginning of a call, before the size of its scratch memory is asked for. What others set in its
# midst holds from the calling thread's next call on.
cdef void follow_threads() noexcept nogil
# Let the calling thread use n from now on, whatever the setting becomes, or follow it again (0); returns the n that held before.
cdef int hold_threads(int n) noexcept nogil
