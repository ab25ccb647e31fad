"""A trace stands for later calls: what would make it wrong is an error, or traced anew."""

import copy
import time

import numpy as np
import pytest

from fastdl import Trainer, eager, nn, optim
from fastdl.nn import functional
from fastdl.random import Stream, drawing_from

X = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
FACTOR = 2.0


def module(forward, **attributes):
    made = type("Own", (nn.Module,), {"forward": forward})()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: x + np.random.standard_normal(3),
        lambda self, x: x * time.perf_counter(),
        lambda self, x: np.exp(x) if next(self.counts) % 2 else np.tanh(x),
        lambda self, x: sum([x] * next(self.counts)) + x,
    ],
    ids=["random numbers", "time", "another function", "more operations"],
)
def test_a_forward_that_computes_another_thing_each_time_is_refused(forward):
    with pytest.raises(ValueError, match=r"test_purity\.py:\d+: traced code: expected to compute the same each time"):
        module(forward, counts=iter(range(1, 100)))(X)


def test_a_loss_that_computes_another_thing_each_time_is_refused():
    model = nn.Linear(3, 1, rng=0)
    trainer = Trainer(model, lambda output: np.mean(output * np.random.random()), optim.SGD(model.parameters()))
    before = model.weight.data.copy()
    with pytest.raises(ValueError, match="to compute the same each time"):
        trainer.step(X)
    np.testing.assert_array_equal(model.weight.data, before)


def test_a_forward_leaves_attributes_as_they_are():
    def counting(self, x):
        self.calls += 1
        return x

    def storing(self, x):
        self.latest = np.tanh(x)
        return self.latest

    counted, stored = module(counting, calls=0), module(storing)
    with pytest.raises(TypeError, match=r"Own\.forward: expected to leave .* got another value in calls"):
        counted(X)
    assert counted.calls == 0
    with pytest.raises(TypeError, match="got a traced value in latest"):
        stored(X)
    assert not hasattr(stored, "latest")


def test_a_forward_leaves_what_attributes_hold_and_the_modules_inside_as_they_are():
    def appending(self, x):
        self.seen.append(np.tanh(x))
        return x

    def entering(self, x):
        self.table["again"] = 1
        return x

    def collecting(self, x):
        self.names.add("again")
        return x

    def storing_inside(self, x):
        self.layer.latest = x
        return self.layer(x)

    def making(self, x):
        self.scale = nn.Parameter(np.ones(3, np.float32))
        return x * self.scale

    def replacing(self, x):
        self.layer = nn.Linear(3, 3, rng=0)
        return self.layer(x)

    def deleting(self, x):
        del self.factor
        return x

    layer = nn.Linear(3, 3, rng=0)
    cases = [
        (appending, {"seen": [1]}, "a traced value in seen"),
        (entering, {"table": {"once": 1}}, "other contents in table"),
        (collecting, {"names": {"once"}}, "other contents in names"),
        (storing_inside, {"layer": layer}, "a traced value in latest"),
        (making, {}, "another Parameter in scale"),
        (replacing, {"layer": layer}, "another Linear in layer"),
        (deleting, {"factor": 2.0}, "nothing in factor"),
    ]
    for forward, attributes, got in cases:
        model = module(forward, **copy.deepcopy(attributes))
        before = {name: (value, copy.copy(value)) for name, value in vars(model).items()}
        with pytest.raises(TypeError, match=f"expected to leave the module's attributes as they are, got {got}"):
            model(X)
        assert not hasattr(vars(model).get("layer"), "latest")
        for name, (value, content) in before.items():
            assert getattr(model, name) is value
            if isinstance(value, (list, dict, set)):
                assert value == content
        assert vars(model).keys() - {"_flat", "_kept"} == before.keys()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda model: model.layer.eval(), "eval"),
        (lambda model: model.train(), "train"),
        (lambda model: setattr(model.layer.weight, "requires_grad", False), "Parameter.requires_grad"),
        (lambda model: model.layer.requires_grad_(False), "Parameter.requires_grad"),
        (lambda model: setattr(model.layer.weight, "data", np.zeros((3, 3))), "Parameter.data"),
    ],
)
def test_modes_and_parameters_are_changed_outside_of_forward_functions(change, name):
    def forward(self, x):
        change(self)
        return self.layer(x)

    model = module(forward, layer=nn.Linear(3, 3, rng=0))
    weight = model.layer.weight.data.copy()
    with pytest.raises(
        TypeError, match=rf"test_purity\.py:\d+: {name}: expected an? .* outside of forward .*, got one within"
    ):
        model(X)
    assert model.layer.training
    assert model.layer.weight.requires_grad
    np.testing.assert_array_equal(model.layer.weight.data, weight)
    with eager():  # which changes it, as any Python code
        model(X)


