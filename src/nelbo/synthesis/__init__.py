"""How good a synthetic table is: like the data, useful in their place, and no copy of them."""

from __future__ import annotations

from .measures import (
    contingency,
    correlation,
    kolmogorov_smirnov,
    shapes,
    total_variation,
    trends,
)
from .privacy import Privacy, privacy
from .quality import Quality, quality
from .tables import Tables
from .usefulness import Usefulness, usefulness

__all__ = [
    "Privacy",
    "Quality",
    "Tables",
    "Usefulness",
    "contingency",
    "correlation",
    "kolmogorov_smirnov",
    "privacy",
    "quality",
    "shapes",
    "total_variation",
    "trends",
    "usefulness",
]
