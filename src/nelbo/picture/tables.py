"""The panel for tables: scatter plots of two columns, and marginals of a few."""

from __future__ import annotations

__all__ = ["draw_table"]

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import Values
from ..fitted import Fitted
from ..fitted.portrait.look import in_units, telling_columns
from ..fitted.summary import Summary
from ..report.style import Colour, bare, parts, shortened, span

Array = npt.NDArray[Any]


def draw_table(
    figure: Any,
    model: Fitted,
    rows: Values,
    which: str,
    summary: Summary,
    points: int = 500,
    histograms: int = 6,
) -> str:
    """Draw scatter plots of two columns above, and marginals below; return what to say about them.

    Arguments:
        figure: Where to draw.
        model: The model.
        rows: Rows (n, D) in data units; samples have their conditions.
        which: What the rows are called.
        summary: The model's numbers.
        points: The number of rows to draw at most.
        histograms: The number of columns whose marginals to draw at most.
    """
    rows = rows[:points]
    shown, given = in_units(model, rows.array), rows.conditions
    n = max(len(shown), 200)
    if given is not None:
        n = len(shown)
    samples = model.sample(n, seed=0, c=given)
    means = model.sample(n, noise=False, seed=0, c=given)
    order = telling_columns(shown)
    lower = figure
    if len(order) > 1:
        upper, lower = parts(figure, 2, 1, height_ratios=(1.15, 1))
        blocks = {
            f"Data ({which})": (shown, Colour.INK),
            "Reconstructions\nwithout noise": (model.reconstruct(rows), Colour.GREEN),
            "Samples\nwithout noise": (means, Colour.ORANGE),
            "Samples with noise,\nsame z": (samples, Colour.BLUE),
        }
        _draw_scatter(upper, model, shown, blocks, order)
    _draw_marginals(lower, model, shown, samples, which, order[:histograms])
    said = "Axes span the data; samples beyond are not shown."
    least, most = summary.noise.smallest, summary.noise.largest
    if least is not None and most is not None:
        said = f"beta: {least:.3g} to {most:.3g} over columns ({summary.noise.kind}). {said}"
    columns = shown.shape[1]
    if columns > min(histograms, len(order)):
        said += (
            f" Of {columns} columns, the two most correlated come first and up to {histograms} are "
            "shown."
        )
    return said


def _draw_scatter(
    figure: Any,
    model: Fitted,
    rows: Array,
    blocks: dict[str, tuple[Array, Colour]],
    order: list[int],
) -> None:
    """Draw rows as points in the first two columns of the order, a panel for each block."""
    i, j = order[:2]
    several = figure.subplots(1, len(blocks), sharex=True, sharey=True)
    for axes, (text, (block, colour)) in zip(several, blocks.items(), strict=True):
        axes.scatter(block[:, i], block[:, j], s=7, alpha=0.5, color=colour, linewidths=0)
        axes.set_title(text, fontsize=9.5, color=Colour.INK)
        axes.set_xlabel(_name(model, i), fontsize=9)
        bare(axes)
        axes.set_xlim(*span(rows[:, i]))
        axes.set_ylim(*span(rows[:, j]))
    several[0].set_ylabel(_name(model, j), fontsize=9)


def _draw_marginals(
    figure: Any, model: Fitted, rows: Array, samples: Array, which: str, chosen: list[int]
) -> None:
    """Draw histograms of data and samples, a panel for each chosen column."""
    across = min(3, len(chosen))
    grid = figure.subplots(math.ceil(len(chosen) / across), across, squeeze=False)
    data = {"color": Colour.GREY, "alpha": 0.55, "label": f"data ({which})"}
    drawn = {"histtype": "step", "color": Colour.BLUE, "lw": 1.5, "label": "samples with noise"}
    for axes, j in zip(grid.flat, chosen, strict=False):
        bins = np.linspace(*span(rows[:, j]), 26)
        axes.hist(rows[~np.isnan(rows[:, j]), j], bins, density=True, **data)
        axes.hist(samples[:, j], bins, density=True, **drawn)
        axes.set_xlabel(_name(model, j), fontsize=9)
        axes.set_yticks([])
        bare(axes)
    for axes in grid.flat[len(chosen) :]:
        axes.set_axis_off()
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper left", ncols=2, fontsize=9, frameon=False)
    figure.suptitle(" ", fontsize=9)


def _name(model: Fitted, j: int) -> str:
    """Return the name of a column, short enough for an axis."""
    return shortened(model.schema.feature_name(int(j)), 24)
