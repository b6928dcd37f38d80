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

    from ..fitted.measure import Baseline, Bracket, Density, Noise
    from ..fitted.summary import Summary
    from .options import FitOptions


def fit(
    summary: Summary, data: str, options: FitOptions, written: Sequence[str], columns: str = ""
) -> str:
    """Say how good a fitted model is.

    Arguments:
        summary: Its numbers.
        data: DATA.
        options: Those of the fit.
        written: The files of the run.
        columns: What its columns are, where they are of different kinds.
    """
    held = 0
    if summary.density is not None:
        held = summary.density.rows
    shape = " × ".join(map(str, summary.shape))
    lines = [f"{data}: {summary.training_rows:,} rows of {shape} trained on, {held:,} held out", ""]
    if columns:
        lines += [columns, ""]
    if gone := summary.recipe.get("missing"):
        lines += [*_wrapped("Missing", f"{gone['value']}. {gone['reason']}", 14), ""]
    if given := summary.recipe.get("condition"):
        lines += [*_wrapped("Given c", str(given["value"]), 14), ""]
    lines += _comparison(summary)
    lines += [
        f"Active units  {summary.active_units} of {summary.latent_dim}",
        _explained(summary),
        *_chosen(summary, options),
        f"Training      {_count(summary.epochs, 'epoch')}, {_count(summary.steps, 'step')}, "
        f"{summary.seconds:.1f} s; "
        f"ended because {_ended(summary.stopped)}",
    ]
    if summary.warnings:
        lines += ["", *(f"Note: {text}" for text in summary.warnings)]
    lines += ["", "Written:", *(f"  {path}" for path in written)]
    for page in written:
        run, _, name = page.rpartition("/")
        if name == "report.html":
            lines += ["", f"Open {page} in a browser; nelbo explore {run} writes a second page."]
    return "\n".join(lines) + "\n"


def _ended(stopped: str) -> str:
    """Say why training ended."""
    why = {
        "steps": "all steps were done",
        "seconds": "the time was up",
        "early": "the validation bound no longer improved",
        "callback": "a callback ended it",
    }
    return why.get(stopped, stopped)


def _explained(summary: Summary) -> str:
    """Say how much of the data z explains."""
    found = summary.explained
    if found.share is None:
        return (
            "Explained     there are no columns of numbers, of whose variance z could explain some"
        )
    text = f"Explained     z explains {100 * found.share:.0f} % of the variance"
    if found.pca is not None:
        text += f" (PCA: {100 * found.pca:.0f} %)"
    if not found.held_out:
        text += ", on the rows trained on"
    return text


def _chosen(summary: Summary, options: FitOptions) -> list[str]:
    """Say how many latent dimensions were chosen, and why, where that was left open."""
    found = summary.recipe.get("latent_dim")
    if found is None or vars(options)["latent_dim"] != "auto":
        return []
    return _wrapped("Latent size", found["reason"], 14)


def _wrapped(name: str, text: str, column: int, width: int = 100) -> list[str]:
    """Return lines of prose that begin at a column, after a name."""
    indent = column * " "
    first = name.ljust(column)
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=indent)


def _comparison(summary: Summary) -> list[str]:
    """Return the table of held-out log p(x), the model beside exact pPCA."""
    if summary.density is None:
        return [
            "log p(x)      not measured: no rows were held out",
            f"beta          {beta(summary.noise)}",
        ]
    title, linear = _called("condition" in summary.recipe)
    if summary.rows.any_new:
        title = f"held-out {title}"
    size = f"latent size {summary.latent_dim}"
    rows = [
        ("", title, "bits/dim", "beta"),
        (f"this model, {size}", *_cells(summary.density), beta(summary.noise)),
    ]
    if summary.baseline is not None:
        base = summary.baseline
        rows.append((f"{linear}, {size}", *_cells(base.density), beta(base.noise)))
        rows.append(("difference, row by row", _gain(base), "", base.verdict))
    # a column without values is left out: only 8-bit data have bits/dim
    columns = [cells for cells in zip(*rows, strict=True) if any(cells[1:])]
    widths = [max(map(len, cells)) for cells in columns]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in zip(*columns, strict=True)]
    return [
        *lines,
        f"(nats per row, ± standard error, in the units of the data; {summary.density.how})",
        "",
    ]


