"""Objects that have their dictionary from the beginning are otherwise as any."""

import copy
import inspect
import pickle

import numpy as np
import pytest

from fastdl import nn
from fastdl.instance import WithDictionary


class Plain(WithDictionary):
    pass


class Own(WithDictionary):
    def __init__(self, first, second=2):
        self.first, self.second = first, second


class Counted:
    """A class whose `__new__` takes arguments."""

    def __new__(cls, *arguments, **options):
        instance = super().__new__(cls)
        instance.given = arguments, options
        return instance


class Both(Own, Counted):
    pass


class Listed(Plain, list):
    pass


def test_signatures_are_those_of_init():
    assert str(inspect.signature(Plain)) == "()"
    assert str(inspect.signature(Own)) == "(first, second=2)"
    assert str(inspect.signature(nn.ReLU)) == "()"
    assert list(inspect.signature(nn.Linear).parameters)[:2] == ["in_features", "out_features"]


def test_arguments_that_nothing_takes_are_refused():
    with pytest.raises(TypeError, match=r"Plain\(\) takes no arguments"):
        Plain(1)
    with pytest.raises(TypeError, match=r"ReLU\(\) takes no arguments"):
        nn.ReLU(inplace=True)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        Own()


def test_other_bases_make_the_instance():
    assert Both(1, second=3).given == ((1,), {"second": 3})
    assert Listed([1, 2]) == [1, 2]


def test_copies_and_pickles():
    for each in (copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))):
        twin = each(Own(1, np.arange(3)))
        assert twin.first == 1
        np.testing.assert_array_equal(twin.second, np.arange(3))
