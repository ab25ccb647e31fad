"""Dropout: the generator behind it, its rates, its gradient, and what fixes its draws."""

import copy
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl._kernels import dropout
from fastdl._kernels.table import set_cpu_level
from fastdl.callbacks import Callback
from fastdl.random import Stream, as_generator, drawing_from, manual_seed, stream
from fastdl.reference import dropout as naive
from fastdl.testing import assert_close, gradcheck

# Philox4x32-10 from Random123's kat_vectors, as seed, call, group and words.
KNOWN = [
    (0, 0, 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (2**64 - 1, 2**64 - 1, 2**64 - 1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (0x299F31D0A4093822, 0x0370734413198A2E, 0x85A308D3243F6A88, (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]


@pytest.mark.parametrize(("seed", "call", "group", "words"), KNOWN)
def test_the_generator_gives_the_known_answers(level, seed, call, group, words):
    filled = np.zeros(4, np.uint32)
    dropout.philox(seed, call, group, filled)
    assert tuple(filled) == words


@pytest.mark.parametrize("first", [0, 7, 2**32 - 3, 2**64 - 5])
def test_words_are_those_of_the_naive_generator(each, each_level, first):
    for n in each(n=[0, 1, 3, 4, 5, 31, 32, 33, 255, 256, 257, 1003]):
        for _ in each_level():
            got, want = np.zeros(n + 1, np.uint32), np.zeros(n + 1, np.uint32)
            dropout.philox(2**63 + 5, 2**40 + 9, first, got[:n])
            naive.philox(2**63 + 5, 2**40 + 9, first, want[:n])
            np.testing.assert_array_equal(got, want)


# Around registers and blocks of words, beyond what a thread takes at a time; whole channels.
SIZES = [(n, 1) for n in (0, 1, 3, 4, 7, 15, 16, 17, 31, 33, 64, 100, 255, 256, 257)]
SIZES += [(35, 5), (12, 3), (300 * 2, 2), (33 * 33, 33), (0, 0), (0, 3)]
LARGE = [(9001, 1, [0.2]), (3 * 5000, 5000, [0.5]), (7 * 2100, 2100, [0.5])]


@pytest.mark.parametrize(("n", "run", "rates"), [(*size, (0.0, 0.2, 1.0)) for size in SIZES] + LARGE)
def test_dropout_is_its_loop(each, each_level, dtype, n, run, rates):
    for p in each(p=rates):
        x = np.random.default_rng(n).standard_normal(n).astype(dtype)
        for name in ("dropout_forward", "dropout_backward"):
            want = np.full_like(x, np.nan)
            getattr(naive, name)(x, p, 2**64 - 7, 11, run, want)
            for _ in each_level():
                got = np.full_like(x, np.nan)
                getattr(dropout, name)(x, p, 2**64 - 7, 11, run, got)
                np.testing.assert_array_equal(got == 0, want == 0)
                assert_close(got, want, 2, dtype)


@pytest.mark.parametrize(("shape", "run"), [((300_001,), 1), ((70, 30, 11, 13), 143), ((2, 3, 70_000), 70_000)])
def test_every_level_and_number_of_threads_gives_the_same_bits(dtype, threads, shape, run):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    before, results = fastdl.cpu_level(), []
    for level in fastdl.cpu_levels():
        for n in (1, 2, 3):
            set_cpu_level(level)
            fastdl.set_num_threads(n)
            results.append(np.full_like(x, np.nan))
            dropout.dropout_forward(x, 0.3, 12345, 6, run, results[-1])
    set_cpu_level(before)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_the_mask_does_not_depend_on_the_dtype():
    results = []
    for dtype in (np.float32, np.float64):
        y = np.ones(5000, dtype)
        dropout.dropout_forward(y.copy(), 0.4, 1, 2, 1, y)
        results.append(y == 0)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("run", [1, 3])
def test_the_threshold_is_p_in_units_of_a_word_rounded(level, dtype, run):
    words, x = np.zeros(1000, np.uint32), np.ones((1000, run), dtype)
    dropout.philox(3, 4, 0, words)
    for word in np.sort(words)[[0, 1, 500, 999]]:
        for beyond, dropped in ((0, words < word), (0.25, words < word), (0.75, words <= word), (1, words <= word)):
            y = np.zeros_like(x)
            dropout.dropout_forward(x, (int(word) + beyond) / 2**32, 3, 4, run, y)
            np.testing.assert_array_equal(y[:, -1] == 0, dropped)


def test_a_p_next_to_1_or_0_drops_all_or_none():
    x, y = np.ones(1000), np.zeros(1000)
    dropout.dropout_forward(x, np.nextafter(1, 0), 0, 0, 1, y)
    assert (y == 0).all()
    dropout.dropout_forward(x, 1e-12, 0, 0, 1, y)
    np.testing.assert_allclose(y, 1)


# Rates, with fixed seeds.


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9])
def test_elements_are_dropped_at_rate_p_and_the_mean_stays(p):
    manual_seed(1)
    n, layer = 200_000, nn.Dropout(p)
    for _ in range(3):
        y = layer(np.ones(n))
        deviation = (p * (1 - p) / n) ** 0.5
        assert abs((y == 0).mean() - p) < 4 * deviation
        assert abs(y.mean() - 1) < 4 * deviation / (1 - p)
        assert set(np.unique(y)) == {0.0, 1 / (1 - p)}


def test_masks_of_calls_places_and_seeds_are_independent():
    masks = []
    for seed in (1, 2):
        manual_seed(seed)
        layer = nn.Dropout()
        masks += [layer(np.ones(100_000)) - 1 for _ in range(2)]
    masks += [np.roll(masks[0], shift) for shift in (1, 2, 4, 32)]
    correlation = np.corrcoef(masks) - np.eye(len(masks))
    assert abs(correlation).max() < 4 / 100_000**0.5


def test_whole_channels_are_dropped_at_rate_p():
    manual_seed(2)
    y = nn.Dropout2d(0.3)(np.ones((100, 64, 3, 5), np.float32))
    flat = y.reshape(6400, 15)
    assert (flat == flat[:, :1]).all()
    assert abs((flat[:, 0] == 0).mean() - 0.3) < 4 * (0.3 * 0.7 / 6400) ** 0.5
    assert nn.Dropout2d()(np.ones((4, 3), np.float32)).shape == (4, 3)


# A layer.


@pytest.mark.parametrize("make", [lambda: nn.Dropout().eval(), lambda: nn.Dropout(0), lambda: nn.Dropout2d().eval()])
def test_in_evaluation_and_with_p_0_x_itself_comes_back_and_nothing_is_drawn(make):
    manual_seed(0)
    layer, x, gy = make(), np.ones((2, 3)), np.ones((2, 3))
    assert np.shares_memory(layer(x), x)
    assert np.shares_memory(layer.backward(gy), gy)
    assert stream().next()[1] == 0


def test_p_1_drops_everything():
    layer, x = nn.Dropout(1), np.ones((50, 3))
    assert not layer(x).any()
    assert not layer.backward(x).any()


def test_backward_is_the_forwards_mask(dtype):
    rng = np.random.default_rng(0)
    for layer in (nn.Dropout(0.3), nn.Dropout2d(0.3)):
        ones, gy = np.ones((20, 7, 3, 3), dtype), rng.standard_normal((20, 7, 3, 3)).astype(dtype)
        mask = layer(ones)
        layer_again = copy.deepcopy(layer)
        np.testing.assert_array_equal(layer.backward(gy), mask * gy)
        layer_again(ones)
        assert (layer_again.backward(ones) != mask).any()


class Restarted(nn.Module):
    def __init__(self, layer):
        self.layer = layer

    def forward(self, x):
        manual_seed(5)
        return self.layer(x)

    def backward(self, grad_output):
        return self.layer.backward(grad_output)


def test_with_the_stream_restarted_it_agrees_with_central_differences():
    model = nn.Sequential(nn.Linear(4, 6, rng=0, dtype=np.float64), nn.Dropout(), nn.Tanh(), nn.Dropout(0.2))
    assert gradcheck(Restarted(model), np.random.default_rng(0).standard_normal((5, 4)))


def test_a_layer_in_two_places_draws_twice_and_each_place_keeps_its_mask():
    layer = nn.Dropout()
    model = nn.Sequential(layer, nn.Identity(), layer)
    assert gradcheck(Restarted(model), np.ones((30, 3)))
    y = Restarted(model)(np.ones(4000))
    assert abs((y != 0).mean() - 0.25) < 0.03


def test_another_p_or_mode_after_the_forward_does_not_reach_its_backward():
    layer, x = nn.Dropout(0.5), np.ones(100)
    y = layer(x)
    layer.p = 0.9
    layer.eval()
    np.testing.assert_array_equal(layer.backward(x), y)


def test_under_no_grad_training_still_drops():
    with fastdl.no_grad():
        assert not nn.Dropout()(np.ones(100)).all()


def test_an_input_without_channels_is_refused():
    with pytest.raises(ValueError, match=r"^Dropout2d\(\): expected input of shape \(N, C, ...\), got \(3,\)"):
        nn.Dropout2d()(np.ones(3))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_draw_from_the_same_stream(clone):
    manual_seed(0)
    layer = nn.Dropout(0.3)
    twin = clone(layer)
    first, second = layer(np.ones(100)), twin(np.ones(100))
    assert twin.p == 0.3
    assert (first != second).any()


# Streams.


def test_manual_seed_fixes_the_masks():
    layer, x, runs = nn.Dropout(), np.ones(1000), []
    for seed in (3, 3, 4):
        manual_seed(seed)
        runs.append(np.concatenate([layer(x), layer(x)]))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).any()
    assert (runs[0][:1000] != runs[0][1000:]).any()


def test_a_stream_draws_its_seed_when_it_is_first_asked():
    generator, same = np.random.default_rng(0), np.random.default_rng(0)
    mine = Stream(generator)
    assert generator.bit_generator.state == same.bit_generator.state
    seed = int(same.integers(2**64, dtype=np.uint64))
    assert [mine.next() for _ in range(3)] == [(seed, 0), (seed, 1), (seed, 2)]
    assert generator.bit_generator.state == same.bit_generator.state
    mine.restart()
    assert mine.next() == (int(same.integers(2**64, dtype=np.uint64)), 0)


def test_the_default_stream_is_seeded_from_the_default_generator():
    manual_seed(9)
    first = stream().next()
    manual_seed(9)
    assert first == (int(as_generator().integers(2**64, dtype=np.uint64)), 0)


def test_threads_that_share_a_stream_get_each_number_once():
    mine = Stream(np.random.default_rng(0))
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: mine.next(), range(4000)))
    assert len({seed for seed, _ in got}) == 1
    assert sorted(call for _, call in got) == list(range(4000))


