"""Results as text for people: units, standard errors, and what to make of them."""

from __future__ import annotations

__all__ = ["bracket", "density", "fit", "notes", "unreliable"]

import math
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..report import Baseline, Bracket, Density, Noise, Summary
    from .options import FitOptions

WIDTH = 100
"""Characters of a line of prose."""
STOPPED = {
    "steps": "all steps done",
    "seconds": "the time was up",
    "early": "the validation bound no longer improved",
    "callback": "a callback ended it",
}


def fit(summary: Summary, data: str, options: FitOptions, written: Sequence[str]) -> str:
    """Say what a fit came to."""
    held = 0 if summary.density is None else summary.density.rows
    shape = " × ".join(map(str, summary.shape))
    lines = [f"{data}: {summary.training_rows:,} rows of {shape} trained on, {held:,} held out", ""]
    lines += _comparison(summary)
    lines += [
        f"Active units  {summary.active_units} of {summary.latent_dim}",
        _explained(summary),
        *_chosen(summary),
        f"Training      {_count(summary.epochs, 'epoch')}, {_count(summary.steps, 'step')}, "
        f"{summary.seconds:.1f} s; "
        f"ended because {STOPPED.get(summary.stopped, summary.stopped)}",
    ]
    lines += ["", *(f"Note: {text}" for text in summary.warnings)] if summary.warnings else []
    return "\n".join([*lines, "", "Written:", *(f"  {path}" for path in written)]) + "\n"


def _explained(summary: Summary) -> str:
    """Say how much of the data z explains."""
    found = summary.explained
    beside = "" if found.pca is None else f" (PCA: {100 * found.pca:.0f} %)"
    rows = "" if found.held_out else ", on the rows trained on"
    return f"Explained     z explains {100 * found.share:.0f} % of the variance{beside}{rows}"


def _chosen(summary: Summary) -> list[str]:
    """Say how many latent dimensions were chosen, and why, where that was left open."""
    found = summary.recipe.get("latent_dim")
    return (
        []
        if found is None
        else textwrap.wrap(f"Latent size   {found['reason']}", WIDTH, subsequent_indent=14 * " ")
    )


def _comparison(summary: Summary) -> list[str]:
    """The table of held-out log p(x), the model beside exact pPCA."""
    if summary.density is None:
        return [
            "log p(x)      not measured: no rows were held out",
            f"beta          {beta(summary.noise)}",
        ]
    rows = [("", "held-out log p(x)" if summary.rows.any_new else "log p(x)", "bits/dim", "beta")]
    rows.append(
        (
            f"this model, latent size {summary.latent_dim}",
            *_cells(summary.density),
            beta(summary.noise),
        )
    )
    if summary.baseline is not None:
        base = summary.baseline
        rows.append(
            (
                f"exact pPCA, latent size {summary.latent_dim}",
                *_cells(base.density),
                beta(base.noise),
            )
        )
        gain = f"{base.gain:+.2f}" + (
            "" if base.gain_error is None else f" ± {base.gain_error:.2f}"
        )
        rows.append(("difference, row by row", gain, "", _verdict(base.gain, base.gain_error)))
    # bits/dim only of 8-bit data
    columns = [cells for cells in zip(*rows, strict=True) if any(cells[1:])]
    widths = [max(map(len, cells)) for cells in columns]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in zip(*columns, strict=True)]
    return [
        *lines,
        f"(nats per row, ± standard error, in the units of the data; {_how(summary.density)})",
        "",
    ]


def density(found: Density, linear: Baseline | None = None, said: Sequence[str] = ()) -> str:
    """Say what an evaluation came to, beside exact pPCA where that is known."""
    value, bits = _cells(found)
    lines = [f"log p(x)           {value} nats per row, over {found.rows:,} rows; {_how(found)}"]
    if bits:
        lines.append(f"bits per dimension {bits}")
    if linear is not None:
        gain = f"{linear.gain:+.2f}" + (
            "" if linear.gain_error is None else f" ± {linear.gain_error:.2f}"
        )
        verdict = _verdict(linear.gain, linear.gain_error)
        lines.append(f"exact pPCA         {_cells(linear.density)[0]} nats per row")
        lines.append(
            f"difference         {gain} nats per row" + (f": {verdict}" if verdict else "")
        )
    if found.row_error:
        lines.append(f"error of one row   {found.row_error:.2g} nats (median over rows)")
    if found.effective_samples is not None:
        lines.append(
            f"effective samples  {found.effective_samples:.1f} of {found.samples:,} (median over "
            "rows)"
        )
    if found.unreliable is not None:
        lines.append(f"unreliable rows    {found.unreliable:.1%}")
    if found.evaluations:
        lines.append(
            f"cost               {found.evaluations:,.0f} decodes per row, {found.seconds:.1f} s"
        )
    if found.reason:
        lines += textwrap.wrap(
            found.reason, WIDTH, initial_indent="why so" + 13 * " ", subsequent_indent=19 * " "
        )
    return "\n".join([*lines, *(f"Note: {text}" for text in (*said, *found.warnings()))]) + "\n"


def unreliable(found: npt.NDArray[np.bool_], run: str, data: str) -> str:
    """Say how many scores are unreliable, and what is better; empty where none is."""
    count = int(found.sum())
    if count == 0:
        return ""
    which = "the row" if len(found) == 1 else f"{count:,} of {len(found):,} rows"
    return (
        f"log p(x) of {which} is unreliable and may be higher (column unreliable of --out). Better "
        "samples: "
        f"nelbo evaluate {run} {data} --rows all --out FILE"
    )


def notes(*said: str) -> None:
    """Print notes on standard error, where they are in the way of nothing."""
    for text in said:
        if text:
            print(f"nelbo: {text}", file=sys.stderr, flush=True)


def bracket(found: Bracket) -> str:
    """Say how far log p(x) is trapped on simulated rows."""
    error = "unknown" if found.gap_error is None else f"{found.gap_error:.3f}"
    return (
        f"simulated rows     {found.rows:,}: log p(x) between {found.lower:.2f} and "
        f"{found.upper:.2f}, "
        f"gap {found.gap:.3f} ± {error} nats, {found.seconds:.1f} s\n"
    )


def _cells(found: Density) -> tuple[str, str]:
    error = "" if found.standard_error is None else f" ± {found.standard_error:.2f}"
    bits = found.bits_per_dimension
    return f"{found.mean:.2f}{error}", "" if bits is None else f"{bits:.4f}"


def beta(noise: Noise) -> str:
    """Say what beta is: one number or a range, learned or fixed."""
    if noise.smallest is None or noise.largest is None:
        return "none: the likelihood is not Gaussian"
    if math.isclose(noise.smallest, noise.largest, rel_tol=1e-6):
        return f"{noise.largest:.4g} ({noise.kind})"
    return f"{noise.smallest:.3g} to {noise.largest:.3g} over columns ({noise.kind})"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _how(found: Density) -> str:
    if found.samples == 0:
        return "exact" if found.method == "exact" else f"by {found.method}"
    if found.method == "ais":
        return f"{found.samples:,} annealed chains per row, a lower bound"
    if found.method != "importance":
        return f"by {found.method} with up to {found.samples:,} samples per row, a lower bound"
    return f"{found.samples:,} importance samples per row, a lower bound"


def _verdict(gain: float, error: float | None) -> str:
    if not error:
        return ""
    if abs(gain) < 0.005:
        return "the same"
    ratio = abs(gain) / error
    if ratio < 2:
        return "no clear difference"
    return f"{'better' if gain > 0 else 'worse'} by {ratio:.0f} standard errors"
