"""Training states hold what a criterion learns and counts."""

import numpy as np
import pytest

from fastdl import Trainer, nn, optim

RNG = np.random.default_rng(0)
X, Y = (RNG.standard_normal((12, 3)).astype(np.float32) for _ in range(2))


class Uncertain(nn.Module):
    """A squared distance with a learned scale, and how many times it was called."""

    def __init__(self):
        self.scale = nn.Parameter(np.zeros(1, np.float32))
        self.calls = nn.Buffer(np.zeros((), np.float32))

    def forward(self, output, target):
        return np.mean(np.exp(-self.scale) * (output - target) ** 2 + self.scale) + 0 * self.calls.data


def of_module():
    return (criterion := Uncertain()), [criterion.scale, criterion.calls]


def of_function():
    scale = nn.Parameter(np.zeros(1, np.float32))
    return (lambda output, target: np.mean(np.exp(-scale) * (output - target) ** 2 + scale)), [scale]


def of_dictionary():
    loss, weight = Uncertain(), nn.Scalar(0.5)
    return {"y": (loss, weight), "z": nn.MSELoss()}, [loss.scale, loss.calls, weight]


class Named(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(3, 3, rng=0)

    def forward(self, x):
        y = self.linear(x)
        return {"y": y, "z": 2 * y}


KINDS = pytest.mark.parametrize("make", [of_module, of_function, of_dictionary])


def made(make):
    criterion, parts = make()
    model = Named() if make is of_dictionary else nn.Sequential(nn.Linear(3, 3, rng=0))
    learned = [part for part in parts if isinstance(part, nn.Parameter)]
    target = {"y": Y, "z": Y} if make is of_dictionary else Y
    return Trainer(model, criterion, optim.Adam([*model.parameters(), *learned], lr=0.1)), parts, target


def values(parts):
    return [np.array(part.data).tolist() for part in parts]


@KINDS
def test_a_fit_that_goes_on_from_a_file_is_one_that_never_stopped(make, tmp_path):
    whole, parts, target = made(make)
    whole.fit(X, target, epochs=4, batch_size=4, seed=0)
    first, its, _ = made(make)
    first.fit(X, target, epochs=2, batch_size=4, seed=0)
    for part in its:
        if not isinstance(part, nn.Parameter):
            part.data = np.float32(0.25)
    first.save(tmp_path / "state.safetensors")
    second, own, _ = made(make)
    second.load(tmp_path / "state.safetensors")
    assert values(own) == values(its)
    for part in own:
        if not isinstance(part, nn.Parameter):
            part.data = np.float32(0.5 if part is own[-1] and make is of_dictionary else 0)
    history = second.fit(X, target, epochs=4, batch_size=4, resume=True)
    assert history["loss"] == whole.history["loss"]
    assert values(own) == values(parts)


@KINDS
def test_a_file_of_another_criterion_changes_nothing(make, tmp_path):
    trainer, parts, target = made(make)
    trainer.fit(X, target, epochs=1, batch_size=4, seed=0)
    before = values(parts), trainer.model.state_dict()
    model = Named() if make is of_dictionary else nn.Sequential(nn.Linear(3, 3, rng=0))
    path = tmp_path / "state.safetensors"
    beside = [nn.Parameter(np.zeros(2, np.float32)) for _ in parts if isinstance(_, nn.Parameter)]
    other = Trainer(model, nn.MSELoss(), optim.Adam([*model.parameters(), *beside], lr=0.1))
    other.save(path)
    with pytest.raises(ValueError, match=r"Trainer.load: the (state|optimizer) in .* (does not fit|cannot be used)"):
        trainer.load(path)
    assert values(parts) == before[0]
    for name, value in trainer.model.state_dict().items():
        np.testing.assert_array_equal(value, before[1][name])


def test_a_criterion_without_values_leaves_the_file_as_it_was(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3, rng=0))
    trainer = Trainer(model, nn.MSELoss(), optim.Adam(model.parameters()))
    trainer.save(tmp_path / "state.safetensors")
    assert b"criterion" not in (tmp_path / "state.safetensors").read_bytes()
