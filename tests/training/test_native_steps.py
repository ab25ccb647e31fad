"""Steps that are one native call: what changes between them counts in the next one, as it does where Python looks each time."""

import copy
import os
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.errors import DivergenceError
from fastdl.random import Stream, drawing_from

RNG = np.random.default_rng(0)
X = [RNG.standard_normal((n, 6)).astype(np.float32) for n in (8, 8, 3, 5, 8)]
Y = [RNG.standard_normal((len(x), 3)).astype(np.float32) for x in X]
FACTOR = 1.0


class Net(nn.Module):
    def __init__(self):
        self.body = nn.Sequential(nn.Linear(6, 7, rng=0), nn.BatchNorm1d(7), nn.Tanh(), nn.Dropout(0.25))
        self.head, self.scale, self.factor = nn.Linear(7, 3, rng=1), nn.Parameter(np.ones(3, np.float32)), 2.0

    def forward(self, x):
        return self.head(self.body(x)) * self.scale * self.factor


class Weighted:
    def __init__(self):
        self.weight = 1.0

    def loss(self, output, target):
        return self.weight * np.mean((output - target) ** 2)


def squares(output, target):
    return FACTOR * np.mean((output - target) ** 2)


def make(criterion=squares, optimizer=optim.Adam, **options):
    model = Net()
    return Trainer(model, criterion, optimizer(model.parameters(), lr=0.01), **options)


def is_native(trainer, *batch, **options):
    """Whether the next step is a native call."""
    found = []
    trainer._step_calls = tuple(Watched(call, found) for call in trainer._step_calls)
    try:
        trainer.step(*batch, **options)
    finally:
        trainer._step_calls = tuple(getattr(each, "call", each) for each in trainer._step_calls)
    return any(found)


class Watched:
    def __init__(self, call, found):
        self.call, self.found = call, found

    def step(self, *given):
        result = self.call.step(*given)
        self.found.append(result is not None)
        return result


def test_steps_are_native_from_the_third_on():
    trainer = make()
    assert not is_native(trainer, X[0], Y[0])
    assert not is_native(trainer, X[0], Y[0])
    assert is_native(trainer, X[0], Y[0])
    for x, y in zip(X, Y, strict=True):
        assert is_native(trainer, x, y)  # also with fewer rows


CHANGES = {
    "the rate": lambda t: t.optimizer.param_groups[0].update(lr=t.optimizer.param_groups[0]["lr"] * 0.7),
    "an attribute of the optimizer": lambda t: setattr(t.optimizer, "note", 0.02),
    "a limit of the norm": lambda t: setattr(t, "clip_norm", 0.1),
    "a limit of values": lambda t: setattr(t, "clip_value", 0.01),
    "the criterion": lambda t: setattr(t, "criterion", nn.MSELoss()),
    "another optimizer": lambda t: setattr(t, "optimizer", optim.SGD(t.model.parameters(), lr=0.1, momentum=0.5)),
    "a frozen weight": lambda t: t.model.head.weight.__setattr__("requires_grad", False),
    "a frozen and a released weight": lambda t: [setattr(t.model.head.weight, "requires_grad", f) for f in (False, True)],
    "values": lambda t: setattr(t.model.head.weight, "data", t.model.head.weight.data * 0.5),
    "values in place": lambda t: np.multiply(t.model.head.weight.data, 0.5, out=t.model.head.weight.data),
    "a number in forward": lambda t: setattr(t.model, "factor", 0.5),
    "another layer": lambda t: setattr(t.model, "head", nn.Linear(7, 3, rng=5)),
    "a mode": lambda t: t.model.body[3].eval(),
    "all modes": lambda t: t.model.eval(),
    "the dropout's rate": lambda t: setattr(t.model.body[3], "p", 0.75),
    "running statistics": lambda t: np.copyto(t.model.body[1].running_mean, 1.0),
    "a state": lambda t: t.model.load_state_dict({k: v * v.dtype.type(0.5) for k, v in t.model.state_dict().items()}),
    "the optimizer's state": lambda t: t.optimizer.load_state_dict(copy.deepcopy(t.optimizer.state_dict())),
    "a step of one's own": lambda t: explicit(t),
    "gradients": lambda t: [p.grad.fill(3.0) for p in t.model.parameters()],
    "no gradients": lambda t: t.model.zero_grad(),
    "forgotten gradients": lambda t: t.optimizer.forget_gradients(),
    "a fit": lambda t: t.fit(X[0], Y[0], epochs=1, batch_size=4, seed=0, progress=False),
    "an evaluation": lambda t: (t.evaluate(X[0], Y[0]), t.predict(X[1])),
    "a global of the loss": lambda t: globals().__setitem__("FACTOR", 3.0),
    "another dtype": lambda t: t.model.astype(np.float64),
    "weights that have moved": lambda t: optim.SGD(t.model.parameters()),
    "a method of one's own": lambda t: setattr(t.optimizer, "step", lambda: None),
}  # fmt: skip


