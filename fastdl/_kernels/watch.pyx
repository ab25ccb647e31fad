"""Whether a model is as it was: what its modules hold, and its parameters' arrays, compared by identity."""

cimport numpy as cnp
from cpython.dict cimport PyDict_GetItem, PyDict_Items, PyDict_Next, PyDict_Size
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.set cimport PySet_Contains

cnp.import_array()

cdef extern from *:
    """
    // What changes with each change of a dictionary (PEP 509), up to Python 3.12; 0 where there is no such number.
    #if PY_VERSION_HEX < 0x030D0000
    static inline unsigned long long dictionary_version(PyObject* dictionary) {
    #pragma GCC diagnostic push
    #pragma GCC diagnostic ignored "-Wdeprecated-declarations"
        return ((PyDictObject*)dictionary)->ma_version_tag;
    #pragma GCC diagnostic pop
    }
    #else
    #define dictionary_version(dictionary) 0
    #endif
    """
    unsigned long long dictionary_version(object dictionary)

cdef extern from "Python.h":
    ctypedef struct PyTypeObject:
        PyObject* tp_dict
    PyObject* PyCell_GET(object cell)
    PyObject* PyFunction_GetCode(object function)
    PyObject* PyFunction_GetDefaults(object function)
    PyObject* PyFunction_GetKwDefaults(object function)


# Stands for what a dictionary does not have.
ABSENT = object()  # type: object


def attributes_of(kind) -> dict[str, Any]:
    """Return the dictionary of a class's own attributes, to be read alone."""
    if not isinstance(kind, type):
        raise TypeError(f"attributes_of: expected a class, got {kind!r}")
    return <dict>(<PyTypeObject*>kind).tp_dict


cdef bint holds(list entries) except -1:
    """Whether (dictionary, name, value) still hold the same objects."""
    cdef tuple entry
    cdef PyObject* value
    for entry in entries:
        value = PyDict_GetItem(entry[0], entry[1])
        if value != <PyObject*>entry[2] and (value != NULL or entry[2] is not ABSENT):
            return False
    return True


cdef inline bint still(PyObject* now, object before) noexcept:
    return now == <PyObject*>before or (now == NULL and before is None)


cdef object content_of(descriptor, one):
    """What a slot of an object holds."""
    try:
        return descriptor.__get__(one)
    except AttributeError:  # not set
        return ABSENT


cdef class Read:
    """Holds what code has read of its surroundings, compared by identity.

    `remember` takes (dictionary, name, value), (dictionary, its size), (cell, value), (function, code, defaults, defaults by name)
    and (slot's descriptor, object, value).
    """

    def __init__(self):
        self.entries, self.sizes, self.cells, self.functions, self.slots = [], [], [], [], []

    def __reduce__(self):
        raise TypeError("Read: expected to stay in its process, for it knows objects by their addresses; make it again")

    def remember(
        self, list entries not None, list sizes not None, list cells not None, list functions not None, list slots not None,
    ):
        """Set what was read."""
        self.entries, self.sizes, self.cells, self.functions, self.slots = entries, sizes, cells, functions, slots

    cdef bint same(self) except -1:
        """Whether all of it is the same objects."""
        cdef tuple entry
        for entry in self.functions:
            if (PyFunction_GetCode(entry[0]) != <PyObject*>entry[1] or not still(PyFunction_GetDefaults(entry[0]), entry[2])
                    or not still(PyFunction_GetKwDefaults(entry[0]), entry[3])):
                return False
        for entry in self.sizes:
            if PyDict_Size(entry[0]) != <Py_ssize_t>entry[1]:
                return False
        if not holds(self.entries):
            return False
        for entry in self.cells:
            if PyCell_GET(entry[0]) != <PyObject*>entry[1]:
                return False
        for entry in self.slots:
            if content_of(entry[0], entry[1]) is not entry[2]:
                return False
        return True

    def as_read(self) -> bool:
        """Tell whether all of it is the same objects."""
        return self.same()


def content_of_slot(descriptor, one) -> Any:
    """Return what a slot of an object holds, or ABSENT."""
    return content_of(descriptor, one)


