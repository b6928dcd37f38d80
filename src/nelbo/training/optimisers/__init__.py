"""What moves the weights along their gradients."""

from __future__ import annotations

from .adamw import AdamW
from .muon import Muon

__all__ = ["OPTIMIZERS", "AdamW", "Muon"]

OPTIMIZERS: dict[str, type[AdamW] | type[Muon]] = {"adamw": AdamW, "muon": Muon}
