"""The options that all estimators share: in every signature and docstring, with one default."""

import inspect
import re

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")

from sklearn.base import clone

from fastdl import estimators
from fastdl.estimators.options import DEFAULTS, Options

ALL = [getattr(estimators, name) for name in ("MLPClassifier", "MLPRegressor", "NetClassifier", "NetRegressor")]


@pytest.mark.parametrize("estimator", ALL)
def test_the_shared_options_are_in_the_signature_and_are_set(estimator):
    parameters = inspect.signature(estimator).parameters
    assert all(each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL) for each in parameters.values())
    made = estimator()
    assert vars(made).keys() == parameters.keys() == made.get_params().keys()
    for name, value in DEFAULTS.items():
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[name].default is value
        assert getattr(made, name) is value


@pytest.mark.parametrize("estimator", ALL)
def test_a_docstring_names_each_argument_and_holds_no_place(estimator):
    text = estimator.__doc__
    assert not re.search(r"^ *\{\w+\}$", text, re.MULTILINE)
    arguments = text.partition("Args:")[2].partition("Attributes:")[0]
    for name in inspect.signature(estimator).parameters:
        assert re.search(rf"\b{name}\b", arguments) or (name == "power_t" and "^power_t" in arguments)
    assert "\n\n    Attributes:\n        " in text


def test_options_have_types_and_defaults():
    assert Options.__annotations__.keys() == DEFAULTS.keys()


@pytest.mark.parametrize("estimator", ALL)
def test_options_that_are_given_are_set_and_cloned(estimator):
    made = estimator(solver="sgd", rho=0.5, callbacks=None, loss="mine")
    twin = clone(made)
    assert (twin.solver, twin.rho, twin.alpha, twin.loss) == ("sgd", 0.5, 0.0001, "mine")
    assert twin.get_params() == made.get_params()


@pytest.mark.parametrize("estimator", ALL)
def test_an_unknown_option_is_refused_as_python_does(estimator):
    words = re.escape(f"{estimator.__name__}.__init__() got an unexpected keyword argument 'momentun'")
    with pytest.raises(TypeError, match=f"^{words}$"):
        estimator(solver="sgd", momentun=0.5)
