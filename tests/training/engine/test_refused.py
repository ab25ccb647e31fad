"""What the native engine leaves to the plain one, why, and that nothing crashes."""

import numpy as np
import pytest

from fastdl import Trainer, nn, optim
from fastdl.callbacks import Callback
from fastdl.training.engine import Losses, PlainEngine, Task
from fastdl.training.engine_choice import engine_for
from fastdl.training.native_engine import NativeEngine
from tests.training.engine.twins import Parts, assert_same, fit, left

F = np.float64
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((12, 4)), RNG.standard_normal((12, 4))


def linear(seed=0):
    return nn.Linear(4, 4, rng=seed, dtype=F)


class Own(nn.Module):
    def forward(self, x):
        return 2 * x

    def backward(self, grad_output):
        return 2 * grad_output


class OwnReLU(nn.ReLU):
    def forward(self, x):
        return super().forward(x) + 1


class OwnBackward(nn.Tanh):
    def backward(self, grad_output):
        return 2 * super().backward(grad_output)


class OwnCall(nn.Tanh):
    def __call__(self, x):
        return super().__call__(x)


class OwnSequential(nn.Sequential):
    def forward(self, x):
        return -super().forward(x)

    def backward(self, grad_output):
        return super().backward(-grad_output)


class OwnParameters(nn.Linear):
    def backward_parameters(self, grad_output):
        self.backward(2 * grad_output)


def with_own(layer, name, value):
    setattr(layer, name, value)
    return layer


def patched():
    layer = nn.Tanh()
    return with_own(layer, "forward", lambda x: nn.Tanh.forward(layer, x) * 2)


def untraced(inner):
    """A layer around others that a trace cannot try on zeros."""
    forward = inner.forward

    def picky(x):
        if not x.any():
            raise ValueError("zeros")
        return forward(x)

    return with_own(inner, "forward", picky)


MODULES = {
    "a module": (Own, "Own"),
    "forward": (OwnReLU, "OwnReLU"),
    "backward": (OwnBackward, "OwnBackward"),
    "call": (OwnCall, ""),
    "backward_parameters": (lambda: OwnParameters(4, 4, rng=1, dtype=F), "OwnParameters"),
    "a container": (lambda: OwnSequential(linear(1)), "OwnSequential"),
    "an activation": (lambda: nn.Activation(np.sin, np.cos), ""),
    "an activation of a function that cannot be traced": (lambda: nn.Activation(unknown, np.cos), "Activation"),
    "inside": (lambda: nn.Residual(nn.Parallel(nn.Sequential(Own()))), "Own"),
    "an instance's own": (patched, "Tanh"),
}
OVER_SAMPLES = {
    "softmax": (lambda: nn.Softmax(dim=0), "Softmax(dim=0) runs over the samples"),
    "log-softmax": (lambda: nn.Sequential(nn.LogSoftmax(-2)), "LogSoftmax(dim=-2) runs over the samples"),
    "flatten": (lambda: nn.Sequential(nn.Flatten(0), Unflatten()), "Flatten(start_dim=0) joins samples"),
}


class Unflatten(nn.Module):
    def forward(self, x):
        return x.reshape(-1, 4)

    def backward(self, grad_output):
        return grad_output.reshape(-1)


def unknown(x):
    return np.sin(np.fromiter(x.flat, x.dtype).reshape(x.shape))


@pytest.mark.parametrize(
    ("make", "engine"),
    [
        *((make, f"native: one program over ... with {name} in Python") for make, name in MODULES.values() if name),
        *((make, "native: one program over ... of planned memory") for make, name in MODULES.values() if not name),
        *((make, f"plain: a Python loop, because {why}") for make, why in OVER_SAMPLES.values()),
        (lambda: untraced(Own()), "plain: a Python loop, because Own cannot be run on zeros: zeros"),
        (lambda: untraced(nn.Tanh()), "plain: a Python loop, because Tanh cannot be run on zeros: zeros"),
    ],
)
def test_modules_in_python_and_layers_over_samples_run_alike(make, engine):
    def parts():
        model = nn.Sequential(linear(2), make(), linear(3))
        return Parts(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.01))

    twins = []
    for native in (True, False):
        trainer, its = fit(parts, X, Y, native)
        twins.append(left(its) | {"losses": trainer.history["loss"]})
        if native:
            begin, _, end = engine.partition("...")
            assert trainer.history.engine.startswith(begin)
            assert trainer.history.engine.endswith(end)
    assert_same(*twins, F)


