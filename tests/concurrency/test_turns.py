"""Turns at arrays: threads that wait for each other, and signal handlers that come while one waits."""

import sys

import pytest

from fastdl import Trainer, nn, optim

TURNS = """
import faulthandler, signal, threading, time
from fastdl._kernels.access import Access, busy

faulthandler.dump_traceback_later(30, exit=True)
thing, order = object(), []
held, waiting, release = threading.Event(), threading.Event(), threading.Event()
turns = {name: Access(writes=[thing]) for name in ("first", "main", "between", "handler")}


def take(name, then=lambda: None):
    with turns[name]:
        order.append(name)
        then()


def first():
    with turns["first"]:
        held.set()
        release.wait()
"""


def test_a_handler_that_comes_while_its_thread_waits_has_its_turn_before_those_who_came_later(python):
    code = """
def handler(*_):
    between.start()
    time.sleep(0.2)  # until it waits
    threading.Timer(0.1, release.set).start()
    take("handler")


between = threading.Thread(target=take, args=("between",))
threading.Thread(target=first).start()
held.wait()
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.1)
take("main")
between.join()
print(order, busy())
"""
    done = python(TURNS + code)
    assert done.stdout == "['handler', 'main', 'between'] False\n", done.stderr


def test_a_handler_that_raises_while_its_thread_waits_leaves_the_row(python):
    code = """
def handler(*_):
    raise KeyError


other = threading.Thread(target=first)
other.start()
held.wait()
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    take("main")
except KeyError:
    order.append("raised")
release.set()
other.join()
take("between")
print(order, busy())
"""
    done = python(TURNS + code)
    assert done.stdout == "['raised', 'between'] False\n", done.stderr


def test_of_two_threads_with_turns_of_the_same_kind_each_ends_its_own(python):
    code = """
def other():
    with shared:
        held.set()
        release.wait()
        order.append("other")


shared, thread = Access(reads=[thing]), threading.Thread(target=other)
with shared:
    thread.start()
    held.wait()
threading.Timer(0.2, release.set).start()
take("main")
print(order, busy())
"""
    done = python(TURNS + code)
    assert done.stdout == "['other', 'main'] False\n", done.stderr


def test_threads_that_have_turns_do_not_wait_for_each_other(python):
    code = """
things, both_have_one = [object(), object()], threading.Barrier(2)


def take_both(mine, other):
    with Access(writes=[mine]):
        both_have_one.wait()
        with Access(writes=[mine, other]):
            order.append("both")


threads = [threading.Thread(target=take_both, args=pair) for pair in (things, things[::-1])]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(order, busy())
"""
    done = python(TURNS + code)
    assert done.stdout == "['both', 'both'] False\n", done.stderr


def test_a_handler_draws_amid_a_draw_of_its_thread(python):
    code = """
import faulthandler
import numpy as np
from fastdl.random import Stream

faulthandler.dump_traceback_later(30, exit=True)


class Generator:
    calls = 0

    def integers(self, *_, **__):  # as if a signal came here
        self.calls += 1
        return stream.take(1)[0] if self.calls == 1 else 5


stream = Stream(Generator())
print(stream.take(2), stream.take(1))
"""
    done = python(code)
    assert done.stdout == "(5, 1) (5, 3)\n", done.stderr


def test_a_fit_that_a_handler_keeps_from_beginning_leaves_the_trainer_free(monkeypatch):
    model = nn.Linear(2, 2)
    trainer, begun = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters())), []
    monkeypatch.setattr("fastdl.training.trainer.fit_of", lambda *_: begun.append(True))

    def raise_at(number):
        lines = []

        def at_line(frame, event, _):
            if event == "line" and not begun:
                lines.append(frame.f_lineno)
                if len(lines) == number:
                    raise KeyError  # as a handler would
            return at_line

        return lambda frame, event, _: at_line if frame.f_code.co_name == "_running" else None

    raised = 0
    for number in range(1, 20):
        before, tracing = len(begun), sys.gettrace()
        sys.settrace(raise_at(number))
        try:
            trainer.fit([], [], epochs=1)
        except KeyError:
            raised += 1
        finally:
            sys.settrace(tracing)
        assert not trainer._runs(), (number, trainer._runner)
        if len(begun) > before:
            break
    assert raised > 1


