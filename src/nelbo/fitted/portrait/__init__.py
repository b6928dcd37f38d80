"""All that is seen of a fitted model, found once: what the report draws.

`portray` takes rows as a user has them, `portray_fit` those of a fit that has just been measured.
Each section is found on its own: where one cannot be, it says why, and the others are there.
"""

from __future__ import annotations

from .rows import Limits
from .view import portray, portray_fit
from .words import about

__all__ = ["Limits", "about", "portray", "portray_fit"]