class Scaled(nn.Module):
    factor = 2.0

    def __init__(self, helper):
        self.helper = helper

    def forward(self, x):
        return self.scaled(x) * self.factor

    def scaled(self, x):
        return x * self.rate

    @property
    def rate(self):
        return FACTOR


def doubled(x):
    return x * FACTOR


class Agent:
    def __init__(self, model):
        self.weight, self.unread, self.model = 1.0, 0, model

    def loss(self, output, target):
        return self.weight * np.mean((output - target) ** 2)


def test_so_is_what_functions_that_it_calls_and_its_class_read(monkeypatch):
    model = Scaled(None)
    np.testing.assert_allclose(model(X), 4 * X, rtol=1e-6)
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    np.testing.assert_allclose(model(X), 6 * X, rtol=1e-6)
    monkeypatch.setattr(Scaled, "factor", 5.0)
    np.testing.assert_allclose(model(X), 15 * X, rtol=1e-6)
    monkeypatch.setattr(Scaled, "scaled", lambda self, x: x)
    np.testing.assert_allclose(model(X), 5 * X, rtol=1e-6)
    monkeypatch.setattr(Scaled, "forward", lambda self, x: 9 * x)
    np.testing.assert_allclose(model(X), 9 * X, rtol=1e-6)
    called = module(lambda self, x: doubled(x))
    np.testing.assert_allclose(called(X), 3 * X, rtol=1e-6)
    monkeypatch.setitem(globals(), "FACTOR", 7.0)
    np.testing.assert_allclose(called(X), 7 * X, rtol=1e-6)
    activated = nn.Sequential(nn.Linear(3, 3, rng=0), nn.Activation(lambda x: doubled(x)))
    trainer = Trainer(activated, nn.MSELoss(), optim.SGD(activated.parameters(), lr=0.0))
    before = trainer.step(X, X)
    monkeypatch.setitem(globals(), "FACTOR", 0.0)
    assert trainer.step(X, X) == pytest.approx(float(np.mean(X**2))) != pytest.approx(before)


def test_so_is_what_a_methods_object_holds_where_the_method_reads_it():
    model = nn.Linear(3, 3, rng=0)
    agent = Agent(model)
    trainer = Trainer(model, agent.loss, optim.SGD(model.parameters(), lr=0.0))
    first = trainer.step(X, X)
    agent.weight = 3.0
    assert trainer.step(X, X) == pytest.approx(3 * first)
    engines = dict(trainer._step_engines)
    agent.unread += 1
    assert trainer.step(X, X) == pytest.approx(3 * first)
    assert trainer._step_engines == engines


def test_so_is_what_functions_in_a_dictionary_of_losses_read(monkeypatch):
    def mean(output, target):
        return FACTOR * np.mean(output - target)

    def both(self, x):
        return {"a": self.layer(x)}

    model = module(both, layer=nn.Linear(3, 3, rng=0))
    trainer = Trainer(model, {"a": mean}, optim.SGD(model.parameters(), lr=0.0))
    first = trainer.step(X, {"a": X})
    monkeypatch.setitem(globals(), "FACTOR", 6.0)
    assert trainer.step(X, {"a": X}) == pytest.approx(3 * first)


