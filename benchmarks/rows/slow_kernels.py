"""Layers at which fastdl's kernels have been slower than PyTorch's."""

from __future__ import annotations

from functools import partial

from benchmarks.row import row
from benchmarks.rows.images import layer
from benchmarks.stack import LayerCall, call


def depthwise(channels: int, kernel_size: int) -> LayerCall:
    """A convolution of each channel alone, by every second place."""
    options = {"stride": 2, "padding": kernel_size // 2, "groups": channels}
    return call("Conv2d", channels, channels, kernel_size, **options)


# A word for the row, the layer and its input.
LAYERS = (
    ("depthwise 3", depthwise(64, 3), (32, 64, 32, 32)),
    ("depthwise 5", depthwise(64, 5), (32, 64, 32, 32)),
    ("stride 3", call("Conv2d", 32, 64, 3, stride=2, padding=1), (32, 32, 32, 32)),
    ("stride 5", call("Conv2d", 32, 64, 5, stride=2, padding=2), (32, 32, 32, 32)),
    ("GELU", call("GELU"), (64, 32, 32, 32)),
    ("Softmax", call("Softmax", -1), (4096, 32)),
    ("LogSoftmax", call("LogSoftmax", -1), (4096, 2)),
)

for word, each, shape in LAYERS:
    given = ", ".join([*map(str, each.arguments), *(f"{name}={value}" for name, value in each.options.items())])
    work = f"{each.kind}({given}) on {shape}, forward + backward"
    row(f"P46 {word}", work, {"PyTorch": 1.3})(partial(layer, each, shape, "float32"))
