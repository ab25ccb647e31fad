"""How the parts of a model are found: nothing is passed over in silence, however it is held."""

import collections
import copy
import pickle
import types

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.nn.copying import copy_of
from fastdl.nn.walk import DEEPEST

X = np.ones((8, 2), np.float32)


class Net(nn.Module):
    """A body in an attribute of any kind, and a head."""

    def __init__(self, body, first=lambda body: body[0]):
        self.body, self.head, self.first = body, nn.Linear(8, 1), first

    def forward(self, x):
        return self.head.forward(self.first(self.body).forward(x))

    def backward(self, grad_output):
        return self.first(self.body).backward(self.head.backward(grad_output))


def objects(part):
    array = np.empty(1, object)
    array[0] = part
    return array


CONTAINERS = {
    "list": (lambda part: [part], "Linear in the list body[0]", "List"),
    "tuple": (lambda part: (1, part), "Linear in the tuple body[1]", "List"),
    "dict": (lambda part: {"a": part}, "Linear in the dict body['a']", "Dict"),
    "key": (lambda part: {part: 1}, "Linear in the dict body, a key", "Dict"),
    "set": (lambda part: {part}, "Linear in the set body, an element", "List"),
    "frozenset": (lambda part: frozenset([part]), "Linear in the frozenset body, an element", "List"),
    "deque": (lambda part: collections.deque([part]), "Linear in the deque body[0]", "List"),
    "named tuple": (lambda part: collections.namedtuple("Pair", "a b")(0, part), "Linear in the Pair body[1]", "List"),
    "ordered": (lambda part: collections.OrderedDict(a=part), "Linear in the OrderedDict body['a']", "Dict"),
    "user list": (lambda part: collections.UserList([part]), "Linear in the UserList body[0]", "List"),
    "user dict": (lambda part: collections.UserDict({"a": part}), "Linear in the UserDict body['a']", "Dict"),
    "proxy": (lambda part: types.MappingProxyType({"a": part}), "Linear in the mappingproxy body['a']", "Dict"),
    "array": (objects, "Linear in the ndarray body[0]", "List"),
    "lists": (lambda part: [[0], [1, {"a": (part,)}]], "Linear in the list body[1][1]['a'][0]", "List"),
    "dictionaries": (lambda part: {"a": {"b": [part]}}, "Linear in the dict body['a']['b'][0]", "Dict"),
}
ASKING = {
    "parameters": lambda model: next(model.parameters()),
    "named_parameters": lambda model: next(model.named_parameters()),
    "modules": lambda model: next(model.modules()),
    "named_modules": lambda model: next(model.named_modules()),
    "buffers": lambda model: next(model.buffers()),
    "state_dict": lambda model: model.state_dict(),
    "load_state_dict": lambda model: model.load_state_dict({}),
    "train": lambda model: model.train(),
    "eval": lambda model: model.eval(),
    "zero_grad": lambda model: model.zero_grad(),
    "astype": lambda model: model.astype(np.float64),
    "requires_grad_": lambda model: model.requires_grad_(False),
    "reset_parameters": lambda model: model.reset_parameters(0),
    "summary": lambda model: model.summary(2),
    "optimizer": lambda model: optim.SGD(model.parameters(), lr=0.1),
    "trainer": lambda model: Trainer(model, nn.MSELoss(), optim.SGD(model.head.parameters(), lr=0.1)),
    "save": lambda model: fastdl.save(model, "refused.safetensors"),
    "inside": lambda model: nn.Sequential(nn.ReLU(), model).state_dict(),
    "deeper": lambda model: optim.SGD(Net([nn.Sequential(model)] and nn.Sequential(model)).parameters(), lr=0.1),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_modules_in_plain_containers_are_refused_in_a_sentence(name):
    make, where, collection = CONTAINERS[name]
    model = Net(make(nn.Linear(2, 8)))
    with pytest.raises(TypeError) as caught:
        optim.SGD(model.parameters(), lr=0.1)
    assert str(caught.value) == (
        f"Net: expected modules in attributes, nn.ModuleList or nn.ModuleDict, got a {where};"
        f" write self.body = nn.Module{collection}(...)"
    )


@pytest.mark.parametrize("ask", ASKING)
def test_they_are_refused_by_whatever_asks_for_parts(ask, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError, match=r"got a Linear in the list .*body\[0\]"):
        ASKING[ask](Net([nn.Linear(2, 8)]))


def test_a_fit_whose_model_has_got_such_a_list_is_refused():
    model = Net(nn.ModuleList([nn.Linear(2, 8)]))
    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
    model.body = [*model.body]
    with pytest.raises(TypeError, match=r"nn\.ModuleList"):
        trainer.predict(X)


def test_an_attribute_may_be_set_before_it_is_put_right():
    model = Net([])
    model.body.append(nn.Linear(2, 8))
    model.body = nn.ModuleList(model.body)
    before = model.body[0].weight.data.copy()
    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
    trainer.fit(X, X[:, :1], epochs=3, batch_size=4)
    assert (model.body[0].weight.data != before).any()
    assert list(model.state_dict()) == ["body.0.weight", "body.0.bias", "head.weight", "head.bias"]


@pytest.mark.parametrize("wrap", [lambda p: [p], lambda p: {"a": p}, lambda p: ({1: [p]},), lambda p: {p}, objects])
def test_parameters_in_plain_containers_are_refused_as_well(wrap):
    model = Net(wrap(nn.Parameter(np.ones(2))))
    with pytest.raises(
        TypeError, match=r"Net: expected each Parameter in an attribute of its own, got one in the \w+ body"
    ):
        list(model.parameters())
    with pytest.raises(TypeError, match=r"write setattr\(self, 'body_0', parameter\)"):
        model.state_dict()


def test_what_is_in_attributes_as_well_may_be_in_plain_containers():
    model = Net(nn.Linear(2, 8), lambda body: body)
    model.order = [model.body, model.head]
    model.by_name = {"weight": model.head.weight, "modules": {model.body}}
    model.order.append(model.order)
    model.pair, model.array = collections.namedtuple("Pair", "a b")(model.body, 1), objects(model.head)
    model.queue, model.tree = collections.deque([model.head]), collections.OrderedDict(a=[model.body])
    assert len(list(model.parameters())) == 4
    twin = copy_of(model, False)
    assert twin.order[0] is twin.body is not model.body
    assert twin.by_name["modules"] == {twin.body}
    assert twin.order[2] is twin.order
    assert twin.pair == type(model.pair)(twin.body, 1)
    assert [twin.array[0], twin.queue[0], twin.tree["a"][0]] == [twin.head, twin.head, twin.body]
    assert [type(each) for each in (twin.array, twin.queue, twin.tree)] == [
        np.ndarray,
        collections.deque,
        collections.OrderedDict,
    ]
    assert twin.by_name["weight"] is model.head.weight


def test_other_values_may_be_in_any_container():
    model = Net(nn.Linear(2, 8), lambda body: body)
    model.log, model.table, model.kinds = [0.5] * 100_000, {"a": [np.ones(3), "b"]}, [nn.Linear, type]
    model.log.append(model.log)
    assert len(list(model.parameters())) == 4


def test_modules_in_slots_are_refused():
    class Slotted(nn.Module):
        __slots__ = ("layer", "other")

        def __init__(self):
            self.layer = nn.Linear(2, 2)

    with pytest.raises(TypeError, match="got a Linear in the slot layer"):
        list(Slotted().parameters())


@pytest.mark.parametrize("kind", [nn.Sequential, nn.Parallel])
def test_modules_in_attributes_of_a_containers_subclass_are_found(kind):
    class Headed(kind):
        def __init__(self):
            super().__init__(nn.Linear(2, 3))
            self.head = nn.Linear(3, 1)

        def forward(self, x):
            return self.head.forward(super().forward(x))

    assert list(Headed().state_dict()) == ["0.weight", "0.bias", "head.weight", "head.bias"]
    listed = Headed()
    listed.more = [nn.Linear(1, 1)]
    with pytest.raises(TypeError, match=r"Headed: .* in the list more\[0\]"):
        list(listed.parameters())


def test_a_module_that_yields_its_children_itself_may_hold_them_as_it_likes():
    class Own(nn.Module):
        def __init__(self):
            self.held = {"a": [nn.Linear(2, 2)]}

        def named_children(self):
            yield "a", self.held["a"][0]

    assert list(Own().state_dict()) == ["a.weight", "a.bias"]


def nested(levels, make=nn.Sequential):
    model = nn.Linear(2, 2, rng=0)
    for _ in range(levels):
        model = make(model)
    return model


WRAPPERS = {"Sequential": nn.Sequential, "Residual": nn.Residual, "Parallel": nn.Parallel}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_models_nested_to_the_bound_do_everything(wrapper, tmp_path):
    model = nested(DEEPEST - 1, WRAPPERS[wrapper])
    expected = model(X)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy_of(model, False)):
        np.testing.assert_allclose(twin(X), expected, rtol=1e-5)
    assert len(list(model.modules())) == DEEPEST
    assert len(model.summary(2).rows) == DEEPEST
    assert model.summary(2).rows[-1].output_shape == (2,)
    assert repr(model).count("(") >= DEEPEST
    if wrapper == "Sequential":
        model.backward(model(X))
        fastdl.save(model, tmp_path / "deep.safetensors")
        np.testing.assert_array_equal(fastdl.load(tmp_path / "deep.safetensors").model.eval()(X), expected)
        trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.0))
        trainer.fit(X, X, epochs=1, batch_size=4)
        np.testing.assert_allclose(trainer.predict(X), expected, rtol=1e-6)


