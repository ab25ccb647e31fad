"""Whether forward keeps what backward needs: a setting of the calling thread, asked for in every call of a layer."""

cdef extern from *:
    """
    static thread_local bool fastdl_keeps = true;
    """
    bint fastdl_keeps


cdef class Mode:
    """The setting, as an attribute."""

    @property
    def enabled(self):
        return fastdl_keeps

    @enabled.setter
    def enabled(self, bint value):
        global fastdl_keeps
        fastdl_keeps = value


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
