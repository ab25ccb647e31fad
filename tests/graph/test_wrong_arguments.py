"""What NumPy's functions refuse, traces refuse too, in one sentence; what both take has one shape."""

from itertools import product

import numpy as np
import pytest

import fastdl.graph.functions  # noqa: F401 - lets NumPy's functions take values
from fastdl.graph.graph import Graph

SHAPES = [(3,), (3, 1), (3, 4), (4,), (1,), (3, 4, 2), (4, 2), (2, 3)]
AXES = [0, 1, 2, -1, -3, (0, 1), (0, 0), None, 1.5]
OF_AXES = ["sum", "mean", "max", "argmax", "cumsum", "sort", "argsort", "prod", "var", "std", "all", "any", "flip"]
ARGUMENTS = {
    "squeeze": [(0,), (1,), (None,), (5,)],
    "transpose": [((0, 1),), ((1, 0),), ((0,),), ((0, 0),), ((2, 1, 0),)],
    "reshape": [((2,),), ((6,),), ((-1, 2),), ((-1, -1),), ((0,),), ((3, 4),)],
    "swapaxes": [(0, 1), (0, 0), (0, 5), (0, -1)],
    "moveaxis": [(0, 1), (0, 3), ((0, 1), 1), ((0, 1), (1, 0))],
    "expand_dims": [(0,), (1,), (5,), (-1,), ((0, 1),), ((0, 0),)],
    "repeat": [(2,), (2, 1), (-1,), (0,), (2.5,)],
    "tile": [(2,), ((2, 1),), (-1,)],
    "broadcast_to": [((3, 4),), ((2, 2),), ((5, 3),)],
    "split": [(2,), (3,), (0,), (5,), (2.5,)],
    "roll": [(1,), (1, 0), (1, 7)],
}
KEYS = [0, 5, -4, (0, 0), (0, 0, 0), (slice(None), 0), (slice(None), 9), None, ..., (..., 7), slice(9, 10), [0, 1], [5]]
KEYS += [[[0, 1]], (slice(None), [0, 1]), (slice(None), [9]), (slice(None),) * 4, (..., [1])]


def calls(name):
    """Functions of one array and the array, with arguments that fit or not."""
    rng = np.random.default_rng(0)
    arrays = [rng.random(shape).astype(np.float32) for shape in SHAPES]
    function = getattr(np, name, None)
    if name in OF_AXES:
        yield from ((lambda x, axis=axis: function(x, axis=axis), x) for x in arrays for axis in AXES)
    elif name in ARGUMENTS:
        yield from ((lambda x, given=given: function(x, *given), x) for x in arrays for given in ARGUMENTS[name])
    elif name == "index":
        yield from ((lambda x, key=key: x[key], x) for x in arrays for key in KEYS)
    elif name in ("concatenate", "stack"):
        for x, other, axis in product(arrays, arrays, AXES):
            yield lambda x, other=other, axis=axis: function([x, x * 0 + 1, other], axis=axis), x
    elif name in ("take", "take_along_axis"):
        for x, other, axis in product(arrays, arrays, AXES):
            index = (other * 3).astype(int)
            yield lambda x, index=index, axis=axis: function(x, index, axis=axis), x
    else:
        yield from ((lambda x, other=other: function(x, other), x) for x, other in product(arrays, arrays))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [*OF_AXES, *ARGUMENTS, "index", "concatenate", "stack", "take", "take_along_axis", "matmul", "add"]
)
def test_traces_refuse_what_numpy_refuses(name):
    taken = refused = 0
    for function, x in calls(name):
        try:
            want, error = function(x), None
        except Exception as raised:
            want, error = None, raised
        graph = Graph(np.dtype(np.float32), 4)
        with graph.traced():
            value = graph.input("x", x.shape, x.dtype)
            try:
                got = function(value)
            except (TypeError, ValueError) as said:
                assert "expected" in str(said), (x.shape, said)  # noqa: PT017 - of most it is not said which are raised
                refused += 1
                continue
        assert error is None, (x.shape, got, error)
        if not isinstance(got, (tuple, list)):
            assert tuple(got.shape) == np.shape(want)
        taken += 1
    assert taken > 5
    assert refused > 1
