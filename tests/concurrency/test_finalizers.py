"""Objects whose finalizers change a model, collected as garbage at any moment of a call."""


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
