"""Options of objects: attributes that are checked whenever they are assigned."""

from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject

cdef extern from "Python.h":
    object PyObject_GenericGetDict(object instance, void* context)


cdef class Option:
    """An attribute of a class's instances; an assignment checks the value as the constructor does, which assigns it as well.

    A value that is refused leaves the one before. The value is kept in the instance's dictionary, where whoever watches the
    instance sees a change.

    Args:
        check: is called with a value, the option's name and the name of the instance's class, and returns the value to keep.
        default: the value of instances whose constructor has assigned none.
        stored: the name of the entry that holds the value, where kernels' callers read it; the option's own by default.
        fixed: what the value decides once and for all, for the error of assigning another.
        method: the name of the instance's method that is called instead of `check`, with the value by the option's name; it
            checks the value beside those of other options, and keeps them.
    """

    cdef object check, default, fixed, method
    cdef str name, stored

    def __init__(self, check=None, default=..., stored=None, fixed=None, method=None):
        self.check, self.default, self.stored, self.fixed, self.method = check, default, stored, fixed, method

    def __set_name__(self, owner, str name not None):
        self.name = name
        if self.stored is None:
            self.stored = name

    def __get__(self, instance, owner) -> Any:
        cdef PyObject* value
        if instance is None:
            return self
        value = PyDict_GetItemWithError(PyObject_GenericGetDict(instance, NULL), self.stored)
        if value != NULL:
            return <object>value
        if self.default is ...:
            raise AttributeError(f"{type(instance).__name__} has no {self.name} yet: call super().__init__")
        return self.default

    def __set__(self, instance, value) -> None:
        kind = type(instance).__name__
        if self.method is not None:
            getattr(instance, self.method)(**{self.name: value})
            return
        kept = value if self.check is None else self.check(value, self.name, kind)
        attributes = instance.__dict__
        if self.fixed is not None and self.stored in attributes and attributes[self.stored] != kept:
            raise AttributeError(
                f"{kind}: {self.name} decides {self.fixed}; expected {attributes[self.stored]!r}, as it was made, got {kept!r}: "
                f"make another {kind}"
            )
        attributes[self.stored] = kept

    def __delete__(self, instance):
        raise AttributeError(f"{type(instance).__name__}: expected {self.name} to stay; assign another value")
