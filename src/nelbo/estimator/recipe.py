"""What was decided for the user, with the reason for each: plain values, as JSON holds them."""

from __future__ import annotations

__all__ = ["Recipe", "announce", "describe"]

import warnings
from typing import Any

import numpy as np

from ..data import Schema
from ..data.warned import DataWarning, listed

Recipe = dict[str, dict[str, Any]]
"""name -> {"value": what, "reason": why}"""


def describe(schema: Schema, array: np.ndarray) -> Recipe:
    """Return what a schema decided about the rows that it was found from."""
    found: Recipe = {}
    if array.dtype == np.uint8 and schema.kind == "table" and not (schema.dequantize or schema.discrete):
        found["dequantize"] = {
            "value": False,
            "reason": "A table of uint8 holds numbers, as of any other type. Flattened 8-bit pictures: pass them as "
            "images (n, h, w), or with dequantize=True.",
        }
    if schema.kind == "images" and schema.scale.ndim:
        found["scale"] = {
            "value": "per channel",
            "reason": "Deviations of channels, or of sensors, differ so much that one scale for all would hide some.",
        }
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
