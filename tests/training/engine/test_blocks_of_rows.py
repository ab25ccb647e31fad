"""Rows go through several products half a batch at a time: the same as all at once, but for the order of the gradients' sums."""

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.graph.lowering import blocks
from fastdl.graph.lowering.plans import forget
from fastdl.metrics import accuracy
from fastdl.training.engine import Task
from fastdl.training.native_engine import NativeEngine
from tests.combinations import in_turn
from tests.training.engine.twins import (
    Parts,
    assert_bits_do_not_depend_on_threads,
    assert_shared_storages_live_long_enough,
    compare,
    epochs,
    left,
    lowered_by,
)

ROWS, BATCH, INPUTS = 90, 40, 70  # blocks of 20 and 20 samples, in the last batch of 10


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "LEAST_PRODUCTS", 1)
    monkeypatch.setattr(blocks, "FEWEST_ROWS", 8)
    forget()
    yield
    forget()


def linear(inputs, outputs, dtype, **options):
    return nn.Linear(inputs, outputs, rng=10 * inputs + outputs, dtype=dtype, **options)


def plain(dtype):
    return nn.Sequential(linear(INPUTS, 70, dtype), nn.ReLU(), linear(70, 9, dtype), nn.Tanh(), linear(9, 3, dtype))


def dropping(dtype):
    return nn.Sequential(
        linear(INPUTS, 30, dtype),
        nn.GELU(),
        nn.Dropout(0.3),
        linear(30, 9, dtype),
        nn.Dropout(0.2),
        linear(9, 3, dtype),
    )


def dropping_first(dtype):
    """The batch is not read in backward, so that other arrays might stand in its memory."""
    return nn.Sequential(nn.Dropout(0.3), linear(INPUTS, INPUTS, dtype), nn.ReLU(), linear(INPUTS, INPUTS, dtype))


def branching(dtype):
    body = nn.Sequential(linear(INPUTS, 70, dtype), nn.ReLU(), linear(70, INPUTS, dtype))
    both = nn.Parallel(linear(INPUTS, 50, dtype), nn.Sequential(nn.ELU(), linear(INPUTS, 60, dtype)))
    return nn.Sequential(nn.Residual(body), both, nn.SiLU(), linear(110, 3, dtype))


def tied(dtype):
    twice = linear(INPUTS, INPUTS, dtype)
    return nn.Sequential(twice, nn.Tanh(), twice, nn.ReLU(), nn.Residual(twice), linear(INPUTS, 3, dtype))


def frozen(dtype):
    model = nn.Sequential(linear(INPUTS, 80, dtype), nn.ReLU(), linear(80, 80, dtype), nn.ReLU(), linear(80, 3, dtype))
    model[0].weight.requires_grad = False
    model[2].bias.requires_grad = False
    return model


def without_bias(dtype):
    return nn.Sequential(linear(INPUTS, 70, dtype, bias=False), nn.LeakyReLU(), linear(70, 3, dtype, bias=False))


def normalized(dtype):
    return nn.Sequential(
        linear(INPUTS, 20, dtype),
        nn.ReLU(),
        nn.BatchNorm1d(20, dtype=dtype),
        linear(20, 20, dtype),
        linear(20, 3, dtype),
    )


def large(dtype):
    """The second weights are large enough to be stepped over alone, were they not in a block; the third are, and are not."""
    return nn.Sequential(
        linear(INPUTS, 200, dtype), linear(200, 200, dtype), nn.ReLU(), linear(200, 200, dtype), nn.ReLU()
    )


MODELS = [plain, dropping, dropping_first, branching, tied, frozen, without_bias, normalized, large]


def task(model, dtype, rows=ROWS):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, INPUTS)).astype(dtype), rng.integers(0, 3, rows)

    def make():
        its = model(dtype)
        return Parts(its, nn.CrossEntropyLoss(), optim.SGD(its.parameters(), lr=0.05, momentum=0.9))

    return make, x, y


def plan_of(make, x, y, batch_size=BATCH):
    return lowered_by(lambda: NativeEngine(Task(*make()), x, y, batch_size))


def whole(make, x, y):
    """Whether all operations go in blocks through the loss."""
    plan = plan_of(make, x, y)
    return [(row.cut.operations, row.whole) for row in plan.blocks] == [(len(plan.operations), True)]