def test_a_subclass_that_changes_nothing_is_planned_even_if_it_cannot_be_spelled():
    class Square(nn.Linear):
        def __init__(self, size):
            super().__init__(size, size, rng=1, dtype=F)

    class Norm(nn.BatchNorm1d):
        def __init__(self, size, unused):
            super().__init__(size, dtype=F)

    model = nn.Sequential(Square(4), Norm(4, None))
    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters()))
    assert trainer.fit(X, Y, epochs=1, batch_size=4).engine.startswith("native")
    with pytest.raises(ValueError, match=r"one is left for the last batch; write another batch_size than 11.*: Norm"):
        trainer.fit(X, Y, epochs=1, batch_size=11)


class OwnLoss:
    def __call__(self, output, target):
        self.difference = output - target
        return float((self.difference**2).sum())

    def backward(self):
        return 2 * self.difference


class OwnFunction(nn.Loss):
    def function(self, output, target):
        return (output - target) ** 2

    def derivative(self, output, target):
        return 2 * (output - target)


class Untraceable(OwnFunction):
    def function(self, output, target):
        return (output - target) ** 2 if float(output.sum()) != 1 else output


class OwnMSE(nn.MSELoss):
    def forward(self, output, target):
        return 2 * super().forward(output, target)

    def backward(self, grad_output=None):
        return 2 * super().backward(grad_output)


class OwnSGD(optim.SGD):
    def update(self, data, grad, state, group, step):
        data -= 0.1 * group["lr"] * grad


class OwnStep(optim.SGD):
    def step(self):
        super().step()
        self.taken = getattr(self, "taken", 0) + 1


def watched(parameters):
    optimizer = optim.SGD(parameters, lr=0.01)
    optimizer.step = lambda: optim.SGD.step(optimizer)
    return optimizer


class Descent:
    """All that Trainer asks of an optimizer."""

    def __init__(self, parameters):
        self.param_groups = [{"params": list(parameters), "lr": 0.01}]

    def zero_grad(self):
        for parameter in self.param_groups[0]["params"]:
            parameter.zero_grad()

    def step(self):
        for parameter in self.param_groups[0]["params"]:
            parameter.data -= self.param_groups[0]["lr"] * parameter.grad


OTHERS = {
    "a loss": (OwnLoss, None, "OwnLoss is a loss in Python"),
    "a loss's function": (OwnFunction, None, ""),
    "a loss's function that cannot be traced": (Untraceable, None, "Untraceable is a loss in Python"),
    "a loss's forward": (OwnMSE, None, "OwnMSE is a loss in Python"),
    "a loss's own forward": (
        lambda: with_own(loss := nn.MSELoss(), "forward", lambda *both: nn.MSELoss.forward(loss, *both)),
        None,
        "MSELoss is a loss in Python",
    ),
    "an optimizer": (nn.MSELoss, Descent, "Descent is an optimizer in Python"),
    "an optimizer's update": (nn.MSELoss, OwnSGD, "OwnSGD is an optimizer in Python"),
    "an optimizer's step": (nn.MSELoss, OwnStep, "OwnStep is an optimizer in Python"),
    "an optimizer's own step": (nn.MSELoss, watched, "SGD is an optimizer in Python"),
}


