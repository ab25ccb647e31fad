"""Memory that runs out while something is planned or computed: a MemoryError, nothing changed, everything usable."""

import os
import sys

import pytest

CODE = """
import resource, numpy as np
from fastdl import Trainer, nn, optim

class Traced(nn.Module):
    def __init__(self):
        self.first, self.second = nn.Linear(64, 512, rng=0), nn.Linear(512, 3, rng=1)
    def forward(self, x):
        return self.second(np.tanh(self.first(x)))

def layers():
    return nn.Sequential(nn.Linear(64, 512, rng=0), nn.Tanh(), nn.Linear(512, 3, rng=1))

def trainer():
    model = MAKE()
    return Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.01))

def address_space():
    with open("/proc/self/status") as lines:
        return 1024 * int(next(line for line in lines if line.startswith("VmSize")).split()[1])

x = np.random.default_rng(0).standard_normal((40_000, 64)).astype("f4")
y = x[:, :3].copy()
few = {"epochs": 1, "batch_size": 50, "progress": False}
ways = {
    "fit": lambda own: own.fit(x, y, epochs=1, batch_size=40_000, progress=False),
    "weights": lambda own: own.fit(x, y, epochs=1, batch_size=40_000, progress=False, sample_weight=y[:, 0] ** 2),
    "step": lambda own: own.step(x, y),
    "predict": lambda own: own.predict(x, batch_size=40_000),
    "call": lambda own: own.model(x),
    "vjp": lambda own: own.model.vjp(x),
}
warm = trainer()  # what is imported at first use is there
warm.fit(x[:100], y[:100], sample_weight=np.ones(100), **few)
for way in ways.values():
    way(warm)
for name, way in ways.items():
    own = trainer()
    for _ in range(3):
        own.model(x[:20])
    before = [parameter.data.copy() for parameter in own.model.parameters()]
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + (20 << 20), hard))
    try:
        way(own)
        got = "nothing"
    except MemoryError:
        got = "MemoryError"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    same = all(np.array_equal(values, p.data) for values, p in zip(before, own.model.parameters()))
    way(own)
    own.fit(x[:100], y[:100], **few)
    print(name, got, same)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a process's addresses is Linux's")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer takes terabytes of addresses")
@pytest.mark.parametrize("make", ["layers", "Traced"])
def test_memory_that_runs_out_changes_nothing(python, make):
    done = python(f"MAKE = lambda: {make}()\n" + CODE)
    names = ("fit", "weights", "step", "predict", "call", "vjp")
    assert done.stdout == "".join(f"{name} MemoryError True\n" for name in names), done.stderr
