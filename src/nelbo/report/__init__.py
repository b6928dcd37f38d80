"""A fit shown to people: its numbers as one dataclass with a JSON twin, and a picture of it."""

from __future__ import annotations

from ..fitted import RowCounts
from ..fitted.measure import (
    Baseline,
    Bracket,
    Density,
    Explained,
    Noise,
    baseline,
    bracket,
    density,
)
from ..plain import plain
from .picture import draw, write_picture
from .summary import Summary, summarise

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
