"""Images go through their layers a few samples at a time: the same as all at once, but for the order of the gradients' sums."""

import numpy as np
import pytest

from fastdl import Trainer, nn, optim
from fastdl.graph.lowering import blocks
from fastdl.graph.lowering.plans import forget
from fastdl.testing import LAYER_CASES
from fastdl.training.engine import Task
from fastdl.training.native_engine import NativeEngine
from tests.combinations import in_turn
from tests.training.engine.twins import (
    Parts,
    assert_bits_do_not_depend_on_threads,
    assert_shared_storages_live_long_enough,
    compare,
    epochs,
    lowered_by,
)

ROWS, BATCH = 100, 40  # blocks of 16, 16, 8 samples, and in the last batch of 16 and 4


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    forget()
    monkeypatch.setattr(blocks, "BLOCK", 1)
    yield
    forget()


def conv(inputs, outputs, dtype, seed=0, **options):
    return nn.Conv2d(inputs, outputs, 3, rng=10 * inputs + outputs + seed, dtype=dtype, **options)


def head(inputs, dtype):
    return nn.Flatten(), nn.Linear(inputs, 3, rng=3, dtype=dtype)


def plain(dtype):
    return nn.Sequential(
        conv(2, 6, dtype),
        nn.ReLU(),
        nn.MaxPool2d(2),
        conv(6, 8, dtype, padding=1),
        nn.Tanh(),
        nn.AvgPool2d(2),
        *head(32, dtype),
    )


def dropping(dtype):
    return nn.Sequential(
        conv(2, 4, dtype, padding=1),
        nn.GELU(),
        nn.Dropout(0.3),
        nn.Dropout2d(0.2),
        conv(4, 2, dtype),
        *head(128, dtype),
    )


def branching(dtype):
    body = nn.Sequential(conv(3, 3, dtype, padding=1), nn.ReLU(), conv(3, 3, dtype, 1, padding=1))
    both = nn.Parallel(conv(3, 2, dtype, padding=1), nn.Sequential(nn.ELU(), nn.MaxPool2d(3, stride=1, padding=1)))
    return nn.Sequential(conv(2, 3, dtype), nn.Residual(body), both, nn.SiLU(), *head(320, dtype))


def tied(dtype):
    twice = conv(2, 2, dtype, padding=1)
    return nn.Sequential(twice, nn.Tanh(), twice, nn.ReLU(), nn.Residual(twice), *head(200, dtype))


def frozen(dtype):
    model = nn.Sequential(
        conv(2, 3, dtype), nn.ReLU(), conv(3, 2, dtype), nn.ReLU(), conv(2, 2, dtype), *head(32, dtype)
    )
    model[0].weight.requires_grad = False
    model[2].bias.requires_grad = False
    return model


def all_frozen_but_the_head(dtype):
    model = plain(dtype)
    for layer in (model[0], model[3]):
        layer.weight.requires_grad = layer.bias.requires_grad = False
    return model


def normalized(dtype):
    return nn.Sequential(
        conv(2, 4, dtype), nn.ReLU(), nn.BatchNorm2d(4, dtype=dtype), conv(4, 4, dtype), nn.ReLU(), *head(144, dtype)
    )


def without_bias(dtype):
    return nn.Sequential(
        conv(2, 4, dtype, bias=False, groups=2),
        nn.LeakyReLU(),
        conv(4, 4, dtype, stride=2),
        nn.AdaptiveAvgPool2d(2),
        *head(16, dtype),
    )


MODELS = [plain, dropping, branching, tied, frozen, all_frozen_but_the_head, normalized, without_bias]


def task(model, dtype, rows=ROWS):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, 2, 10, 10)).astype(dtype), rng.integers(0, 3, rows)

    def make():
        its = model(dtype)
        return Parts(its, nn.CrossEntropyLoss(), optim.SGD(its.parameters(), lr=0.05, momentum=0.9))

    return make, x, y


def in_blocks(make, x, y):
    return [row.cut.operations for row in plan_of(make, x, y, BATCH).blocks]


