"""A signal handler casts the parameters in the midst of a layer's backward: it writes nowhere else than into gradients."""

import sys

import numpy as np
import pytest

from fastdl import nn

RNG = np.random.default_rng(0)
LAYERS = {
    "Linear": (lambda: nn.Linear(6, 5, rng=0, dtype=np.float64), (4, 6)),
    "Conv2d": (lambda: nn.Conv2d(2, 3, 3, rng=0, dtype=np.float64), (2, 2, 5, 5)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(6, track_running_stats=False, dtype=np.float64), (4, 6)),
    "LayerNorm": (lambda: nn.LayerNorm(6, dtype=np.float64), (4, 6)),
}
GUARD = 7.0


def cast(parameter):
    """Let it live in arrays of float32 with as many numbers behind them, which nobody may write; returns these."""
    data, grad = (np.full(4 * parameter.size, GUARD, np.float32) for _ in range(2))
    end, shape = parameter.size, parameter.shape
    parameter.move_to(data[:end].reshape(shape), grad[:end].reshape(shape))
    return grad[end:]


def backward_with_cast(make, x, after):
    """A backward amid which everything is cast after so many lines; what stands behind the gradients, and what is refused."""
    layer = make()
    gy = np.ones_like(layer(x))
    lines, behind, refused = 0, [], ""

    def look(frame, event, argument):
        nonlocal lines
        if event == "line":
            lines += 1
            if lines == after:
                behind.extend(map(cast, layer.parameters()))
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        layer.backward(gy)
    except RuntimeError as error:
        refused = str(error)
    finally:
        sys.settrace(before)
    return behind, refused


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_another_dtype_are_not_written_beyond(name):
    make, shape = LAYERS[name]
    x, after, refusals = RNG.standard_normal(shape), 1, set()
    while True:
        behind, refused = backward_with_cast(make, x, after)
        if not behind:  # it has ended before
            break
        assert all((each == GUARD).all() for each in behind), f"after {after} lines"
        refusals.add(refused)
        after += 1
    assert after > 10
    assert f"{make()}: weights became others in the midst of a backward; call the model again" in refusals
