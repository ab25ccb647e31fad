"""Objects whose finalizers change a model, collected as garbage at any moment of a call."""

import pytest

# What looks at every module of a model, whose dictionaries change meanwhile.
LOOKS = {
    "call": "model(x)",
    "predict": "predict(model, x)",
    "layer": "model[0](x)",
    "state": "model.state_dict()",
    "parameters": "list(model.parameters()), list(model.modules()), list(model.children())",
    "repr": "repr(model)",
    "summary": "str(model.summary(3))",
    "copy": "copy.deepcopy(model)(x)",
    "pickle": "pickle.loads(pickle.dumps(model))(x)",
    "mode": "model.eval(), model.train()",
    "spec": "spec.to_spec(model)",
    "fit": "Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1)).fit(x, x, epochs=2, batch_size=2)",
    "traced": "Net(model)(x)",
    "traced predict": "predict(Net(model), x)",
    "traced fit": "Trainer(Net(model), squares, optim.SGD(model.parameters(), lr=0.1)).fit(x, x, epochs=2, batch_size=2)",
    "schedule": "pickle.dumps(optim.ExponentialLR(optim.SGD(model.parameters(), lr=0.1), 0.5))",
    "optimizer": "copy.deepcopy(optim.Adam(model.parameters(), lr=0.1)).state_dict()",
    "stream": "pickle.dumps(stream)",
}
# One of each kind of look.
QUICK = ("call", "state", "copy", "spec", "fit", "optimizer")


@pytest.mark.parametrize(
    "look",
    [pytest.param(look, id=name, marks=() if name in QUICK else pytest.mark.slow) for name, look in LOOKS.items()],
)
def test_attributes_that_finalizers_add_and_remove(python, look):
    """CPython 3.11 crashes in dict.copy, and in an object's first vars, where a collection begins amid them and changes it."""
    code = f"""
import copy, faulthandler, gc, pickle
import numpy as np
from fastdl import Trainer, nn, optim
from fastdl.nn import spec
from fastdl.random import Stream
from fastdl.training.inference import predict

faulthandler.enable()


class Cycle:
    def __init__(self):
        self.itself = self

    def __del__(self):
        global left, ran
        left -= 1
        if left > 0:
            Cycle()
        if left == 0:
            ran += 1
            for each in [*model.modules(), stream]:
                own = vars(each)
                added = [f"added{{number}}" for number in range(50) if f"added{{number}}" not in own]
                for name in added:
                    own[name] = 0
                for name in added:
                    own.pop(name, None)


class Net(nn.Module):
    def __init__(self, body):
        self.body = body

    def forward(self, x):
        return np.tanh(self.body(x))


def squares(output, target):
    return np.mean((output - target) ** 2)


def built():
    body = nn.Sequential(nn.Linear(3, 3, rng=1), nn.BatchNorm1d(3), nn.Dropout(0.5))
    return nn.Sequential(nn.Linear(3, 3, rng=0), nn.Residual(body))


x = np.ones((4, 3), np.float32)
left, ran = 0, 0
thresholds = gc.get_threshold()
for number in range(1, 100):
    model, stream = built(), Stream(np.random.default_rng(0))
    gc.collect()
    left = number
    gc.set_threshold(1)
    Cycle()
    try:
        {look}
    finally:
        gc.set_threshold(*thresholds)
        left = 0
assert ran > 2, ran
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_what_a_finalizer_changes_in_the_midst_of_a_call_is_noticed(python):
    code = """
import faulthandler, gc
import numpy as np
from fastdl import nn, optim

faulthandler.enable()


class Last:
    left = 0

    def __init__(self):
        self.itself = self

    def __del__(self):
        if Last.left > 0:
            Last.left -= 1
            if Last.left == 0:
                change()
            else:
                Last()


def change():
    model.astype(np.float32)


x = np.linspace(-1, 1, 40 * 30).reshape(40, 30)
kinds = set()
for number in range(1, 40):
    model = nn.Sequential(nn.Linear(30, 50, rng=0, dtype=np.float64), nn.Tanh(), nn.Linear(50, 30, rng=1, dtype=np.float64))
    for _ in range(4):
        wanted = model(x)
    optim.SGD(model.parameters())  # moves them: a call looks for them anew
    thresholds = gc.get_threshold()
    gc.collect()
    Last.left = number
    Last()
    gc.set_threshold(1)
    try:
        y = model(x)
    except TypeError as error:
        assert "float32" in str(error), error
        kinds.add("refused")
    else:
        kinds.add("as it was")
        np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5)
    finally:
        gc.set_threshold(*thresholds)
        Last.left = 0
print(sorted(kinds))
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['as it was', 'refused']\n"
