"""From options and facts about the rows to one value with nothing left on "auto", and why.

A recipe is frozen; it prints as a table, is saved in the run, and says what a fit will do before
it does anything. There is one builder for each kind of data: `plain`, `images` and `table`.
"""

from __future__ import annotations

from .build import build, going_on, started
from .choice import Choice, Entries
from .facts import Facts
from .mixed import settled
from .recipe import Recipe, Widths

__all__ = [
    "Choice",
    "Entries",
    "Facts",
    "Recipe",
    "Widths",
    "build",
    "going_on",
    "settled",
    "started",
]