def _called(conditioned: bool) -> tuple[str, str]:
    """Return what the density of a row is called, and the linear model that it is held against."""
    if conditioned:
        return "log p(x|c)", "pPCA given c"
    return "log p(x)", "exact pPCA"


def density(
    found: Density,
    linear: Baseline | None = None,
    said: Sequence[str] = (),
    conditioned: bool = False,
) -> str:
    """Say what log p(x), or log p(x|c), is, beside exact pPCA's where that is known."""
    value, bits = _cells(found)
    title, base = (name.ljust(18) for name in _called(conditioned))
    lines = [f"{title} {value} nats per row, over {found.rows:,} rows; {found.how}"]
    if bits:
        lines.append(f"bits per dimension {bits}")
    if linear is not None:
        difference = f"difference         {_gain(linear)} nats per row"
        if verdict := linear.verdict:
            difference += f": {verdict}"
        lines += [f"{base} {_cells(linear.density)[0]} nats per row", difference]
    if found.row_error:
        lines.append(f"error of one row   {found.row_error:.2g} nats (median over rows)")
    if found.effective_samples is not None:
        lines.append(
            f"effective samples  {found.effective_samples:.1f} of {found.samples:,} (median over "
            "rows)"
        )
    if found.rungs:
        lines.append(f"rows by effort     {found.effort}")
    if found.unreliable is not None:
        lines.append(f"unreliable rows    {found.unreliable:.1%}")
    if found.evaluations:
        lines.append(
            f"cost               {found.evaluations:,.0f} decodes per row, {found.seconds:.1f} s"
        )
    if found.reason:
        lines += _wrapped("why so", found.reason, 19)
    return "\n".join([*lines, *(f"Note: {text}" for text in (*said, *found.warnings()))]) + "\n"


def unreliable(found: npt.NDArray[np.bool_], run: str, data: str) -> str:
    """Say how many scores are unreliable, and what is better; empty where none is."""
    count = int(found.sum())
    if count == 0:
        return ""
    which = f"{count:,} of {len(found):,} rows"
    if len(found) == 1:
        which = "the row"
    return (
        f"log p(x) of {which} is unreliable and may be higher (column unreliable of --out). Better "
        f"samples: nelbo evaluate {run} {data} --rows all --out FILE"
    )


def notes(*said: str) -> None:
    """Print notes on standard error, so that standard output holds results alone."""
    for text in said:
        if text:
            print(f"nelbo: {text}", file=sys.stderr, flush=True)


def bracket(found: Bracket) -> str:
    """Say between which bounds log p(x) of simulated rows lies."""
    error = "unknown"
    if found.gap_error is not None:
        error = f"{found.gap_error:.3f}"
    return (
        f"simulated rows     {found.rows:,}: log p(x) between {found.lower:.2f} and "
        f"{found.upper:.2f}, gap {found.gap:.3f} ± {error} nats, {found.seconds:.1f} s\n"
    )


def _cells(found: Density) -> tuple[str, str]:
    """Return log p(x) and bits per dimension, this empty where there is none."""
    bits = ""
    if found.bits_per_dimension is not None:
        bits = f"{found.bits_per_dimension:.4f}"
    return _with_error(f"{found.mean:.2f}", found.standard_error), bits


def _gain(linear: Baseline) -> str:
    """Return how much higher the model's log p(x) is than exact pPCA's."""
    return _with_error(f"{linear.gain:+.2f}", linear.gain_error)


def _with_error(mean: str, error: float | None) -> str:
    """Return a mean with its standard error, where it has one."""
    if error is None:
        return mean
    return f"{mean} ± {error:.2f}"


def beta(noise: Noise) -> str:
    """Say what beta is: one number or a range, learned or fixed."""
    if noise.smallest is None or noise.largest is None:
        return "none: the likelihood is not Gaussian"
    if math.isclose(noise.smallest, noise.largest, rel_tol=1e-6):
        return f"{noise.largest:.4g} ({noise.kind})"
    return f"{noise.smallest:.3g} to {noise.largest:.3g} over columns ({noise.kind})"


def _count(number: int, what: str) -> str:
    """Return a number of things, in the singular or the plural."""
    if number == 1:
        return f"1 {what}"
    return f"{number:,} {what}s"
