"""Quiet: NumPy's warnings off, without a collection of garbage amid the change."""

import gc
import sys
import warnings

import numpy as np
import pytest

from fastdl._kernels.quiet import Quiet


def test_it_is_errstate():
    before = np.geterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Quiet(over="ignore", invalid="ignore"):
            assert np.isinf(np.float32(1e30) * np.float32(1e30))
            assert np.geterr() == before | {"over": "ignore", "invalid": "ignore"}
        with pytest.raises(RuntimeWarning):
            np.float32(1e30) * np.float32(1e30)
    with pytest.raises(KeyError), Quiet(all="raise"):
        raise KeyError
    assert np.geterr() == before


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="no collection begins amid C code")
def test_no_collection_begins_amid_the_change():
    begun = {np.errstate: 0, Quiet: 0}

    def note(phase, info):
        frame = sys._getframe(1)
        begun[kind] += frame.f_code.co_name in ("__enter__", "__exit__")

    threshold = gc.get_threshold()
    gc.callbacks.append(note)
    try:
        for kind in begun:
            for ahead in range(1, 40):
                block = kind(all="ignore")
                gc.set_threshold(gc.get_count()[0] + ahead)
                with block:
                    pass
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(note)
    assert begun[np.errstate]
    assert not begun[Quiet]
    assert gc.isenabled()
    gc.disable()
    try:
        with Quiet(all="ignore"):
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
