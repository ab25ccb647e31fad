"""ModuleList and ModuleDict: a list and a dictionary whose modules are parts of what holds them."""

import copy
import pickle

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.testing import gradcheck

X = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)


class Listed(nn.Module):
    """Layers in a list, and heads in a dictionary that are added up."""

    def __init__(self, dtype=np.float32):
        self.layers = nn.ModuleList(
            [nn.Linear(3, 4, rng=0, dtype=dtype), nn.Tanh(), nn.Linear(4, 4, rng=1, dtype=dtype)]
        )
        self.heads = nn.ModuleDict({side: nn.Linear(4, 2, rng=2, dtype=dtype) for side in ("left", "right")})

    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return self.heads["left"].forward(x) + self.heads["right"].forward(x)

    def backward(self, grad_output):
        gx = self.heads["left"].backward(grad_output) + self.heads["right"].backward(grad_output)
        for layer in reversed(self.layers):
            gx = layer.backward(gx)
        return gx


NAMES = [
    *("layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"),
    *("heads.left.weight", "heads.left.bias", "heads.right.weight", "heads.right.bias"),
]


def three():
    return nn.Linear(1, 1), nn.ReLU(), nn.Tanh()


def test_what_is_in_them_is_found_trained_and_differentiated():
    model = Listed()
    assert list(model.state_dict()) == NAMES
    before = model.state_dict()
    Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1)).fit(X, X[:, :2], epochs=2, batch_size=4)
    assert all((array != before[name]).any() for name, array in model.state_dict().items())
    assert gradcheck(Listed(np.float64), X.astype(np.float64))


def test_modes_reach_them():
    model = Listed()
    assert not any(module.training for module in model.eval().modules())
    assert all(module.training for module in model.train().modules())


def test_a_container_that_holds_such_a_model_keeps_each_place_apart():
    body = Listed(np.float64)
    twice = nn.Sequential(
        nn.Linear(2, 3, rng=0, dtype=np.float64), body, nn.Linear(2, 3, rng=1, dtype=np.float64), body
    )
    assert gradcheck(twice, np.ones((4, 2)))


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_have_modules_of_their_own(twin):
    model = Listed()
    other = twin(model)
    np.testing.assert_array_equal(other(X), model(X))
    other.layers.append(nn.ReLU())
    other.layers[0].weight.data = np.zeros((4, 3))
    assert len(model.layers) == 3
    assert model.layers[0].weight.data.any()


def test_predictions_are_those_of_the_model_in_evaluation():
    model = Listed()
    model.layers.insert(1, nn.Dropout(0.5))
    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
    predicted = trainer.predict(X)
    assert model.layers[1].training
    np.testing.assert_allclose(predicted, model.eval()(X), rtol=1e-6)


def test_weights_are_saved_and_loaded(tmp_path):
    model, other = Listed(), Listed()
    other.layers[0].weight.data = np.zeros((4, 3))
    fastdl.save(model, tmp_path / "model.safetensors")
    fastdl.load(tmp_path / "model.safetensors", model=other)
    np.testing.assert_array_equal(other(X), model(X))


def test_the_table_of_layers_names_them_by_their_places():
    rows = {row.name: row.output_shape for row in Listed().summary(3).rows}
    assert rows == {
        "": (2,),
        "layers.0": (4,),
        "layers.1": (4,),
        "layers.2": (4,),
        "heads.left": (2,),
        "heads.right": (2,),
    }


def test_a_list_has_a_lists_methods():
    a, b, c = three()
    layers = nn.ModuleList([a])
    assert layers.append(b) is layers
    assert layers.extend([c]) is layers
    assert [*layers] == [a, b, c]
    assert len(layers) == 3
    assert layers[1] is layers[-2] is b
    assert type(layers[1:]) is nn.ModuleList
    assert [*layers[::-1]] == [*reversed(layers)] == [c, b, a]
    assert (layers.index(c), b in layers, nn.ReLU() in layers, layers.count(a)) == (2, True, False, 1)
    layers.insert(1, c)
    assert [*layers] == [a, c, b, c]
    assert (layers.pop(), layers.pop(0)) == (c, a)
    layers[0] = a
    layers[1:] = [b, c]
    assert [*layers] == [a, b, c]
    del layers[0]
    assert [name for name, _ in layers.named_children()] == ["0", "1"]
    del layers[:1]
    layers += [a]
    longer = layers + [b]  # noqa: RUF005
    assert [*longer] == [c, a, b]
    assert [*layers] == [c, a]
    layers.clear()
    assert not len(layers)


