"""How a native fit can end: Ctrl-C, losses that are no numbers, batches too small; and what a long one takes."""

import gc
import multiprocessing
import os
import resource
import signal
import threading
import time

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.callbacks import Callback
from fastdl.random import permutation

F = np.float64
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((60, 4)), RNG.standard_normal((60, 2))


def make_trainer(lr=1e-3, dtype=F, width=5, **options):
    model = nn.Sequential(nn.Linear(4, width, rng=1, dtype=dtype), nn.Tanh(), nn.Linear(width, 2, rng=2, dtype=dtype))
    return Trainer(model, nn.MSELoss(), optim.Adam(model.parameters(), lr=lr), **options)


@pytest.fixture(autouse=True)
def ctrl_c():
    """Ctrl-C as Python has it: a shell's background jobs are born deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Begun(Callback):
    """Tells another thread that the fit has begun."""

    def __init__(self):
        self.event = threading.Event()

    def on_fit_begin(self, trainer, epochs):
        self.event.set()


def computed():
    """Seconds that the main thread has computed: other work on the machine does not count."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return time.process_time()
    return time.clock_gettime(time.pthread_getcpuclockid(threading.main_thread().ident))


def interrupted_fit(trainer, x, y, delay, callbacks=(), **options):
    """Fit until Ctrl-C comes, `delay` seconds after the beginning; returns how long this thread computed after that."""
    sent, begun, ended = [], Begun(), threading.Event()

    def press():
        begun.event.wait()
        time.sleep(delay)
        while not sent or not ended.wait(60):  # pressed again, the fit does not go on for ever where one gets lost
            sent.append(computed())
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    options = {"epochs": 10**9, "batch_size": 8, "progress": False} | options
    history = trainer.fit(x, y, callbacks=[begun, *callbacks], **options)
    end = computed()
    ended.set()
    thread.join()
    assert history.interrupted
    assert len(sent) == 1
    return end - sent[0]


def test_ctrl_c_at_any_moment_leaves_all_usable():
    """Fifty times: whole epochs within a call, epochs of many calls, and steps with Python between them."""
    steps = {}

    class Count(Callback):
        def on_step_end(self, trainer, step, loss):
            steps[trainer] = steps.get(trainer, 0) + 1

    big = np.tile(X, (2000, 1)), np.tile(Y, (2000, 1))
    delays = np.random.default_rng(0).uniform(0, 0.04, 50)
    late = []
    trainers = [make_trainer(), make_trainer(), make_trainer()]
    for number, delay in enumerate(delays):
        kind = number % 3
        trainer = trainers[kind]
        data = big if kind == 0 else (X, Y)
        callbacks = [Count()] if kind == 2 else []
        before = trainer.optimizer.state_dict()["state"][0]["step"]
        late.append(interrupted_fit(trainer, *data, delay, callbacks=callbacks))
        counts = {entry["step"] for entry in trainer.optimizer.state_dict()["state"].values()}
        assert len(counts) == 1
        assert counts.pop() >= before
        assert all(np.isfinite(value).all() for value in trainer.model.state_dict().values())
        assert trainer.model.training
        assert not trainer.fit(X, Y, epochs=1, batch_size=8).interrupted
    assert sorted(late)[-3] < 0.1
    for trainer in trainers[:2]:
        assert trainer.optimizer.state_dict()["state"][0]["step"] > 50
        assert trainer.fit(X, Y, epochs=50, batch_size=8)["loss"][-1] < 1.1


def test_ctrl_c_ends_a_call_between_two_steps_and_counts_those_taken():
    """The weights are those of so many steps, taken by a twin."""
    x, y = np.tile(X, (10_000, 1)), np.tile(Y, (10_000, 1))
    trainer, twin = make_trainer(), make_trainer()
    late = interrupted_fit(trainer, x, y, 0.05, shuffle=False, epochs=1, batch_size=2)
    assert late < 0.5
    assert len(trainer.history) == 0
    taken = trainer.optimizer.state_dict()["state"][0]["step"]
    assert 0 < taken < len(x) / 2
    twin.fit(x[: 2 * taken], y[: 2 * taken], epochs=1, batch_size=2, shuffle=False)
    for name, value in twin.model.state_dict().items():
        np.testing.assert_array_equal(value, trainer.model.state_dict()[name])


