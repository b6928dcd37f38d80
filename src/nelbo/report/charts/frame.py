"""A drawing by matplotlib as a piece of HTML: SVG that takes its colours from the page.

So one drawing is right on white and on black. Text stays text; whatever comes from data is escaped
by matplotlib's SVG writer, and `shortened` keeps it from being read as mathematics.
"""

from __future__ import annotations

__all__ = ["drawn"]

import hashlib
import html
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..style import Colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VARIABLES = {
    Colour.INK: "--ink",
    Colour.GREY: "--muted",
    Colour.BLUE: "--blue",
    Colour.ORANGE: "--orange",
    Colour.GREEN: "--green",
    Colour.LINE: "--line",
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
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "nelbo", "font.size": 9}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        _plain(axes)
        draw(axes)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _embedded(file.getvalue().decode(), label)


def _plain(axes: Axes) -> None:
    """Take away what is not data: two sides of the frame, and marks that are darker than text."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(Colour.GREY)
    axes.tick_params(labelsize=8, colors=Colour.INK, length=3, width=0.6)
    axes.xaxis.label.set_color(Colour.INK)
    axes.yaxis.label.set_color(Colour.INK)


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
    own = "c" + hashlib.sha256((label + body).encode()).hexdigest()[:8]
    body = re.sub(r'\bid="', f'id="{own}-', body)
    body = re.sub(r'href="#', f'href="#{own}-', body)
    body = body.replace("url(#", f"url(#{own}-")
    for colour, variable in VARIABLES.items():
        body = body.replace(str(colour), f"var({variable})")
    body = re.sub(r">\s+<", "><", body)
    return (
        f'<svg class="chart" {shape} role="img" aria-label="{html.escape(label)}">{body}'.rstrip()
    )
