"""One picture of a fit, a PNG file: data, reconstructions, samples, and the bound."""

from __future__ import annotations

from .figure import draw, write_picture

__all__ = ["draw", "write_picture"]
