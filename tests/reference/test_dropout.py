"""The reference's generator against the vectors of Random123, and dropout by its words."""

import numpy as np
import pytest

from fastdl.reference import dropout
from tests.reference.against import close

# Philox4x32-10 from Random123's kat_vectors: counter, key, words.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_the_generator_gives_the_known_answers(counter, key, words):
    seed, index, call = key[0] | key[1] << 32, counter[0] | counter[1] << 32, counter[2] | counter[3] << 32
    assert dropout.group_of_four(seed, call, index) == words
    filled = np.zeros(4, np.uint32)
    dropout.philox(seed, call, index, filled)
    assert tuple(filled) == words


def test_an_element_is_dropped_where_its_word_is_below_p():
    words, x, y = np.zeros(10, np.uint32), np.arange(1.0, 11.0), np.zeros(10)
    dropout.philox(3, 5, 0, words)
    dropout.dropout_forward(x, 0.3, 3, 5, 1, y)
    close(y, np.where(words < 0.3 * 2**32, 0, x / 0.7))


def test_a_run_shares_its_word():
    words, x, y = np.zeros(5, np.uint32), np.ones(15), np.zeros(15)
    dropout.philox(3, 5, 0, words)
    dropout.dropout_backward(x, 0.5, 3, 5, 3, y)
    close(y.reshape(5, 3), np.where(words < 2**31, 0, 2.0)[:, None] * np.ones(3))


def test_all_and_none_are_dropped_at_the_ends():
    x, y = np.ones(50), np.zeros(50)
    dropout.dropout_forward(x, 0.0, 0, 0, 1, y)
    assert (y == 1).all()
    dropout.dropout_forward(x, 1.0, 0, 0, 1, y)
    assert (y == 0).all()
