"""Every loss and its options, native against plain."""

import copy
from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.testing import LOSS_CASES, make_target
from fastdl.training.engine import NotFiniteError, PlainEngine, Task
from fastdl.training.engine_choice import engine_for
from tests.combinations import in_turn
from tests.training.engine.twins import Parts, compare

ROWS = 7
TABLE = [
    pytest.param(case, shape[1:], id=f"{case}-{'x'.join(map(str, shape[1:]))}")
    for case in LOSS_CASES
    for shape in dict.fromkeys((0, *shape[1:]) for shape in case.shapes)
]


def make_parts(criterion, shape, dtype, lr=0.2):
    ends = []
    if isinstance(criterion, nn.BCELoss):
        ends = [nn.Sigmoid()]
    if isinstance(criterion, nn.NLLLoss):
        ends = [nn.LogSoftmax(dim=1)]
    model = nn.Sequential(nn.Linear(shape[-1], shape[-1], rng=1, dtype=dtype), *ends)
    return Parts(model, copy.deepcopy(criterion), optim.SGD(model.parameters(), lr=lr))


def check(criterion, shape, target, dtype, **options):
    x = np.random.default_rng(1).standard_normal((ROWS, *shape)).astype(dtype)
    return compare(lambda: make_parts(criterion, shape, dtype), x, target, **options)


@pytest.mark.parametrize(("case", "shape"), TABLE)
def test_every_loss_trains_alike_in_both_engines(each, case, shape, dtype):
    for reduction in each(reduction=["mean", "sum", "batchmean"]):
        criterion = case.make(dtype)
        criterion.reduction = reduction
        target = make_target(case, (ROWS, *shape), np.random.default_rng(0), dtype)
        if getattr(criterion, "ignore_index", -100) >= 0:
            target[0] = 0  # a batch of nothing but ignored targets has no mean
        check(criterion, shape, target, dtype, batch_size=ROWS if case.target == "index" else 3)


WEIGHTS = {
    "each element": [[0.5, 1.0, 2.0], [1.0, 0.0, 3.0]],
    "each column": [0.5, 1.0, 2.0],
    "one": 3.0,
    "one row": [[[0.5, 1.0, 2.0]]],
}


