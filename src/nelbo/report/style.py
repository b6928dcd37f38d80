"""Colours, axes and parts of a figure that every panel of the picture shares."""

from __future__ import annotations

__all__ = ["Colour", "bare", "parts", "shortened", "span"]

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


class Colour(StrEnum):
    """Colours that people with any colour vision tell apart (Okabe & Ito, 2008), ink, greys,
    thin lines and paper.
    """

    INK = "#222222"
    GREY = "#8a8a8a"
    BLUE = "#0072b2"
    ORANGE = "#d55e00"
    GREEN = "#009e73"
    LINE = "#dcdcdd"
    SOFT = "#9aa3b0"
    PAPER = "#fefefe"


def parts(figure: Figure | SubFigure, rows: int, columns: int, **ratios: Any) -> Any:
    """Divide a figure (matplotlib's own annotation leaves out that it returns several)."""
    return figure.subfigures(rows, columns, **ratios)


def bare(axes: Axes) -> None:
    """Take away the lines on top and on the right, and make the labels small."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8)


def shortened(name: str, most: int, end: bool = False) -> str:
    """Return a name without mathtext, and its first or last characters alone where it is long.

    Arguments:
        name: The name.
        most: The number of characters to keep.
        end: Whether to keep the last ones.
    """
    if len(name) > most and end:
        name = "…" + name[1 - most :]
    elif len(name) > most:
        name = name[: most - 1] + "…"
    return name.replace("$", r"\$")


def span(values: npt.NDArray[Any]) -> tuple[float, float]:
    """Return a range that holds 99 of 100 values, and a margin; missing ones do not count."""
    values = values[~np.isnan(values)]
    if not len(values):
        return -0.5, 0.5
    low, high = (float(v) for v in np.quantile(values, (0.005, 0.995)))
    margin = 0.12 * (high - low) or 0.5 * max(abs(low), 1e-12)
    return low - margin, high + margin
