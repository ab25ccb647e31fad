"""An attribute that has another value inside a block."""


cdef class Replaced:
    """Sets an attribute on entry, and on exit to what it was before.

    No Python code runs on the way in and out: the error of a signal handler comes before or after, never in between.
    """

    cdef object owner, name, value, before

    def __init__(self, owner: object, str name not None, value: object):
        self.owner, self.name, self.value = owner, name, value

    def __enter__(self):
        self.before = getattr(self.owner, self.name)
        setattr(self.owner, self.name, self.value)

    def __exit__(self, *exception):
        setattr(self.owner, self.name, self.before)