@pytest.mark.parametrize("weight", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("kind", ["weight", "pos_weight", "probabilities"])
def test_weights_of_elements_are_spread_over_the_batch(weight, kind, dtype):
    criterion = nn.BCELoss(weight=weight) if kind == "probabilities" else nn.BCEWithLogitsLoss(**{kind: weight})
    target = np.random.default_rng(0).random((ROWS, 2, 3)).astype(dtype)
    check(criterion, (2, 3), target, dtype)


def test_weights_of_samples_are_the_plain_engines():
    criterion = nn.BCEWithLogitsLoss(weight=np.arange(1, ROWS + 1)[:, None])
    parts = make_parts(criterion, (3,), np.float64)
    x, y = np.random.default_rng(0).random((2, ROWS, 3))
    engine = engine_for(Task(*parts), x, y, ROWS)
    assert isinstance(engine, PlainEngine)
    assert engine.name.endswith("weighs the samples of a batch by their places")
    assert engine.epoch(x, y, None, ROWS, None)[0] > 0


@pytest.mark.parametrize(
    ("reduction", "smoothing", "ignore_index", "weight", "places"),
    in_turn(["mean", "sum", "batchmean"], [0.0, 0.3], [-100, 1, 7], [None, [0.5, 2.0, 1.0, 0.0]], [(), (3,)]),
)
def test_class_losses_weigh_smooth_and_ignore(reduction, smoothing, ignore_index, weight, places):
    criteria = [nn.CrossEntropyLoss(weight, ignore_index, reduction, smoothing)]
    if not smoothing:
        criteria.append(nn.NLLLoss(weight, ignore_index, reduction))
    target = np.random.default_rng(0).integers(0, 3, (ROWS, *places))
    target[0] = 0
    target[2] = ignore_index
    for criterion in criteria:
        shape = (4, *places)
        x = np.random.default_rng(1).standard_normal((ROWS, *shape))
        for batch_size in (ROWS, 1, 3):  # of single rows, some count for nothing
            compare(
                lambda criterion=criterion, shape=shape: make_parts(criterion, shape, np.float64),
                x,
                target,
                batch_size=batch_size,
            )


NOTHING = [
    nn.CrossEntropyLoss(ignore_index=2),
    nn.NLLLoss(weight=[1.0, 1.0, 0.0]),
    nn.CrossEntropyLoss([2.0, 3.0, 0.0]),
]


@pytest.mark.parametrize("criterion", NOTHING, ids=repr)
def test_a_batch_of_which_nothing_counts_has_no_gradient_and_does_not_count(criterion):
    x, y = np.random.default_rng(0).standard_normal((9, 3)), np.array([0, 1, 0, 2, 2, 2, 1, 1, 1])
    left = []
    for engine in both(criterion, x, y, 3):
        with_it, without = engine.epoch(x, y, None, 3, None), engine.epoch(x[3:6], y[3:6], None, 3, None)
        assert np.isfinite(with_it.total)
        assert without[:2] == (0, 0)
        assert np.isnan(without.of_epoch(False))
        assert all((p.grad == 0).all() for p in engine.task.model.parameters())
        left.append(with_it)
    np.testing.assert_allclose(left[0][:3], left[1][:3])


def test_a_loss_that_is_no_number_is_found_beside_a_batch_of_which_nothing_counts():
    x, y = np.random.default_rng(0).standard_normal((6, 3)), np.array([2, 2, 2, 0, 1, 0])
    x[4] = np.inf
    for engine in both(nn.CrossEntropyLoss(ignore_index=2), x, y, 3):
        with pytest.raises(NotFiniteError) as caught:
            engine.epoch(x, y, None, 3, None)
        assert caught.value.step == 2


def both(criterion, x, y, batch_size):
    """Both engines over twins."""
    first, second = (make_parts(criterion, x.shape[1:], x.dtype.type) for _ in range(2))
    return engine_for(Task(*first), x, y, batch_size), PlainEngine(Task(*second), "")


@pytest.mark.parametrize("wrong", [-0.5, 1.5])
def test_probabilities_out_of_range_are_the_losss_own_error_in_both_engines(wrong):
    criterion = nn.BCELoss()
    x, y = np.zeros((6, 1)), np.full((6, 1), 0.5)
    x[4] = 1
    messages = []
    for native in (True, False):
        model = nn.Sequential(nn.Linear(1, 1, dtype=np.float64))
        model[0].bias.data = [0.5]
        model[0].weight.data = [[wrong - 0.5]]
        task = Task(model, criterion, optim.SGD(model.parameters(), lr=0.0), None, None)
        engine = engine_for(task, x, y, 2) if native else PlainEngine(task, "")
        with pytest.raises(ValueError, match=r"BCELoss\(\): expected outputs from 0 to 1, got") as caught:
            engine.epoch(x, y, np.arange(6), 2, None)
        messages.append(str(caught.value))
        assert (model[0].weight.grad == 0).all()
    assert messages[0] == messages[1]
    assert native is False


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("case", LOSS_CASES, ids=str)
def test_every_loss_is_a_term_beside_others(case, reduction):
    """What is computed between its forward and its backward takes none of the memory that the latter writes to."""
    criterion, shape = case.make(np.float64), case.shapes[0][1:]
    criterion.reduction = reduction
    own = make_target(case, (ROWS, *shape), np.random.default_rng(0), np.float64)
    target = {"own": own, "far": np.random.default_rng(2).standard_normal((ROWS, *shape))}
    x = np.random.default_rng(1).standard_normal((ROWS, *shape))
    found = []
    for eager in (False, True):
        model, _, optimizer, *_ = make_parts(criterion, shape, np.float64)
        trainer = Trainer(model, lambda o, t: criterion(o, t["own"]) + np.mean((o - t["far"]) ** 2), optimizer)
        with fastdl.eager() if eager else nullcontext():
            found.append((trainer.step(x, target), model[0].weight.data))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
