# The settings of the calling thread for other kernels; see grad_mode.pyx.

# Whether forward keeps what backward needs.
cdef bint keeps() noexcept nogil

# Whether several backwards may follow a forward.
cdef bint repeats() noexcept nogil

# Whether the thread is in traced code.
cdef bint traces() noexcept nogil

# Whether what is traced otherwise is computed at once, as Python comes to it.
cdef bint runs_eagerly() noexcept nogil
