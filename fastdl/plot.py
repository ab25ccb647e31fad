"""Pictures: each function draws on matplotlib Axes and returns them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fastdl import door
from fastdl.data import Standardize
from fastdl.history import History
from fastdl.metrics import confusion_matrix as counted
from fastdl.metrics import predicted_classes
from fastdl.nn.module import Module
from fastdl.training import predict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by colour-blind readers and in grey print; black is kept for lines.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
GRID = 300
# Classes up to which a confusion matrix shows its counts and every name.
MOST_COUNTS = 20


def loss_curves(history: History, ax: Axes | None = None) -> Axes:
    """The loss over epochs, and the validation loss where there is one.

    The vertical axis is logarithmic where all losses are positive and span a factor of ten or more.

    Args:
        history: what `Trainer.fit` returned.
        ax: Axes to draw on; None makes a figure of its own, outside pyplot, to be found at `.figure`.

    Raises:
        TypeError: if history is no History.
        ValueError: if it has no epochs.
        ImportError: if matplotlib is not installed.

    Example:
        >>> history = History(("loss", "lr"))
        >>> history.records += [{"loss": 0.5, "lr": 0.1}, {"loss": 0.25, "lr": 0.1}]
        >>> loss_curves(history).get_xlabel()
        'epoch'
        >>> loss_curves(history).figure.savefig("loss.png")  # doctest: +SKIP
    """
    if not isinstance(history, History):
        raise TypeError(f"loss_curves: expected a History, got {type(history).__name__}")
    if not len(history):
        raise ValueError("loss_curves: expected a history of at least one epoch, got an empty one")
    ax = _axes(ax, "loss_curves")
    epochs = range(1, len(history) + 1)
    names = [("loss", "training"), ("val_loss", "validation")]
    curves = [(history[name], label) for name, label in names if name in history]
    for (values, label), colour in zip(curves, COLOURS, strict=False):
        ax.plot(epochs, values, label=label, color=colour, linewidth=1.8, marker="o" if len(history) == 1 else "")
    shown = np.array([value for values, _ in curves for value in values])
    if shown.min() > 0 and shown.max() >= 10 * shown.min():
        ax.set_yscale("log")
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    return ax


def decision_regions(
    model: Module,
    x: ArrayLike,
    y: ArrayLike,
    ax: Axes | None = None,
    scaling: Standardize | None = None,
    classes: Sequence[str] | None = None,
    threshold: float = 0.5,
) -> Axes:
    """Which class a model of two inputs chooses where, with samples drawn in their own class's colour.

    A sample that the model gets wrong is ringed in black.

    Args:
        model: a classifier of points in the plane.
        x: points, as they are before scaling.
        y: their classes: indices, or one-hot rows.
        ax: Axes to draw on; None makes a figure of its own, outside pyplot, to be found at `.figure`.
        scaling: what points go through before the model; None for nothing.
        classes: their names, for the legend; None for numbers.
        threshold: for a model of one output, as in `fastdl.metrics.predicted_classes`.

    Shape:
        x (n, 2), y (n,) or (n, C).

    Raises:
        TypeError: if model is no Module, scaling no Standardize, or an array not numeric.
        ValueError: if there are no points, the shapes are others, or values are not finite.
        ImportError: if matplotlib is not installed.

    Example:
        >>> from fastdl import nn
        >>> ax = decision_regions(nn.Linear(2, 2, rng=0), [[0.0, 1.0], [1.0, 0.0]], [0, 1])
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('$x_0$', '$x_1$')
    """
    if not isinstance(model, Module):
        raise TypeError(f"decision_regions: expected a fastdl Module for model, got {type(model).__name__}")
    if scaling is not None and not isinstance(scaling, Standardize):
        raise TypeError(f"decision_regions: expected a Standardize or None for scaling, got {type(scaling).__name__}")
    dtype = door.weights_dtype(model)
    points, truth = map(door.in_memory, door.pair(x, y, dtype, "decision_regions"))
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"decision_regions: expected x of shape (n, 2), got {points.shape}")
    if truth.ndim > 1 or truth.dtype.kind == "f":
        truth = predicted_classes(truth, threshold)
    if truth.min() < 0:
        raise ValueError(f"decision_regions: expected class indices of at least 0, got {truth.min()}")
    ax = _axes(ax, "decision_regions")

    def scores(at: Any) -> Any:
        output = predict(model, at if scaling is None else scaling.transform(at))
        if output.ndim > 2:
            raise ValueError(f"decision_regions: expected a model of outputs (n, classes), got {output.shape}")
        return output

    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.where(high > low, 0.05 * (high - low), 1)
    axes = [np.linspace(a, b, GRID, dtype=dtype) for a, b in zip(low - margin, high + margin, strict=True)]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    field = scores(grid)
    regions = predicted_classes(field, threshold).reshape(GRID, GRID)
    extent = (axes[0][0], axes[0][-1], axes[1][0], axes[1][-1])
    _regions(ax, regions, extent)
    _boundaries(ax, field.reshape(GRID, GRID, -1), threshold, axes)
    wrong = predicted_classes(scores(points), threshold) != truth
    for c in np.unique(truth):
        name = classes[c] if classes is not None and c < len(classes) else f"class {c}"
        ax.scatter(*points[truth == c].T, s=18, c=_colour(c), edgecolors="white", linewidths=0.4, label=name, zorder=3)
    if wrong.any():
        ax.scatter(*points[wrong].T, s=18, c="none", edgecolors="black", linewidths=1.2, label="wrong", zorder=3)
    ax.set_xlabel("$x_0$")
    ax.set_ylabel("$x_1$")
    ax.set_aspect("equal" if 0.2 < (extent[1] - extent[0]) / (extent[3] - extent[2]) < 5 else "auto")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return ax


def confusion_matrix(
    output: ArrayLike,
    y: ArrayLike,
    ax: Axes | None = None,
    classes: Sequence[str] | None = None,
    threshold: float = 0.5,
) -> Axes:
    """How many samples of each class, a row, a classifier takes for each, a column.

    The shade is the share of the row, so that small classes are seen; the number is the count.

    Args:
        output: class scores, as `Trainer.predict` gives them.
        y: the samples' classes: indices, or one-hot rows.
        ax: Axes to draw on; None makes a figure of its own, outside pyplot, to be found at `.figure`.
        classes: their names; None for numbers.
        threshold: for scores of a single column, as in `fastdl.metrics.predicted_classes`.

    Shape:
        output (n, C), y (n,) or (n, C).

    Raises:
        TypeError, ValueError: those of `fastdl.metrics.confusion_matrix`.
        ValueError: if there are not as many names as classes.
        ImportError: if matplotlib is not installed.

    Example:
        >>> ax = confusion_matrix([[0.2, 0.8], [0.9, 0.1], [0.3, 0.7]], [1, 1, 0], classes=["no", "yes"])
        >>> [text.get_text() for text in ax.texts]
        ['0', '1', '1', '1']

    Source: sklearn.metrics.ConfusionMatrixDisplay.
    """
    counts = counted(output, y, threshold)
    names = [str(i) for i in range(len(counts))] if classes is None else [_short(name) for name in classes]
    if len(names) != len(counts):
        raise ValueError(f"confusion_matrix: expected {len(counts)} names for classes, got {len(names)}")
    ax = _axes(ax, "confusion_matrix")
    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(counts) <= MOST_COUNTS:
        for (i, j), count in np.ndenumerate(counts):
            colour = "white" if shares[i, j] > 0.5 else "black" if count else "lightgrey"
            ax.text(j, i, str(count), ha="center", va="center", color=colour, fontsize=80 / max(len(counts), 10))
        upright = max(map(len, names)) * len(names) <= 40
        ax.set_xticks(range(len(names)), names, rotation=0 if upright else 90)
        ax.set_yticks(range(len(names)), names)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("class")
    return ax


def _regions(ax: Axes, regions: Any, extent: tuple[float, float, float, float]) -> None:
    """Each grid point in a pale tint of its class's colour."""
    from matplotlib.colors import to_rgb

    tints = np.array([to_rgb(_colour(c)) for c in range(int(regions.max()) + 1)])
    ax.imshow(1 - 0.3 * (1 - tints[regions]), extent=extent, origin="lower", interpolation="nearest", aspect="auto")


