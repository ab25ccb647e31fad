"""A trace is made twice: what the second one takes from the first, numbers of traced code, and what planning leaves behind."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from fastdl import nn

X = np.array([[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0]], np.float32)


class Of(nn.Module):
    def __init__(self, function):
        self.layer, self.function = nn.Linear(3, 3, rng=0), function

    def forward(self, x):
        return self.function(self, x)


def test_lines_are_those_of_the_trace_that_stays():
    traces = []

    def function(model, x):
        traces.append(1)
        if len(traces) == 1:  # as where another thread changes the model behind the first trace
            return np.tanh(model.layer(x))[[0, 1]]
        place = x[:, 0].astype(int)
        return model.layer(x)[place]

    line = function.__code__.co_firstlineno + 5
    with pytest.raises(IndexError, match=rf"test_traces_twice\.py:{line}: "):
        Of(function)(X)
    assert len(traces) == 3


def test_zeros_of_both_signs_and_numbers_of_both_kinds_are_four_numbers():
    y = Of(lambda model, x: np.where(x > 0, 0.0, -0.0))(X)
    np.testing.assert_array_equal(np.signbit(y), X < 0)
    floating, whole = Of(lambda model, x: (x + 1.0, x.astype(int) + 1))(X)
    assert (floating.dtype, whole.dtype) == (np.float32, np.int64)
    whole, floating = Of(lambda model, x: (x.astype(int) + 0, x.astype(int) + 0.0))(X)
    assert (floating.dtype, whole.dtype) == (np.float32, np.int64)


def test_planning_leaves_nothing_to_the_garbage_collector():
    code = """
        import gc
        import numpy as np
        from fastdl import Trainer, nn, optim

        class Net(nn.Module):
            def __init__(self):
                self.layer, self.drop = nn.Linear(3, 3, rng=0), nn.Dropout(0.5)

            def forward(self, x):
                return np.tanh(self.drop(self.layer(x))) * 0.5 + x

        def planned():
            model = Net()
            x = np.ones((4, 3), np.float32)
            trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
            trainer.step(x, x)
            model.vjp(x)
            return model, trainer

        planned()
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        kept = planned()
        gc.collect()
        found = {type(each).__name__ for each in gc.garbage}
        assert not found & {"Node", "Value", "Lowering", "Storage", "NodeEntry", "Graph", "Row"}, found
    """
    # In a process of its own, where nothing else leaves garbage.
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
