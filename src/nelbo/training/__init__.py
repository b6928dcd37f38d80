"""The life of a model from its first step to its last: `fit`, one loop without a trainer class."""

from __future__ import annotations

from ..data.units import Units
from . import fields, schedule
from .checks import Transform
from .history import ALL_ROWS, Callback, History, Record
from .interrupt import deferred
from .loop import Store, attempt, fit
from .precision import resolve_device
from .progress import ProgressBar
from .run import VALIDATED
from .variance import VarianceStep

__all__ = [
    "ALL_ROWS",
    "VALIDATED",
    "Callback",
    "History",
    "ProgressBar",
    "Record",
    "Store",
    "Transform",
    "Units",
    "VarianceStep",
    "attempt",
    "deferred",
    "fields",
    "fit",
    "resolve_device",
    "schedule",
]