def test_a_signal_handlers_own_exception_comes_out_and_the_steps_are_counted():
    class AlarmError(Exception):
        pass

    def ring(*_):
        raise AlarmError

    trainer = make_trainer()
    before = signal.signal(signal.SIGVTALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.3)
        with pytest.raises(AlarmError):
            trainer.fit(np.tile(X, (5000, 1)), np.tile(Y, (5000, 1)), epochs=10**9, batch_size=8)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    assert trainer.optimizer.state_dict()["state"][0]["step"] > 0
    assert len(trainer.fit(X, Y, epochs=2, batch_size=8)) == 2


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("stepwise", [True, False])
@pytest.mark.parametrize("huge", [1e200, 1e308])
def test_the_step_of_a_loss_that_is_no_number_is_not_taken(shuffle, stepwise, huge):
    class Watch(Callback):
        def on_step_end(self, trainer, step, loss):
            seen.append(step)

    y = Y.copy()
    y[37] = huge, -huge
    trainer, twin, seen = make_trainer(), make_trainer(), []
    order = permutation(60, np.random.default_rng(4)) if shuffle else np.arange(60)
    step = int(np.flatnonzero(order == 37)[0]) // 8 + 1
    with pytest.raises(
        FloatingPointError, match=rf"Trainer.fit: the loss is inf in epoch 1, step {step}; .* than 0.001"
    ):
        trainer.fit(X, y, epochs=3, batch_size=8, shuffle=shuffle, seed=4, callbacks=[Watch()] if stepwise else [])
    assert len(trainer.history) == 0
    assert len(seen) == (step - 1) * stepwise
    rows = order[: 8 * (step - 1)]
    if len(rows):
        twin.fit(X[rows], y[rows], epochs=1, batch_size=8, shuffle=False)
    assert trainer.optimizer.state_dict()["state"][0]["step"] == step - 1
    for name, value in twin.model.state_dict().items():
        np.testing.assert_array_equal(value, trainer.model.state_dict()[name])
    assert all((parameter.grad == 0).all() for parameter in trainer.model.parameters())
    assert np.isfinite(trainer.fit(X, Y, epochs=1, batch_size=8)["loss"]).all()


def test_the_epoch_is_named_in_which_the_loss_leaves_the_numbers():
    model = nn.Sequential(nn.Linear(4, 2, rng=0, dtype=F))
    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=1e30))
    with pytest.raises(
        FloatingPointError, match=r"the loss is (inf|nan) in epoch [2-9], step 1; write a smaller lr than 1e\+30"
    ):
        trainer.fit(X, Y, epochs=20, batch_size=60)
    assert trainer.history.engine.startswith("native")
    assert len(trainer.history) > 0


@pytest.mark.parametrize("stepwise", [True, False])
@pytest.mark.parametrize(("rows", "batch_size"), [(57, 8), (1, 8), (5, 1), (1, 1), (1, 10**12)])
def test_a_batch_norms_last_batch_of_one_row_is_found_before_the_first_step(rows, batch_size, stepwise):
    class Watch(Callback):
        def on_step_end(self, trainer, step, loss):
            raise AssertionError("a step was taken")

    model = nn.Sequential(nn.Linear(4, 3, rng=0, dtype=F), nn.BatchNorm1d(3, dtype=F), nn.Linear(3, 2, rng=1, dtype=F))
    before = model.state_dict()
    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(
        ValueError,
        match=r"samples one is left for the last batch; write another batch_size than .*BatchNorm1d\(3\): expected",
    ):
        trainer.fit(X[:rows], Y[:rows], epochs=1, batch_size=batch_size, callbacks=[Watch()] if stepwise else [])
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert len(trainer.fit(X[:56], Y[:56], epochs=1, batch_size=8)) == 1


def test_a_batch_norm_over_sequences_takes_a_batch_of_one_row():
    model = nn.Sequential(
        nn.Conv1d(1, 3, 2, rng=0, dtype=F), nn.BatchNorm1d(3, dtype=F), nn.Flatten(), nn.Linear(9, 2, rng=1, dtype=F)
    )
    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters()))
    assert trainer.fit(X[:57, None], Y[:57], epochs=1, batch_size=8).engine.startswith("native")


