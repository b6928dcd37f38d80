"""Units at use compared with units at fit: a model that is shown other units answers, but says
nothing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from nelbo.data.schema import Schema

__all__ = ["other_units"]

COMPARED = 256
"""Rows that are looked at."""
MOST = 0.5
"""Share of rows that must be odd: a few are outliers."""
FAR = 300.0
"""Standard deviations from the mean beyond which a value is hardly in the same units, where most
rows have one.
"""
SMALL = 50.0
"""How much smaller than the largest training value the largest of some images may be."""


def other_units(schema: Schema, array: npt.NDArray[Any]) -> str:
    """Say why rows can hardly be in the units of the training data; nothing where they may be.

    Arguments:
        schema: Of the training data. Units of 8-bit data are checked elsewhere.
        array: Rows as `validate_array` returns them, in a shape that fits.

    Raises:
        ValueError: They are uint8, and the training data were numbers from 0 to 1.
    """
    if schema.extent is None or schema.dequantize or schema.discrete:
        return ""
    flat = array[:: math.ceil(len(array) / COMPARED)].reshape(-1, schema.n_features)
    flat = flat[:, schema.kept] if schema.left_out else flat
    low, high = schema.extent
    if flat.dtype == np.uint8 and low >= 0 and high <= 1 and (flat > 1).any(1).mean() > MOST:
        raise ValueError(
            f"X is uint8 with values up to {flat.max()}, but this model was fitted on numbers from "
            f"{low:g} to "
            f"{high:g}. Scale X as the training data were, as by X / 255."
        )
    shift, scale = (schema.to_user_flat(values) for values in (schema.shift, schema.scale))
    if not schema.shift.any() and (schema.scale == 1).all():  # nothing was scaled
        scale = np.array(max(-low, high, np.finfo(np.float64).tiny))
    if schema.left_out:
        shift, scale = (values[schema.kept] if values.ndim else values for values in (shift, scale))
    with np.errstate(over="ignore"):
        t = np.abs((flat - shift) / scale)
    if (t.max(1) > FAR).mean() > MOST:
        row, j = np.unravel_index(int(t.argmax()), t.shape)
        return (
            "X can hardly be in the units of the training data: "
            f"{schema.feature_name(int(schema.kept[j]))} is "
            f"{flat[row, j]:g}, and most rows have values more than {FAR:g} times as far away as "
            "those. "
            f"Training data went from {low:g} to {high:g}."
        )
    largest = float(np.abs(flat).max())
    if schema.kind == "images" and 0 < largest * SMALL < max(-low, high):
        return (
            f"X can hardly be in the units of the training data: its largest value is {largest:g}, "
            "where these went "
            f"from {low:g} to {high:g}."
        )
    return ""