def plan_of(make, x, y, batch_size):
    return lowered_by(lambda: NativeEngine(Task(*make()), x, y, batch_size))


@pytest.mark.parametrize(("model", "shuffle", "dtype"), in_turn(MODELS, (True, False), (np.float32, np.float64)))
def test_models_train_alike_in_both_engines(model, shuffle, level, dtype):
    make, x, y = task(model, dtype)
    assert (in_blocks(make, x, y)[0] == 1) == (model in (normalized, branching))
    compare(make, x, y, batch_size=BATCH, shuffle=shuffle)


IMAGE_CASES = [case for case in LAYER_CASES if len(case.shapes[0]) == 4]


@pytest.mark.parametrize(("case", "dtype"), in_turn(IMAGE_CASES, (np.float32, np.float64)))
def test_layers_of_images_train_alike_between_convolutions(case, dtype):
    shape = case.shapes[0][1:]

    def make():
        layer = case.make(dtype)
        first = nn.Conv2d(shape[0], shape[0], 3, padding=1, rng=1, dtype=dtype)
        model = nn.Sequential(first, nn.Tanh(), layer)
        out = model(np.zeros((2, *shape), dtype)).shape[1:]
        model.append(nn.Flatten())
        model.append(nn.Linear(int(np.prod(out)), 2, rng=2, dtype=dtype))
        return Parts(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.05))

    if 0 in shape:
        pytest.skip("nothing to learn from")
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((50, *shape)).astype(dtype), rng.integers(0, 2, 50)
    assert plan_of(make, x, y, BATCH).blocks
    compare(make, x, y, batch_size=BATCH)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_bits_do_not_depend_on_the_number_of_threads(model, threads):
    """Fewer threads than blocks share these; more of them share each block's operations."""
    assert_bits_do_not_depend_on_threads(lambda: epochs(*task(model, np.float32), True, batch_size=BATCH))


@pytest.mark.parametrize("row", [0, 20, 39])
def test_a_loss_that_is_no_number_names_the_layer_whichever_block_has_it(row):
    make, x, y = task(dropping, np.float32)
    parts = make()
    parts.model[4].weight.data = np.full_like(parts.model[4].weight.data, 1e25)
    x = x / 1e6
    x[row] = 1e20  # its product with these weights overflows, the others' do not
    trainer = Trainer(*parts[:3])
    with pytest.raises(FloatingPointError, match="first in the output of layer 4 Conv2d"):
        trainer.fit(x[:BATCH], y[:BATCH], epochs=1, batch_size=BATCH, shuffle=False, seed=0)  # what dropout leaves


def test_gradients_within_a_block_need_no_memory_for_the_batch(monkeypatch):
    make, x, y = task(plain, np.float32, 640)
    cut = plan_of(make, x, y, 640)
    monkeypatch.setattr(blocks, "BLOCK", 10**9)
    whole = plan_of(make, x, y, 640)
    ((row,), none) = cut.blocks, whole.blocks
    assert (row.cut.operations, none) == (4, [])
    assert cut.nbytes + row.memory < 0.9 * whole.nbytes
    monkeypatch.setattr(blocks, "BLOCK", 1)
    (of_fewer,) = plan_of(make, x, y, 320).blocks
    assert of_fewer.memory == row.memory


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_what_blocks_share_lives_while_any_of_them_may_need_it(model, monkeypatch):
    make, x, y = task(model, np.float32)
    assert_shared_storages_live_long_enough(monkeypatch, lambda: NativeEngine(Task(*make()), x, y, BATCH))


def test_large_parameters_and_small_batches_are_not_cut(monkeypatch):
    make, x, y = task(plain, np.float32)
    assert plan_of(make, x, y, 31).blocks == []
    monkeypatch.setattr(blocks, "MOST_PARAMETERS", 2 * 6 * 9 + 6)
    assert in_blocks(make, x, y) == [2]  # the first convolution, with its activation, and the pooling
