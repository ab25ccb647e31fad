"""NumPy's warnings of floating-point errors, in silence inside a block."""

import numpy as np

cdef extern from *:
    """
    #if PY_VERSION_HEX < 0x030C0000
    #define stop_collections() PyGC_Disable()
    #define collect_again() PyGC_Enable()
    #else
    #define stop_collections() 0
    #define collect_again()
    #endif
    """
    int stop_collections()
    void collect_again()


cdef class Quiet:
    """np.errstate, of the same arguments, that is safe in signal handlers and finalizers.

    It sets a context variable. Before Python 3.12 a collection of garbage may begin amid that, and Python code in the collection,
    that of a finalizer or a signal handler, may set one too, which crashes CPython. So none begins there.
    """

    cdef object errstate

    def __init__(self, **kinds):
        self.errstate = np.errstate(**kinds)

    def __enter__(self) -> None:
        cdef int collects = stop_collections()
        try:
            self.errstate.__enter__()
        finally:
            if collects:
                collect_again()

    def __exit__(self, *exception) -> None:
        cdef int collects = stop_collections()
        try:
            self.errstate.__exit__(*exception)
        finally:
            if collects:
                collect_again()
