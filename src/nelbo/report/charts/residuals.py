"""Residuals beside the noise, noise of each feature, log p(x) of rows, distances of samples."""

from __future__ import annotations

__all__ = ["draw_by_feature", "draw_distances", "draw_log_p", "draw_pit", "draw_reliability"]

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..style import Colour, shortened
from .frame import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = npt.NDArray[Any]


def draw_pit(pit: Array) -> str:
    """Draw the share of values in each tenth of p(x|z), which is a tenth where it is calibrated."""

    def draw(axes: Axes) -> None:
        width = 1 / len(pit)
        axes.bar(
            (np.arange(len(pit)) + 0.5) * width,
            pit * len(pit),
            width=0.94 * width,
            color=Colour.BLUE,
        )
        axes.axhline(1, color=Colour.ORANGE, lw=1.4, ls="--")
        axes.set_ylim(0, max(1.5, 1.1 * float(pit.max()) * len(pit)))
        axes.set_xlabel("Φ(r): where values lie in p(x|z)")
        axes.set_ylabel("share / 0.1")

    told = ", ".join(f"{share:.0%}" for share in pit)
    return drawn(draw, f"Share of values in each tenth of p(x|z), which should be 10 %: {told}.")


def draw_reliability(predicted: Array, observed: Array, cases: Array) -> str:
    """Draw how frequent levels are, by how probable they were said to be.

    Arguments:
        predicted, observed: The mean probability and the share of cases in each bin, (bins,); NaN
            in a bin without cases.
        cases: How many there were.
    """
    some = cases > 0

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=Colour.ORANGE, lw=1.4, ls="--")
        size = 12 + 90 * cases[some] / cases.max()
        axes.scatter(predicted[some], observed[some], size, color=Colour.BLUE, zorder=3)
        axes.plot(predicted[some], observed[some], color=Colour.BLUE, lw=1)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("probability of a level in p(x|z)")
        axes.set_ylabel("share that has it")

    both = zip(predicted[some], observed[some], strict=True)
    told = ", ".join(f"{share:.0%} of those given {given:.0%}" for given, share in both)
    return drawn(draw, f"How frequent levels are, by their probability: {told}.")


def draw_by_feature(share: Array, told: list[str], names: list[str], most: int = 24) -> str:
    """Draw the noise of each feature as a share of its standard deviation: bars with names where
    they are few, else a sorted line.

    Arguments:
        share: beta over the standard deviation of the feature, (D,).
        told: beta of each in its own units.
        names: Their names.
        most: How many bars.
    """
    few = len(share) <= most

    def bars(axes: Axes) -> None:
        places = np.arange(len(share))
        axes.barh(places, share, color=Colour.GREEN, height=0.7)
        axes.set_yticks(places, [shortened(name, 22) for name in names])
        for place, value in enumerate(share):
            axes.text(value, place, f" {told[place]}", va="center", fontsize=7.5, color=Colour.INK)
        axes.set_xlim(0, 1.2 * max(float(share.max()), 1e-12))
        axes.invert_yaxis()
        axes.set_xlabel("β over the standard deviation of the column")

    def line(axes: Axes) -> None:
        axes.plot(np.sort(share)[::-1], color=Colour.GREEN, lw=1.6)
        axes.set_ylim(0, None)
        axes.set_xlabel("features, sorted")
        axes.set_ylabel("β over standard deviation")

    low, high = int(share.argmin()), int(share.argmax())
    label = (
        f"β of {len(share):,} features over their standard deviations: from {share[low]:.3g} "
        f"({names[low]}) to {share[high]:.3g} ({names[high]})."
    )
    if few:
        return drawn(bars, label, height=0.8 + 0.2 * len(share))
    return drawn(line, label)


def draw_log_p(log_p: Array) -> str:
    """Draw a histogram of log p(x) of rows."""
    finite = log_p[np.isfinite(log_p)]

    def draw(axes: Axes) -> None:
        axes.hist(finite, bins=40, color=Colour.BLUE)
        axes.axvline(float(np.median(finite)), color=Colour.ORANGE, ls="--", lw=1.4)
        axes.set_xlabel("log p(x), nats")
        axes.set_ylabel("rows")

    low, high = float(finite.min()), float(finite.max())
    label = (
        f"log p(x) of {len(log_p):,} rows: from {low:.4g} to {high:.4g} nats, median "
        f"{float(np.median(finite)):.4g}."
    )
    return drawn(draw, label)


def draw_distances(of_samples: Array, of_rows: Array) -> str:
    """Draw how far samples, and rows that are new, are from the nearest training row."""
    parts = [of_samples]
    if len(of_rows):
        parts.append(of_rows)

    def draw(axes: Axes) -> None:
        bins = np.linspace(0, float(np.quantile(np.concatenate(parts), 0.99)) or 1.0, 31).tolist()
        style: dict[str, Any] = {"histtype": "step", "lw": 1.6, "density": True}
        axes.hist(of_samples, bins, color=Colour.BLUE, label="samples", **style)
        if len(of_rows):
            axes.hist(of_rows, bins, color=Colour.ORANGE, label="held-out rows", **style)
        axes.set_xlabel("distance to the nearest training row")
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.legend(fontsize=8, frameon=False, labelcolor=Colour.INK)

    told = f"samples {float(np.median(of_samples)):.3g}"
    if len(of_rows):
        told += f", held-out rows {float(np.median(of_rows)):.3g}"
    return drawn(draw, f"Median distance to the nearest training row: {told}.")
