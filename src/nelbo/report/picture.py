r"""One picture of a fit: data, :math:`\hat x = f(z)`,
:math:`\tilde x = \hat x + \beta \varepsilon`, and the bound.

The same z stand behind samples with and without noise, so that what differs between the two is beta
alone. Matplotlib is used through its objects: no window system, no global state.
"""

from __future__ import annotations

__all__ = ["draw", "write_picture"]

import math
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..fitted import Fitted
from ..training.history import TRAINING
from .summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Array = npt.NDArray[Any]

INK, GREY, BLUE, ORANGE, GREEN = "#222222", "#8a8a8a", "#0072b2", "#d55e00", "#009e73"
POINTS = 500
"""Most rows of a table that are drawn."""
HISTOGRAMS = 6
"""Most columns of a table whose marginals are drawn."""
DPI = 120
NAMES = {
    "iwae": "IWAE bound",
    "dreg": "DReG bound",
    "miwae": "MIWAE bound",
    "piwae": "PIWAE bound",
    "ciwae": "CIWAE bound",
    "autoencoder": "autoencoder",
}
"""What objectives are called on an axis, but for those whose validation bound is the ELBO."""

DATA = "Data ({which})"
RECONSTRUCTIONS = r"Reconstructions without noise, $\hat{x} = f(\mathrm{E}[z|x])$"
MEANS = r"Samples without noise, $\hat{x} = f(z)$"
SAMPLES = r"Samples with noise, same $z$"


def write_picture(
    path: Path,
    model: Fitted,
    train: Array,
    held_out: Array | None,
    summary: Summary,
    title: str = "",
) -> None:
    """Draw a fitted model into a PNG file, whole or not at all.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = draw(model, train, held_out, summary, title)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        figure.savefig(part, format="png", dpi=DPI)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def draw(
    model: Fitted,
    train: Array,
    held_out: Array | None,
    summary: Summary,
    title: str = "",
) -> Figure:
    """Draw a fitted model.

    Arguments:
        model: The model.
        train: The rows it was fitted to, in data units.
        held_out: Rows it has never seen; where there are none, rows of ``train`` are shown.
        summary: Its numbers.
        title: What the data are called.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('matplotlib is not installed. Run: pip install "nelbo[report]"') from None
    pictures = model.schema.kind == "images"
    figure = Figure(
        figsize=(13, 7.2) if pictures else (13, 7.6), facecolor="white", layout="constrained"
    )
    FigureCanvasAgg(figure)
    figure.suptitle(_headline(title, summary), x=0.01, ha="left", fontsize=12, color=INK)
    rows, which = (train, "training rows") if held_out is None else (held_out, "held out")
    (_draw_images if pictures else _draw_table)(figure, model, rows, which, summary)
    return figure


def _headline(title: str, summary: Summary) -> str:
    name = (title if len(title) <= 40 else "…" + title[-39:]).replace("$", r"\$")
    parts = [
        f"{name}, latent size {summary.latent_dim}" if name else f"Latent size {summary.latent_dim}"
    ]
    if summary.density is not None:
        parts.append(
            f"held-out log p(x) {_nats(summary.density.mean, summary.density.standard_error)}"
        )
    if summary.baseline is not None:
        density = summary.baseline.density
        parts.append(f"exact pPCA {_nats(density.mean, density.standard_error)}")
    return "   ·   ".join(parts) + (" (nats per row)" if len(parts) > 1 else "")


def _nats(mean: float, error: float | None) -> str:
    return f"{mean:.1f}" + ("" if error is None else f" ± {error:.1f}")


def _beta(summary: Summary) -> str:
    """Say in data units what the noise of samples is."""
    low, high = summary.noise.smallest, summary.noise.largest
    if low is None or high is None:
        return ""
    if math.isclose(low, high, rel_tol=1e-6):
        return (
            rf", $\tilde{{x}} = \hat{{x}} + \beta\varepsilon$, $\beta$ = {high:.3g} "
            rf"({summary.noise.kind})"
        )
    return (
        rf", $\tilde{{x}} = \hat{{x}} + \beta\varepsilon$, $\beta$ = {low:.2g} to "
        rf"{high:.2g} ({summary.noise.kind})"
    )


# -- images
# ------------------------------------------------------------------------------------------


def _draw_images(figure: Figure, model: Fitted, rows: Array, which: str, summary: Summary) -> None:
    """Four mosaics on the left, the bound on the right."""
    height, width = model.schema.shape[1:]
    across = min(12, max(3, round(12 * height / width)))
    shown = rows[: 2 * across]
    blocks = {
        DATA.format(which=which): _in_units(model, shown),
        RECONSTRUCTIONS: model.reconstruct(shown),
        MEANS: model.sample(2 * across, noise=False, seed=0),
        SAMPLES + _beta(summary): model.sample(2 * across, noise=True, seed=0),
    }
    low, high = (0.0, 1.0) if model.schema.dequantize else (float(shown.min()), float(shown.max()))
    if not low < high:
        low, high = low - 0.5, low + 0.5
    left, right = _parts(figure, 1, 2, width_ratios=(1.75, 1))
    for axes, (text, block) in zip(left.subplots(4, 1), blocks.items(), strict=True):
        tiles = _colours((_channels_last(block, model.schema.layout) - low) / (high - low))
        axes.imshow(_mosaic(tiles, across), interpolation="nearest")
        axes.set_title(text, loc="left", fontsize=9.5, color=INK, pad=3)
        axes.set_axis_off()
    note = (
        f"Pictures show {low:g} as black and {high:g} as white; noise beyond is cut off there only."
    )
    _draw_bound(right, model, summary, note)


