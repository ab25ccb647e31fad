"""scipy.special's ufuncs on traced values: its values, and gradients as central differences have them."""

import warnings

import numpy as np
import pytest

import fastdl
from fastdl import nn
from tests.graph.test_functions import check

special = pytest.importorskip("scipy.special")

X = np.random.default_rng(0).uniform(0.1, 0.9, (3, 4))
Y = np.random.default_rng(1).uniform(0.5, 2, (3, 4))
ONE = ["entr", "erf", "exp2", "expit", "expm1", "log1p", "log_expit", "logit"]
TWO = ["xlogy", "xlog1py"]


@pytest.mark.parametrize("name", ONE)
def test_functions_of_one_array(name):
    check(getattr(special, name), X)


@pytest.mark.parametrize("name", TWO)
def test_functions_of_two_arrays(name):
    check(getattr(special, name), X, Y)


class Of(nn.Module):
    """A function of inputs in a program."""

    def __init__(self, function):
        self.scale, self.function = nn.Parameter(np.ones(1)), function

    def forward(self, *inputs):
        return self.function(*(each * self.scale for each in inputs))


ENDS = np.array([0.0, -0.0, 1, -1, 30, -30, 800, -800, 1e-20, np.inf, -np.inf, np.nan])


@pytest.mark.parametrize("name", [*ONE, *TWO])
def test_ends_are_those_of_scipy(name):
    function = getattr(special, name)
    given = (ENDS,) if name in ONE else tuple(each.ravel() for each in np.meshgrid(ENDS, ENDS))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = function(*given)
    np.testing.assert_allclose(Of(function)(*given), want, rtol=1e-14, atol=1e-300)


def test_xlogy_has_the_derivatives_that_torch_gives():
    x, y = np.array([0.0, 0.0, 0.0, 2.0]), np.array([0.0, 2.0, -1.0, 3.0])
    of_x, of_y = fastdl.grad(lambda x, y: np.sum(special.xlogy(x, y)), (0, 1))(x, y)
    np.testing.assert_allclose(of_x, [0, np.log(2), 0, np.log(3)])
    np.testing.assert_allclose(of_y, [0, 0, 0, 2 / 3])


def test_others_are_refused_by_their_names():
    with pytest.raises(
        TypeError, match=r"^test_special\.py:\d+: expected .*, got scipy\.special\.gammaln, which traced code"
    ):
        fastdl.grad(lambda x: np.sum(special.gammaln(x)))(X)
    with pytest.raises(TypeError, match=r"got erf \(vectorized\), which traced code cannot use"):
        fastdl.grad(lambda x: np.sum(_own(x)))(X)


def _erf(x):
    return x


_erf.__name__ = "erf"
_own = np.frompyfunc(_erf, 1, 1)