def test_a_list_may_be_changed_while_one_goes_through_it():
    layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    seen = [layers.pop(0) for _ in layers]
    assert (len(seen), len(layers)) == (3, 0)


def test_a_list_takes_all_modules_or_none():
    layers = nn.ModuleList([nn.ReLU()])
    with pytest.raises(TypeError, match="ModuleList: expected a Module, got int"):
        layers.extend([nn.Tanh(), 3])
    with pytest.raises(TypeError, match="ModuleList: expected a Module, got int"):
        layers[:] = [nn.Tanh(), 3]
    assert layers.spec() == "ModuleList([ReLU()])"
    layers.extend(layers)
    assert layers.spec() == "ModuleList([ReLU(), ReLU()])"


def test_a_dictionary_has_a_dictionarys_methods():
    a, b, c = three()
    heads = nn.ModuleDict({"a": a})
    heads["b"] = b
    heads.update({"c": c})
    assert [*heads] == [*heads.keys()] == ["a", "b", "c"]
    assert [*heads.values()] == [a, b, c]
    assert [*heads.items()] == [("a", a), ("b", b), ("c", c)]
    assert ("a" in heads, "d" in heads, heads.get("d")) == (True, False, None)
    assert heads.pop("a") is a
    del heads["b"]
    assert len(heads) == 1
    heads.clear()
    heads.update([("x", a)], y=b)
    assert [*heads] == ["x", "y"]
    assert [*nn.ModuleDict(heads)] == ["x", "y"]
    with pytest.raises(KeyError, match="z"):
        heads["z"]


def test_two_collections_of_the_same_modules_are_two():
    a, _, _ = three()
    assert nn.ModuleList([a]) != nn.ModuleList([a])
    assert nn.ModuleDict({"a": a}) != nn.ModuleDict({"a": a})
    assert len({nn.ModuleDict(), nn.ModuleDict(), nn.ModuleList()}) == 3


def test_they_say_what_is_in_them():
    assert repr(nn.ModuleList([nn.Linear(1, 2), nn.ReLU()])) == "ModuleList(\n  (0): Linear(1, 2)\n  (1): ReLU()\n)"
    assert repr(nn.ModuleDict({"a": nn.ReLU()})) == "ModuleDict(\n  (a): ReLU()\n)"
    assert nn.ModuleList([nn.Linear(1, 2), nn.ReLU()]).spec() == "ModuleList([Linear(1, 2), ReLU()])"
    assert nn.ModuleDict({"a": nn.ReLU()}).spec() == "ModuleDict({'a': ReLU()})"
    assert repr(nn.ModuleList()) == "ModuleList()"