@pytest.mark.parametrize(("model", "shuffle", "dtype"), in_turn(MODELS, (True, False), (np.float32, np.float64)))
def test_models_train_alike_in_both_engines(model, shuffle, level, dtype):
    make, x, y = task(model, dtype)
    plan = plan_of(make, x, y)
    # Each row up to where it ends, or where gradients would be too many.
    rows = {normalized: [1], large: [2], branching: [2, 1, 2, 2], tied: [2, 1, 1]}.get(model, [len(plan.operations)])
    assert [(row.cut.operations, row.cut.size, row.cut.lone) for row in plan.blocks] == [(n, 20, True) for n in rows]
    assert [row.whole for row in plan.blocks] == [False] * (len(rows) - 1) + [model not in (normalized, large)]
    compare(make, x, y, batch_size=BATCH, shuffle=shuffle)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_what_blocks_share_lives_while_any_of_them_may_need_it(model, monkeypatch):
    make, x, y = task(model, np.float32)
    assert_shared_storages_live_long_enough(monkeypatch, lambda: plan_of(make, x, y))


class Watching(nn.Module):
    """Another than the loss reads what the layers yield."""

    def __init__(self, dtype):
        self.body, self.seen = plain(dtype), nn.Buffer(np.zeros(3, dtype))

    def forward(self, x):
        y = self.body(x)
        self.seen.update(np.mean(y, axis=0))
        return y


def test_a_block_does_not_go_through_the_loss_where_others_read_what_it_yields(dtype):
    make, x, y = task(Watching, dtype)
    (row,) = plan_of(make, x, y).blocks
    assert (row.cut.operations, row.cut.lone, row.whole) == (3, True, False)
    compare(make, x, y, batch_size=BATCH)


@pytest.mark.parametrize("model", [plain, dropping, without_bias], ids=lambda model: model.__name__)
def test_a_block_goes_through_the_loss_that_a_function_returns(model, dtype, threads):
    make, x, y = task(model, dtype)
    assert whole(make, x, y)
    own = nn.CrossEntropyLoss()
    found = []
    for criterion in (own, lambda output, target: own(output, target), nn.functional.cross_entropy):
        its = model(dtype)
        trainer = Trainer(its, criterion, optim.SGD(its.parameters(), lr=0.05, momentum=0.9))
        losses = trainer.fit(x, y, epochs=2, batch_size=BATCH, seed=3, progress=False)["loss"]
        found.append((losses, [p.data for p in its.parameters()]))
    for losses, parameters in found[1:]:
        np.testing.assert_allclose(losses, found[0][0], rtol=1e-6)
        for one, other in zip(parameters, found[0][1], strict=True):
            np.testing.assert_array_equal(one, other)


def test_rows_within_a_sample_count_as_well(dtype):
    def make():
        model = nn.Sequential(linear(INPUTS, 9, dtype), nn.ReLU(), nn.Flatten(), linear(45, 3, dtype))
        return Parts(model, nn.MSELoss(), optim.Adam(model.parameters()))

    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((ROWS, 5, INPUTS)).astype(dtype), rng.standard_normal((ROWS, 3)).astype(dtype)
    assert whole(make, x, y)
    compare(make, x, y, batch_size=BATCH)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_bits_do_not_depend_on_the_number_of_threads(model, level, threads):
    assert_bits_do_not_depend_on_threads(lambda: epochs(*task(model, np.float32), True, batch_size=BATCH))


@pytest.mark.parametrize("model", [plain, dropping], ids=lambda model: model.__name__)
def test_steps_by_one_thread_now_and_then_leave_the_same_bits(model, threads):
    """A fit of several threads tries every some calls what one of them would take, and stays with the faster."""
    make, x, y = task(model, np.float32)
    sides = []
    for count in (1, 2):
        fastdl.set_num_threads(count)
        parts = make()
        trainer = Trainer(*parts[:3], metrics=[accuracy])  # which asks for a call an epoch
        trainer.fit(x, y, epochs=80, batch_size=BATCH, seed=0, progress=False)
        sides.append((trainer.history["loss"], trainer.history["accuracy"], left(parts)))
    assert sides[0][:2] == sides[1][:2]
    for key, values in sides[0][2].items():
        np.testing.assert_array_equal(sides[1][2][key], values, err_msg=key)


