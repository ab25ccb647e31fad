"""Traced models and what may happen amid their traces, calls, pullbacks and steps: casts, forks, other threads, other shapes."""

import os
import sys
import threading
import time

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl._kernels.access import Access
from fastdl.callbacks import Callback
from fastdl.training.inference import predict
from fastdl.training.native_engine import NativeEngine

TIMEOUT = 60
ROWS = np.random.default_rng(0).standard_normal((20, 6))


class Acting(nn.Module):
    """A traced model amid whose traces something is done."""

    def __init__(self, act=lambda: None, dtype=np.float64):
        self.linear, self.drop = nn.Linear(6, 6, rng=0, dtype=dtype), nn.Dropout(0.5)
        self.act = act

    def forward(self, x):
        self.act()
        return self.drop(np.tanh(self.linear(x)) * x)


class Once:
    """Does something at its first call."""

    def __init__(self, do):
        self.do = do

    def __call__(self):
        do, self.do = self.do, lambda: None
        do()


def squares(output, target):
    return np.mean((output - target) ** 2)


def trainer_of(model):
    return Trainer(model, squares, optim.SGD(model.parameters(), lr=0.01))


@pytest.mark.parametrize("hook", ["on_epoch_end", "on_step_end"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fit_goes_on_when_its_model_is_cast(hook, dtype):
    model = Acting(dtype=np.float64 if dtype == np.float32 else np.float32)
    cast = Once(lambda: model.astype(dtype))
    callback = type("Casting", (Callback,), {hook: lambda *_: cast()})()
    x = np.random.default_rng(0).standard_normal((400, 6)).astype(model.linear.weight.dtype)
    history = trainer_of(model.eval()).fit(x, x, epochs=4, batch_size=50, seed=0, callbacks=[callback])
    assert history.engine.startswith("native")
    assert model.linear.weight.dtype == dtype
    assert history["loss"] == sorted(history["loss"], reverse=True)


@pytest.fixture
def traced_elsewhere():
    """A model that another thread traces, until the test is over."""
    amid, release, main = threading.Event(), threading.Event(), threading.current_thread()

    def wait():
        if threading.current_thread() is not main:
            amid.set()
            release.wait(TIMEOUT)

    model = Acting(wait).eval()
    other = threading.Thread(target=model, args=(ROWS,))
    other.start()
    assert amid.wait(TIMEOUT)
    yield model
    release.set()
    other.join()


def test_calls_do_not_wait_for_another_threads_trace(traced_elsewhere):
    np.testing.assert_allclose(traced_elsewhere(ROWS), Acting().eval()(ROWS), rtol=1e-12)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded")
def test_a_child_calls_a_model_that_another_thread_was_tracing(traced_elsewhere):
    assert ended(lambda: traced_elsewhere(ROWS))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded")
@pytest.mark.parametrize("around", [False, True])
def test_a_child_calls_a_pullback_that_another_thread_was_calling(around):
    amid, release, main = threading.Event(), threading.Event(), threading.current_thread()

    class Waits(nn.Module):
        def forward(self, x):
            return x

        def backward(self, grad_output):
            if threading.current_thread() is not main:
                amid.set()
                release.wait(TIMEOUT)
            return grad_output

    class Around(nn.Module):
        def __init__(self):
            self.inner = Waits()

        def forward(self, x):
            return 2 * self.inner(x)

    model = Around() if around else nn.Sequential(Waits())
    _, pullback = model.vjp(ROWS)
    other = threading.Thread(target=pullback, args=(ROWS,))
    other.start()
    assert amid.wait(TIMEOUT)
    try:
        assert ended(lambda: pullback(ROWS))
    finally:
        release.set()
        other.join()


class Counting(nn.Module):
    """A part in Python that changes attributes in each forward."""

    def __init__(self):
        self.calls, self.log = 0, []
        self.register_buffer("seen", np.zeros(1))

    def forward(self, x):
        self.calls += 1
        self.log.append(len(x))
        self.seen += 1
        return x

    def backward(self, grad_output):
        return grad_output


class Around(Acting):
    """A traced model around such a part."""

    def __init__(self, act):
        super().__init__(act)
        self.part = Counting()

    def forward(self, x):
        self.act()
        return self.part(self.linear(x))


def elsewhere(call, *arguments):
    """Run something in another thread."""
    other = threading.Thread(target=call, args=arguments)
    other.start()
    other.join()


def test_a_trace_leaves_alone_what_another_thread_changes_in_parts_in_python():
    model = Around(lambda: elsewhere(model.part.forward, ROWS[:1]))
    part = model.part
    model(ROWS)
    assert part.log.count(1) > 1
    assert part.calls == part.seen[0] == len(part.log)


def test_a_trace_leaves_alone_what_another_thread_writes_to_a_buffer():
    model = Acting(Once(lambda: elsewhere(scale.fill, 3.0))).eval()
    model.register_buffer("scale", np.ones(6))
    scale = model.scale
    model(ROWS)
    np.testing.assert_array_equal(model.scale, 3.0)


def ended(call):
    """Whether a forked child ends in time, with finite results of a call."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if np.isfinite(call()).all() else 2)
        finally:
            os._exit(1)
    for _ in range(1000):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.01)
    else:
        os.kill(child, 9)
        status = os.waitpid(child, 0)[1]
    return os.waitstatus_to_exitcode(status) == 0


def in_another_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_a_mode_that_changes_amid_a_trace():
    model = Acting()
    model.act = Once(lambda: in_another_thread(model.eval))
    model(ROWS)
    model.train()
    assert (model(ROWS) == 0).any()
    model.eval()
    assert not (model(ROWS) == 0).any()


CALLS = {
    "call": lambda model, x: model(x),
    "vjp": lambda model, x: model.vjp(x)[0],
    "step": lambda model, x: trainer_of(model).step(x, x),
}


@pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")
@pytest.mark.parametrize("shape", [(-1, 1), (1, -1)])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_inputs_whose_shape_is_set_amid_a_trace(call, shape):
    x, results = ROWS.copy(), []
    for act in (lambda: None, lambda: setattr(x, "shape", shape)):
        fastdl.manual_seed(0)
        results.append(call(Acting(Once(act)), x))
    np.testing.assert_array_equal(*results)


@pytest.mark.filterwarnings("ignore:.*what it returns is a constant:UserWarning")
@pytest.mark.parametrize("around", [lambda model: model, lambda model: nn.Sequential(model, nn.Tanh())])
def test_code_amid_a_trace_that_is_not_traced_runs_as_elsewhere(around):
    class Written(nn.Module):
        traced = False

        def __init__(self):
            self.scale = nn.Parameter(np.ones(6))

        def forward(self, x):
            return self.scale * x

    def run():
        np.testing.assert_array_equal(around(Written())(ROWS), wanted)
        ran.append(1)

    ran, wanted = [], around(Written())(ROWS)
    np.testing.assert_array_equal(Acting(run).eval()(ROWS), Acting().eval()(ROWS))
    assert len(ran) == 2


WITHIN = {
    "predict": lambda model: predict(model, ROWS),
    "evaluate": lambda model: [*trainer_of(model).evaluate(ROWS, ROWS).values()],
    "fit": lambda model: trainer_of(model).fit(ROWS, ROWS, epochs=2, batch_size=7, seed=0)["loss"],
    "summary": lambda model: str(model.summary(6)),
}


@pytest.mark.parametrize("around", [lambda model: predict(model, ROWS), lambda model: model.eval()(ROWS)])
@pytest.mark.parametrize("what", WITHIN.values(), ids=WITHIN)
def test_whole_works_on_a_model_amid_its_own_trace_are_no_part_of_it(what, around):
    def within():
        if not started:
            started.append(1)
            found.append(what(model))

    started, found = [], []
    twin, model = Acting(), Acting(within)
    wanted = what(twin)
    np.testing.assert_array_equal(around(model), around(twin))
    assert np.array_equal(*found, wanted)


def test_a_pullback_by_several_threads_at_once():
    class Curve(nn.Module):
        def forward(self, x):
            return np.tanh(x) * np.sin(x) + np.exp(-x * x)

    x = np.random.default_rng(0).standard_normal((400, 500)).astype(np.float32)
    y, pullback = Curve().vjp(x)
    wanted, wrong = pullback(np.ones_like(y)), []

    def pull(factor):
        for _ in range(10):
            if not np.array_equal(pullback(np.full_like(y, factor)), factor * wanted):
                wrong.append(factor)

    threads = [threading.Thread(target=pull, args=(factor,)) for factor in (1, 2, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_pullback_that_waits_for_a_change_of_the_parameters_is_refused():
    model, held = Acting().eval(), threading.Event()
    y, pullback = model.vjp(ROWS)

    def change():
        with Access(writes=[model.linear.weight]):
            held.set()
            time.sleep(0.1)
            model.linear.weight.data = 2 * model.linear.weight.data

    other = threading.Thread(target=change)
    other.start()
    assert held.wait(TIMEOUT)
    with pytest.raises(RuntimeError, match="they were changed since"):
        pullback(np.ones_like(y))
    other.join()
    assert not model.linear.weight.grad.any()


def test_gradients_that_are_not_asked_for_leave_the_parameters_where_they_are():
    model = Acting().eval()
    y, pullback = model.vjp(ROWS)
    weight, seen, over = model.linear.weight, set(), threading.Event()
    grad = weight._grad

    def look():
        while not over.is_set():
            seen.add(weight._grad is grad)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        other = threading.Thread(target=look)
        other.start()
        for _ in range(300):
            pullback(np.ones_like(y), parameters=False)
    finally:
        sys.setswitchinterval(before)
        over.set()
        other.join()
    assert seen == {True}


@pytest.mark.parametrize("times", [1, 100])
def test_a_step_is_taken_though_the_model_changes_before_it(monkeypatch, times):
    model = Acting().eval()
    left, check = [0] * times, NativeEngine._check_batches

    def changing(engine, *sizes):
        if left:
            left.pop()
            model.linear.bias.requires_grad = not model.linear.bias.requires_grad
        check(engine, *sizes)

    monkeypatch.setattr(NativeEngine, "_check_batches", changing)
    before = model.linear.weight.data.copy()
    assert np.isfinite(trainer_of(model).step(ROWS, ROWS))
    assert (model.linear.weight.data != before).any()


def test_buffers_of_another_dtype_are_refused():
    class Normed(nn.Module):
        def __init__(self):
            self.linear, self.norm = nn.Linear(6, 6), nn.BatchNorm1d(6, affine=False, dtype=np.float64)

        def forward(self, x):
            return self.norm(self.linear(x))

    with pytest.raises(ValueError, match="holds float64 where the graph is of float32"):
        Normed()(ROWS.astype(np.float32))


def test_a_fit_of_frozen_parameters_leaves_them_as_they_are():
    """As that of layers does: another thread may freeze all for a while."""
    model = Acting().eval().requires_grad_(False)
    before = model.linear.weight.data.copy()
    history = trainer_of(model).fit(ROWS, ROWS, epochs=2, batch_size=10)
    assert history.engine.startswith("native")
    assert np.isfinite(history["loss"]).all()
    np.testing.assert_array_equal(model.linear.weight.data, before)


def test_a_pullback_of_a_model_that_gets_a_layer_while_it_is_copied(monkeypatch):
    class Own(nn.Module):
        def forward(self, x):
            return 2 * x

        def backward(self, grad_output):
            return 2 * grad_output

    from fastdl.nn import vjp

    model, copies_of = nn.Sequential(Own()), vjp.copies_of

    def copied(*arguments):
        found = copies_of(*arguments)
        model.append(Own())  # as another thread may
        return found

    monkeypatch.setattr(vjp, "copies_of", copied)
    y, pullback = model.vjp(ROWS)
    np.testing.assert_array_equal(y, 2 * ROWS)
    np.testing.assert_array_equal(pullback(y), 4 * ROWS)
