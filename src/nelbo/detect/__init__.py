"""Anomalies: how improbable a row is, beside rows held out, and which columns make it so.

* `improbability` returns -log p(x) of each row in nats, finite for every row.
* `Calibration` turns it into conformal p-values.
* `attribute` says which columns make a row improbable, and what would have been expected.
* `adjusted` says which rows to flag when a given share of them may be ordinary.
* `find` does all of it for some rows, by a `Rule`; `Findings` hold what it found.
"""

from __future__ import annotations

from .attribution import Attribution, attribute
from .conformal import Calibration
from .discoveries import adjusted, ordinary_share
from .findings import Findings, Rule, find
from .held_out import calibration_of
from .improbability import improbability

__all__ = [
    "Attribution",
    "Calibration",
    "Findings",
    "Rule",
    "adjusted",
    "attribute",
    "calibration_of",
    "find",
    "improbability",
    "ordinary_share",
]
