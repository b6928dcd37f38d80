"""Training: the bound, its two parts, and the noise, against epochs."""

from __future__ import annotations

__all__ = ["draw_bound", "draw_noise_level", "draw_parts"]

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ...training import History
from ...training.history import TRAINING, Record
from ..portrait import Level
from ..style import Colour
from .frame import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_bound(history: History, levels: tuple[Level, ...]) -> str:
    """Draw the bound on training and validation rows, and log p(x) of model and pPCA as lines."""
    records = _records(history)

    def draw(axes: Axes) -> None:
        lines = [("train", "training", Colour.GREY), ("validation", "validation", Colour.BLUE)]
        if history.is_refined:
            lines.append(("refined", "validation, refined q", Colour.GREEN))
        values: list[float] = []
        for name, label, colour in lines:
            values += _line(axes, records, name, colour, label)
        styles: list[dict[str, Any]] = [
            {"color": Colour.INK, "ls": ":"},
            {"color": Colour.ORANGE, "ls": "--"},
        ]
        for level, style in zip(levels[:2], styles, strict=False):
            axes.axhline(level.mean, lw=1.2, label=f"log p(x), {level.name}", **style)
            values.append(level.mean)
        _kept(axes, history, records)
        _limited(axes, values)
        axes.set_ylabel("nats per row")
        _legend(axes)

    return drawn(draw, _told("The bound", records, "bound", "nats per row"), height=3.1)


def draw_parts(history: History) -> str:
    """Draw KL, and reconstruction: what the bound is less than -KL."""
    records = _records(history)

    def draw(axes: Axes) -> None:
        _line(axes, records, "kl", Colour.ORANGE, "KL(q(z|x) ‖ p(z))")
        right = axes.twinx()
        right.patch.set_alpha(0)
        points = [
            (r.epoch, r.bound + r.kl) for r in records if r.bound is not None and r.kl is not None
        ]
        values = [y for _, y in points if math.isfinite(y)]
        if values:
            right.plot(*zip(*points, strict=True), color=Colour.BLUE, lw=1.5)
            _limited(right, values)
        right.set_ylabel("reconstruction, nats", color=Colour.BLUE)
        axes.set_ylabel("KL, nats", color=Colour.ORANGE)
        right.tick_params(labelsize=8, colors=Colour.BLUE, length=3, width=0.6)
        axes.tick_params(axis="y", colors=Colour.ORANGE)
        for side in ("top", "left", "bottom"):
            right.spines[side].set_visible(False)
        right.spines["right"].set_color(Colour.GREY)
        axes.set_xlabel("epochs")

    return drawn(draw, _told("KL and reconstruction", records, "kl", "nats of KL"))


def draw_noise_level(history: History) -> str:
    """Draw the noise variance."""
    records = _records(history)

    def draw(axes: Axes) -> None:
        points = [(r.epoch, r.beta**2) for r in records if r.beta is not None]
        if points:
            axes.plot(
                *zip(*points, strict=True), color=Colour.GREEN, lw=1.5, marker=_marker(points)
            )
            axes.set_yscale("log")
            axes.minorticks_off()
            _few_ticks(axes, [y for _, y in points])
        axes.set_ylabel("β², squared data units")
        axes.set_xlabel("epochs")

    return drawn(draw, _told("The root of the noise variance", records, "beta", "data units"))


def _records(history: History) -> list[Record]:
    """Return the records of the first training."""
    return [record for record in history.records if record.phase == TRAINING]


def _line(axes: Axes, records: list[Record], name: str, colour: Colour, label: str) -> list[float]:
    """Draw one attribute of the records, and return its values."""
    points = [(r.epoch, getattr(r, name)) for r in records]
    known = [(x, y) for x, y in points if y is not None and math.isfinite(y)]
    if known:
        axes.plot(
            *zip(*known, strict=True), color=colour, lw=1.5, label=label, marker=_marker(known)
        )
    return [y for _, y in known]


def _marker(points: list[Any]) -> str:
    """Return the marker of so few points that there is hardly a line."""
    if len(points) < 3:
        return "o"
    return ""


def _kept(axes: Axes, history: History, records: list[Record]) -> None:
    """Mark the record whose weights were kept."""
    for record in records:
        height = record.bound
        if history.is_refined:
            height = record.refined
        if record.step == history.best_step and height is not None:
            axes.plot(
                record.epoch, height, "o", label="weights kept", color=Colour.INK, ms=6, mfc="none"
            )
            return


def _limited(axes: Axes, values: list[float]) -> None:
    """Set a range in which a wild start does not flatten all the rest."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return
    top, low = max(finite), float(np.quantile(finite, 0.1))
    least = min(finite)
    if top - least > 4 * (top - low):
        least = low
    margin = 0.08 * (top - least) or 1.0
    axes.set_ylim(least - margin, top + margin)


def _few_ticks(axes: Axes, values: list[float]) -> None:
    """Label both ends of a logarithmic axis where no power of ten lies between."""
    low, high = min(values), max(values)
    ticks = [low, high]
    if high < 1.02 * low:
        ticks = [math.sqrt(low * high)]
        axes.set_ylim(0.5 * low, 2 * high)
    axes.set_yticks(ticks, [f"{value:.3g}" for value in ticks])


def _legend(axes: Axes) -> None:
    """Put a legend above the axes, where it hides nothing."""
    axes.set_xlabel("epochs")
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=2,
        fontsize=8,
        frameon=False,
        labelcolor=Colour.INK,
        handlelength=1.6,
        columnspacing=1.2,
    )


def _told(what: str, records: list[Record], name: str, unit: str) -> str:
    """Say what a curve shows."""
    values = [getattr(record, name) for record in records]
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return f"{what} against epochs: nothing was recorded."
    return (
        f"{what} against epochs: from {known[0]:.4g} to {known[-1]:.4g} {unit} over "
        f"{records[-1].epoch:.0f} epochs."
    )
