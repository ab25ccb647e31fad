"""What may be changed in an optimizer's groups, and what is refused with nothing changed."""

import copy
import pickle

import numpy as np
import pytest

from fastdl import nn, optim
from fastdl.training import Trainer

X, Y = np.ones((4, 2), np.float32), np.zeros((4, 1), np.float32)


def made(kind=optim.SGD, **options):
    model = nn.Sequential(nn.Linear(2, 1, rng=0))
    optimizer = kind(model.parameters(), **options)
    return Trainer(model, nn.MSELoss(), optimizer), optimizer


def other(optimizer):
    return {**optimizer.param_groups[0], "lr": 0.5}


CHANGES = {
    "an entry": lambda o: o.param_groups.__setitem__(0, other(o)),
    "all": lambda o: setattr(o, "param_groups", [other(o)]),
    "one more": lambda o: o.param_groups.append(other(o)),
    "several more": lambda o: o.param_groups.extend([other(o)]),
    "none": lambda o: o.param_groups.clear(),
    "one less": lambda o: o.param_groups.pop(),
    "added": lambda o: o.param_groups.__iadd__([other(o)]),
    "other parameters": lambda o: o.param_groups[0].__setitem__("params", [nn.Parameter(np.ones(1, np.float32))]),
    "one more parameter": lambda o: o.param_groups[0]["params"].append(nn.Parameter(np.ones(1, np.float32))),
    "a key deleted": lambda o: o.param_groups[0].__delitem__("lr"),
    "a key taken": lambda o: o.param_groups[0].pop("momentum"),
    "no keys": lambda o: o.param_groups[0].clear(),
    "an unknown key": lambda o: o.param_groups[0].__setitem__("learning_rate", 0.1),
    "an unknown default": lambda o: o.param_groups[0].setdefault("initial_lr", 0.1),
    "a wrong value": lambda o: o.param_groups[0].__setitem__("lr", -1.0),
    "a wrong value beside a right one": lambda o: o.param_groups[0].update(lr=0.5, momentum="much"),
    "options that do not go together": lambda o: o.param_groups[0].update(nesterov=True, momentum=0.0),
    "an attribute": lambda o: setattr(o, "lr", 0.5),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_no_step_would_see_is_refused(change):
    trainer, optimizer = made(lr=0.01, momentum=0.9)
    trainer.step(X, Y)
    trainer.step(X, Y)
    before, groups = repr(optimizer), optimizer.param_groups
    with pytest.raises((TypeError, ValueError), match="expected"):
        CHANGES[change](optimizer)
    assert repr(optimizer) == before
    assert optimizer.param_groups is groups
    assert vars(optimizer).keys() == vars(made()[1]).keys()
    trainer.step(X, Y)


SETTINGS = {
    "an option": lambda group: group.__setitem__("lr", 0.5),
    "several": lambda group: group.update({"lr": 0.5}, momentum=0.5),
    "with or": lambda group: group.__ior__({"lr": 0.5, "nesterov": True}),
}


@pytest.mark.parametrize("by", ["hand", "step", "fit"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_an_option_counts_from_the_next_step_on(setting, by):
    found = []
    for again in (False, True):
        trainer, optimizer = made(lr=0.0, momentum=0.9)
        if again:
            for _ in range(3):
                trainer.step(X, Y)
            trainer.fit(X, Y, epochs=2, batch_size=4, progress=False)
        optimizer._state["momentum_buffer"].fill(0)
        optimizer._steps[:] = [0] * len(optimizer._steps)
        SETTINGS[setting](optimizer.param_groups[0])
        for _ in range(2):
            if by == "step":
                trainer.step(X, Y)
            elif by == "fit":
                trainer.fit(X, Y, epochs=1, batch_size=4, progress=False)
            else:
                optimizer.zero_grad()
                trainer.criterion(trainer.model(X), Y)
                trainer.model.backward(trainer.criterion.backward())
                optimizer.step()
        found.append(trainer.model[0].weight.data.copy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)
    assert not np.array_equal(found[0], made()[0].model[0].weight.data)


@pytest.mark.parametrize("kind", [optim.SGD, optim.RMSprop, optim.Adam, optim.AdamW])
def test_copies_have_groups_of_their_own(kind):
    _, optimizer = made(kind, lr=0.25)
    for twin in (copy.deepcopy(optimizer), copy.copy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert twin.param_groups is not optimizer.param_groups
        twin.param_groups[0]["lr"] = 0.5
        assert optimizer.param_groups[0]["lr"] == 0.25
        with pytest.raises(ValueError, match=f"{kind.__name__}: expected a finite number >= 0 for lr, got -1"):
            twin.param_groups[0]["lr"] = -1.0
    group = copy.deepcopy(optimizer.param_groups[0])
    assert type(group) is dict
    assert type(group["params"]) is list