@pytest.mark.parametrize(("criterion", "optimizer", "why"), OTHERS.values(), ids=OTHERS)
def test_losses_and_optimizers_in_python_run_plainly_and_alike(criterion, optimizer, why):
    def parts():
        model = nn.Sequential(linear(2), nn.Tanh(), linear(3))
        return Parts(model, criterion(), (optimizer or optim.SGD)(model.parameters()))

    twins = []
    for native in (True, False):
        trainer, its = fit(parts, X, Y, native)
        twins.append(left(its) | {"losses": trainer.history["loss"]})
        if native:
            engine = trainer.history.engine
            assert engine == f"plain: a Python loop, because {why}" if why else engine.startswith("native")
            assert getattr(its.optimizer, "taken", 9) == 9
    assert_same(*twins, F)


def test_a_step_that_a_callback_replaces_is_taken():
    taken = []

    class Replace(Callback):
        def on_epoch_end(self, trainer, record):
            optimizer = trainer.optimizer
            optimizer.step = lambda: (taken.append(1), optim.SGD.step(optimizer))

    model = nn.Sequential(linear())
    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters()))
    trainer.fit(X, Y, epochs=3, batch_size=4, callbacks=[Replace()])
    assert len(taken) == 6


def network(width=4):
    return nn.Sequential(linear(), nn.ReLU(), nn.Linear(4, width, rng=1, dtype=F))


def task(model=None, criterion=None):
    model = model or network()
    return Task(model, criterion or nn.MSELoss(), optim.SGD(model.parameters()), None, None)


@pytest.mark.parametrize(
    "model", [nn.Sequential(), nn.Sequential(nn.Identity(), nn.Flatten()), nn.Sequential(nn.Dropout().eval())], ids=repr
)
def test_a_model_that_gives_back_its_input_is_the_plain_engines(model):
    model.extra = nn.Parameter(np.ones(3))
    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters()))
    history = trainer.fit(X, X, epochs=1, batch_size=4)
    assert history.engine == "plain: a Python loop, because the loss depends on no parameter"


TARGETS = {
    "integers for values": (nn.MSELoss(), np.ones((12, 4), np.int64)),
    "another width": (nn.MSELoss(), Y[:, :2]),
    "one axis more": (nn.MSELoss(), Y[:, None]),
    "int32 classes": (nn.CrossEntropyLoss(), np.ones(12, np.int32)),
    "classes too high": (nn.CrossEntropyLoss(), np.full(12, 4)),
    "classes below 0": (nn.NLLLoss(), np.full(12, -1)),
    "classes in a matrix": (nn.CrossEntropyLoss(), np.ones((12, 4), np.int64)),
    "probabilities": (nn.NLLLoss(), np.abs(Y)),
    "too few probabilities": (nn.CrossEntropyLoss(), Y[:, :3]),
    "too few weights": (nn.CrossEntropyLoss(weight=[1.0, 2.0]), np.ones(12, np.int64)),
    "probabilities out of range": (nn.BCELoss(), Y),
    "no reduction": (nn.MSELoss("none"), Y),
    "a weight that does not spread": (nn.BCEWithLogitsLoss(weight=np.ones(3)), np.abs(Y)),
}


@pytest.mark.parametrize(("criterion", "y"), TARGETS.values(), ids=TARGETS)
def test_targets_that_do_not_fit_are_the_same_errors_in_both_engines(criterion, y):
    seen = []
    for native in (True, False):
        its = task(criterion=criterion)
        try:
            engine = engine_for(its, X, y, 4) if native else PlainEngine(its, "a test wants it")
            seen.append(pytest.approx(engine.epoch(X, y, None, 4, None).total))
        except (TypeError, ValueError) as error:
            seen.append((type(error), str(error).split(": expected")[0]))
    assert seen[0] == seen[1]


def test_an_optimizer_of_another_dtype_is_the_plain_engines():
    optimizer = optim.SGD([nn.Parameter(np.ones(5, np.float32))])
    engine = engine_for(Task(network(), nn.MSELoss(), optimizer, None, None), X, Y, 4)
    assert "the optimizer's parameters are of another dtype" in engine.name


