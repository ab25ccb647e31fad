"""The stubs of compiled modules, which setup.py writes from their sources: as they are when the modules run."""

import ast
import importlib
import inspect
from pathlib import Path
from types import BuiltinFunctionType

import pytest

import fastdl

KERNELS = Path(fastdl.__file__).parent / "_kernels"
STUBS = sorted(KERNELS.rglob("*.pyi"))


def module_of(stub):
    return importlib.import_module(".".join(("fastdl", *stub.relative_to(KERNELS.parent).with_suffix("").parts)))


def functions(body):
    return {each.name: each.args for each in body if isinstance(each, ast.FunctionDef)}


def parameters(value):
    """Names with defaults, as the call takes them."""
    return [(each.name, each.default is not each.empty) for each in inspect.signature(value).parameters.values()]


def written(arguments):
    names = [each.arg for each in arguments.args]
    required = len(names) - len(arguments.defaults)
    found = [(name, place >= required) for place, name in enumerate(names)]
    return found + [(each.arg, False) for each in (arguments.vararg, arguments.kwarg) if each is not None]


def is_public(name, value, module):
    return not name.startswith("_") and getattr(value, "__module__", "") == module.__name__


def test_every_compiled_module_has_a_stub():
    compiled = {path.name.partition(".")[0] for path in KERNELS.rglob("*.so")}
    assert compiled == {path.stem for path in STUBS}
    assert len(STUBS) > 25


@pytest.mark.parametrize("stub", STUBS, ids=lambda stub: stub.stem)
def test_a_stub_has_the_signatures_that_the_module_has(stub):
    module, body = module_of(stub), ast.parse(stub.read_text()).body
    found = functions(body)
    callables = {
        name: value
        for name, value in vars(module).items()
        if is_public(name, value, module) and callable(value) and not inspect.isclass(value)
    }
    assert found.keys() == callables.keys()
    for name, arguments in found.items():
        if isinstance(callables[name], BuiltinFunctionType):  # made without a signature, on purpose
            continue
        assert written(arguments) == parameters(callables[name]), name


@pytest.mark.parametrize("stub", STUBS, ids=lambda stub: stub.stem)
def test_a_stub_has_the_methods_and_attributes_of_the_modules_classes(stub):
    module = module_of(stub)
    for each in (each for each in ast.parse(stub.read_text()).body if isinstance(each, ast.ClassDef)):
        kind = getattr(module, each.name)
        for name, arguments in functions(each.body).items():
            if name not in ("__init__", "__get__"):  # whose signatures the class keeps to itself
                assert written(arguments) == parameters(getattr(kind, name)), name
        for name in (each.target.id for each in each.body if isinstance(each, ast.AnnAssign)):
            assert inspect.isdatadescriptor(getattr(kind, name)), name
        public = {name for name in vars(kind) if not name.startswith("_")}
        assert public <= {*functions(each.body), *(a.target.id for a in each.body if isinstance(a, ast.AnnAssign))}


@pytest.mark.parametrize("stub", STUBS, ids=lambda stub: stub.stem)
def test_a_stubs_constants_are_there(stub):
    module = module_of(stub)
    for each in ast.parse(stub.read_text()).body:
        if isinstance(each, ast.AnnAssign) and each.target.id != "Array":
            assert hasattr(module, each.target.id)
