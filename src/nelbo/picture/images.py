"""The panel for images: data, reconstructions, and samples without and with noise."""

from __future__ import annotations

__all__ = ["draw_images"]

import math
from typing import Any

import numpy.typing as npt

from ..data import Values
from ..fitted import Fitted
from ..fitted.portrait.look import in_units
from ..fitted.summary import Summary
from ..report.style import Colour
from ..report.tiles import channels_last, colours, mosaic

Array = npt.NDArray[Any]


def draw_images(figure: Any, model: Fitted, rows: Values, which: str, summary: Summary) -> str:
    """Draw four mosaics below each other; return what to say about them.

    Arguments:
        figure: Where to draw.
        model: The model.
        rows: Rows in data units, (n, h, w) or with channels; samples have their conditions.
        which: What the rows are called.
        summary: The model's numbers.
    """
    height, width = model.schema.shape[1:]
    across = min(12, max(3, round(12 * height / width)))
    first, given = rows[: 2 * across], rows.conditions
    shown, n = first.array, 2 * across
    if given is not None:
        given, n = first.conditions, len(shown)
    blocks = {
        f"Data ({which})": in_units(model, shown),
        r"Reconstructions without noise, $\hat{x} = f(\mathrm{E}[z|x])$": model.reconstruct(first),
        r"Samples without noise, $\hat{x} = f(z)$": model.sample(n, noise=False, seed=0, c=given),
        f"Samples with noise, same $z${_beta(summary)}": model.sample(n, seed=0, c=given),
    }
    low, high = 0.0, 1.0
    if not model.schema.dequantize:
        low, high = float(shown.min()), float(shown.max())
    if not low < high:
        low, high = low - 0.5, low + 0.5
    for axes, (text, block) in zip(figure.subplots(4, 1), blocks.items(), strict=True):
        tiles = colours((channels_last(block, model.schema.layout) - low) / (high - low))
        axes.imshow(mosaic(tiles, across), interpolation="nearest")
        axes.set_title(text, loc="left", fontsize=9.5, color=Colour.INK, pad=3)
        axes.set_axis_off()
    return (
        f"Pictures show {low:g} as black and {high:g} as white; noise beyond is cut off there only."
    )


def _beta(summary: Summary) -> str:
    """Say in data units what the noise of samples is."""
    low, high = summary.noise.smallest, summary.noise.largest
    if low is None or high is None:
        return ""
    beta = f"{low:.2g} to {high:.2g}"
    if math.isclose(low, high, rel_tol=1e-6):
        beta = f"{high:.3g}"
    formula = r"$\tilde{x} = \hat{x} + \beta\varepsilon$"
    return rf", {formula}, $\beta$ = {beta} ({summary.noise.kind})"
