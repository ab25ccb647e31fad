"""Whether forward keeps what backward needs: settings of the calling thread, asked for in every call of a layer."""

cdef extern from *:
    """
    static thread_local bool fastdl_keeps = true;
    static thread_local bool fastdl_repeats = false;
    static thread_local bool fastdl_traces = false;
    static thread_local bool fastdl_eager = false;
    """
    bint fastdl_keeps
    bint fastdl_repeats
    bint fastdl_traces
    bint fastdl_eager


cdef bint keeps() noexcept nogil:
    return fastdl_keeps


cdef bint traces() noexcept nogil:
    return fastdl_traces


cdef bint repeats() noexcept nogil:
    return fastdl_repeats


cdef bint runs_eagerly() noexcept nogil:
    return fastdl_eager


cdef class Mode:
    """The settings, as attributes."""

    @property
    def enabled(self):
        """Whether forward keeps what backward needs."""
        return fastdl_keeps

    @enabled.setter
    def enabled(self, bint value):
        global fastdl_keeps
        fastdl_keeps = value

    @property
    def traces(self):
        """Whether the thread is in traced code."""
        return fastdl_traces

    @traces.setter
    def traces(self, bint value):
        global fastdl_traces
        fastdl_traces = value

    @property
    def eager(self):
        """Whether what is traced otherwise is computed at once, as Python comes to it."""
        return fastdl_eager

    @eager.setter
    def eager(self, bint value):
        global fastdl_eager
        fastdl_eager = value

    @property
    def repeats(self):
        """Whether several backwards may follow a forward."""
        return fastdl_repeats

    @repeats.setter
    def repeats(self, bint value):
        global fastdl_repeats
        fastdl_repeats = value


cdef class Pause:
    """Keeps nothing inside the block; one object may be entered again inside (up to 64 times)."""

    cdef unsigned long long outer

    def __enter__(self):
        global fastdl_keeps
        self.outer = self.outer << 1 | fastdl_keeps
        fastdl_keeps = False

    def __exit__(self, *exception):
        global fastdl_keeps
        fastdl_keeps = self.outer & 1
        self.outer >>= 1
