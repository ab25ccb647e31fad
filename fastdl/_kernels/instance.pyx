"""Instances that have their dictionary of attributes from the beginning."""

cimport cython


@cython.binding(False)  # a built-in function: inspect.signature looks at a class's __init__ alone
def with_dictionary(cls, *arguments, **options):
    """Make an instance as the next `__new__` of the class does, and its dictionary; a base class's `__new__`.

    CPython makes the dictionary at the first `vars(instance)`. Before Python 3.12 a collection of garbage may begin amid that,
    and code that runs in it, or in another thread meanwhile, may ask for the same dictionary: there would be two of them, which
    free the same memory, and the interpreter would crash. Nobody else has an instance that is only being made.
    """
    new = object.__new__
    behind = False
    for base in cls.__mro__:
        own = vars(base).get("__new__")
        own = getattr(own, "__func__", own)
        if own is with_dictionary:
            behind = True
        elif behind and own is not None:
            new = base.__new__
            break
    if new is not object.__new__:
        instance = new(cls, *arguments, **options)
    elif (arguments or options) and cls.__init__ is object.__init__:
        raise TypeError(f"{cls.__name__}() takes no arguments")
    else:
        instance = new(cls)
    if not instance.__dict__:
        instance.__dict__ = {}  # a table of its own: CPython finds its entries faster than those of one that instances share
    return instance