LAYER = """
import faulthandler, threading
import numpy as np
from fastdl import nn, optim
from fastdl._kernels.access import Access

faulthandler.dump_traceback_later(30, exit=True)


class Own(nn.Module):
    def forward(self, x):
        return x

    def backward(self, grad_output):
        return grad_output


order, in_kernel, release = [], threading.Event(), threading.Event()


def held(kernel):
    def run(*arguments):
        in_kernel.set()
        release.wait(1)  # as a kernel that runs without the interpreter's lock
        kernel(*arguments)
        order.append("kernel")

    return run


def wait_for(call, change):
    "Let a change begin while the kernel of a call runs."
    thread = threading.Thread(target=lambda: (in_kernel.wait(), change(), order.append("change")))
    thread.start()
    threading.Timer(0.2, release.set).start()
    call()
    thread.join()
    print(order)


layer, x = nn.Linear(3, 3, rng=0), np.ones((4, 3), np.float32)
optimizer = optim.SGD(layer.parameters(), lr=0.1)
"""


@pytest.mark.parametrize("change", ["optimizer.step()", "layer.load_state_dict(layer.state_dict())"])
@pytest.mark.parametrize("model", ["layer", "nn.Sequential(Own(), layer)", "nn.Residual(layer)"])
def test_a_change_of_the_weights_waits_for_a_layer_that_reads_them(python, model, change):
    code = f"""
import fastdl.nn.linear as module
module.linear_forward = held(module.linear_forward)
model = {model}
wait_for(lambda: model(x), lambda: {change})
"""
    done = python(LAYER + code)
    assert done.stdout == "['kernel', 'change']\n", done.stderr


@pytest.mark.parametrize(
    ("kernel", "changes"),
    [
        ("linear_forward", "writes=[layer.weight]"),
        ("_backward_kernel", "writes=[layer.bias]"),
        ("_backward_kernel", "writes=[layer.weight]"),
        ("_backward_kernel", "writes_gradients=[layer.bias]"),
    ],
)
def test_a_layer_waits_for_a_change_of_what_its_kernel_reads_or_writes(python, kernel, changes):
    """What a turn writes may be half done, for it may belong to native code that runs without the interpreter's lock."""
    code = f"""
import fastdl.nn.linear as module
release.set()
owner = module if "{kernel}" == "linear_forward" else nn.Linear
setattr(owner, "{kernel}", staticmethod(held(getattr(owner, "{kernel}"))))
held_turn, begun = Access({changes}), threading.Event()


def change():
    with held_turn:
        begun.set()
        in_kernel.wait(0.3)
        order.append("change")


thread = threading.Thread(target=change)
if "{kernel}" != "linear_forward":
    layer(x)
thread.start()
begun.wait()
layer(x) if "{kernel}" == "linear_forward" else layer.backward(x)
thread.join()
print(order)
"""
    done = python(LAYER + code)
    assert done.stdout == "['change', 'kernel']\n", done.stderr


def test_a_layer_with_another_parameter_takes_its_turn_at_that_one(python):
    code = """
layer(x)
layer.weight = nn.Parameter(layer.weight.data)
optimizer = optim.SGD([layer.weight], lr=0.1)
import fastdl.nn.linear as module
module.linear_forward = held(module.linear_forward)
wait_for(lambda: layer(x), optimizer.step)
"""
    done = python(LAYER + code)
    assert done.stdout == "['kernel', 'change']\n", done.stderr


def test_a_backward_waits_for_those_who_read_the_gradients(python):
    code = """
layer(x)
nn.Linear._backward_kernel = staticmethod(held(nn.Linear._backward_kernel))
wait_for(lambda: layer.backward(x), optimizer.step)
"""
    done = python(LAYER + code)
    assert done.stdout == "['kernel', 'change']\n", done.stderr


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("model", ["layer", "nn.Sequential(Own(), layer)"])
def test_running_statistics_are_set_anew_when_no_layer_uses_them(python, model, mode):
    code = f"""
import fastdl.nn.batch_norm as module
layer = nn.BatchNorm1d(3).{mode}()
module.batch_norm_forward, module.batch_norm_evaluate = map(held, (module.batch_norm_forward, module.batch_norm_evaluate))
model = {model}
wait_for(lambda: model(x), layer.reset_running_stats)
"""
    done = python(LAYER + code)
    assert done.stdout == "['kernel', 'change']\n", done.stderr


def test_running_statistics_of_a_model_that_is_evaluated_are_those_of_the_model(python):
    code = """
import fastdl.nn.batch_norm as module
from fastdl.training.inference import predict
layer = nn.BatchNorm1d(3)
module.batch_norm_evaluate = held(module.batch_norm_evaluate)
model = nn.Sequential(Own(), layer)
wait_for(lambda: predict(model, x), layer.reset_running_stats)
"""
    done = python(LAYER + code)
    assert done.stdout == "['kernel', 'change']\n", done.stderr