def explicit(trainer):
    trainer.optimizer.zero_grad()
    y = trainer.model(X[1])
    trainer.model.backward(y - Y[1])
    trainer.optimizer.step()


def in_python(trainer, *batch, **options):
    """A step whose model, criterion and optimizer are looked at from Python."""
    trainer._step_calls = ()
    return trainer.step(*batch, **options)


def compare(changes, make=make):
    """Steps with changes between them, by native calls and from Python: the same bits."""
    global FACTOR
    sides = []
    for step in (Trainer.step, in_python):
        FACTOR = 1.0
        with drawing_from(Stream(np.random.default_rng(0))):
            trainer, losses = make(), []
            for change in (None, None, None, *changes, None):
                if change is not None:
                    CHANGES[change](trainer)
                for x, y in zip(X, Y, strict=True):
                    losses.append(step(trainer, x, y))
        left = trainer.model.state_dict() | {f"{n}'s gradient": p.grad for n, p in trainer.model.named_parameters()}
        sides.append((losses, left, trainer.optimizer.state_dict()["state"]))
    FACTOR = 1.0
    (one, weights, state), (other, others, its) = sides
    assert one == other
    for name, array in weights.items():
        np.testing.assert_array_equal(array, others[name], err_msg=name)
    for number, entry in state.items():
        for name, value in entry.items():
            np.testing.assert_array_equal(value, its[number][name], err_msg=name)


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_between_steps_counts_in_the_next(change):
    compare([change])


@settings(max_examples=25)
@given(st.lists(st.sampled_from([*CHANGES]), min_size=2, max_size=8))
def test_so_do_many_changes(changes):
    compare(changes)


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.RMSprop, optim.AdamW])
def test_so_do_changes_beside_other_optimizers_and_limits(optimizer):
    compare(
        ["the rate", "a frozen weight", "a step of one's own"], lambda: make(nn.MSELoss(), optimizer, clip_norm=0.5)
    )


def test_batches_of_several_kinds_have_calls_of_their_own():
    trainer = make()
    kinds = [X[0], (X[0],), {"x": X[0]}, np.repeat(X[0], 2, axis=0)]
    for x in kinds * 2:
        trainer.step(x, Y[0] if len(x) != 16 else np.repeat(Y[0], 2, axis=0))
    for x in kinds[:3]:
        assert is_native(trainer, x, Y[0])
    model = Net()
    both = Trainer(model, lambda o, t: np.mean(o * t["a"]) + np.mean(t["b"]), optim.SGD(model.parameters(), lr=0.0))
    a, b = Y[0], Y[0][:, 0]
    model.body[3].p = 0.0
    wanted = [both.step(X[0], {"a": a, "b": b}) for _ in range(3)]
    assert is_native(both, X[0], {"a": a, "b": b})
    assert is_native(both, X[0], {"b": b, "a": a})
    assert both.step(X[0], {"b": b, "a": a}) == wanted[-1]
    for wrong in ({"a": a}, {"a": a, "c": b}, (a, b)):
        with pytest.raises((TypeError, ValueError, KeyError)):
            both.step(X[0], wrong)
    with pytest.raises(ValueError, match="rows"):
        both.step(X[0], {"a": a, "b": b[:-1]})