def test_only_what_is_worth_it_is_cut(monkeypatch):
    make, x, y = task(plain, np.float32)
    assert plan_of(make, x, y, 14).blocks  # two blocks of 8 and 6
    assert not plan_of(make, x, y, 8).blocks  # too few rows
    products = sum(parameter.size for parameter in plain(np.float32).parameters())
    monkeypatch.setattr(blocks, "LEAST_PRODUCTS", 20 * products)
    assert plan_of(make, x, y).blocks
    monkeypatch.setattr(blocks, "LEAST_PRODUCTS", 20 * products + 1)
    assert not plan_of(make, x, y).blocks


def test_many_rows_go_in_more_than_two_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 16 * (70 + 9 + 3))
    make, x, y = task(plain, np.float32, 400)
    assert plan_of(make, x, y, 400).blocks[0].cut.size == 16
    compare(make, x, y, batch_size=400)


def weights_of(*shape):
    return np.random.default_rng(7).uniform(0.5, 2, shape)


LOSSES = {
    "mse": (lambda: nn.MSELoss(), "numbers"),
    "sum": (lambda: nn.HuberLoss(reduction="sum"), "numbers"),
    "binary": (lambda: nn.BCEWithLogitsLoss(weight=weights_of(3), pos_weight=weights_of(3)), "probabilities"),
    "classes": (lambda: nn.CrossEntropyLoss(weight=weights_of(3), ignore_index=1), "classes"),
    "smoothed": (lambda: nn.CrossEntropyLoss(label_smoothing=0.2, reduction="sum"), "classes"),
    "probabilities": (lambda: nn.CrossEntropyLoss(weight=weights_of(3)), "probabilities"),
    "nll": (lambda: nn.NLLLoss(weight=weights_of(3), ignore_index=2), "classes"),
}


@pytest.mark.parametrize(
    ("name", "shape", "dtype"), in_turn(LOSSES, ((INPUTS,), (3, INPUTS)), (np.float32, np.float64))
)
def test_every_loss_is_taken_block_by_block(name, shape, level, dtype):
    """Over places, the scores of a sample are (3 classes, 5 places), and a bias would add the same to all classes."""
    make_loss, target = LOSSES[name]

    def make():
        outputs = 3 if len(shape) == 1 else 5
        model = nn.Sequential(linear(INPUTS, 80, dtype), nn.ReLU(), linear(80, outputs, dtype, bias=len(shape) == 1))
        loss = make_loss() if len(shape) == 1 or name != "binary" else nn.BCEWithLogitsLoss(weight=weights_of(3, 5))
        return Parts(model, loss, optim.SGD(model.parameters(), lr=0.001))

    rng = np.random.default_rng(3)
    x, places = rng.standard_normal((ROWS, *shape)).astype(dtype), (5,) if len(shape) == 2 else ()
    y = rng.integers(0, 3, (ROWS, *places))
    if target != "classes":
        y = rng.uniform(0.1, 0.9, (ROWS, 3, *places)).astype(dtype)
    if name == "probabilities":
        y /= y.sum(axis=1, keepdims=True)
    assert whole(make, x, y)
    compare(make, x, y, batch_size=BATCH)


@pytest.mark.parametrize("row", [0, 19, 20, 39])
def test_a_loss_that_is_no_number_takes_no_step_whichever_block_has_it(row):
    make, x, y = task(plain, np.float32)
    parts = make()
    parts.model[0].weight.data = 100 * parts.model[0].weight.data
    before = parts.model.state_dict()
    x[row] = 3e38
    with pytest.raises(FloatingPointError, match="epoch 1, step 1, first in the output of layer 0 Linear"):
        Trainer(*parts[:3]).fit(x[:BATCH], y[:BATCH], epochs=1, batch_size=BATCH, shuffle=False)
    for name, values in parts.model.state_dict().items():
        np.testing.assert_array_equal(values, before[name], err_msg=name)


def test_gradients_of_parameters_that_are_not_the_optimizers_add_up(dtype):
    def make():
        model = plain(dtype)
        return Parts(model, nn.CrossEntropyLoss(), optim.SGD(model[2].parameters(), lr=0.01))

    _, x, y = task(plain, dtype)
    assert whole(make, x, y)
    compare(make, x, y, batch_size=BATCH)
