"""Layers, containers, losses and initializers, under torch.nn's names."""

from typing import TYPE_CHECKING, Any

from fastdl.nn import init as init
from fastdl.nn.activation import ELU as ELU
from fastdl.nn.activation import GELU as GELU
from fastdl.nn.activation import Activation as Activation
from fastdl.nn.activation import Identity as Identity
from fastdl.nn.activation import LeakyReLU as LeakyReLU
from fastdl.nn.activation import ReLU as ReLU
from fastdl.nn.activation import Sigmoid as Sigmoid
from fastdl.nn.activation import SiLU as SiLU
from fastdl.nn.activation import Softplus as Softplus
from fastdl.nn.activation import Tanh as Tanh
from fastdl.nn.batch_norm import BatchNorm1d as BatchNorm1d
from fastdl.nn.batch_norm import BatchNorm2d as BatchNorm2d
from fastdl.nn.buffer import Buffer as Buffer
from fastdl.nn.buffer import Scalar as Scalar
from fastdl.nn.class_loss import CrossEntropyLoss as CrossEntropyLoss
from fastdl.nn.class_loss import NLLLoss as NLLLoss
from fastdl.nn.collection import ModuleDict as ModuleDict
from fastdl.nn.collection import ModuleList as ModuleList
from fastdl.nn.collection import ParameterList as ParameterList
from fastdl.nn.container import Parallel as Parallel
from fastdl.nn.container import Residual as Residual
from fastdl.nn.container import Sequential as Sequential
from fastdl.nn.container import Siamese as Siamese
from fastdl.nn.conv import Conv1d as Conv1d
from fastdl.nn.conv import Conv2d as Conv2d
from fastdl.nn.dropout import Dropout as Dropout
from fastdl.nn.dropout import Dropout2d as Dropout2d
from fastdl.nn.flatten import Flatten as Flatten
from fastdl.nn.grad_mode import is_grad_enabled as is_grad_enabled
from fastdl.nn.grad_mode import no_grad as no_grad
from fastdl.nn.layer_norm import LayerNorm as LayerNorm
from fastdl.nn.linear import Linear as Linear
from fastdl.nn.loss import BCELoss as BCELoss
from fastdl.nn.loss import BCEWithLogitsLoss as BCEWithLogitsLoss
from fastdl.nn.loss import HuberLoss as HuberLoss
from fastdl.nn.loss import L1Loss as L1Loss
from fastdl.nn.loss import Loss as Loss
from fastdl.nn.loss import MAELoss as MAELoss
from fastdl.nn.loss import MSELoss as MSELoss
from fastdl.nn.module import LAYERS as _LAYERS
from fastdl.nn.module import Module as Module
from fastdl.nn.parameter import Parameter as Parameter
from fastdl.nn.pool import AdaptiveAvgPool2d as AdaptiveAvgPool2d
from fastdl.nn.pool import AvgPool1d as AvgPool1d
from fastdl.nn.pool import AvgPool2d as AvgPool2d
from fastdl.nn.pool import MaxPool1d as MaxPool1d
from fastdl.nn.pool import MaxPool2d as MaxPool2d
from fastdl.nn.softmax import LogSoftmax as LogSoftmax
from fastdl.nn.softmax import Softmax as Softmax

if TYPE_CHECKING:
    from fastdl.nn import functional as functional
    from fastdl.nn.spec import from_spec as from_spec
    from fastdl.nn.spec import to_spec as to_spec

for _name, _value in list(vars().items()):
    if (
        isinstance(_value, type)
        and issubclass(_value, Module)
        and not issubclass(_value, (Loss, ModuleDict, ModuleList, ParameterList))
    ):
        _LAYERS[_name] = _value
del _LAYERS["Module"]


def __getattr__(name: str) -> Any:
    """Import the parser of specs, and functional, when they are first asked for."""
    if name == "functional":
        from importlib import import_module

        return import_module("fastdl.nn.functional")
    if name in ("from_spec", "to_spec"):
        from fastdl.nn import spec

        return getattr(spec, name)
    raise AttributeError(f"module 'fastdl.nn' has no attribute {name!r}")
