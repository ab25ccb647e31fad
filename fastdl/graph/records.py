"""Records: operations and losses as a program reads them; see _kernels/descriptor.pxd."""

from __future__ import annotations

from typing import NamedTuple

from fastdl._kernels.descriptor import Descriptor, LossDescriptor

# Where an operand stands: its base, bytes from there, bytes from one sample to the next; NOWHERE where there is none.
Place = tuple[int, int, int]
NOWHERE = (0, 0, 0)


class Record(NamedTuple):
    """An operation as a program reads it; see Operation in _kernels/descriptor.pxd."""

    descriptor: Descriptor
    attributes: bytes
    x_size: int
    y_size: int
    x_length: int
    y_length: int
    differentiated: bool
    accumulates: bool
    sums: int
    activation: tuple[int, float, float, bool]
    x: Place
    y: Place
    gy: Place
    gx: Place
    before: Place
    parameters: tuple[Place, ...]
    gradients: tuple[Place, ...]
    sizes: tuple[int, ...]
    saved: tuple[Place, ...]
    buffers: tuple[Place, ...]


class ObjectiveRecord(NamedTuple):
    """A loss as a program reads it; see Objective in _kernels/descriptor.pxd."""

    descriptor: LossDescriptor
    attributes: bytes
    mean: bool
    batchmean: bool
    x: Place
    gx: Place
    target: Place
    saved: Place
    losses: Place
    weight: Place
    pos_weight: Place
