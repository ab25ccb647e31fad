"""Processes forked in the midst of a fit or a prediction: the child uses models, draws numbers and ends."""

import os
import sys
from itertools import product

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

PRELUDE = """
import atexit, os, signal, sys, threading, time, warnings, numpy as np
import fastdl
from fastdl import Trainer, nn, optim
from fastdl.callbacks import Callback
from fastdl.training.inference import predict
warnings.filterwarnings("ignore", message=".*multi-threaded.*")
rng = np.random.default_rng(0)
x, y = rng.standard_normal((4000, 64)).astype("f4"), np.arange(4000) % 10
class Traced(nn.Module):
    def __init__(self, body):
        self.body, self.scale = body, nn.Parameter(np.ones(10, "f4"))
    def forward(self, x): return np.tanh(self.body(x) * self.scale) * self.scale
model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Dropout(0.2), nn.Linear(512, 10))
if ENGINE == "traced": model = Traced(model)
if ENGINE == "plain":
    from fastdl.training import fit_loop
    from fastdl.training.engine import PlainEngine
    fit_loop.engine_for = lambda task, *_: PlainEngine(task, "a test wants it")
trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.01))
children, forked = [], []
atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)
def work():
    "What a child does: kernels, programs, dropout's stream, a fit of its own, the number of threads."
    nn.Linear(1000, 1000)(np.ones((500, 1000), "f4"))
    model(x[:500])
    predict(model, x[:500])
    fastdl.set_num_threads(1)
    fastdl.manual_seed(0)
    inner = nn.Sequential(nn.Linear(64, 8), nn.Dropout(0.1), nn.Linear(8, 10))
    Trainer(inner, nn.CrossEntropyLoss(), optim.Adam(inner.parameters())).fit(x[:400], y[:400], epochs=3, batch_size=50)
    Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.01)).step(x[:50], y[:50])
def fork(*_):
    if len(forked) >= 3: return
    forked.append(1)
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            work()
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(3)
        os._exit(0)
    children.append(child)
def ended():
    "The children's exit codes; one that hangs is killed."
    codes = []
    for child in children:
        for _ in range(2500):
            done, status = os.waitpid(child, os.WNOHANG)
            if done: break
            time.sleep(0.01)
        else:
            os.kill(child, 9)
            status = os.waitpid(child, 0)[1]
        codes.append(os.waitstatus_to_exitcode(status))
    return codes
work()  # what is imported at first use is there: no handler interrupts an import
fastdl.set_num_threads(2)
def fit(callbacks=(), epochs=3):
    for _ in range(100):
        trainer.fit(x, y, epochs=epochs, batch_size=500, callbacks=callbacks)
        if len(forked) >= 3: break
"""


ENGINES = ["native", "plain", "traced"]


def _forks(python, code, engine="native"):
    done = python(f"ENGINE = {engine!r}\n{PRELUDE}\n{code}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 0, 0]\n", "")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_child_of_a_signal_handler_ends(python, engine):
    code = (
        "signal.signal(signal.SIGALRM, fork); signal.setitimer(signal.ITIMER_REAL, 0.02, 0.03); fit(); print(ended())"
    )
    _forks(python, code, engine)


# Each hook, each way to call it and each engine, in pairs with one another.
PAIRS = [
    ("on_epoch_end", False, ENGINES[0]),
    ("on_epoch_end", True, ENGINES[1]),
    ("on_step_end", False, ENGINES[2]),
    ("on_step_end", True, ENGINES[0]),
]


@pytest.mark.parametrize(
    ("hook", "watches", "engine"),
    [
        pytest.param(*each, marks=() if each in PAIRS else pytest.mark.slow)
        for each in product(("on_epoch_end", "on_step_end", "on_checkpoint"), (False, True), ENGINES)
    ],
)
def test_a_child_of_a_callback_ends(python, engine, hook, watches):
    code = f"""
class Forking(Callback):
    watches = {watches}
    def {hook}(self, trainer, *_): fork()
fit([Forking()])
print(ended())
"""
    _forks(python, code, engine)


@pytest.mark.skipif(sys.platform == "darwin", reason="forks beside threads are not safe there")
@pytest.mark.parametrize("engine", ["native", "traced"])
def test_a_child_of_another_thread_ends(python, engine):
    code = """
def forking():
    for _ in range(3):
        time.sleep(0.02)
        fork()
other = threading.Thread(target=forking)
other.start()
fit(epochs=10)
other.join()
print(ended())
"""
    _forks(python, code, engine)


@pytest.mark.parametrize("engine", ["native", "traced"])
def test_a_child_of_a_prediction_ends(python, engine):
    code = """
signal.signal(signal.SIGALRM, fork); signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
for _ in range(2000):
    predict(model, x), model(x)
    if len(forked) >= 3: break
print(ended())
"""
    _forks(python, code, engine)


def test_a_child_draws_though_another_thread_was_drawing(python):
    code = """
from fastdl.random import default_generator, default_stream
held, release = threading.Event(), threading.Event()
def drawing():
    with default_generator().bit_generator.lock, default_stream()._lock:
        held.set()
        release.wait()
other = threading.Thread(target=drawing)
other.start()
held.wait()
for _ in range(3): fork()
codes = ended()
release.set()
other.join()
print(codes)
"""
    _forks(python, code)
