"""Models that several threads use for the first time at once, or look at and copy while one trains them."""

import copy
import pickle
import sys
import threading

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.callbacks import Callback
from fastdl.training.inference import predict
from fastdl.training.loss_parts import arrays_of
from tests.nn.python_layer import Scale, Untraced
from tests.nn.traced_layer import Gate

TIMEOUT = 60  # seconds that a thread waits for another, before the test fails
RNG = np.random.default_rng(0)


@pytest.fixture
def often_switched():
    """Let threads take turns at the interpreter as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class PythonLoss(nn.Loss):
    """Half the squared error, in Python."""

    def function(self, output, target):
        return (output - target) ** 2 / 2

    def derivative(self, output, target):
        return output - target


def squares(output, target):
    return np.mean((output - target) ** 2)


def at_once(count, work):
    """Let so many threads do the same from one moment on; what they return."""
    barrier, found, errors = threading.Barrier(count, timeout=TIMEOUT), [], []

    def run():
        try:
            barrier.wait()
            found.append(work())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    if errors:
        raise errors[0]
    return found


class Around(nn.Module):
    """A traced model."""

    def __init__(self, body):
        self.body = body

    def forward(self, x):
        return np.tanh(self.body(x)) * 2


def nested(*more):
    inner = nn.Sequential(nn.Linear(4, 4, rng=1), nn.BatchNorm1d(4), nn.Tanh(), *more)
    return nn.Sequential(nn.Linear(3, 4, rng=0), nn.Residual(inner), nn.Dropout(0.5))


MODELS = {"layers": nested, "a layer in Python": lambda: nested(Scale()), "a traced layer": lambda: nested(Gate())}
MODELS["traced"] = lambda: Around(nested())


@pytest.mark.usefixtures("often_switched")
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_first_predictions_of_a_fresh_model_in_several_threads(make):
    x = RNG.standard_normal((4, 3)).astype(np.float32)
    wanted = predict(make(), x)
    for _ in range(40):
        model = make()
        for outputs in at_once(6, lambda: [predict(model, x) for _ in range(5)]):  # noqa: B023 - joined before the next
            for output in outputs:
                np.testing.assert_array_equal(output, wanted)


@pytest.mark.usefixtures("often_switched")
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_first_calls_and_looks_at_a_fresh_model_in_several_threads(make):
    x = RNG.standard_normal((4, 3)).astype(np.float32)

    @fastdl.no_grad()
    def use(model):
        outputs = [model(x) for _ in range(4)]
        copies = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
        return [*outputs, *(each(x) for each in copies)], repr(model), str(model.summary(3)), [*model.state_dict()]

    wanted = use(make().eval())
    for _ in range(15):
        model = make().eval()
        for outputs, *words in at_once(4, lambda: use(model)):  # noqa: B023 - joined before the next
            assert words == list(wanted[1:])
            for output in outputs:
                np.testing.assert_array_equal(output, wanted[0][0])


# Beside a fit.


class Rounds(Callback):
    """Lets another thread do something once an epoch, while the next epochs run; the last epoch waits for it."""

    def __init__(self, work, epochs):
        self.work, self.epochs = work, epochs
        self.begun, self.errors, self.done = threading.Semaphore(0), [], 0
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            for _ in range(self.epochs):
                if not self.begun.acquire(timeout=TIMEOUT):
                    raise TimeoutError("the fit does not go on")
                self.work()
                self.done += 1
        except BaseException as error:
            self.errors.append(error)

    def on_fit_begin(self, trainer, epochs):
        self.thread.start()

    def on_epoch_end(self, trainer, record):
        self.begun.release()

    def on_fit_end(self, trainer):
        self.thread.join(TIMEOUT)
        if self.errors:
            raise self.errors[0]


class WatchingRounds(Rounds):
    """The same, which lets epochs run in a row."""

    watches = True


ENGINES = {
    "native": (nn.MSELoss, (), Rounds),
    "native, epochs in a row": (nn.MSELoss, (), WatchingRounds),
    "native, a loss of a function": (PythonLoss, (), Rounds),
    "native, a traced layer": (nn.MSELoss, (lambda: Gate(120),), Rounds),
    "native, a function as the loss": (lambda: squares, (lambda: Gate(120),), WatchingRounds),
    "native, a layer in Python": (nn.MSELoss, (Scale,), Rounds),
    "a layer that cannot be traced": (nn.MSELoss, (Untraced,), Rounds),
}
EPOCHS = 8


def learning(engine):
    """A trainer with data, whose fits take dropout's draws and move running statistics."""
    criterion, layers, _ = ENGINES[engine]
    hidden = [nn.Linear(8, 120, rng=0), nn.BatchNorm1d(120), nn.Dropout(0.3), *(layer() for layer in layers)]
    model = nn.Sequential(*hidden, nn.Sequential(nn.Linear(120, 2, rng=1)))
    trainer = Trainer(model, criterion(), optim.Adam(model.parameters(), lr=0.01))
    rng = np.random.default_rng(1)
    return trainer, rng.standard_normal((200, 8)).astype(np.float32), rng.standard_normal((200, 2)).astype(np.float32)