def _in_units(model: Fitted, rows: Array) -> Array:
    """Return 8-bit rows as x = (u8 + 1/2) / 256, others as they are."""
    return (rows + 0.5) / 256 if model.schema.dequantize and rows.dtype == np.uint8 else rows


def _channels_last(block: Array, layout: str) -> Array:
    if layout == "hw":
        return block[..., None]
    return np.moveaxis(block, 1, -1) if layout == "chw" else block


def _colours(block: Array) -> Array:
    """Turn (n, h, w, c) in [0, 1] into RGB; of channels that are no colours, the first is shown."""
    block = np.clip(block, 0, 1)
    return block[..., :3] if block.shape[-1] in (3, 4) else np.repeat(block[..., :1], 3, axis=-1)


def _mosaic(tiles: Array, across: int) -> Array:
    """Lay tiles (n, h, w, 3) out in lines on white, with gaps."""
    n, height, width, _ = tiles.shape
    gap = max(1, round(min(height, width) / 14))
    lines = math.ceil(n / across)
    sheet = np.ones((lines * (height + gap) - gap, across * (width + gap) - gap, 3))
    for i, tile in enumerate(tiles):
        top, left = (i // across) * (height + gap), (i % across) * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet


# -- tables
# ------------------------------------------------------------------------------------------


def _draw_table(figure: Figure, model: Fitted, rows: Array, which: str, summary: Summary) -> None:
    """Scatter plots of two columns above, marginals below, the bound on the right."""
    shown = _in_units(model, rows[:POINTS])
    n = max(len(shown), 200)
    means = model.sample(n, noise=False, seed=0)
    samples = model.sample(n, noise=True, seed=0)
    left, right = _parts(figure, 1, 2, width_ratios=(1.75, 1))
    order = _telling_columns(shown)
    top, bottom = _parts(left, 2, 1, height_ratios=(1.15, 1)) if len(order) > 1 else (None, left)
    if top is not None:
        i, j = order[:2]
        blocks = {
            f"Data ({which})": (shown, INK),
            "Reconstructions\nwithout noise": (
                model.reconstruct(rows[:POINTS]),
                GREEN,
            ),
            "Samples\nwithout noise": (means, ORANGE),
            "Samples with noise,\nsame z": (samples, BLUE),
        }
        for axes, (text, (block, colour)) in zip(
            top.subplots(1, 4, sharex=True, sharey=True), blocks.items(), strict=True
        ):
            axes.scatter(block[:, i], block[:, j], s=7, alpha=0.5, color=colour, linewidths=0)
            axes.set_title(text, fontsize=9.5, color=INK)
            axes.set_xlabel(_name(model, i), fontsize=9)
            _plain(axes)
            axes.set_xlim(*_limits(shown[:, i]))
            axes.set_ylim(*_limits(shown[:, j]))
        top.axes[0].set_ylabel(_name(model, j), fontsize=9)
    chosen = order[:HISTOGRAMS]
    across = min(3, len(chosen))
    grid = bottom.subplots(math.ceil(len(chosen) / across), across, squeeze=False)
    for axes, j in zip(grid.flat, chosen, strict=False):
        low, high = _limits(shown[:, j])
        bins = np.linspace(low, high, 26)
        axes.hist(shown[:, j], bins, density=True, color=GREY, alpha=0.55, label=f"data ({which})")
        axes.hist(
            samples[:, j],
            bins,
            density=True,
            histtype="step",
            color=BLUE,
            lw=1.5,
            label="samples with noise",
        )
        axes.set_xlabel(_name(model, j), fontsize=9)
        axes.set_yticks([])
        _plain(axes)
    for axes in grid.flat[len(chosen) :]:
        axes.set_axis_off()
    handles, labels = grid.flat[0].get_legend_handles_labels()
    bottom.legend(handles, labels, loc="upper left", ncols=2, fontsize=9, frameon=False)
    bottom.suptitle(" ", fontsize=9)
    least, most = summary.noise.smallest, summary.noise.largest
    beta = (
        ""
        if least is None or most is None
        else f"beta: {least:.3g} to {most:.3g} over columns ({summary.noise.kind}). "
    )
    note = f"{beta}Axes span the data; samples beyond are not shown.{_shown(shown, order)}"
    _draw_bound(right, model, summary, note)


def _telling_columns(rows: Array) -> list[int]:
    """Return the columns that vary, the two that are most correlated first."""
    varying = [j for j in range(rows.shape[1]) if np.ptp(rows[:, j]) > 0] or [0]
    few = varying[:200]
    if len(few) < 2 or len(rows) < 3:
        return varying
    spread = rows[:, few] - rows[:, few].mean(0)
    unit = spread / np.sqrt(np.square(spread).mean(0)).clip(np.finfo(float).tiny)
    correlation = np.abs(np.triu(unit.T @ unit, 1))
    i, j = np.unravel_index(int(correlation.argmax()), correlation.shape)
    first = [few[int(i)], few[int(j)]]
    return first + [k for k in varying if k not in first]


def _shown(rows: Array, order: list[int]) -> str:
    if rows.shape[1] <= min(HISTOGRAMS, len(order)):
        return ""
    return (
        f" Of {rows.shape[1]} columns, the two most correlated come first and up to "
        f"{HISTOGRAMS} are shown."
    )


def _limits(values: Array) -> tuple[float, float]:
    """Return a range that holds 99 of 100 values, and some air."""
    low, high = (float(v) for v in np.quantile(values, (0.005, 0.995)))
    air = 0.12 * (high - low) or 0.5 * max(abs(low), 1e-12)
    return low - air, high + air


def _name(model: Fitted, j: int) -> str:
    name = model.schema.feature_name(int(j)).replace("$", r"\$")
    return name if len(name) <= 24 else name[:23] + "…"


# -- both
# --------------------------------------------------------------------------------------------


def _draw_bound(figure: SubFigure, model: Fitted, summary: Summary, note: str) -> None:
    """The bound on training and validation rows against epochs; below it, what the lines are and
    what to know.
    """
    upper, lower = _parts(figure, 2, 1, height_ratios=(2, 1))
    axes = upper.subplots()
    records = [record for record in model.history.records if record.phase == TRAINING]
    best = model.history.best_step
    values: list[float] = []
    for name, colour, label in (
        ("train", GREY, "training rows"),
        ("validation", BLUE, "validation rows"),
    ):
        points = [
            (r.epoch, v)
            for r in records
            if (v := getattr(r, name)) is not None and math.isfinite(v)
        ]
        if points:
            axes.plot(
                *zip(*points, strict=True),
                color=colour,
                lw=1.6,
                marker="o" if len(points) < 3 else "",
                label=label,
            )
            values += [value for _, value in points]
    kept = [r for r in records if r.step == best and r.bound is not None]
    if kept and kept[0].bound is not None:
        axes.plot(
            kept[0].epoch,
            kept[0].bound,
            "o",
            color=BLUE,
            ms=7,
            mfc="white",
            mew=1.8,
            label="weights kept",
        )
    if summary.baseline is not None:
        mean = summary.baseline.density.mean
        axes.axhline(mean, color=ORANGE, ls="--", lw=1.3, label=f"exact pPCA, held out: {mean:.1f}")
        values.append(mean)
    if summary.density is not None:
        mean = summary.density.mean
        axes.axhline(
            mean, color=INK, ls=":", lw=1.3, label=f"this model, held out, log p(x): {mean:.1f}"
        )
        values.append(mean)
    if len(values) > 1:
        top, tenth, least = max(values), float(np.quantile(values, 0.1)), min(values)
        span = max(top - tenth, 1e-3 * max(abs(top), 1.0))
        bottom = max(least, tenth - 0.5 * span)  # a wild start would flatten all the rest
        if summary.baseline is not None:
            bottom = min(bottom, max(summary.baseline.density.mean, top - 3 * span))
        axes.set_ylim(bottom - 0.06 * span, top + 0.06 * span)
    axes.set_title("The bound during training", loc="left", fontsize=9.5, color=INK)
    axes.set_xlabel("epochs", fontsize=9)
    axes.set_ylabel(f"{_objective(model)}, nats per row, in units of the data", fontsize=9)
    _plain(axes)
    lower.legend(
        *axes.get_legend_handles_labels(),
        loc="upper left",
        bbox_to_anchor=(0.06, 1),
        fontsize=9,
        frameon=False,
    )
    text = _wrapped(f"{_facts(summary)} {note}")
    lower.text(0.08, 0.02, text, va="bottom", fontsize=9, color=INK, linespacing=1.5)


def _objective(model: Fitted) -> str:
    """What the axis shows: validation bounds, which for objectives that weigh the KL are the
    ELBO.
    """
    return NAMES.get(model.objective, "ELBO")


def _facts(summary: Summary) -> str:
    text = f"Active units: {summary.active_units} of {summary.latent_dim}."
    if summary.density is not None and summary.density.method == "importance":
        text += (
            f" Held-out log p(x): {summary.density.samples:,} importance samples per row, "
            "a lower bound."
        )
    if summary.kept_start:
        text += " Training did not beat its linear start beyond doubt, so that start was kept."
    return text


def _wrapped(text: str, width: int = 62) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))


def _parts(figure: Figure | SubFigure, rows: int, columns: int, **ratios: Any) -> Any:
    """Part a figure (matplotlib's own annotation leaves out that it returns several)."""
    return figure.subfigures(rows, columns, **ratios)


def _plain(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8)