cdef class Watch:
    """Holds what was read of some dictionaries and parameters.

    Args:
        dictionaries: those of modules; an entry that comes or goes counts as well.
        passing: names of entries that may change, come and go.
        parameters: which must keep their dtype and shape.
        kind: their class, which counts its instances' moves.
        in_place: whether they must keep their arrays too, and stay frozen or not.
        as_frozen: whether they must stay frozen or not.
    """

    def __init__(
        self, dictionaries: Iterable[dict[str, Any]], passing: Collection[str], parameters: Iterable[Any], kind, in_place: bool = False,
        as_frozen: bool = False,
    ):
        self.kind, self.moves, self.in_place, self.passing = kind, kind.changes, in_place, frozenset(passing)
        self.as_frozen = in_place or as_frozen
        self.dictionaries = list(dictionaries)
        # Unlike dict.copy, PyDict_Items allows for a collection of garbage that changes the dictionary meanwhile.
        items = [PyDict_Items(each) for each in self.dictionaries]
        self.entries = [
            (each, name, value)
            for each, pairs in zip(self.dictionaries, items)
            for name, value in pairs
            if name not in self.passing
        ]
        self.looked_at = <LookedAt*>PyMem_Calloc(max(1, len(self.entries)), sizeof(LookedAt))
        self.watched = <Watched*>PyMem_Calloc(max(1, len(items)), sizeof(Watched))
        if self.looked_at == NULL or self.watched == NULL:
            raise MemoryError("fastdl: no memory to watch a model with")
        for number, pairs in enumerate(items):
            self.watched[number].size = len(pairs)
            self.watched[number].entries = sum([name not in self.passing for name, _ in pairs])
        for number, (_, name, value) in enumerate(self.entries):
            self.looked_at[number].name, self.looked_at[number].value = <PyObject*>name, <PyObject*>value
        self.parameters = [(each, each._data, each._grad, each._requires_grad) for each in parameters]

    def __dealloc__(self):
        PyMem_Free(self.looked_at)
        PyMem_Free(self.watched)

    def __reduce__(self):
        raise TypeError("Watch: expected to stay in its process, for it holds addresses; make it again")

    cdef bint unchanged(self) except -1:
        """Whether everything is as it was."""
        cdef LookedAt* entry = self.looked_at
        cdef LookedAt* end
        cdef Watched* watched = self.watched
        cdef Py_ssize_t number, size
        cdef unsigned long long version
        cdef object dictionary
        for number in range(PyList_GET_SIZE(self.dictionaries)):
            dictionary = <object>PyList_GET_ITEM(self.dictionaries, number)
            end = entry + watched.entries
            version = dictionary_version(dictionary)
            if version == 0 or version != watched.version:
                size = PyDict_Size(dictionary)
                if size != watched.size:
                    if self.counted(dictionary) != watched.entries:
                        return False
                    watched.size = size
                while entry < end:
                    if PyDict_GetItem(dictionary, <object>entry.name) != entry.value:
                        return False
                    entry += 1
                watched.version = version
            entry = end
            watched += 1
        return self.parameters_fit()

    cdef Py_ssize_t counted(self, dictionary) except -1:
        """How many entries have names that may not come and go."""
        cdef Py_ssize_t place = 0, count = 0
        cdef PyObject* name
        cdef PyObject* value
        while PyDict_Next(dictionary, &place, &name, &value):
            count += not PySet_Contains(self.passing, <object>name)
        return count

    cdef bint parameters_fit(self) except -1:
        """Whether the parameters are as they must be."""
        cdef tuple entry
        cdef cnp.ndarray before, now
        moves = self.kind.changes
        if moves is self.moves:
            return True
        for entry in self.parameters:
            parameter, before = entry[0], <cnp.ndarray>entry[1]
            now = parameter._data
            if self.as_frozen and parameter._requires_grad is not entry[3]:
                return False
            if self.in_place:
                if now is not before or parameter._grad is not entry[2]:
                    return False
            elif cnp.PyArray_TYPE(now) != cnp.PyArray_TYPE(before) or not cnp.PyArray_SAMESHAPE(now, before):
                return False
        self.moves = moves
        return True

    def stands(self) -> bool:
        """Tell whether everything is as it was."""
        return self.unchanged()
