"""Targets that change after they have been checked: no kernel reads or writes outside of an array."""

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl._kernels import cross_entropy as kernels
from fastdl.callbacks import Callback
from fastdl.nn.grad_mode import no_grad
from fastdl.training import fit_loop
from fastdl.training.engine import PlainEngine

RNG = np.random.default_rng(0)
WRONG = (2**40, -(2**40), 3, -1, 2**62)
LOSSES = {
    "cross entropy": lambda **options: nn.CrossEntropyLoss(**options),
    "smoothed": lambda **options: nn.CrossEntropyLoss(label_smoothing=0.1, **options),
    "weighted": lambda **options: nn.CrossEntropyLoss(weight=np.array([1.0, 2.0, 3.0]), **options),
    "nll": lambda **options: nn.NLLLoss(**options),
    "weighted nll": lambda **options: nn.NLLLoss(weight=np.array([1.0, 2.0, 3.0]), **options),
}


class Relabel(Callback):
    """Writes wrong targets into y after some epochs."""

    def __init__(self, y, value, watches):
        self.y, self.value, self.watches = y, value, watches

    def on_epoch_end(self, trainer, record):
        if len(trainer.history) == 3:
            self.y[:] = self.value


@pytest.mark.parametrize("plain", [False, True], ids=["native", "plain"])
@pytest.mark.parametrize("watches", [False, True], ids=["awaited", "watching"])
@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("name", LOSSES)
def test_targets_that_a_callback_changes_end_the_fit_or_are_not_looked_at(name, value, watches, plain, monkeypatch):
    x, y = RNG.standard_normal((60, 4)).astype(np.float32), np.zeros(60, np.int64)
    last = nn.LogSoftmax() if "nll" in name else nn.Identity()
    model = nn.Sequential(nn.Linear(4, 8, rng=0), nn.Tanh(), nn.Linear(8, 3, rng=1), last)
    if plain:
        monkeypatch.setattr(fit_loop, "engine_for", lambda task, *_: PlainEngine(task, "a test wants it"))
    trainer = Trainer(model, LOSSES[name](), optim.SGD(model.parameters(), lr=0.01))
    with pytest.raises((ValueError, FloatingPointError), match=r"expected class indices|nan"):
        trainer.fit(x, y, epochs=12, batch_size=10, callbacks=[Relabel(y, value, watches)])
    assert len(trainer.history) >= 3
    assert all(np.isfinite(each.data).all() for each in model.parameters())


def test_the_native_engine_finds_a_changed_target():
    x, y = np.ones((60, 4), np.float32), np.zeros(60, np.int64)
    model = nn.Sequential(nn.Linear(4, 8, rng=0), nn.Tanh(), nn.Linear(8, 3, rng=1))
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.01))
    with pytest.raises(
        ValueError, match=r"^CrossEntropyLoss\(\): expected class indices from 0 to 2, got 1099511627776 at"
    ):
        trainer.fit(x, y, epochs=12, batch_size=10, callbacks=[Relabel(y, 2**40, False)])
    assert len(trainer.history) == 3


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_keeps_its_targets(name, reduction):
    criterion, x = LOSSES[name](reduction=reduction), RNG.standard_normal((6, 3))
    t = np.array([0, 1, 2, 2, 1, 0])
    criterion(x, t)
    want = criterion.backward()
    criterion(x, t)
    t[:] = 2**40
    np.testing.assert_array_equal(criterion.backward(), want)


def test_targets_of_a_mapped_file_that_another_process_changes(tmp_path, python):
    np.save(tmp_path / "x.npy", RNG.standard_normal((20_000, 32)).astype(np.float32))
    np.save(tmp_path / "y.npy", np.arange(20_000) % 3)
    code = f"""
import subprocess, sys, numpy as np
from fastdl import Trainer, nn, optim
x, y = np.load({str(tmp_path / "x.npy")!r}, mmap_mode="r"), np.load({str(tmp_path / "y.npy")!r}, mmap_mode="r")
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 3))
trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.01))
change = '''
import numpy as np
y = np.load({str(tmp_path / "y.npy")!r}, mmap_mode="r+")
for turn in range(3): y[:] = 2**40; y[:] = -5; y.flush()
'''
other = subprocess.Popen([sys.executable, "-P", "-c", change])
try:
    while True:
        trainer.fit(x, y, epochs=20, batch_size=100)
        if other.poll() is not None: break
    trainer.fit(x, y, epochs=20, batch_size=100)
except (FloatingPointError, ValueError) as error:
    print("an error")
other.wait()
"""
    done = python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "an error\n", "")


def test_class_weights_that_are_written_to_meanwhile_are_read_whole():
    weight = np.array([1.0, 2.0, 3.0])
    criterion = nn.CrossEntropyLoss(weight=weight)
    with no_grad():
        before = criterion(np.eye(3), np.array([0, 1, 2]))
    weight[:] = np.nan
    assert criterion(np.eye(3), np.array([0, 1, 2])) == before


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("places", [1, 5])
def test_each_kernel_checks_the_index_that_it_uses(value, weighted, places, dtype):
    """As when a target changes after it was looked at: the loss is NaN, the gradient 0, and all others are as ever."""
    x = RNG.standard_normal((4, 3, places)).astype(dtype)
    target = RNG.integers(0, 3, (4, places))
    wrong = target.copy()
    wrong[2, 0] = value
    weight = np.array([1.0, 2.0, 3.0], dtype) if weighted else None
    gy, others = np.ones((4, places), dtype), np.ones((4, places), bool)
    others[2, 0] = False

    def nll(t):
        y, gx = np.empty_like(gy), np.zeros_like(x)
        kernels.nll_forward(x, t, weight, -100, y)
        kernels.nll_backward(t, weight, -100, gy, gx)
        return y, gx

    def cross_entropy(smoothing):
        def both(t):
            y, gx, p = np.empty_like(gy), np.zeros_like(x), np.empty_like(x)
            kernels.cross_entropy_forward(x, t, weight, -100, smoothing, p, y)
            kernels.cross_entropy_backward(p, t, weight, -100, smoothing, gy, gx)
            return y, gx

        return both

    for both in (nll, cross_entropy(0.0), cross_entropy(0.1)):
        (want_y, want_gx), (y, gx) = both(target), both(wrong)
        assert np.isnan(y[2, 0])
        assert not gx[2, :, 0].any()
        np.testing.assert_array_equal(y[others], want_y[others])
        np.testing.assert_array_equal(gx.swapaxes(1, 2)[others], want_gx.swapaxes(1, 2)[others])


def test_threads_write_the_rows_that_they_share_and_no_others(threads, dtype):
    rows, behind = 5000, 10
    x, target = RNG.standard_normal((rows, 10, 1)).astype(dtype), RNG.integers(0, 10, (rows, 1))
    x, target = np.concatenate([x, x[:behind]]), np.concatenate([target, target[:behind]])
    results = []
    for number in (1, 2, 3, 7):
        fastdl.set_num_threads(number)
        p, y, gx = np.full_like(x, np.nan), np.full(target.shape, np.nan, dtype), np.full_like(x, np.nan)
        kernels.cross_entropy_forward(x[:rows], target[:rows], None, -100, 0.0, p[:rows], y[:rows])
        kernels.cross_entropy_backward(p[:rows], target[:rows], None, -100, 0.0, np.ones_like(y[:rows]), gx[:rows])
        results.append((p, y, gx))
        for array, first in zip(results[-1], results[0], strict=True):
            assert np.isfinite(array[:rows]).all()
            assert np.isnan(array[rows:]).all()
            np.testing.assert_array_equal(array, first)
