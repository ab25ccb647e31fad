"""Pictures: each function draws on matplotlib Axes and returns them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fastdl.data import Standardize, input_validation
from fastdl.environment import in_notebook, missing
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown
from fastdl.metrics import confusion_matrix as counted
from fastdl.metrics import predicted_classes
from fastdl.nn.module import Module
from fastdl.nn.walk import weights_dtype
from fastdl.nn.weighted import Weighted
from fastdl.training import predict
from fastdl.training.history import RESERVED, History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers and grey print distinguish; black is kept for lines.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
GRID = 300
# Classes up to which a confusion matrix shows its counts and every name.
MOST_COUNTS = 20
# Filters up to which all are drawn.
MOST_FILTERS = 1024


def loss_curves(history: History, ax: Axes | None = None) -> Axes:
    """The loss over epochs, and the validation loss where there is one.

    The vertical axis is logarithmic where all losses are positive and span a factor of ten or more.

    Args:
        history: what `Trainer.fit` returned.
        ax: Axes to draw on; None makes a figure of its own, to be found at `.figure`; a notebook shows it.

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
    _check_history(history, "loss_curves")
    curves = [("loss", "training", "-", COLOURS[0]), ("val_loss", "validation", "-", COLOURS[1])]
    curves = [curve for curve in curves if curve[0] in history]
    ax = _curves(history, curves, _axes(ax, "loss_curves"))
    losses = np.concatenate([history[curve[0]] for curve in curves])
    if losses.min() > 0 and losses.max() >= 10 * losses.min():
        ax.set_yscale("log")
    ax.set_ylabel("loss")
    return ax


def metric_curves(history: History, ax: Axes | None = None, names: Sequence[str] | None = None) -> Axes:
    """The metrics over epochs, and in validation where there is one: dashed, in the metric's colour, where there are several.

    Args:
        history: what `Trainer.fit` returned, of a Trainer with metrics.
        ax: Axes to draw on; None makes a figure of its own, to be found at `.figure`; a notebook shows it.
        names: which metrics; None for all of them.

    Raises:
        TypeError: if history is no History.
        ValueError: if it has no epochs, no metrics, or none of such a name.
        ImportError: if matplotlib is not installed.

    Example:
        >>> history = History(("loss", "accuracy", "val_accuracy"))
        >>> history.records += [{"loss": 0.5, "accuracy": 0.7, "val_accuracy": 0.6}]
        >>> metric_curves(history).get_ylabel()
        'accuracy'
    """
    _check_history(history, "metric_curves")
    there = [name for name in history.names if name not in RESERVED and not name.startswith("val_")]
    chosen = there if names is None else [names] if isinstance(names, str) else list(names)
    unknown = [name for name in chosen if name not in there]
    if unknown or not chosen:
        wanted = f"names among {', '.join(there)}" if there else "a history of a Trainer with metrics"
        raise InvalidValueError("metric_curves", wanted, shown(unknown[0]) if unknown else "none")
    if len(chosen) == 1:
        curves = [(chosen[0], "training", "-", COLOURS[0]), (f"val_{chosen[0]}", "validation", "-", COLOURS[1])]
    else:
        colours = dict(zip(chosen, (COLOURS * len(chosen))[: len(chosen)], strict=True))
        curves = [(name, f"{name}, training", "-", colour) for name, colour in colours.items()]
        curves += [(f"val_{name}", f"{name}, validation", "--", colour) for name, colour in colours.items()]
    curves = [curve for curve in curves if curve[0] in history]
    ax = _curves(history, curves, _axes(ax, "metric_curves"))
    ax.set_ylabel(chosen[0] if len(chosen) == 1 else "metric")
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
        ax: Axes to draw on; None makes a figure of its own, to be found at `.figure`; a notebook shows it.
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
        raise InvalidTypeError("decision_regions", "a fastdl Module", type(model).__name__, argument="model")
    if scaling is not None and not isinstance(scaling, Standardize):
        raise InvalidTypeError("decision_regions", "a Standardize or None", type(scaling).__name__, argument="scaling")
    dtype = weights_dtype(model)
    points, truth = map(input_validation.in_memory, input_validation.pair(x, y, dtype, "decision_regions"))
    if points.ndim != 2 or points.shape[1] != 2:
        raise InvalidValueError("decision_regions", "x of shape (n, 2)", points.shape)
    if truth.ndim > 1 or truth.dtype.kind == "f":
        truth = predicted_classes(truth, threshold)
    if truth.min() < 0:
        raise InvalidValueError("decision_regions", "class indices of at least 0", truth.min())
    ax = _axes(ax, "decision_regions")

    def scores(at: Any) -> Any:
        output = predict(model, at if scaling is None else scaling.transform(at))
        if output.ndim > 2:
            raise InvalidValueError("decision_regions", "a model of outputs (n, classes)", output.shape)
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

    The shade is the share of the row, so that small classes are seen; the number is the count. scikit-learn's
    ConfusionMatrixDisplay draws it where scikit-learn is installed.

    Args:
        output: class scores, as `Trainer.predict` gives them.
        y: the samples' classes: indices, or one-hot rows.
        ax: Axes to draw on; None makes a figure of its own, to be found at `.figure`; a notebook shows it.
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
        raise InvalidValueError("confusion_matrix", f"{len(counts)} names for classes", len(names))
    ax = _axes(ax, "confusion_matrix")
    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    _shades(ax, shares)
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


