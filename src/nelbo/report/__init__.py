"""What a fit amounts to: numbers as plain dataclasses with a JSON twin, and a picture of them."""

from __future__ import annotations

from .picture import draw, write_picture
from .summary import Baseline, Density, Noise, Summary, density, summarise

__all__ = [
    "Baseline",
    "Density",
    "Noise",
    "Summary",
    "density",
    "draw",
    "summarise",
    "write_picture",
]