def test_threads_that_ask_first_at_the_same_time_get_one_seed():
    class Slow:
        drawn = 0

        def integers(self, *arguments, **options):
            time.sleep(0.02)
            self.drawn += 1
            return self.drawn

    mine = Stream(Slow())
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(lambda _: mine.next(), range(4))) == [(1, 0), (1, 1), (1, 2), (1, 3)]


def test_a_thread_has_its_own_current_stream_and_gets_the_outer_one_back():
    one, two = Stream(np.random.default_rng(0)), Stream(np.random.default_rng(1))
    with drawing_from(one):
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(stream).result() is not one
        with drawing_from(two):
            assert stream() is two
        assert stream() is one
    assert stream() is not one


# Fits.

X = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 2, 60)


def fitted(seed, p=0.5, callbacks=()):
    model = nn.Sequential(nn.Linear(4, 8, rng=1), nn.Dropout(p), nn.Linear(8, 2, rng=2))
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    trainer.fit(X, Y, epochs=3, batch_size=16, seed=seed, callbacks=callbacks)
    return np.concatenate([array.ravel() for array in model.state_dict().values()])


def test_a_fits_seed_fixes_its_masks():
    manual_seed(0)
    first = fitted(7)
    stream().next()
    np.testing.assert_array_equal(fitted(7), first)
    assert (fitted(8) != first).any()
    assert (fitted(7, 0.4) != first).any()


