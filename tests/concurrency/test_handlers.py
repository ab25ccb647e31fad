"""Signal handlers and callbacks that run in the midst of a fit or a prediction, and use models themselves."""

import pytest

PRELUDE = """
import atexit, signal, numpy as np
from fastdl import Trainer, nn, optim, no_grad
from fastdl.callbacks import Callback
from fastdl.nn.grad_mode import mode
from fastdl.training.inference import predict
rng = np.random.default_rng(0)
def images(n, side):
    return np.ones((n, 8, side, side), "f4")
def dense(): return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.1), nn.Linear(256, 10))
def convolutions(): return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
class Traced(nn.Module):
    def __init__(self, size):
        self.body = nn.Sequential(nn.BatchNorm1d(size), nn.Linear(size, 64), nn.Dropout(0.1))
        self.scale, self.gate, self.out = nn.Parameter(np.ones(64, "f4")), nn.Linear(64, 64), nn.Linear(64, 10)
    def forward(self, x):
        h = self.body(x) * self.scale
        return self.out(h + np.tanh(self.gate(h)) / (1 + np.exp(-self.gate(h) * self.scale)))
class Own(nn.Module):
    def __init__(self, inner):
        self.inner = inner
    def forward(self, x): return self.inner(x)
    def backward(self, g): return self.inner.backward(g)
x, y = rng.standard_normal((3000, 64)).astype("f4"), rng.integers(0, 10, 3000)
other, table = nn.Conv2d(8, 8, 3, padding=1), nn.Sequential(nn.Linear(300, 300), nn.Tanh(), nn.Linear(300, 5))
norm, calls, busy, gated = nn.BatchNorm1d(300), [], [], Traced(300)
first = np.ones((40, 300), "f4")
predict(gated, first), gated(first)  # imports what a trace needs, which no handler may interrupt
def grow(*_):
    "Models of ever more scratch memory, called, trained and evaluated."
    if busy: return
    busy.append(1)
    n = len(calls)
    calls.append(n)
    if n < 25:
        batch = images(2, 20 + 8 * n)
        other(batch)
        if mode.enabled: other.backward(other(batch) * 0)  # what is interrupted may be under no_grad
        wide = np.ones((10 + 30 * n, 300), "f4")
        table(wide), norm(wide), predict(table, wide), predict(gated, wide[:40])
        if mode.enabled: gated.backward(gated(wide[:40]) * 0)
        optim.SGD(table.parameters(), lr=0.0).step()
    busy.clear()
def every(seconds, do=grow):
    signal.signal(signal.SIGALRM, do)
    atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
def fitting_inputs(model):
    return x.reshape(-1, 1, 8, 8) if isinstance(model, nn.Sequential) and isinstance(model[0], nn.Conv2d) else x
def plain():
    "Let the engine in Python train."
    from fastdl.training import fit_loop
    from fastdl.training.engine import PlainEngine
    fit_loop.engine_for = lambda task, *_: PlainEngine(task, "a test wants it")
def trainer_of(model):
    return Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.01))
def trained(model, callbacks=(), epochs=12):
    "Fit until the handler has run for a while, at most a hundred times."
    trainer = trainer_of(model)
    for _ in range(100):
        trainer.fit(fitting_inputs(model), y, epochs=epochs, batch_size=100, seed=0, callbacks=callbacks)
        if len(calls) >= 25: break
    assert np.isfinite(trainer.history["loss"]).all()
"""


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("model", "engine"),
    [
        ("dense()", ""),
        pytest.param("dense()", "plain()", marks=slow),
        pytest.param("convolutions()", "", marks=slow),
        ("convolutions()", "plain()"),
        ("Own(dense())", ""),
        pytest.param("Own(dense())", "plain()", marks=slow),
        ("Traced(64)", ""),
        pytest.param("Traced(64)", "plain()", marks=slow),
    ],
)
def test_a_signal_handler_may_use_models_during_a_fit(python, model, engine):
    done = python(f"{PRELUDE}\n{engine}\nevery(0.02)\ntrained({model}, epochs=4)\nprint(len(calls) >= 25)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


@pytest.mark.parametrize("model", ["dense()", "convolutions()", "Own(dense())", "Traced(64)"])
def test_a_signal_handler_may_use_models_during_a_prediction(python, model):
    code = f"""
model = {model}
x = fitting_inputs(model)
want = predict(model, x)
model.eval()
every(0.005)
for turn in range(3000):
    assert (predict(model, x) == want).all()
    with no_grad(): assert np.allclose(model(x), want, atol=1e-5)
    if len(calls) >= 25: break
print(len(calls) >= 25)
"""
    done = python(PRELUDE + code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


@pytest.mark.parametrize(
    ("hook", "watches"),
    [
        ("on_epoch_end", True),
        pytest.param("on_epoch_end", False, marks=slow),
        ("on_checkpoint", False),
        pytest.param("on_checkpoint", True, marks=slow),
        ("on_step_end", True),
        pytest.param("on_step_end", False, marks=slow),
    ],
)
def test_a_callback_may_use_models(python, hook, watches):
    code = f"""
class Using(Callback):
    watches = {watches}
    def {hook}(self, trainer, *_): grow()
trained(dense(), callbacks=[Using()], epochs=30)
"""
    done = python(PRELUDE + code)
    assert (done.returncode, done.stderr) == (0, "")


def test_handlers_see_the_training_model_and_may_change_what_the_fit_uses(python):
    code = """
model = dense()
def meddle(*_):
    n = len(calls)
    calls.append(n)
    if n % 6 == 0: model[0].weight.data = np.zeros_like(model[0].weight.data) + 0.01
    elif n % 6 == 1: model.load_state_dict(model.state_dict())
    elif n % 6 == 2: optim.Adam(model.parameters())
    elif n % 6 == 3: model.zero_grad()
    elif n % 6 == 4: model[0].bias.requires_grad = not model[0].bias.requires_grad
    else: predict(model, x)
every(0.01, meddle)
trained(model)
print(len(calls) >= 25)
"""
    done = python(PRELUDE + code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


@pytest.mark.parametrize("work", ["model(x)", "model.backward(np.ones_like(model(x)))", "trainer.step(x, y)"])
def test_a_handler_may_call_cast_and_step_amid_calls_of_a_traced_model(python, work):
    code = f"""
model, x, y = Traced(64), x[:200], y[:200]
trainer, refused = trainer_of(model), []
def meddle():
    n = len(calls)
    calls.append(n)
    model.astype([np.float32, np.float64][n // 4 % 2])
    if n % 4 == 1: model(x[:n % 50 + 2])
    elif n % 4 == 2: trainer.step(x[:n % 50 + 2], y[:n % 50 + 2])
    elif n % 4 == 3: model.requires_grad_(not model.scale.requires_grad)
def attempt(do):
    try: do()
    except (RuntimeError, ValueError, TypeError) as error: refused.append(str(error))
def handler(*_):
    if busy or len(calls) >= 40: return
    busy.append(1)
    attempt(meddle)
    busy.clear()
every(0.005, handler)
for turn in range(3000):
    attempt(lambda: {work})
    if len(calls) >= 40: break
signal.setitimer(signal.ITIMER_REAL, 0)
model.requires_grad_(True).astype(np.float32)
print(len(calls) >= 40, [each for each in refused if "expected" not in each and "write " not in each])
print(np.isfinite(model(x)).all(), np.isfinite(trainer.step(x, y)))
"""
    done = python(PRELUDE + code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True []\nTrue True\n", "")


@pytest.mark.parametrize("engine", ["", "plain()"])
def test_a_handlers_exception_ends_the_fit_and_another_fit_goes_on(python, engine):
    code = f"""
{engine}
class Stop(Exception): pass
def stop(*_): raise Stop
model = dense()
trainer = trainer_of(model)
for turn in range(5):
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.03 + 0.01 * turn)
    try:
        trainer.fit(x, y, epochs=10_000, batch_size=100)
    except Stop:
        print("stopped")
    grow()
trainer.fit(x, y, epochs=2, batch_size=100)
print(len(trainer.history), np.isfinite(trainer.history["loss"]).all())
"""
    done = python(PRELUDE + code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n" * 5 + "2 True\n", "")
