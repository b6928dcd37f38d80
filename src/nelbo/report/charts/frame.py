"""A drawing by matplotlib as a piece of HTML: SVG that takes its colours from the page.

So one drawing is right on white and on black. Text stays text; whatever comes from data is escaped
by matplotlib's SVG writer, and `shortened` keeps it from being read as mathematics.
"""

from __future__ import annotations

__all__ = ["dots", "drawn"]

import hashlib
import html
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..style import Colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = npt.NDArray[Any]
VARIABLES = {
    Colour.INK: "--ink",
    Colour.GREY: "--muted",
    Colour.BLUE: "--blue",
    Colour.ORANGE: "--orange",
    Colour.GREEN: "--green",
    Colour.LINE: "--line",
    Colour.SOFT: "--soft",
    Colour.PAPER: "--paper",
}
"""The variables of the page that take the place of colours."""


def drawn(
    draw: Callable[[Axes], object], label: str, width: float = 4.4, height: float = 2.7
) -> str:
    """Return a drawing as an ``<svg>`` element.

    Arguments:
        draw: Draws into axes.
        label: What the drawing shows, for those who do not see it.
        width, height: Its size in inches, at which its text has 9 points.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "nelbo", "font.size": 9}
    settings["path.simplify"] = False  # which would take dots for nothing
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width, height))
        canvas = FigureCanvasAgg(figure)  # it measures text; what is saved is SVG
        figure.patch.set_alpha(0)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.patch.set_alpha(0)
        _plain(axes)
        draw(axes)
        _make_room(axes, canvas.get_renderer())
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _embedded(file.getvalue().decode(), label)


def dots(axes: Axes, points: Array, colour: Colour, size: float, alpha: float = 1.0) -> None:
    """Draw points as one line of dots: an element for each would make a page large."""
    line = np.full((len(points), 3, 2), np.nan)
    line[:, :2] = points[:, None]
    style: Any = {"solid_capstyle": "round", "dash_capstyle": "round"}
    axes.plot(*line.reshape(-1, 2).T, "-", color=colour, lw=size, alpha=alpha, **style)


def _plain(axes: Axes) -> None:
    """Take away what is not data: two sides of the frame, and marks that are darker than text."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(Colour.GREY)
    axes.tick_params(labelsize=8, colors=Colour.INK, length=3, width=0.6)
    axes.xaxis.label.set_color(Colour.INK)
    axes.yaxis.label.set_color(Colour.INK)


def _make_room(axes: Axes, renderer: Any, pad: float = 0.04) -> None:
    """Shrink axes that fill their figure by what their labels need, measured once.

    Constrained layout measures everything twice, which takes as long as the drawing itself.

    Arguments:
        axes: The axes.
        renderer: What measures.
        pad: Inches around all.
    """
    from matplotlib.transforms import Bbox

    figure: Any = axes.figure
    outer = Bbox.union([one.get_tightbbox(renderer) for one in figure.axes])  # a twin has labels
    inner, whole, pad = axes.get_window_extent(renderer), figure.bbox, pad * figure.dpi
    left, below = inner.x0 - outer.x0 + pad, inner.y0 - outer.y0 + pad
    right, above = outer.x1 - inner.x1 + pad, outer.y1 - inner.y1 + pad
    wide, high = whole.width, whole.height
    axes.set_position(
        (left / wide, below / high, 1 - (left + right) / wide, 1 - (below + above) / high)
    )


def _rounded(attribute: re.Match[str]) -> str:
    """Return coordinates with two decimals, which no eye tells from six."""
    return re.sub(r"(\.\d\d)\d+", r"\1", attribute[0])


def _embedded(text: str, label: str) -> str:
    """Return an SVG file as an element of a page: no header, no size of its own, no id twice."""
    text = text[text.index("<svg") :]
    head, _, body = text.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    shape = ""
    if box is not None:
        shape = box[0]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)  # it would be the whole page's
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    referred = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda found: found[0] * (found[1] in referred), body)
    own = "c" + hashlib.sha256((label + body).encode()).hexdigest()[:8]
    body = re.sub(r'\bid="', f'id="{own}-', body)
    body = re.sub(r'href="#', f'href="#{own}-', body)
    body = body.replace("url(#", f"url(#{own}-")
    for colour, variable in VARIABLES.items():
        body = body.replace(str(colour), f"var({variable})")
    body = re.sub(r"\b(?:d|x|y|transform|points)=\"[^\"]*\"", _rounded, body)
    body = re.sub(r">\s+<", "><", body)
    return (
        f'<svg class="chart" {shape} role="img" aria-label="{html.escape(label)}">{body}'.rstrip()
    )
