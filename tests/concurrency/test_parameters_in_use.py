"""Parameters that are stepped, loaded, cast or replaced while other threads use the model: a call sees one whole set of them."""

from textwrap import dedent

import pytest

PRELUDE = """
import faulthandler, os, sys, threading, numpy as np
from fastdl import Trainer, nn, optim
from fastdl.training.inference import predict
SANITIZED = "san" in os.environ.get("LD_PRELOAD", "")  # under which products take fifty times as long
faulthandler.dump_traceback_later(300 if SANITIZED else 50, exit=True)
sys.setswitchinterval(1e-4)
WIDTH = 100 if SANITIZED else 700
model = nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False), nn.Identity(), nn.Linear(WIDTH, 50, bias=False)).eval()
first, second = model.parameters()
x = np.ones((300, WIDTH), "f4")
def let_all_be(value):
    for p in (first, second): p.data = np.full(p.shape, value, p.data.dtype)
let_all_be(1.0)
def whole(y):
    "Whether the output is that of weights which are all the same number, 1 to 4."
    return any((y == WIDTH**2 * k**2).all() for k in (1, 2, 3, 4))
failures, over = [], threading.Event()
def using(call):
    def use():
        try:
            while not over.is_set():
                if not whole(call()): failures.append("a mixture")
        except BaseException as error:
            failures.append(repr(error))
    return threading.Thread(target=use)
def all_at_once():
    "New values by a load: both of them, or neither."
    for value in (2, 3, 4, 1):
        model.load_state_dict({name: np.full(p.shape, value, p.data.dtype) for name, p in model.named_parameters()})
def step(make):
    for p in (first, second): p.grad = np.full(p.shape, -1.0, "f4")
    optimizer = make()
    for turn in range(3): optimizer.step()
    for p in (first, second): p.grad = np.full(p.shape, 3.0, "f4")
    optimizer.step()
CHANGES = {
    "load": all_at_once,
    "step": lambda: step(lambda: optim.SGD(model.parameters(), lr=1.0)),
    "new optimizer": lambda: optim.Adam(model.parameters(), lr=0.1),
    "cast": lambda: [model.astype(np.float64), model.astype(np.float32)],
    "replaced": lambda: [setattr(p, "data", np.ones(p.shape, p.data.dtype)) for p in (first, second)],
    "gradients": lambda: [setattr(p, "grad", np.zeros(p.shape)) for p in (first, second)] and model.zero_grad(),
    "frozen": lambda: [model.requires_grad_(False), model.requires_grad_(True)],
    "modes": lambda: [model.train(), model.eval()],
}
def change(name, calls, times):
    threads = [using(call) for call in calls]
    for thread in threads: thread.start()
    try:
        for _ in range(times): CHANGES[name]()
    finally:
        over.set()
        for thread in threads: thread.join()
    print(sorted(set(failures)))
"""
TRACED = """
class Traced(nn.Module):
    def __init__(self, first, second):
        self.first, self.second, self.training = first, second, False
    def forward(self, x): return (x @ self.first.weight.T) @ self.second.weight.T
model = Traced(model[0], model[2])
"""
CALLS = {
    "calls": "[lambda: model(x), lambda: model(x)]",
    "predictions": "[lambda: predict(model, x), lambda: predict(model, x)]",
    "both": "[lambda: model(x), lambda: predict(model, x)]",
}
CHANGES = ("load", "step", "new optimizer", "replaced", "gradients", "frozen", "modes")


MODELS = {"layers": "", "traced": TRACED}


def changes_beside_calls():
    """Every change beside all calls of both models; what is not slow has each change beside one kind of them of each."""
    for number, change in enumerate(CHANGES):
        for kind in MODELS:
            for calls in CALLS:
                chosen = calls == ("calls", "predictions")[(number + (kind == "traced")) % 2]
                yield pytest.param(change, kind, calls, marks=() if chosen else pytest.mark.slow)


