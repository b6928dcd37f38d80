"""The life of a model from its first step to its last: `fit`, one loop without a trainer class."""

from __future__ import annotations

from ..data.units import Units
from . import fields
from .history import ALL_ROWS, Callback, History, Record
from .interrupt import deferred
from .loop import Store, attempt, fit
from .noise_step import VarianceStep
from .precision import resolve_device
from .progress import ProgressBar
from .run import VALIDATED

__all__ = [
    "ALL_ROWS",
    "VALIDATED",
    "Callback",
    "History",
    "ProgressBar",
    "Record",
    "Store",
    "Units",
    "VarianceStep",
    "attempt",
    "deferred",
    "fields",
    "fit",
    "resolve_device",
]
