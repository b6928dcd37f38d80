"""What a fit amounts to: numbers as plain dataclasses with a JSON twin, and a picture of them."""

from __future__ import annotations

from ..fitted import RowCounts
from .picture import draw, write_picture
from .summary import (
    Baseline,
    Bracket,
    Density,
    Explained,
    Noise,
    Summary,
    baseline,
    bracket,
    density,
    plain,
    summarise,
)

__all__ = [
    "Baseline",
    "Bracket",
    "Density",
    "Explained",
    "Noise",
    "RowCounts",
    "Summary",
    "baseline",
    "bracket",
    "density",
    "draw",
    "plain",
    "summarise",
    "write_picture",
]