def _boundaries(ax: Axes, field: Any, threshold: float, axes: list[Any]) -> None:
    """A line where the chosen class changes: where its score's lead over the best other is 0."""
    if field.shape[-1] == 1:
        leads = [field[..., 0] - threshold]
    else:
        leads = [field[..., c] - np.delete(field, c, axis=-1).max(axis=-1) for c in range(field.shape[-1])]
    for lead in leads if len(leads) != 2 else leads[:1]:
        if lead.min() < 0 < lead.max():
            ax.contour(*axes, lead, levels=[0], colors="black", linewidths=1.2)


def _short(name: str) -> str:
    """A name that leaves room for the picture, with nothing in it that matplotlib takes for mathematics."""
    text = name.replace("$", r"\$")
    return text if len(text) <= 24 else text[:23] + "…"


def _colour(c: int) -> str:
    return COLOURS[int(c) % len(COLOURS)]


def _axes(ax: Axes | None, owner: str) -> Axes:
    """The Axes to draw on. A new figure is made without pyplot, which would choose a backend for the whole program."""
    try:
        from matplotlib.axes import Axes
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(f'{owner}: needs matplotlib; write pip install "fastdl-nn[plot]"') from None
    if ax is None:
        return Figure(figsize=(5.5, 4.2), dpi=150, layout="constrained").add_subplot()
    if not isinstance(ax, Axes):
        raise TypeError(f"{owner}: expected matplotlib Axes or None for ax, got {type(ax).__name__}")
    return ax