def test_arrays_in_any_layout_and_others_from_python():
    trainer, other = make(), make()
    for x in (
        X[0],
        np.asfortranarray(X[0]),
        np.repeat(X[0], 2, axis=1)[:, ::2],
        X[0][::-1][::-1],
        X[0].astype(np.float64),
        X[0].tolist(),
    ):
        for _ in range(3):
            with drawing_from(Stream(np.random.default_rng(0))):
                one = trainer.step(x, Y[0])
            with drawing_from(Stream(np.random.default_rng(0))):
                assert one == in_python(other, np.ascontiguousarray(x, np.float32), Y[0])
    calls = trainer._step_calls
    for _ in range(3):
        trainer.step(X[0].tolist(), Y[0])
    assert trainer._step_calls[: len(calls)] == calls  # none that no batch would be like


def test_a_loss_of_its_own_and_lambdas_made_in_each_step():
    trainer, weight = make(), 1.0
    for _ in range(3):
        trainer.step(X[0], Y[0])
        trainer.step(X[0], loss=lambda output: np.mean(output**2))
        trainer.step(X[0], Y[0], loss=lambda o, t: weight * np.mean(np.abs(o - t)))
    engines = dict(trainer._step_engines)
    assert len(engines) == 3
    assert is_native(trainer, X[0], Y[0])
    assert trainer._step_engines == engines

    def made(weight, power=2):
        return lambda o, t, least=weight: weight * np.mean((o - t) ** power) + 0.0 * least

    first = [trainer.step(X[0], Y[0], loss=made(0.0)) for _ in range(3)]
    assert is_native(trainer, X[0], Y[0], loss=made(0.0))
    assert first[-1] == 0.0
    for other in (made(5.0), made(0.0, 4), made(5.0, 4)):
        for _ in range(3):
            assert trainer.step(X[0], Y[0], loss=made(0.0)) == 0.0
        assert (trainer.step(X[0], Y[0], loss=other) > 0.0) == (other.__defaults__ == (5.0,))
    agent = Weighted()
    calls = [trainer.step(X[0], Y[0], loss=agent.loss) for _ in range(3)]
    assert is_native(trainer, X[0], Y[0], loss=agent.loss)
    agent.weight = 0.0
    assert trainer.step(X[0], Y[0], loss=agent.loss) == 0.0 != calls[0]
    assert trainer.step(X[0], Y[0], loss=Weighted().loss) != 0.0


def test_errors_are_those_of_other_steps():
    model = nn.Sequential(nn.Linear(6, 4, rng=0), nn.Tanh(), nn.Linear(4, 3, rng=1))
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    labels = np.arange(8) % 3
    for _ in range(3):
        trainer.step(X[0], labels)
    assert is_native(trainer, X[0], labels)
    before = model.state_dict()
    for wrong in (labels + 1, -1 - labels):
        with pytest.raises(ValueError, match="class"):
            trainer.step(X[0], wrong)
    bad = X[0].copy()
    bad[2, 1] = np.nan
    with pytest.raises(DivergenceError, match=r"Trainer\.step: .*the loss is nan"):
        trainer.step(bad, labels)
    for name, array in before.items():
        np.testing.assert_array_equal(model.state_dict()[name], array)
    assert is_native(trainer, X[0], labels)
    with pytest.raises(TypeError, match="y beside x"):
        trainer.step(X[0])
    shares = nn.Sequential(nn.Linear(6, 3, rng=0), nn.Sigmoid())
    of_shares = Trainer(shares, nn.BCELoss(), optim.SGD(shares.parameters(), lr=0.1))
    for _ in range(3):
        of_shares.step(X[0], np.full((8, 3), 0.5, np.float32))
    assert is_native(of_shares, X[0], np.full((8, 3), 0.25, np.float32))
    before = shares[0].weight.data.copy()
    with pytest.raises(ValueError, match="targets from 0 to 1"):
        of_shares.step(X[0], np.full((8, 3), 1.5, np.float32))
    np.testing.assert_array_equal(shares[0].weight.data, before)
    norm = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    of_several = Trainer(norm, nn.MSELoss(), optim.SGD(norm.parameters(), lr=0.1))
    for _ in range(3):
        of_several.step(X[0], Y[0])
    with pytest.raises(ValueError, match="at least 2 samples"):
        of_several.step(X[0][:1], Y[0][:1])


