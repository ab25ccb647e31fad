"""fastdl: deep learning on CPUs, with compiled kernels under a thin Python.

>>> import numpy as np
>>> from fastdl import Trainer, nn, optim
>>> model = nn.Sequential(nn.Linear(2, 25), nn.ReLU(), nn.Linear(25, 2))
>>> model(np.zeros((100, 2), dtype=np.float32)).shape
(100, 2)
"""

import sys
from typing import TYPE_CHECKING, Any

from fastdl.commands.start import is_command as _is_command

try:
    from fastdl._kernels.table import cpu_level as cpu_level
    from fastdl._kernels.table import cpu_levels as cpu_levels
    from fastdl._kernels.threads import get_num_threads as get_num_threads
    from fastdl._kernels.threads import set_num_threads as set_num_threads
except ImportError as error:
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("fastdl._kernels."):
        error = ImportError(
            "fastdl: the kernels are not built here; write `pip install -e .` in the folder with setup.py,"
            " or start Python in another folder if fastdl is installed",
            name="fastdl",
        )
    if _is_command():
        print("" if error.name == "fastdl" else "fastdl: ", error, sep="", file=sys.stderr)
        sys.exit(2)
    raise error from None

from fastdl import data as data
from fastdl import errors as errors
from fastdl import nn as nn
from fastdl import optim as optim
from fastdl._kernels.threadpools import make_known as _make_known
from fastdl._kernels.winograd import get_winograd as get_winograd
from fastdl._kernels.winograd import set_winograd as set_winograd
from fastdl.environment import __version__ as __version__
from fastdl.environment import build_info as build_info
from fastdl.nn.grad_mode import no_grad as no_grad
from fastdl.random import manual_seed as manual_seed

_make_known()

# Where names are that are imported when they are first asked for.
_LATER = {
    **dict.fromkeys(("grad", "jacobian", "stop_gradient", "value_and_grad"), "graph.differentiate"),
    **dict.fromkeys(("Checkpoint", "load", "save"), "serialization.model_file"),
    "eager": "nn.eager",
    "load_torch": "serialization.torch_weights",
    **dict.fromkeys(("History", "Trainer"), "training"),
}

_FOLDERS = ("callbacks", "onnx", "plot", "training")

if TYPE_CHECKING:
    from fastdl import callbacks as callbacks
    from fastdl import onnx as onnx
    from fastdl import plot as plot
    from fastdl import training as training
    from fastdl.graph.differentiate import grad as grad
    from fastdl.graph.differentiate import jacobian as jacobian
    from fastdl.graph.differentiate import stop_gradient as stop_gradient
    from fastdl.graph.differentiate import value_and_grad as value_and_grad
    from fastdl.nn.eager import eager as eager
    from fastdl.serialization.model_file import Checkpoint as Checkpoint
    from fastdl.serialization.model_file import load as load
    from fastdl.serialization.model_file import save as save
    from fastdl.serialization.torch_weights import load_torch as load_torch
    from fastdl.training import History as History
    from fastdl.training import Trainer as Trainer


def __getattr__(name: str) -> Any:
    """Import what trains, differentiates, reads, writes and draws when it is first asked for."""
    from importlib import import_module

    if name in _LATER:
        return getattr(import_module(f"fastdl.{_LATER[name]}"), name)
    if name in _FOLDERS:
        return import_module(f"fastdl.{name}")
    raise AttributeError(f"module 'fastdl' has no attribute {name!r}")
