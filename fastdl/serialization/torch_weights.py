"""Weights that PyTorch wrote, without PyTorch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl.errors import InvalidValueError
from fastdl.input_file import as_path, open_regular
from fastdl.messages import short
from fastdl.serialization import tensor_file
from fastdl.serialization.json_arrays import DTYPES
from fastdl.serialization.tensor_file import TensorFile


def load_torch(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """The state_dict in a safetensors file that torch wrote, ready for `load_state_dict`.

    Entries keep torch's names and dtypes; bfloat16, which NumPy does not have, becomes float32 without loss.

    Args:
        path: what `safetensors.torch.save_file(model.state_dict(), path)` wrote; any safetensors file will do.

    Raises:
        TypeError: if path is no path.
        OSError: if the file cannot be read.
        ValueError: if it is no regular file, no safetensors file, or an entry holds anything but real numbers.

    Example:
        >>> import tempfile
        >>> from fastdl import nn, save
        >>> model = nn.Linear(2, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(model, f"{folder}/torch.safetensors")  # for what torch would write
        ...     model.load_state_dict(load_torch(f"{folder}/torch.safetensors"))
        IncompatibleKeys(missing_keys=[], unexpected_keys=[])

    Source: safetensors.torch.load_file.
    """
    place = as_path(path, "load_torch")
    with open_regular(place, "load_torch") as file:
        if file.read(4) == b"PK\x03\x04":
            raise InvalidValueError(
                "load_torch",
                "a whole safetensors file",
                f"{place}, which looks like one of torch.save",
                "write safetensors.torch.save_file(model.state_dict(), path) where torch is installed",
            )
    with tensor_file.opened(place, "load_torch") as file:
        return {name: _array(file, name, place) for name in file.entries}


def _array(file: TensorFile, name: str, path: Path) -> NDArray[Any]:
    kind = file.entries[name].dtype
    try:
        if kind == "BF16":  # the upper half of a float32
            return (file.read(name, np.dtype(np.uint16)).astype(np.uint32) << 16).view(np.float32)
        if kind in DTYPES:
            return file.read(name)
    except ValueError as error:  # a shape with a zero whose other sizes no array may have, for one
        raise ValueError(f"load_torch: the entry {short(name)} of {path} cannot be read: {error}") from None
    raise InvalidValueError(
        "load_torch", f"entries of {', '.join(DTYPES)} or BF16 in {path}", f"{short(name)} of {kind}"
    )
