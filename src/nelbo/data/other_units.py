"""Units at use compared with units at fit: in other units a model's answers mean nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from nelbo.data.schema import Schema

__all__ = ["other_units"]


def other_units(
    schema: Schema,
    array: npt.NDArray[Any],
    compared: int = 256,
    most: float = 0.5,
    far: float = 300.0,
    small: float = 50.0,
) -> str:
    """Say why rows can hardly be in the units of the training data; nothing where they may be.

    Arguments:
        schema: The schema of the training data. Units of 8-bit data are checked elsewhere.
        array: Rows as `validate_array` returns them, in a shape that fits.
        compared: The number of rows to look at.
        most: The share of rows that must be odd: a few are outliers.
        far: The standard deviations from the mean beyond which a value is hardly in the same units.
        small: How many times smaller than the largest training value that of images may be.

    Raises:
        ValueError: They are uint8, and the training data were numbers from 0 to 1.
    """
    if schema.extent is None or schema.dequantize or schema.discrete:
        return ""
    flat = array[:: math.ceil(len(array) / compared)].reshape(-1, schema.n_features)
    if schema.left_out:
        flat = flat[:, schema.kept]
    low, high = schema.extent
    _check_bytes(flat, low, high, most)
    with np.errstate(over="ignore"):
        t = np.abs(_scaled(schema, flat))
    t = np.nan_to_num(t, nan=0.0, posinf=np.inf)  # a missing value is in any units
    if (t.max(1) > far).mean() > most:
        row, j = np.unravel_index(int(t.argmax()), t.shape)
        return (
            "X can hardly be in the units of the training data: "
            f"{schema.feature_name(int(schema.kept[j]))} is {flat[row, j]:g}, and most rows have "
            f"values more than {far:g} times as far away as those. Training data went from {low:g} "
            f"to {high:g}."
        )
    largest = float(np.nan_to_num(np.abs(flat)).max())
    if schema.kind == "images" and 0 < largest * small < max(-low, high):
        return (
            f"X can hardly be in the units of the training data: its largest value is {largest:g}, "
            f"where these went from {low:g} to {high:g}."
        )
    return ""


def _check_bytes(flat: npt.NDArray[Any], low: float, high: float, most: float) -> None:
    """Refuse uint8 where the training data were numbers from 0 to 1."""
    if flat.dtype != np.uint8 or low < 0 or high > 1:
        return
    if (flat > 1).any(1).mean() > most:
        raise ValueError(
            f"X is uint8 with values up to {flat.max()}, but this model was fitted on numbers from "
            f"{low:g} to {high:g}. Scale X as the training data were, as by X / 255."
        )


def _scaled(schema: Schema, flat: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the columns that vary in their standard deviations, or in the largest value."""
    low, high = schema.extent or (0.0, 0.0)
    shift, scale = schema.to_user_flat(schema.shift), schema.to_user_flat(schema.scale)
    if not schema.shift.any() and (schema.scale == 1).all():  # nothing was scaled
        scale = np.array(max(-low, high, np.finfo(np.float64).tiny))
    if schema.left_out and shift.ndim:
        shift = shift[schema.kept]
    if schema.left_out and scale.ndim:
        scale = scale[schema.kept]
    return (flat - shift) / scale
