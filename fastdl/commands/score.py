"""How good outputs are, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastdl.metrics import accuracy, confusion_matrix, r2_score, root_mean_squared_error

MOST_CLASSES = 100


def score(output: np.ndarray, y: np.ndarray, classes: Sequence[str] | None) -> str:
    """Accuracy, or R2 and root mean square error where there are no classes, in the values' own unit.

    Example:
        >>> score(np.eye(2), np.array([0, 0]), ("a", "b"))
        'accuracy 50.0 %'
        >>> score(np.array([[1.0], [4.0]]), np.array([[1.0], [3.0]]), None)
        'R2 0.500, root mean square error 0.7071'
    """
    if classes is not None:
        return f"accuracy {100 * accuracy(output, y):.1f} %"
    return f"R2 {r2_score(output, y):.3f}, root mean square error {root_mean_squared_error(output, y):.4g}"


def by_class(output: np.ndarray, y: np.ndarray, classes: Sequence[str]) -> str:
    """A table: of each class its samples, how many of them are found, and how often its name is right where it is given.

    Example:
        >>> print(by_class(np.eye(2), np.array([0, 0]), ("a", "b")))
        class  samples   recall  precision
        a            2   50.0 %    100.0 %
        b            0        -      0.0 %
    """
    counts = confusion_matrix(output, y)
    names = [name if name.isprintable() else repr(name) for name in classes]
    width = max(map(len, ["class", *names]))
    lines = [f"{'class':{width}}  samples   recall  precision"]
    for i, name in enumerate(names[:MOST_CLASSES]):
        samples, given = counts[i].sum(), counts[:, i].sum()
        recall, precision = _percent(counts[i, i], samples), _percent(counts[i, i], given)
        lines.append(f"{name:{width}}  {samples:7}  {recall:>7}  {precision:>9}")
    if len(names) > MOST_CLASSES:
        lines.append(f"... and {len(names) - MOST_CLASSES} classes more")
    return "\n".join(lines)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"
