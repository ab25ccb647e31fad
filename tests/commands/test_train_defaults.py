"""What `fastdl train` does by default: the network, epochs and batches for each kind and number of rows."""

import numpy as np
import pytest

from fastdl import nn
from fastdl.commands.task import batch_size_for, epochs_for, network_for
from fastdl.training import predict


@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        ((4,), {"Linear": 3}),
        ((7, 9), {"Flatten": 1, "Linear": 3}),
        ((1, 3, 9), {"Flatten": 1, "Linear": 3}),
        ((1, 4, 4), {"Conv2d": 2, "MaxPool2d": 1, "Linear": 2}),
        ((2, 5, 15), {"Conv2d": 2, "MaxPool2d": 1, "Linear": 2}),
        ((3, 16, 17), {"Conv2d": 2, "MaxPool2d": 2, "Linear": 2}),
        ((1, 28, 28), {"Conv2d": 2, "MaxPool2d": 2, "AdaptiveAvgPool2d": 0}),
        ((3, 90, 21), {"Conv2d": 2, "MaxPool2d": 2, "AdaptiveAvgPool2d": 1}),
        ((1, 2, 3, 4), {"Flatten": 1, "Linear": 3}),
    ],
)
def test_every_shape_has_a_network_that_takes_it(shape, layers):
    spec = network_for(shape, 5)
    for name, count in layers.items():
        assert sum(entry.startswith(name) for entry in spec) == count
    model = nn.from_spec(spec)
    assert predict(model, np.zeros((2, *shape))).shape == (2, 5)
    assert sum(parameter.data.size for parameter in model.parameters()) < 600_000


def test_many_rows_are_seen_fewer_times_and_in_larger_batches():
    def rows(n, image=False):
        return np.broadcast_to(np.float32(0), (n, 1, 8, 8) if image else (n, 2))

    assert [epochs_for(rows(n)) for n in (2, 3_000, 10_000, 10**6)] == [100, 100, 30, 5]
    assert [epochs_for(rows(n, True)) for n in (2, 3_000, 9_000, 60_000)] == [30, 30, 10, 5]
    assert [batch_size_for(rows(n)) for n in (2, 200, 1_000, 10**6)] == [8, 10, 50, 64]