def test_a_hundred_thousand_steps_grow_memory_by_less_than_a_megabyte():
    x, y = np.tile(X[:50], (100, 1)), np.tile(Y[:50], (100, 1))
    trainer = make_trainer(dtype=F)
    trainer.fit(x, y, epochs=1, batch_size=1, seed=0)
    gc.collect()
    before = resident()
    trainer.fit(x, y, epochs=20, batch_size=1, seed=0)
    gc.collect()
    assert trainer.optimizer.state_dict()["state"][0]["step"] == 21 * 5000
    assert resident() - before < 2**20


def test_nor_do_many_fits_and_plans():
    def fits(count):
        for _ in range(count):
            make_trainer(width=50).fit(X, Y, epochs=2, batch_size=8)
        gc.collect()

    fits(20)
    before = resident()
    fits(200)
    assert resident() - before < 2**20


def resident():
    """Bytes of this process that are in memory."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def fit_in_child(queue):
    x = np.random.default_rng(0).standard_normal((2000, 4))
    history = make_trainer(width=500).fit(x, x[:, :2], epochs=1, batch_size=1000, seed=0)
    queue.put((fastdl.get_num_threads(), history.engine.split(":")[0], history["loss"]))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_trains_natively_on_threads_of_its_own(threads):
    fastdl.set_num_threads(2)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    x = np.random.default_rng(0).standard_normal((2000, 4))
    want = make_trainer(width=500).fit(x, x[:, :2], epochs=1, batch_size=1000, seed=0)
    child = context.Process(target=fit_in_child, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=600) == (2, "native", want["loss"])
    finally:
        child.kill()
        child.join()


@pytest.mark.parametrize("width", [8, 100])
@pytest.mark.parametrize("batch_size", [1, 25])
def test_the_first_layer_is_named_whose_output_leaves_the_numbers(width, batch_size):
    norm = nn.BatchNorm1d(width, dtype=F).eval()
    model = nn.Sequential(
        nn.Linear(4, width, rng=0, dtype=F),
        nn.ReLU(),
        norm,
        nn.Linear(width, width, dtype=F),
        nn.Linear(width, 2, dtype=F),
    )
    model[3].weight.data = np.full((width, width), 1e308)
    before = norm.state_dict()
    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters()))
    with pytest.raises(FloatingPointError, match="epoch 1, step 1, first in the output of layer 3 Linear; write a"):
        trainer.fit(100 + np.abs(X[:50]), Y[:50], epochs=1, batch_size=batch_size, shuffle=False)
    for name, value in norm.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.RMSprop, optim.Adam])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_gradient_that_is_not_finite_is_named(optimizer, momentum):
    options = {} if optimizer is optim.Adam else {"momentum": momentum}
    model = nn.Sequential(nn.Linear(4, 8, rng=0, dtype=F), nn.Linear(8, 2, rng=1, dtype=F))
    model[0].weight.data, model[0].bias.data = np.zeros((8, 4)), np.zeros(8)
    model[1].weight.data = np.full((2, 8), 1e200)
    trainer = Trainer(model, nn.MAELoss(), optimizer(model.parameters(), **options))
    x = np.full_like(X, 1e200)
    with pytest.raises(FloatingPointError, match=r"the gradient of 0.weight is not finite in epoch 1, step 1; write a"):
        trainer.fit(x, Y, epochs=1, batch_size=8, shuffle=False)
    assert trainer.optimizer.state_dict()["state"][0]["step"] == 1


class Traced(nn.Module):
    """Runs natively by its graph."""

    def __init__(self, *layers):
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


class InPython(Traced):
    """Runs in Python."""

    def backward(self, grad_output):
        return self.layers.backward(grad_output)


@pytest.mark.parametrize("classes", [3, 200])
@pytest.mark.parametrize("kind", [nn.Sequential, Traced, InPython])
def test_so_is_that_of_a_batch_whose_targets_are_all_ignored(kind, classes):
    first, second = nn.Linear(4, 8, rng=0, dtype=F), nn.Linear(8, classes, rng=1, dtype=F)
    first.weight.data = np.full((8, 4), 100.0)
    model = kind(first, second)
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=1e-9))
    x, target = np.ones((40, 4)), np.arange(40) % 3
    x[30:], target[30:] = 1e308, -100
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=r"the gradient of .*weight is not finite"):
        trainer.fit(x, target, epochs=1, batch_size=10, shuffle=False)
    assert trainer.optimizer.state_dict()["state"][0]["step"] == 4
