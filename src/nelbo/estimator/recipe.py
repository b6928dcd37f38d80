"""What was decided for the user, with the reason for each: plain values, as JSON holds them."""

from __future__ import annotations

__all__ = ["Recipe", "announce", "describe"]

import warnings
from typing import Any

from ..data import Schema
from ..data.warned import DataWarning, listed

Recipe = dict[str, dict[str, Any]]
"""name -> {"value": what, "reason": why}"""


def describe(schema: Schema) -> Recipe:
    """Return what a schema decided about the data that it was found from."""
    found: Recipe = {}
    if schema.left_out:
        names = [schema.feature_name(j) for j, _ in schema.left_out]
        found["left_out"] = {
            "value": {name: value for name, (_, value) in zip(names, schema.left_out, strict=True)},
            "reason": f"{listed(names)} had one value in all rows, which says nothing and has no density. Results hold "
            "that value; under the model any other is impossible.",
        }
    return found


def announce(found: Recipe) -> None:
    """Warn, in one line, of columns that are left out: nothing is dropped in silence."""
    if "left_out" in found:
        names = list(found["left_out"]["value"])
        warnings.warn(
            f"Left out of the model: {listed(names)}, with one value in all rows. Results hold that value, and "
            "log p(x) of a row with another is -inf. (Flattened pictures: pass them as images, (n, h, w).)",
            DataWarning,
            stacklevel=4,
        )