@pytest.mark.parametrize(("change", "model", "calls"), list(changes_beside_calls()))
def test_each_call_sees_one_whole_set_of_weights(python, change, model, calls):
    done = python(f"{PRELUDE}\n{MODELS[model]}\nchange({change!r}, {CALLS[calls]}, 20)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def changes_beside_fits():
    """Every change beside fits of both models; what is not slow has each change beside one of them."""
    for number, change in enumerate(["load", "new optimizer", "cast", "gradients", "replaced", "frozen", "modes"]):
        for place, kind in enumerate(MODELS):
            yield pytest.param(change, kind, marks=() if (number + place) % 2 else pytest.mark.slow)


@pytest.mark.parametrize(("change", "model"), list(changes_beside_fits()))
def test_a_fit_goes_on_beside_changes_of_its_parameters(python, change, model):
    code = f"""
{MODELS[model]}
model.train()
t = np.zeros((300, 50), "f4")
trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.0))
done = threading.Event()
def changing():
    while not done.is_set(): CHANGES[{change!r}]()
thread = threading.Thread(target=changing)
thread.start()
try:
    for turn in range(4): trainer.fit(x, t, epochs=5, batch_size=100)
    print("fitted")
except (TypeError, ValueError, RuntimeError, FloatingPointError) as error:
    print("refused:", error, file=sys.stderr)
finally:
    done.set()
    thread.join()
assert all(p.data.shape == p.grad.shape for p in (first, second))
"""
    done = python(PRELUDE + code)
    if change == "cast":  # the rows of the fit are of the other dtype then
        assert done.returncode == 0
        assert done.stdout == "fitted\n" or done.stderr.startswith("refused: ")
    else:
        assert (done.returncode, done.stdout, done.stderr) == (0, "fitted\n", "")


@pytest.mark.parametrize(
    "change",
    ["load", "step", "replaced", *(pytest.param(n, marks=pytest.mark.slow) for n in ("new optimizer", "gradients"))],
)
def test_a_backward_beside_changes_of_its_parameters(python, change):
    code = f"""
model.train()
mine = nn.Sequential(*model)
def both_ways():
    y = mine(x)
    mine.backward(np.zeros_like(y))
    return y
change({change!r}, [both_ways], 20)
"""
    done = python(PRELUDE + code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_numpys_writes_from_another_thread_do_no_harm_but_to_the_values(python):
    code = """
def writing():
    while not over.is_set():
        for p in (first, second): p.data[:] = 2.0; p.data *= 0.5
threads = [threading.Thread(target=writing), threading.Thread(target=writing)]
for thread in threads: thread.start()
for _ in range(100): y = model(x)
over.set()
for thread in threads: thread.join()
print(np.isfinite(y).all())
"""
    done = python(PRELUDE + code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


LAYERS = {
    "Linear": "nn.Linear(500, 500, bias=False), np.ones((200, 500), 'f4')",
    "Conv1d": "nn.Conv1d(32, 64, 3, bias=False), np.ones((32, 32, 202), 'f4')",
    "Conv2d": "nn.Conv2d(8, 32, 3, bias=False), np.ones((8, 8, 48, 48), 'f4')",
    "BatchNorm1d": "nn.BatchNorm1d(5000).eval(), np.ones((100, 5000), 'f4')",
    "LayerNorm": "nn.LayerNorm((5000,), bias=False), np.arange(5000 * 100, dtype='f4').reshape(100, 5000) % 2 * 2 - 1",
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_a_call_of_one_layer_sees_one_whole_set_of_weights(python, layer):
    code = """
    layer, x = LAYER
    layer.weight.data = np.ones(layer.weight.shape)
    unit = float(abs(layer(x)).max())
    def uniform(y):
        "Whether the output is that of weights which are all the same number, 1 to 4."
        size = abs(y)
        return size.min() == size.max() and round(float(size.max() / unit), 3) in (1, 2, 3, 4)
    def use():
        while not over.is_set():
            if not uniform(layer(x)): failures.append("a mixture")
    sys.setswitchinterval(1e-6)
    optimizer = optim.SGD([layer.weight], lr=1.0)
    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads: thread.start()
    for _ in range(150):
        for gradient in (-1.0, -1.0, -1.0, 3.0):
            layer.weight.grad = np.full(layer.weight.shape, gradient)
            optimizer.step()
    over.set()
    for thread in threads: thread.join()
    print(len(failures))
    """
    done = python(PRELUDE + dedent(code).replace("LAYER", layer, 1))
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
