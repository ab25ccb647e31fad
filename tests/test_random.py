"""Seeds: what they fix, and which are refused."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastdl.random import Stream, as_generator, drawing_from, manual_seed, stream


def test_manual_seed_fixes_what_the_default_generator_draws_next():
    manual_seed(3)
    first = as_generator(None).random(5)
    second = as_generator(None).random(5)
    manual_seed(3)
    assert (as_generator(None).random(5) == first).all()
    assert (second != first).any()
    manual_seed(4)
    assert (as_generator(None).random(5) != first).any()


def test_manual_seed_reaches_whoever_already_holds_the_default_generator():
    held = as_generator(None)
    manual_seed(3)
    first = held.random(5)
    manual_seed(3)
    assert (held.random(5) == first).all()


def test_manual_seed_forgets_half_a_drawn_word():
    manual_seed(3)
    first = as_generator(None).integers(2**16, size=4, dtype=np.uint32)
    manual_seed(3)
    as_generator(None).integers(2**16, dtype=np.uint32)
    manual_seed(3)
    assert (as_generator(None).integers(2**16, size=4, dtype=np.uint32) == first).all()


def test_none_is_the_one_default_generator():
    assert as_generator() is as_generator(None)


def test_an_integer_is_a_new_generator_of_that_seed():
    assert as_generator(5) is not as_generator(5)
    assert as_generator(5).random() == as_generator(np.int64(5)).random() == np.random.default_rng(5).random()


def test_a_seed_leaves_the_default_generator_alone():
    before = copy.deepcopy(as_generator(None).bit_generator.state)
    as_generator(5).random(10)
    assert as_generator(None).bit_generator.state == before


def test_a_generator_is_itself():
    rng = np.random.default_rng(0)
    assert as_generator(rng) is rng


def test_seeds_may_be_as_large_as_one_likes():
    assert as_generator(2**100).random() == as_generator(2**100).random() != as_generator(0).random()


@pytest.mark.parametrize("seed", [True, np.True_, 1.0, np.float64(1), "1", [1], np.random, np.random.RandomState(0)])
def test_what_is_no_integer_is_no_seed(seed):
    with pytest.raises(TypeError, match="expected an integer seed, got "):
        manual_seed(seed)
    with pytest.raises(TypeError, match=r"expected None, an integer seed or a numpy\.random\.Generator, got "):
        as_generator(seed)


def test_none_does_not_seed():
    with pytest.raises(TypeError, match="expected an integer seed, got None"):
        manual_seed(None)


@pytest.mark.parametrize("function", [manual_seed, as_generator])
def test_a_negative_seed_is_refused(function):
    with pytest.raises(ValueError, match="expected a seed of at least 0, got -1"):
        function(-1)


def test_threads_that_share_the_default_generator_draw_different_numbers():
    manual_seed(0)
    with ThreadPoolExecutor(4) as pool:
        drawn = np.concatenate(list(pool.map(lambda _: as_generator(None).random(1000), range(40))))
    assert len(np.unique(drawn)) == 40_000


def test_an_error_within_a_block_gives_the_stream_back():
    def fails():
        with drawing_from(Stream(np.random.default_rng(0))), drawing_from(Stream(np.random.default_rng(1))):
            raise KeyboardInterrupt

    before = stream()
    with pytest.raises(KeyboardInterrupt):
        fails()
    assert stream() is before