@pytest.mark.parametrize("levels", [DEEPEST, 200, 5000])
def test_deeper_sequentials_are_refused_when_they_are_made(levels):
    with pytest.raises(ValueError, match=f"expected modules in at most {DEEPEST} levels, one in another, got more"):
        nested(levels)


class Box(nn.Module):
    def __init__(self, inside):
        self.inside = inside


@pytest.mark.parametrize("make", [Box, nn.Residual, lambda module: nn.ModuleList([module])])
@pytest.mark.parametrize("levels", [DEEPEST, 200, 5000])
def test_other_modules_that_are_deeper_are_refused_when_they_are_looked_through(make, levels):
    model = nested(levels, make)
    for ask in (lambda: list(model.parameters()), model.state_dict, lambda: list(model.modules())):
        with pytest.raises(ValueError, match=f"expected modules in at most {DEEPEST} levels"):
            ask()


def test_a_module_that_holds_itself_is_refused():
    model = Box(Box(nn.ReLU()))
    model.inside.outside = model
    for ask in (lambda: list(model.parameters()), model.state_dict, lambda: list(model.modules())):
        with pytest.raises(ValueError, match="Box: expected modules inside each other, got one that holds itself"):
            ask()


@pytest.mark.parametrize("length", [1500, pytest.param(5000, marks=pytest.mark.slow)])  # beyond Python's 1000 frames
def test_rows_of_any_length_are_walked(length):
    model = nn.Sequential(*[nn.ReLU() for _ in range(length)], nn.Linear(2, 1))
    assert len(list(model.modules())) == length + 2
    assert list(model.state_dict()) == [f"{length}.weight", f"{length}.bias"]
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy_of(model, False)):
        assert twin(X).shape == (8, 1)
    for _ in range(3):  # and as one program
        model.backward(model(X))
    assert model.spec().count("ReLU") == length
    assert len(model.summary(2).rows) == length + 2
