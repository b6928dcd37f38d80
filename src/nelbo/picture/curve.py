"""The panel for training: the bound on training and validation rows against epochs."""

from __future__ import annotations

__all__ = ["draw_bound"]

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ..fitted import Fitted
from ..fitted.summary import Summary
from ..report.style import Colour, bare, parts
from ..training.history import TRAINING, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_bound(figure: Any, model: Fitted, summary: Summary, note: str) -> None:
    """Draw the bound; below it, say what the lines are and what to know.

    Arguments:
        figure: Where to draw.
        model: The model.
        summary: Its numbers.
        note: What to say about the other panels.
    """
    upper, lower = parts(figure, 2, 1, height_ratios=(2, 1))
    axes = upper.subplots()
    records = [record for record in model.history.records if record.phase == TRAINING]
    refined = model.history.is_refined
    values = _draw_records(axes, records, refined)
    _draw_best(axes, records, model.history.best_step, refined)
    values += _draw_levels(axes, summary)
    if len(values) > 1:
        axes.set_ylim(*_limits(values, summary))
    axes.set_title("The bound during training", loc="left", fontsize=9.5, color=Colour.INK)
    axes.set_xlabel("epochs", fontsize=9)
    axes.set_ylabel(f"{_bound(model)}, nats per row, in units of the data", fontsize=9)
    bare(axes)
    lower.legend(
        *axes.get_legend_handles_labels(),
        loc="upper left",
        bbox_to_anchor=(0.06, 1),
        fontsize=9,
        frameon=False,
    )
    text = textwrap.fill(f"{_facts(summary)} {note}", 62)
    lower.text(0.08, 0.02, text, va="bottom", fontsize=9, color=Colour.INK, linespacing=1.5)


def _draw_records(axes: Axes, records: list[Record], refined: bool) -> list[float]:
    """Draw what was recorded; return its values.

    Arguments:
        axes: Where to draw.
        records: What was recorded.
        refined: Whether the run was judged by a q refined for each validation row.
    """
    values: list[float] = []
    lines = [
        ("train", "training rows", Colour.GREY),
        ("validation", "validation rows", Colour.BLUE),
    ]
    if refined:
        lines.append(("refined", "validation rows, q refined: what decides", Colour.GREEN))
    for name, label, colour in lines:
        points = [(record.epoch, getattr(record, name)) for record in records]
        known = [(x, y) for x, y in points if y is not None and math.isfinite(y)]
        if not known:
            continue
        (line,) = axes.plot(*zip(*known, strict=True), color=colour, lw=1.6, label=label)
        if len(known) < 3:  # hardly a line
            line.set_marker("o")
        values += [y for _, y in known]
    return values


def _draw_best(axes: Axes, records: list[Record], best: int | None, refined: bool) -> None:
    """Mark the record whose weights were kept, on the line by which they were chosen."""
    for record in records:
        height, colour = record.bound, Colour.BLUE
        if refined:
            height, colour = record.refined, Colour.GREEN
        if record.step == best and height is not None:
            style: dict[str, Any] = {"color": colour, "ms": 7, "mfc": "white", "mew": 1.8}
            axes.plot(record.epoch, height, "o", label="weights kept", **style)
            return


def _draw_levels(axes: Axes, summary: Summary) -> list[float]:
    """Draw log p(x) of held-out rows, the model's and exact pPCA's; return them."""
    values = []
    if summary.baseline is not None:
        mean = summary.baseline.density.mean
        label = f"exact pPCA, held out: {mean:.1f}"
        axes.axhline(mean, color=Colour.ORANGE, ls="--", lw=1.3, label=label)
        values.append(mean)
    if summary.density is not None:
        mean = summary.density.mean
        label = f"this model, held out, log p(x): {mean:.1f}"
        axes.axhline(mean, color=Colour.INK, ls=":", lw=1.3, label=label)
        values.append(mean)
    return values


def _limits(values: list[float], summary: Summary) -> tuple[float, float]:
    """Return a range in which a wild start does not flatten all the rest."""
    top, tenth, least = max(values), float(np.quantile(values, 0.1)), min(values)
    span = max(top - tenth, 1e-3 * max(abs(top), 1.0))
    bottom = max(least, tenth - 0.5 * span)
    if summary.baseline is not None:
        bottom = min(bottom, max(summary.baseline.density.mean, top - 3 * span))
    return bottom - 0.06 * span, top + 0.06 * span


def _bound(model: Fitted) -> str:
    """Name the validation bound; for objectives that weigh the KL it is the ELBO."""
    name = model.objective
    if name in ("iwae", "miwae", "piwae", "ciwae"):
        return f"{name.upper()} bound"
    return {"dreg": "DReG bound", "autoencoder": "autoencoder"}.get(name, "ELBO")


def _facts(summary: Summary) -> str:
    """Say in a few words what the numbers of the summary are."""
    text = f"Active units: {summary.active_units} of {summary.latent_dim}."
    if summary.density is not None and summary.density.method == "importance":
        text += (
            f" Held-out log p(x): {summary.density.samples:,} importance samples per row, "
            "a lower bound."
        )
    if summary.kept_start:
        text += " Training was not significantly better than its linear start, which was kept."
    return text