def test_a_step_within_a_fit_is_refused_and_one_beside_another_thread_waits_or_is_refused():
    trainer = make()
    for _ in range(3):
        trainer.step(X[0], Y[0])

    class Stepping(fastdl.callbacks.Callback):
        def on_epoch_end(self, trainer, epoch):
            trainer.step(X[0], Y[0])

    with pytest.raises(RuntimeError, match="one fit of a trainer at a time"):
        trainer.fit(X[0], Y[0], epochs=1, batch_size=4, callbacks=[Stepping()], progress=False)
    for _ in range(3):
        trainer.step(X[0], Y[0])
    refused, done = [], []

    def steps():
        for _ in range(200):
            try:
                trainer.step(X[0], Y[0])
                done.append(1)
            except RuntimeError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=steps) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) + len(refused) == 600
    assert done
    assert all("one fit of a trainer at a time" in each for each in refused)
    assert trainer.step(X[0], Y[0]) > 0
    assert "_runner" not in vars(trainer)


def test_copies_and_forked_children_step_on_their_own():
    trainer = make(nn.MSELoss())
    for _ in range(3):
        trainer.step(X[0], Y[0])
    twins = [copy.deepcopy(trainer), pickle.loads(pickle.dumps(trainer))]
    losses = []
    for each in (trainer, *twins):
        with drawing_from(Stream(np.random.default_rng(0))):
            losses.append([each.step(X[0], Y[0]) for _ in range(4)])
    assert losses[0] == losses[1] == losses[2]
    child = os.fork()
    if not child:
        os._exit(0 if trainer.step(X[0], Y[0]) > 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_eager_code_and_traces_are_no_native_steps():
    trainer = make()
    for _ in range(3):
        trainer.step(X[0], Y[0])
    with fastdl.eager():
        assert not is_native(trainer, X[0], Y[0])
    with fastdl.no_grad():
        before = trainer.model.head.weight.data.copy()
        assert is_native(trainer, X[0], Y[0])
        assert (trainer.model.head.weight.data != before).any()


def test_options_that_change_in_place_and_trainers_of_ones_own():
    found = []
    for step in (Trainer.step, in_python):
        trainer = make(nn.MSELoss())
        trainer.model.body[3].p = 0.0
        trainer.optimizer.param_groups[0]["betas"] = betas = [0.9, 0.99]
        losses = []
        for number in range(6):
            if number == 4:
                betas[0] = 0.0
            losses.append(step(trainer, X[0], Y[0]))
        found.append(losses)
    assert found[0] == found[1]

    class Limited(Trainer):
        limit = 1.0

        @property
        def clip_norm(self):
            return self.limit

        @clip_norm.setter
        def clip_norm(self, value):
            pass

    model = Net()
    limited = Limited(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
    for _ in range(4):
        limited.step(X[0], Y[0])
    limited.limit, before = 1e-9, model.head.weight.data.copy()
    limited.step(X[0], Y[0])
    np.testing.assert_allclose(model.head.weight.data, before, atol=1e-7)


def test_versions_of_parameters_grow_with_native_steps_whoever_else_has_stepped():
    trainer = make(nn.MSELoss())
    other = Trainer(trainer.model, nn.MSELoss(), trainer.optimizer)
    for each in (trainer, other, trainer, other):
        for _ in range(3):
            each.step(X[0], Y[0])
        y, pullback = trainer.model.head.vjp(np.ones((2, 7), np.float32))
        pullback(np.ones_like(y))
        assert is_native(each, X[0], Y[0])
        with pytest.raises(RuntimeError, match="changed since"):
            pullback(np.ones_like(y))