def fitted(engine, work=None):
    """What a fit leads to, with this done beside it in another thread."""
    trainer, x, y = learning(engine)
    callbacks = [] if work is None else [ENGINES[engine][2](lambda: work(trainer), EPOCHS)]
    history = trainer.fit(x, y, epochs=EPOCHS, batch_size=10, seed=0, callbacks=callbacks)
    assert history.engine.startswith("native" if engine.startswith("native") else "plain")
    assert not callbacks or callbacks[0].done == EPOCHS
    return history["loss"], trainer.model.state_dict(), trainer.optimizer.state_dict()["state"]


def usable(model):
    assert np.isfinite(predict(model, np.ones((2, 8), np.float32))).all()
    return True


def trains(trainer):
    assert usable(trainer.model)
    history = trainer.fit(np.ones((20, 8), np.float32), np.ones((20, 2), np.float32), epochs=1, batch_size=10, seed=0)
    assert np.isfinite(history["loss"]).all()


def saved(trainer, tmp_path):
    fastdl.save(
        nn.Sequential(*(each for each in trainer.model if not isinstance(each, (Scale, Gate)))), tmp_path / "model"
    )
    try:
        trainer.save(tmp_path / "state")
    except RuntimeError as error:
        assert "Trainer.save: expected to be called between two epochs" in str(error)  # noqa: PT017 - it may also pass


LOOKS = {
    "deepcopy": lambda trainer, _: usable(copy.deepcopy(trainer.model)),
    "pickle": lambda trainer, _: usable(pickle.loads(pickle.dumps(trainer.model))),
    "deepcopy of the trainer": lambda trainer, _: trains(copy.deepcopy(trainer)),
    "pickle of the trainer": lambda trainer, _: trains(pickle.loads(pickle.dumps(trainer))),
    "state_dict": lambda trainer, _: (trainer.model.state_dict(), trainer.optimizer.state_dict()),
    "summary": lambda trainer, _: trainer.model.summary(8),
    "repr": lambda trainer, _: (repr(trainer.model), repr(trainer.optimizer), repr(trainer.history), repr(trainer)),
    "save": saved,
}


@pytest.fixture(scope="module")
def alone():
    """What the fits lead to with nothing beside them."""
    return {engine: fitted(engine) for engine in ENGINES}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("engine", ENGINES)
def test_looks_and_copies_beside_a_fit_leave_it_as_it_is(engine, look, alone, tmp_path):
    losses, weights, state = fitted(engine, lambda trainer: look(trainer, tmp_path))
    assert losses == alone[engine][0]
    for name, array in alone[engine][1].items():
        np.testing.assert_array_equal(weights[name], array)
    assert repr(state) == repr(alone[engine][2])


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("engine", ENGINES)
def test_looks_and_copies_in_a_callback_leave_a_fit_as_it_is(engine, look, alone, tmp_path):
    class Looking(Callback):
        watches = ENGINES[engine][2].watches and look is not saved

        def on_epoch_end(self, trainer, record):
            look(trainer, tmp_path)

    trainer, x, y = learning(engine)
    losses = trainer.fit(x, y, epochs=EPOCHS, batch_size=10, seed=0, callbacks=[Looking()])["loss"]
    assert losses == alone[engine][0]
    for name, array in trainer.model.state_dict().items():
        np.testing.assert_array_equal(array, alone[engine][1][name])


def ends(arrays):
    """The least and the largest value of each array."""
    return [{float(array.min()), float(array.max())} for array in arrays]


def values(model):
    return ends(parameter.data for parameter in model.parameters())


