# How many threads a kernel uses, and what each of them does first.
cdef extern from "denormal.hpp" namespace "fastdl" nogil:
    cdef cppclass FlushDenormals:
        void on() noexcept

# The threads that `work` scalar operations repay: one for little work, else the setting.
cdef int threads_for(double work) noexcept nogil
# Let the calling thread use n from now on, whatever the setting becomes, or follow it again (0); returns what it was told before.
cdef int hold_threads(int n) noexcept nogil