def test_subclasses_may_have_a_forward_and_attributes():
    class Stack(nn.ModuleList):
        def __init__(self, modules):
            super().__init__(modules)
            self.last = nn.Linear(2, 1)

        def forward(self, x):
            for layer in self:
                x = layer(x)
            return self.last(x)

    model = Stack([nn.Linear(3, 2)])
    assert model(X).shape == (8, 1)
    assert list(model.state_dict()) == ["0.weight", "0.bias", "last.weight", "last.bias"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.ModuleList([3]), TypeError, "ModuleList: expected a Module, got int"),
        (lambda: nn.ModuleList([nn.ReLU]), TypeError, "got type; write the class with parentheses"),
        (lambda: nn.ModuleList([[nn.ReLU()]]), TypeError, "ModuleList: expected a Module, got list"),
        (
            lambda: nn.ModuleList(nn.ReLU()),
            TypeError,
            r"expected a list of modules, got ReLU; write ModuleList\(\[...\]\)",
        ),
        (lambda: nn.ModuleList().append(None), TypeError, "expected a Module, got NoneType"),
        (lambda: nn.ModuleList([nn.ReLU()])[1], IndexError, "expected the number of one of 1 modules, got 1"),
        (lambda: nn.ModuleList()["a"], TypeError, "expected an integer or a slice, got str"),
        (lambda: nn.ModuleList()(X), TypeError, "ModuleList has no forward: call the modules in it"),
        (lambda: nn.ModuleDict({"a": 1}), TypeError, "ModuleDict: expected a Module, got int"),
        (lambda: nn.ModuleDict({1: nn.ReLU()}), TypeError, "expected a string as the name of a module, got int"),
        (lambda: nn.ModuleDict({"a.b": nn.ReLU()}), ValueError, "expected a name without dots for a module, got 'a.b'"),
        (lambda: nn.ModuleDict({"": nn.ReLU()}), ValueError, "expected a name without dots"),
        (lambda: nn.ModuleDict(nn.ReLU()), TypeError, "expected a mapping of names to modules, got ReLU"),
        (lambda: nn.from_spec("ModuleList"), ValueError, "no layer named 'ModuleList'"),
    ],
)
def test_anything_else_is_refused_in_a_sentence(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_names_are_torchs():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Module()
    theirs.layers = torch.nn.ModuleList([torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 4)])
    theirs.heads = torch.nn.ModuleDict({side: torch.nn.Linear(4, 2) for side in ("left", "right")})
    ours = Listed()
    ours.load_state_dict({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    assert list(ours.state_dict()) == list(theirs.state_dict())


class Polynomial(nn.Module):
    """Parameters in a list, used as they are."""

    def __init__(self, dtype=np.float64):
        self.weights = nn.ParameterList(np.full(3, 0.1 * n, dtype) for n in range(4))

    def forward(self, x):
        return sum(weight * x**power for power, weight in enumerate(self.weights))


def test_parameters_in_a_list_are_traced_trained_and_saved():
    model, x = Polynomial(), np.random.default_rng(0).normal(size=(200, 3))
    assert list(model.state_dict()) == [f"weights.{n}" for n in range(4)]
    np.testing.assert_allclose(model(x), sum(0.1 * n * x**n for n in range(4)))
    trainer = Trainer(model, nn.MSELoss(), optim.Adam(model.parameters(), lr=0.05))
    history = trainer.fit(x, 1 - 2 * x + x**3, epochs=60, batch_size=20)
    assert history.engine.startswith("native")
    assert history["loss"][-1] < 1e-2
    np.testing.assert_allclose(model.weights[1].data, -2, atol=0.1)
    twin = copy.deepcopy(model)
    assert twin.weights[0] is not model.weights[0]
    np.testing.assert_array_equal(twin(x), model(x))
    assert {p.dtype for p in twin.astype(np.float32).parameters()} == {np.dtype(np.float32)}


def test_a_list_of_parameters_is_a_list():
    one, two, three = (nn.Parameter(np.full(1, float(n))) for n in range(3))
    parameters = nn.ParameterList([one, two])
    assert (len(parameters), parameters[-1], list(parameters)) == (2, two, [one, two])
    assert parameters.append(three) is parameters
    assert list(parameters[1:]) == [two, three]
    assert isinstance(parameters[1:], nn.ParameterList)
    del parameters[0]
    assert list(parameters.state_dict()) == ["0", "1"]
    parameters.insert(0, one)
    parameters[1:] = []
    assert list(parameters.named_parameters()) == [("0", one)]
    assert list(parameters + nn.ParameterList([two])) == [one, two]
    assert repr(parameters) == parameters.spec() == "ParameterList(1 parameters)"


@pytest.mark.parametrize("wrong", [nn.Tanh(), 1.0, [1.0], None])
def test_a_list_of_parameters_holds_nothing_else(wrong):
    parameters = nn.ParameterList()
    with pytest.raises(TypeError, match="ParameterList: expected a Parameter, or an array to make one of, got"):
        parameters.append(wrong)
    with pytest.raises(TypeError, match="expected an array of float32 or float64, got int64"):
        parameters.append(np.arange(3))
    with pytest.raises(IndexError, match="ParameterList: expected the number of one of 0 parameters, got 0"):
        parameters[0]
    with pytest.raises(TypeError, match="ParameterList has no forward"):
        parameters(np.ones(1))
    assert len(parameters) == 0


def test_tied_parameters_in_a_list_are_one():
    tied = nn.Parameter(np.ones(2))
    parameters = nn.ParameterList([tied, tied])
    assert len(list(parameters.parameters())) == 1
    assert list(parameters.state_dict()) == ["0", "1"]