def test_a_fit_without_a_seed_follows_the_default_generator():
    manual_seed(5)
    first = fitted(None)
    manual_seed(5)
    np.testing.assert_array_equal(fitted(None), first)


def test_a_fit_leaves_the_threads_stream_where_it_was():
    manual_seed(0)
    expected = [stream().next() for _ in range(3)]
    manual_seed(0)
    got = [stream().next()]
    fitted(3)
    got.append(stream().next())

    class Stop(Callback):
        def on_epoch_end(self, trainer, record):
            raise KeyError

    with pytest.raises(KeyError):
        fitted(3, callbacks=[Stop()])
    got.append(stream().next())
    assert got == expected


def test_fits_in_many_threads_do_not_touch_one_another():
    alone = [fitted(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for got, want in zip(pool.map(fitted, range(8)), alone, strict=True):
            np.testing.assert_array_equal(got, want)


def test_a_fit_inside_a_fit_does_not_touch_the_outer_one():
    class Inner(Callback):
        def on_epoch_end(self, trainer, record):
            inner.append(fitted(1))

    inner = []
    np.testing.assert_array_equal(fitted(7, callbacks=[Inner()]), fitted(7))
    np.testing.assert_array_equal(inner[2], fitted(1))


def test_predictions_of_a_fit_drop_nothing():
    model = nn.Sequential(nn.Dropout(), nn.Linear(4, 2, rng=0))
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    np.testing.assert_array_equal(trainer.predict(X), trainer.predict(X))
    assert model[0].training