WHOLE = {
    "deepcopy": lambda model: values(copy.deepcopy(model)),
    "state_dict": lambda model: ends(model.state_dict().values()),
    "deepcopy beside an optimizer": lambda model: values(copy.deepcopy((model, model))[0]),
}


@pytest.mark.parametrize("look", WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("criterion", [nn.MSELoss, PythonLoss])
def test_a_copy_beside_a_fit_has_one_whole_set_of_weights(criterion, look):
    # Inputs and targets of zeros: no gradient, and each step takes the same share of all weights, which begin at 1.
    layers = [nn.Linear(200, 200, bias=False, weight_init=nn.init.ones()) for _ in range(4)]
    model, seen = nn.Sequential(*layers), []
    trainer = Trainer(model, criterion(), optim.SGD(model.parameters(), lr=0.1, weight_decay=0.01))
    x = np.zeros((60, 200), np.float32)
    rounds = Rounds(lambda: seen.extend(look(model) for _ in range(3)), 6)
    trainer.fit(x, x, epochs=6, batch_size=1, callbacks=[rounds])
    assert len(seen) == 18
    for each in seen:
        assert len({value for found in each for value in found}) == 1


@pytest.mark.parametrize("criterion", [nn.MSELoss, PythonLoss])
def test_a_state_of_an_optimizer_beside_a_fit_is_whole(criterion):
    # As above: the buffers of all weights hold the same value after each step.
    model = nn.Sequential(*(nn.Linear(400, 400, bias=False, weight_init=nn.init.ones()) for _ in range(3)))
    optimizer, seen = optim.SGD(model.parameters(), lr=0.1, weight_decay=0.01, momentum=0.9), []

    def look():
        for _ in range(10):
            state = optimizer.state_dict()["state"].values()
            seen.append((ends(entry["momentum_buffer"] for entry in state), {entry["step"] for entry in state}))

    x = np.zeros((60, 400), np.float32)
    Trainer(model, criterion(), optimizer).fit(x, x, epochs=6, batch_size=1, callbacks=[Rounds(look, 6)])
    assert len(seen) == 60
    for found, steps in seen:
        assert len({value for each in found for value in each}) == 1
        assert len(steps) == 1


def test_a_copy_of_an_optimizer_beside_changes_of_its_layout():
    # Parameters begin on cache lines, so they stand at other places in another dtype.
    model = nn.Sequential(*(nn.Linear(5, 3) for _ in range(4)))
    optimizer = optim.Adam(model.parameters())
    for parameter in model.parameters():
        parameter.grad = np.ones(parameter.shape)
    optimizer.step()
    running = threading.Event()

    def change():
        while not running.is_set():
            for dtype in (np.float64, np.float32):
                model.astype(dtype)
                optimizer.zero_grad()  # which lays out anew

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            for each in (copy.deepcopy(optimizer), optimizer):
                for entry in each.state_dict()["state"].values():
                    np.testing.assert_allclose(entry["exp_avg"], 0.1, rtol=1e-6)
    finally:
        running.set()
        thread.join()


@pytest.mark.parametrize("criterion", [nn.MSELoss, PythonLoss])
def test_each_parameter_of_a_pickle_beside_a_fit_is_whole(criterion):
    model, seen = nn.Sequential(nn.Linear(512, 512, bias=False, weight_init=nn.init.ones())), []
    trainer = Trainer(model, criterion(), optim.SGD(model.parameters(), lr=0.1, weight_decay=0.01))
    x = np.zeros((60, 512), np.float32)
    rounds = Rounds(lambda: seen.extend(values(pickle.loads(pickle.dumps(model))) for _ in range(3)), 6)
    trainer.fit(x, x, epochs=6, batch_size=1, callbacks=[rounds])
    assert [len(found) for each in seen for found in each] == [1] * 18


def test_looks_at_what_another_thread_adds_attributes_to():
    """The other thread's part is played by an attribute that adds one as soon as it is looked at."""

    class Adding:
        def __init__(self, owner):
            self.owner = owner

        @property
        def __class__(self):
            vars(self.owner)[f"added{len(vars(self.owner))}"] = None
            return Adding

    criterion = nn.CrossEntropyLoss(weight=np.ones(3))
    criterion.looked_at = Adding(criterion)
    assert arrays_of(criterion) == [criterion.weight.tobytes()]
    layers = nn.ModuleList([nn.ReLU(), nn.Tanh()])
    for number, _ in enumerate(layers.named_children()):
        assert number < 2
        layers.append(nn.ReLU())