def test_no_rows_are_no_steps():
    its = task()
    engine = engine_for(its, X[:0], Y[:0], 4)
    outputs = []
    assert isinstance(engine, NativeEngine)
    for each in (engine, PlainEngine(its, "")):
        assert each.epoch(X[:0], Y[:0], None, 4, outputs) == Losses()
    assert outputs == []


def test_an_engine_takes_only_what_it_was_planned_for():
    engine = engine_for(task(), X[:6], Y[:6], 4)
    for x, y in (
        (X[:, :3], Y),
        (X.astype(np.float32), Y),
        (X, Y[:, :3]),
        (X, Y.astype(np.float32)),
        (X, Y[:5]),
        (X.T, Y.T),
    ):
        with pytest.raises(ValueError, match="NativeEngine: expected rows as planned"):
            engine.epoch(x, y, None, 4, None)
    with pytest.raises(ValueError, match="batches of at most 4, as planned, got 5"):
        engine.epoch(X, Y, None, 5, None)
    for order in (np.array([0, 12]), np.array([3, -1])):
        with pytest.raises(ValueError, match="an order of rows below 12, got others"):
            engine.epoch(X, Y, order, 4, None)
    assert engine.epoch(X, Y, None, 4, None)[0] > 0


@pytest.mark.parametrize("batch_size", [1, 4, 12, 13, 10**12])
def test_arrays_of_any_layout_are_read_alike(batch_size, tmp_path):
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", F, X.shape)
    mapped[:] = X
    spaced = np.zeros((24, 8))
    spaced[::2, ::2] = X
    odd = np.frombuffer(b"1" + X.tobytes(), np.uint8)[1:].view(F).reshape(X.shape)
    read_only = X.copy()
    read_only.flags.writeable = False
    results = []
    for x in (X, mapped, spaced[::2, ::2], np.asfortranarray(X), X[::-1][::-1], odd, read_only):
        its, outputs = task(), []
        engine = engine_for(its, x, np.asfortranarray(Y), batch_size)
        assert isinstance(engine, NativeEngine)
        loss = engine.epoch(x, np.asfortranarray(Y), np.arange(12, dtype=np.int32)[::-1], batch_size, outputs)
        results.append((loss, outputs[0].tobytes(), its.model.state_dict()["0.weight"].tobytes()))
    assert len(set(results)) == 1


EMPTY = {
    "batch norm": (lambda: nn.BatchNorm1d(4, dtype=F), (4, 0)),
    "images": (lambda: nn.BatchNorm2d(4, dtype=F), (4, 0, 3)),
    "softmax": (lambda: nn.Sequential(nn.BatchNorm1d(4, dtype=F), nn.Softmax(1), nn.LogSoftmax(2)), (4, 0)),
    "dropout": (lambda: nn.Sequential(nn.Dropout2d(), nn.BatchNorm1d(4, dtype=F), nn.ReLU(), nn.Dropout()), (4, 0)),
    "residual": (lambda: nn.Residual(nn.Sequential(nn.Tanh(), nn.BatchNorm1d(4, dtype=F))), (4, 0)),
    "parallel": (lambda: nn.Parallel(nn.BatchNorm1d(4, dtype=F), nn.ReLU()), (4, 0)),
    "siamese": (lambda: nn.Siamese(nn.BatchNorm1d(4, dtype=F)), (2, 4, 0)),
}


@pytest.mark.parametrize(("make", "shape"), EMPTY.values(), ids=EMPTY)
def test_samples_without_numbers_go_through_both_engines(make, shape):
    def parts():
        model = nn.Sequential(make())
        return Parts(model, nn.MSELoss(), optim.SGD(model.parameters(), weight_decay=0.1))

    x = np.zeros((8, *shape))
    y = np.zeros(parts().model(x).shape)
    twins = []
    for native in (True, False):
        trainer, its = fit(parts, x, y, native, batch_size=3)
        assert trainer.history.engine.startswith("native") == native
        twins.append(left(its) | {"losses": trainer.history["loss"]})
    assert_same(*twins, F)
