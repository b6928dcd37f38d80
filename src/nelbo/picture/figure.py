r"""One picture of a fit: data, :math:`\hat x = f(z)`,
:math:`\tilde x = \hat x + \beta \varepsilon`, and the bound.

Samples with and without noise have the same z, so that they differ by the noise alone. Matplotlib
is used through its objects: no window system, no global state.
"""

from __future__ import annotations

__all__ = ["draw", "write_picture"]

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data import Values
from ..fitted import Fitted
from ..fitted.summary import Summary
from ..report.style import Colour, parts, shortened
from ..whole import write_file
from .curve import draw_bound
from .images import draw_images
from .tables import draw_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Panel = Callable[[Any, Fitted, Values, str, Summary], str]


def write_picture(
    path: Path,
    model: Fitted,
    train: Any,
    held_out: Any,
    summary: Summary,
    title: str = "",
    dpi: int = 120,
) -> None:
    """Draw a fitted model into a PNG file, whole or not at all.

    Arguments:
        path: The file.
        model, train, held_out, summary, title: What to draw, as for `draw`.
        dpi: Pixels per inch.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = draw(model, train, held_out, summary, title)
    write_file(path, lambda file: figure.savefig(file, format="png", dpi=dpi))


def draw(
    model: Fitted,
    train: Any,
    held_out: Any,
    summary: Summary,
    title: str = "",
) -> Figure:
    """Draw a fitted model.

    Arguments:
        model: The model.
        train: The rows it was fitted to, in data units, with their conditions if there are any.
        held_out: Rows it has never seen, likewise; where there are none, rows of ``train`` are
            shown.
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
    panel: Panel = draw_table
    height = 7.6
    if model.schema.kind == "images":
        panel, height = draw_images, 7.2
    rows, which = model.values(train), "training rows"
    if held_out is not None:
        rows, which = model.values(held_out), "held out"
    figure = Figure(figsize=(13, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_headline(title, summary), x=0.01, ha="left", fontsize=12, color=Colour.INK)
    left, right = parts(figure, 1, 2, width_ratios=(1.75, 1))
    draw_bound(right, model, summary, panel(left, model, rows, which, summary))
    return figure


def _headline(title: str, summary: Summary) -> str:
    """Return the title: what was fitted, and its held-out log p(x) beside exact pPCA's."""
    heads = [f"Latent size {summary.latent_dim}"]
    if title:
        heads = [f"{shortened(title, 40, end=True)}, latent size {summary.latent_dim}"]
    if summary.density is not None:
        density = summary.density
        heads.append(f"held-out log p(x) {_nats(density.mean, density.standard_error)}")
    if summary.baseline is not None:
        density = summary.baseline.density
        heads.append(f"exact pPCA {_nats(density.mean, density.standard_error)}")
    text = "   ·   ".join(heads)
    if len(heads) > 1:
        text += " (nats per row)"
    return text


def _nats(mean: float, error: float | None) -> str:
    """Return a number of nats with its standard error."""
    if error is None:
        return f"{mean:.1f}"
    return f"{mean:.1f} ± {error:.1f}"
