"""What layers say in traced code of values that do not fit: the user's line, the sizes that are wanted, and those that came."""

import numpy as np
import pytest

import fastdl
from fastdl import nn

LAYERS = {
    "Linear": (nn.Linear(3, 3), (4, 2), "Linear(3, 3): expected input of shape (..., 3), got ({N}, 2)"),
    "in a container": (
        nn.Sequential(nn.Linear(3, 2), nn.Linear(3, 3)),
        (4, 3),
        "Linear(3, 3): expected input of shape (..., 3), got ({N}, 2)",
    ),
    "LayerNorm": (nn.LayerNorm(3), (4, 2), "LayerNorm((3,)): expected input of shape (..., 3), got ({N}, 2)"),
    "BatchNorm1d": (
        nn.BatchNorm1d(3),
        (4, 2),
        "BatchNorm1d(3): expected input of shape (N, 3) or (N, 3, L), got ({N}, 2)",
    ),
    "Conv2d": (
        nn.Conv2d(3, 4, 3),
        (4, 2, 8, 8),
        "Conv2d(3, 4, 3): expected input of shape (N, 3, H, W), got ({N}, 2, 8, 8)",
    ),
    "Conv1d": (nn.Conv1d(3, 4, 3), (4, 3), "Conv1d(3, 4, 3): expected input of shape (N, 3, L), got ({N}, 3)"),
    "MaxPool2d": (
        nn.MaxPool2d(4),
        (4, 3, 2, 2),
        "MaxPool2d(4): expected input of shape (N, C, H >= 4, W >= 4), got ({N}, 3, 2, 2)",
    ),
    "Dropout2d": (nn.Dropout2d(), (4,), "Dropout2d(): expected input of shape (N, C, ...), got ({N},)"),
    "Flatten": (nn.Flatten(1, 5), (4, 2), "Flatten(end_dim=5): expected an input with an axis 5, got ({N}, 2)"),
    "Softmax": (nn.Softmax(3), (4, 2), "Softmax(dim=3): expected an input with an axis 3, got shape "),
}


class Of(nn.Module):
    """A layer, and a product."""

    def __init__(self, layer):
        self.layer = layer

    def forward(self, x):
        return self.layer(x) * 2


@pytest.mark.parametrize("name", LAYERS)
def test_the_line_and_both_shapes_are_named(name):
    layer, shape, message = LAYERS[name]
    x = np.ones(shape, np.float32)
    line = f"test_shapes_in_traces.py:{Of.forward.__code__.co_firstlineno + 1}: "
    with pytest.raises(ValueError, match=r"^test_shapes") as error:
        Of(layer)(x)
    assert (line + message).replace("{N}", "N") in str(error.value)
    with fastdl.eager(), pytest.raises(ValueError, match=r"^test_shapes") as error:
        Of(layer)(x)
    assert (line + message).replace("{N}", "4") in str(error.value)


def test_no_line_of_the_users_is_named_where_there_is_none():
    with pytest.raises(ValueError, match=r"^Conv2d\(3, 4, 3\): expected input of shape"):
        nn.Sequential(nn.Conv2d(3, 4, 3))(np.ones((4, 2, 8, 8), np.float32))
