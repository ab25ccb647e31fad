"""Data: generators, readers, what prepares arrays for a network, and batches."""

from typing import TYPE_CHECKING, Any

from fastdl.data.augment import Compose as Compose
from fastdl.data.augment import Flip as Flip
from fastdl.data.augment import Noise as Noise
from fastdl.data.augment import Shift as Shift
from fastdl.data.batches import batches as batches
from fastdl.data.digits import digits as digits
from fastdl.data.generators import ball as ball
from fastdl.data.generators import disk as disk
from fastdl.data.split import split as split
from fastdl.data.transform import Standardize as Standardize
from fastdl.data.transform import one_hot as one_hot
from fastdl.data.transform import pixels as pixels
from fastdl.data.transform import standardize as standardize

if TYPE_CHECKING:
    from fastdl.data.cifar import cifar10 as cifar10
    from fastdl.data.cifar import read_cifar10 as read_cifar10
    from fastdl.data.dataset import Dataset as Dataset
    from fastdl.data.files import load_data as load_data
    from fastdl.data.files import load_inputs as load_inputs
    from fastdl.data.idx import mnist as mnist
    from fastdl.data.idx import read_idx as read_idx
    from fastdl.data.npz import read_npy as read_npy
    from fastdl.data.npz import read_npz as read_npz
    from fastdl.data.table import read_columns as read_columns
    from fastdl.data.table import read_csv as read_csv

_READERS = {
    "cifar10": "cifar",
    "read_cifar10": "cifar",
    "Dataset": "dataset",
    "load_data": "files",
    "load_inputs": "files",
    "mnist": "idx",
    "read_idx": "idx",
    "read_npy": "npz",
    "read_npz": "npz",
    "read_columns": "table",
    "read_csv": "table",
}


def __getattr__(name: str) -> Any:
    """Import what reads files when it is first asked for."""
    if name in _READERS:
        from importlib import import_module

        return getattr(import_module(f"fastdl.data.{_READERS[name]}"), name)
    raise AttributeError(f"module 'fastdl.data' has no attribute {name!r}")