def test_what_a_trace_has_read_is_looked_at_in_each_call():
    global FACTOR
    factor = 3.0

    def forward(self, x):
        return FACTOR * factor * self.own * x

    model = module(forward, own=5.0)
    np.testing.assert_allclose(model(X), 30 * X, rtol=1e-6)
    model.own = 7.0
    np.testing.assert_allclose(model(X), 42 * X, rtol=1e-6)
    try:
        FACTOR = 4.0
        np.testing.assert_allclose(model(X), 84 * X, rtol=1e-6)
    finally:
        FACTOR = 2.0
    np.testing.assert_allclose(model(X), 42 * X, rtol=1e-6)
    factor = 1.0
    np.testing.assert_allclose(model(X), 14 * X, rtol=1e-6)


def test_a_loss_of_other_globals_is_traced_anew():
    global FACTOR
    model = nn.Linear(3, 1, bias=False, rng=0)
    trainer = Trainer(model, lambda output: FACTOR * np.mean(output), optim.SGD(model.parameters(), lr=1e-9))
    first = trainer.step(X)
    try:
        FACTOR = 6.0
        assert trainer.step(X) == pytest.approx(3 * first, rel=1e-5)
    finally:
        FACTOR = 2.0


def test_branches_on_the_mode_and_loops_over_modules_are_traced_for_each():
    class Own(nn.Module):
        def __init__(self):
            self.layers = nn.ModuleList(nn.Linear(3, 3, rng=n) for n in range(3))

        def forward(self, x):
            for layer in self.layers:
                x = np.tanh(layer(x))
            return 2 * x if self.training else x

    model = Own()
    trained = model(X)
    np.testing.assert_allclose(model.eval()(X), trained / 2, rtol=1e-6)
    np.testing.assert_array_equal(model.train()(X), trained)
    model.layers.append(nn.Linear(3, 2, rng=9))
    assert model(X).shape == (6, 2)


def test_activations_and_losses_of_ones_own_are_traced():
    class Squared(nn.Loss):
        def function(self, output, target):
            return (output - target) ** 2

    class Own(nn.Module):
        def __init__(self):
            self.body, self.cube = nn.Linear(3, 2, rng=0), nn.Activation(lambda x: x**3)

        def forward(self, x):
            return self.cube(self.body(x)), functional.softmax(x)

    model, y = Own(), np.zeros((6, 2), np.float32)
    np.testing.assert_allclose(model(X)[0], model.body(X) ** 3, rtol=1e-5)
    np.testing.assert_allclose(model(X)[1], nn.Softmax(1)(X), rtol=1e-6)
    square = Squared()
    trainer = Trainer(model, lambda output, target: square(output[0], target), optim.SGD(model.parameters(), lr=0.1))
    history = trainer.fit(X, y, epochs=3, batch_size=3, seed=0)
    assert history.engine.startswith("native")
    assert history["loss"][-1] < history["loss"][0]


class Config:
    rate = 2.0


class Base(nn.Module):
    scale = 1.0

    def forward(self, x):
        return x * Config.rate * self.scale * FACTOR


class Derived(Base):
    def forward(self, x):
        return super().forward(x)


def test_so_is_what_classes_and_those_behind_super_hold(monkeypatch):
    monkeypatch.setitem(globals(), "FACTOR", 1.0)
    model = Derived()
    np.testing.assert_allclose(model(X), 2 * X, rtol=1e-6)
    monkeypatch.setattr(Config, "rate", 3.0)
    np.testing.assert_allclose(model(X), 3 * X, rtol=1e-6)
    monkeypatch.setattr(Derived, "scale", 2.0, raising=False)
    np.testing.assert_allclose(model(X), 6 * X, rtol=1e-6)
    monkeypatch.setitem(globals(), "FACTOR", 5.0)
    np.testing.assert_allclose(model(X), 30 * X, rtol=1e-6)
    monkeypatch.setattr(Base, "forward", lambda self, x: x)
    np.testing.assert_allclose(model(X), X, rtol=1e-6)
    monkeypatch.setattr(Derived, "forward", lambda self, x: 7 * x)
    np.testing.assert_allclose(model(X), 7 * X, rtol=1e-6)


