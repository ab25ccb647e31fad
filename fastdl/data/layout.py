"""The layout of images in an array: channels first, as the layers want them, or last, as most image files are read."""

from __future__ import annotations

import warnings

import numpy as np

from fastdl.errors import GuessWarning, InvalidValueError
from fastdl.messages import Advice, Argument, shown
from fastdl.validation import one_of

LAYOUTS = ("channels_first", "channels_last")
# How many channels images have: grey ones, colours, colours and transparency.
CHANNELS = (1, 3, 4)


def channels_first(x: np.ndarray, layout: str | None, where: str, owner: str) -> np.ndarray:
    """Images as (n, channels, height, width), whichever of the layouts they have; other arrays as they are.

    Args:
        x: an array of rows.
        layout: the layout of four dimensions; None for the one in which there are 1, 3 or 4 channels.
        where: the files, for messages.
        owner: who reads them, to open the messages.

    Raises:
        ValueError: if both layouts are likely, or a layout is given for what are no images.

    Example:
        >>> channels_first(np.zeros((10, 32, 24, 3), np.uint8), "channels_last", "set.npz", "load_data").shape
        (10, 3, 32, 24)
    """
    if layout is not None:
        one_of(LAYOUTS, layout, "layout", owner)
        if x.ndim != 4 and not (x.ndim == 3 and layout == "channels_first"):
            raise InvalidValueError(
                owner, f"images of four dimensions for layout={shown(layout)}", f"{x.shape} in {where}"
            )
    elif x.ndim == 4:
        layout = _likely(x, where, owner)
        if layout == "channels_last":
            note = f"images of shape {x.shape} in {where} are read as channels last"
            warnings.warn(GuessWarning(owner, note), stacklevel=3)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if layout == "channels_last" else x


def _likely(x: np.ndarray, where: str, owner: str) -> str:
    _, first, middle, last = x.shape
    if last not in CHANNELS:
        return "channels_first"
    if (middle == last) != (first == middle):  # images are square in one of the layouts
        return "channels_first" if middle == last else "channels_last"
    if x.dtype == np.uint8 and first not in CHANNELS:
        return "channels_last"
    raise InvalidValueError(
        owner,
        "images whose layout follows from the number of channels",
        f"{x.shape} in {where}",
        Advice("write ", Argument("layout", "channels_first"), " or ", Argument("layout", "channels_last")),
    )
