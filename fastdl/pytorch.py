"""Weights that PyTorch wrote, without PyTorch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl.checkpoint import safetensors_package
from fastdl.packing import DTYPES, short


def load_torch(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """The state_dict in a safetensors file that torch wrote, ready for `load_state_dict`.

    Entries keep torch's names and dtypes; bfloat16, which NumPy does not have, becomes float32 without loss.

    Args:
        path: what `safetensors.torch.save_file(model.state_dict(), path)` wrote; any safetensors file will do.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no safetensors file, or an entry holds anything but real numbers.

    Example:
        >>> import tempfile
        >>> import safetensors.numpy
        >>> from fastdl import nn
        >>> model = nn.Linear(2, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     entries = {"weight": np.ones((1, 2), np.float32), "bias": np.zeros(1, np.float32)}
        ...     safetensors.numpy.save_file(entries, f"{folder}/torch.safetensors")
        ...     model.load_state_dict(load_torch(f"{folder}/torch.safetensors"))
        IncompatibleKeys(missing_keys=[], unexpected_keys=[])

    Source: safetensors.torch.load_file.
    """
    path = Path(path)
    safetensors = safetensors_package()
    content = path.read_bytes()
    if content.startswith(b"PK\x03\x04"):
        raise ValueError(
            f"load_torch: expected a whole safetensors file, got {path}, which looks like one of torch.save; write"
            " safetensors.torch.save_file(model.state_dict(), path) where torch is installed"
        )
    try:
        entries = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        raise ValueError(f"load_torch: expected a whole safetensors file, got {path}: {error}") from None
    return {name: _array(name, entry, path) for name, entry in entries}


def _array(name: str, entry: dict[str, Any], path: Path) -> NDArray[Any]:
    kind, shape, data = entry["dtype"], entry["shape"], entry["data"]
    try:
        if kind == "BF16":  # the upper half of a float32
            return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
        if kind in DTYPES:
            return np.frombuffer(data, DTYPES[kind].newbyteorder("<")).astype(DTYPES[kind]).reshape(shape)
    except (ValueError, OverflowError) as error:  # a shape with a zero whose other sizes no array may have
        raise ValueError(f"load_torch: the entry {short(name)} of {path} cannot be read: {error}") from None
    raise ValueError(
        f"load_torch: expected entries of {', '.join(DTYPES)} or BF16 in {path}, got {short(name)} of {kind}"
    )