@pytest.mark.parametrize(
    ("before", "after"), [(np.nan, 1.0), (1.0, np.nan), (0.0, -0.0), (np.float32(np.nan), np.float32(2.0))]
)
def test_numbers_are_compared_by_what_they_are(monkeypatch, before, after):
    monkeypatch.setitem(globals(), "FACTOR", before)
    model = module(lambda self, x: np.arctan2(FACTOR * np.abs(x), -1.0))
    model(X)
    monkeypatch.setitem(globals(), "FACTOR", after)
    np.testing.assert_allclose(model(X), np.arctan2(after * np.abs(X), -1.0), rtol=1e-5)


def test_arrays_in_attributes_stay_as_they_are():
    def counting(self, x):
        self.count += 1
        return x

    model = module(counting, count=np.zeros(2))
    with pytest.raises(TypeError, match="got other contents in count"):
        model(X)
    np.testing.assert_array_equal(model.count, np.zeros(2))


OUTSIDE = nn.Sequential(nn.Linear(3, 3, rng=5), nn.Dropout(0.5).eval())


def through(self, x):
    return OUTSIDE(self.layer(x))


CHANGES_OUTSIDE = {
    "another layer": lambda net: net.append(nn.ReLU()),
    "another weight": lambda net: setattr(net[0], "weight", nn.Parameter(np.ones((3, 3), np.float32))),
    "weights that have moved": lambda net: optim.SGD(net.parameters(), lr=0.5) and setattr(net[0].weight, "data", np.eye(3)),
    "a mode": lambda net: net[1].train(),
    "a rate": lambda net: (net[1].train(), setattr(net[1], "p", 0.0)),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES_OUTSIDE)
@pytest.mark.parametrize("where", ["forward", "loss", "module"])
def test_models_that_a_forward_or_a_loss_reads_from_elsewhere_count(monkeypatch, change, where):
    net = copy.deepcopy(OUTSIDE)
    monkeypatch.setitem(globals(), "OUTSIDE", net)

    class Criterion(nn.Module):
        def __init__(self):
            self.net = net

        def forward(self, output, target):
            return np.mean((self.net(output) - target) ** 2)

    model = module(through, layer=nn.Linear(3, 3, rng=0)) if where == "forward" else nn.Linear(3, 3, rng=0)
    criterion = {"forward": nn.MSELoss(), "loss": lambda o, t: np.mean((net(o) - t) ** 2), "module": Criterion()}[where]
    trainer = Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.0))
    with drawing_from(Stream(np.random.default_rng(0))):
        for _ in range(4):
            trainer.step(X, X)
    CHANGES_OUTSIDE[change](net)
    other = Trainer(model, criterion, trainer.optimizer)
    found = []
    for each in (trainer, other):
        with drawing_from(Stream(np.random.default_rng(1))):
            found.append(each.step(X, X))
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_losses_in_a_dictionary_are_looked_at():
    def both(self, x):
        return {"a": self.layer(x), "b": self.layer(x)}

    loss = nn.CrossEntropyLoss()
    model = module(both, layer=nn.Linear(3, 3, rng=0))
    trainer = Trainer(model, {"a": loss, "b": (nn.MSELoss(), 1.0)}, optim.SGD(model.parameters(), lr=0.0))
    y = {"a": np.arange(6) % 3, "b": X}
    for change in (
        lambda: setattr(loss, "label_smoothing", 0.5),
        lambda: setattr(loss, "weight", np.array([1.0, 2.0, 3.0])),
        lambda: loss.weight.__setitem__(0, 9.0),
        lambda: trainer.criterion.weights.update(b=5.0),
        lambda: trainer.criterion.losses.update(b=nn.L1Loss()),
    ):
        before = [trainer.step(X, y) for _ in range(3)][-1]
        change()
        found = trainer.step(X, y)
        assert found == pytest.approx(trainer.evaluate(X, y)["loss"], rel=1e-5)
        assert found != before
