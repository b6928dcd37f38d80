"""Columns of a table beside those of samples."""

from __future__ import annotations

__all__ = ["draw_correlations", "draw_marginal", "draw_missing", "draw_pair", "draw_points"]

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..portrait import Column, ColumnPair, Marginal
from ..style import Colour, shortened, span
from .frame import dots, drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = npt.NDArray[Any]


def draw_marginal(found: Marginal, column: Column, most: int = 12) -> str:
    """Draw one column of the data, filled, and the same of samples, as a line."""

    def numbers(axes: Axes) -> None:
        axes.stairs(found.data, found.edges, fill=True, color=Colour.LINE)
        axes.stairs(found.samples, found.edges, color=Colour.BLUE, lw=1.5)
        _quiet(axes, column)

    def categories(axes: Axes) -> None:
        order = np.argsort(-found.data, kind="stable")[:most]
        places = np.arange(len(order))
        axes.barh(places, found.data[order], color=Colour.LINE, height=0.8)
        axes.plot(found.samples[order], places, "|", color=Colour.BLUE, ms=9, mew=2)
        axes.set_yticks(places, [shortened(column.levels[k], 16) for k in order])
        axes.invert_yaxis()
        axes.set_xlabel(shortened(column.name, 28))
        axes.tick_params(labelsize=7)

    gap = 0.5 * float(np.abs(found.data - found.samples).sum())
    label = f"{column.name}: data and samples differ in {gap:.0%} of the mass."
    if column.levels:
        rows = min(len(column.levels), most)
        return drawn(categories, label, width=2.9, height=0.7 + 0.17 * rows)
    return drawn(numbers, label, width=2.9, height=1.7)


def _quiet(axes: Axes, column: Column) -> None:
    """Take away the axis of shares, which says nothing of its own."""
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=5)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(shortened(column.name, 28))


def draw_pair(found: ColumnPair, columns: tuple[Column, ...]) -> str:
    """Draw two columns of the data, and of samples, as points."""
    first, second = (columns[j].name for j in found.columns)

    def draw(axes: Axes) -> None:
        dots(axes, found.data, Colour.SOFT, 2.6)
        dots(axes, found.samples, Colour.BLUE, 2.0, 0.8)
        axes.set_xlabel(shortened(first, 28))
        axes.set_ylabel(shortened(second, 22))
        axes.set_xlim(*span(found.data[:, 0]))
        axes.set_ylim(*span(found.data[:, 1]))

    real, made = found.correlation
    label = f"{first} and {second}: correlation {real:.2f} in the data, {made:.2f} in samples."
    return drawn(draw, label, width=2.9, height=2.4)


def draw_points(
    rows: Array, like: Array, pair: tuple[int, int], columns: tuple[Column, ...], what: str
) -> str:
    """Draw two columns of some rows as points.

    Arguments:
        rows: The rows (n, D).
        like: Rows whose range the axes span.
        pair: The two columns.
        columns: All of them.
        what: What the rows are called.
    """
    first, second = (columns[j].name for j in pair)

    def draw(axes: Axes) -> None:
        dots(axes, rows[:, pair], Colour.BLUE, 2.4)
        axes.set_xlim(*span(like[:, pair[0]]))
        axes.set_ylim(*span(like[:, pair[1]]))
        axes.set_xlabel(shortened(first, 28))
        axes.set_ylabel(shortened(second, 22))

    label = f"{what}: {len(rows)} rows as points, {first} against {second}."
    return drawn(draw, label, width=2.9, height=2.3)


def draw_correlations(both: Array) -> str:
    """Draw the correlation of each pair of columns in samples against that in the data."""

    def draw(axes: Axes) -> None:
        axes.plot([-1, 1], [-1, 1], color=Colour.ORANGE, lw=1.2, ls="--")
        dots(axes, both, Colour.BLUE, 3.0)
        axes.set_xlim(-1.05, 1.05)
        axes.set_ylim(-1.05, 1.05)
        axes.set_aspect("equal")
        axes.set_xlabel("correlation in the data")
        axes.set_ylabel("in samples")

    off = float(np.abs(both[:, 0] - both[:, 1]).mean())
    return drawn(
        draw,
        f"Correlations of {len(both):,} pairs of columns: those of samples are off by {off:.3f} on "
        "average.",
        width=3.0,
        height=2.9,
    )


def draw_missing(share: Array, columns: tuple[Column, ...], most: int = 24) -> str:
    """Draw the share of missing values of the columns that lack most."""
    order = [j for j in np.argsort(-share, kind="stable")[:most] if share[j] > 0]

    def draw(axes: Axes) -> None:
        places = np.arange(len(order))
        axes.barh(places, 100 * share[order], color=Colour.ORANGE, height=0.7)
        axes.set_yticks(places, [shortened(columns[j].name, 22) for j in order])
        axes.invert_yaxis()
        axes.set_xlabel("missing, %")

    told = ", ".join(f"{columns[j].name} {share[j]:.1%}" for j in order[:5])
    return drawn(draw, f"Share of missing values: {told}.", height=0.8 + 0.2 * len(order))
