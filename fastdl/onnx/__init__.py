"""ONNX: models written as ONNX files, and read from them.

Each file here holds what its stem names, the export of fastdl's layers beside the import of ONNX's operators.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from numpy.typing import DTypeLike

from fastdl.environment import missing
from fastdl.nn.module import Module
from fastdl.onnx.graph import Graph as Graph

if TYPE_CHECKING:
    import onnx


def export(
    model: Module, path: str | os.PathLike[str], input_shape: int | tuple[int, ...], *, dtype: DTypeLike | None = None
) -> None:
    """Write a model as an ONNX file of opset 17 and IR version 8, as it predicts: in evaluation mode.

    Its input is called `input`, its output `output`; the first axis, `N`, takes batches of any size. Nodes are called as
    the layers that they come from, weights as in the `state_dict`; one that stands in several places is written once. The
    model itself stays as it is, and the file is put in its place whole.

    Args:
        model: of fastdl's own layers, of float32 or float64, or of layers with a method `to_onnx` (see docs/onnx.md).
        path: the file; its folder has to exist.
        input_shape: the shape of one sample, without the batch axis, such as (1, 28, 28).
        dtype: of the input; None is that of the weights, float32 where there are none.

    Raises:
        TypeError: if an argument is of another kind, or a layer is one that fastdl cannot export.
        ValueError: if the layers cannot take this shape, or the file would have more than 2 GiB.
        OSError: if the file cannot be written, or something else than a regular file has its name; an older one stands then.
        MemoryError: if memory does not suffice.
        ImportError: if onnx is not installed.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from fastdl import nn
        >>> model = nn.Sequential(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.Flatten(), nn.Linear(4608, 10))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export(model, f"{folder}/model.onnx", input_shape=(1, 28, 28))
        ...     twin = load(f"{folder}/model.onnx")
        >>> x = np.ones((3, 1, 28, 28), np.float32)
        >>> bool(np.allclose(twin(x), model(x), atol=1e-5))
        True

    Source: ONNX, https://onnx.ai/onnx/operators/.
    """
    _require_onnx("export")
    from fastdl.onnx.writing import write

    write(model, path, input_shape, dtype)


def load(source: str | os.PathLike[str] | onnx.ModelProto) -> Module:
    """The model in an ONNX file, ready to predict and to learn.

    Operators become fastdl's layers. Where they stand in a row the model is a `Sequential`, else a `Graph`. Float tensors
    of more than one number are parameters, but for running statistics; what an ONNX file computes with `Constant` stays
    as it is. As a new model is, it is in training mode.

    Nothing in the file is trusted: external data are read from the file's folder alone, sizes and dtypes are held against
    the bytes, onnx's checker is run, and operators, versions and attributes outside of the subset (see docs/onnx.md) are
    named.

    Args:
        source: the file, or an onnx.ModelProto.

    Raises:
        TypeError: if source is of another kind.
        OSError: if the file cannot be read.
        ValueError: if it is no regular file, no ONNX model, is damaged, or needs what fastdl does not have.
        MemoryError: if memory does not suffice.
        ImportError: if onnx is not installed.

    Example:
        See `export`.
    """
    _require_onnx("load")
    from fastdl.onnx.reading import read

    return read(source)


def _require_onnx(owner: str) -> None:
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise missing(f"onnx.{owner}", "onnx") from None


def __dir__() -> list[str]:
    return ["Graph", "export", "load"]


__all__: Any = ["Graph", "export", "load"]
