"""Without scikit-learn, the estimators say which extra to install."""

import importlib
import sys

import pytest


def test_without_scikit_learn_the_import_names_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("fastdl.estimators")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r'^fastdl.estimators: needs scikit-learn; write pip install "\.\[skl'):
        importlib.import_module("fastdl.estimators")
