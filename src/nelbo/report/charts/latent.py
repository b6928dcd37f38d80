"""What latent dimensions say: KL of each, and how columns change along them."""

from __future__ import annotations

__all__ = ["draw_changes", "draw_usage"]

from typing import TYPE_CHECKING

import numpy as np

from ..portrait import Look, Traversals, Usage
from ..style import Colour, shortened
from .frame import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_usage(usage: Usage, most: int = 64) -> str:
    """Draw KL of each latent dimension, those that say most first."""
    order = usage.order[:most]
    kl = usage.kl[order]

    def draw(axes: Axes) -> None:
        colours = [(Colour.GREY, Colour.BLUE)[int(usage.active[u])] for u in order]
        axes.bar(range(len(order)), kl, color=colours, width=0.8)
        axes.set_ylim(0, 1.05 * max(float(kl.max()), 0.01))  # rounding errors are no bars
        axes.set_ylabel("KL, nats")
        axes.set_xlabel("latent dimension")
        step = max(1, len(order) // 16)
        places = range(0, len(order), step)
        axes.set_xticks([*places], [str(order[i] + 1) for i in places])

    label = (
        f"KL of {len(order)} latent dimensions, from {kl[0]:.3g} to {kl[-1]:.3g} nats; "
        f"{int(usage.active.sum())} of {len(usage.kl)} are active."
    )
    return drawn(draw, label)


def draw_changes(found: Traversals, look: Look, most: int = 16) -> str:
    """Draw by how many standard deviations columns change along latent dimensions."""
    columns = [*look.telling[:most]]
    change = found.decoded[:, -1][:, columns] - found.decoded[:, 0][:, columns]
    deviation = np.where(found.deviations > 0, found.deviations, np.inf)[columns]
    change = (change / deviation).T
    categories = np.array([bool(look.columns[j].levels) for j in columns])
    moved = categories[:, None] & (np.abs(change) > 0)
    change = np.where(categories[:, None], 0.0, change)

    def draw(axes: Axes) -> None:
        most_change = max(float(np.abs(change).max()), 1e-12)
        axes.imshow(change, cmap="RdBu_r", vmin=-most_change, vmax=most_change, aspect="auto")
        for (i, j), value in np.ndenumerate(change):
            dark = abs(value) > 0.6 * most_change
            colour = ("#101010", "#fafafa")[int(dark)]
            told = f"{value:+.1f}"
            if categories[i]:
                told = "•" * bool(moved[i, j])
            axes.text(j, i, told, ha="center", va="center", fontsize=7, color=colour)
        names = [shortened(look.columns[j].name, 22) for j in columns]
        axes.set_yticks(range(len(columns)), names)
        axes.set_xticks(range(len(found.dimensions)), [f"z{u + 1}" for u in found.dimensions])
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)

    i, j = np.unravel_index(int(np.abs(change).argmax()), change.shape)
    label = (
        "Change of each column, in its standard deviations, along each latent dimension. The "
        f"largest: {look.columns[columns[int(i)]].name} changes by {change[i, j]:+.1f} along "
        f"z{found.dimensions[int(j)] + 1}."
    )
    return drawn(draw, label, width=5.6, height=0.9 + 0.24 * len(columns))