def filters(model: Module, ax: Axes | None = None, shape: Sequence[int] | None = None) -> Axes:
    """The weights of the first layer that has some, a tile for each of its outputs: red above 0, blue below.

    A Conv2d's kernels of one channel are drawn as they are, of three channels in colours, of others with the channels
    beside each other; a Conv1d's have a row for each channel. A Linear's are drawn as images of the input's shape.

    Args:
        model: a model, or a layer of it.
        ax: Axes to draw on; None makes a figure of its own, to be found at `.figure`; a notebook shows it.
        shape: for a Linear, the shape of one input: (H, W) or (C, H, W); None draws its matrix, a row for each output.

    Raises:
        TypeError: if model is no Module.
        ValueError: if it has no layer with such weights, or the input has another size than the shape.
        ImportError: if matplotlib is not installed.

    Example:
        >>> from fastdl import nn
        >>> filters(nn.Sequential(nn.Linear(64, 10, rng=0), nn.ReLU()), shape=(8, 8)).get_title()
        '10 filters of Linear(64, 10)'
    """
    if not isinstance(model, Module):
        raise InvalidTypeError("filters", "a fastdl Module", type(model).__name__)
    layer = next((each for each in model.modules() if isinstance(each, Weighted)), None)
    if layer is None:
        raise InvalidValueError("filters", "a model with a Linear, Conv1d or Conv2d", type(model).__name__)
    W = layer.weight.data
    if shape is not None:
        sizes = tuple(shape)
        if W.ndim > 2 or len(sizes) not in (2, 3) or int(np.prod(sizes)) != W.shape[1]:
            raise InvalidValueError(
                "filters", f"the shape (H, W) or (C, H, W) of an input of {shown(layer)}", shown(shape)
            )
        W = W.reshape(len(W), *sizes)
    ax = _axes(ax, "filters")
    drawn = W[:MOST_FILTERS]
    most = float(np.abs(drawn).max()) or 1.0
    if drawn.ndim == 4 and drawn.shape[1] == 3:
        ax.imshow(_mosaic(_enlarged(0.5 + drawn.transpose(0, 2, 3, 1) / (2 * most)), 1.0), interpolation="nearest")
    else:
        if drawn.ndim == 4:
            drawn = _mosaic(np.array([_mosaic(_enlarged(each), np.nan, len(each)) for each in drawn]), np.nan)
        elif drawn.ndim == 3:
            drawn = _mosaic(_enlarged(drawn), np.nan)
        image = ax.imshow(drawn, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
        image.axes.figure.colorbar(image, ax=ax, shrink=0.8)
    ax.set_axis_off()
    count = f"{len(W):,}" if len(W) <= MOST_FILTERS else f"{MOST_FILTERS:,} of {len(W):,}"
    ax.set_title(f"{count} filters of {_short(layer.spec(), 48)}", fontsize="medium")
    return ax


def _check_history(history: History, owner: str) -> None:
    if not isinstance(history, History):
        raise InvalidTypeError(owner, "a History", type(history).__name__)
    if not len(history):
        raise InvalidValueError(owner, "a history of at least one epoch", "an empty one")


def _curves(history: History, curves: list[tuple[str, str, str, str]], ax: Axes) -> Axes:
    """A line over the epochs for each (name, label, style, colour)."""
    epochs, marker = range(1, len(history) + 1), "o" if len(history) == 1 else ""
    for name, label, style, colour in curves:
        ax.plot(epochs, history[name], style, label=label, color=colour, linewidth=1.8, marker=marker)
    ax.set_xlabel("epoch")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    return ax


def _shades(ax: Axes, shares: Any) -> None:
    """Squares in shades of blue."""
    try:
        from sklearn.metrics import ConfusionMatrixDisplay
    except ImportError:
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    else:
        display = ConfusionMatrixDisplay(shares)
        display.plot(include_values=False, cmap="Blues", ax=ax, colorbar=False, im_kw={"vmin": 0, "vmax": 1})


def _enlarged(tiles: Any) -> Any:
    """Tiles (n, height, width, ...) of at least a dozen pixels, that the lines between them be thin."""
    times = -(-12 // max(tiles.shape[1:3]))
    return tiles.repeat(times, axis=1).repeat(times, axis=2)


def _mosaic(tiles: Any, gap: float, columns: int = 0) -> Any:
    """Tiles (n, height, width, ...) in a grid, by default about as wide as high, with a line of this value between them."""
    n, height, width = tiles.shape[:3]
    columns = columns or max(1, min(n, round((n * (height + 1) / (width + 1)) ** 0.5)))
    rows = -(-n // columns)
    whole = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, *tiles.shape[3:]), gap, tiles.dtype)
    for number, tile in enumerate(tiles):
        row, column = number // columns * (height + 1), number % columns * (width + 1)
        whole[row : row + height, column : column + width] = tile
    return whole


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


def _short(name: str, most: int = 24) -> str:
    """A name that leaves room for the picture, with nothing in it that matplotlib takes for mathematics."""
    text = name.replace("$", r"\$")
    return text if len(text) <= most else text[: most - 1] + "…"


def _colour(c: int) -> str:
    return COLOURS[int(c) % len(COLOURS)]


def _axes(ax: Axes | None, owner: str) -> Axes:
    """The Axes to draw on. A new figure is made without pyplot, which would choose a backend for the whole program.

    Not so in a notebook, which shows pyplot's figures alone.
    """
    try:
        from matplotlib.axes import Axes
        from matplotlib.figure import Figure
    except ImportError:
        raise missing(owner, "plot") from None
    if ax is None:
        make = import_module("matplotlib.pyplot").figure if in_notebook() else Figure
        return make(figsize=(5.5, 4.2), dpi=150, layout="constrained").add_subplot()
    if not isinstance(ax, Axes):
        raise InvalidTypeError(owner, "matplotlib Axes or None", type(ax).__name__, argument="ax")
    return ax
