"""(h, w, c) or (c, h, w), flat or not: the axes of one example, apart from its numbers.

A model sees rows (d,) or images (c, h, w); a user holds rows (d,), grey images (h, w), or colour
images with the channels last (as files and matplotlib do) or first (as torch does).
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor

__all__ = [
    "LAYOUTS",
    "Layout",
    "check_fields",
    "conform",
    "event_shape",
    "infer_layout",
    "to_event",
    "to_user",
    "user_shape",
]

Array = npt.NDArray[Any]
Layout = Literal["flat", "hw", "hwc", "chw"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


def infer_layout(shape: tuple[int, ...], most: int = 4) -> Layout:
    """Return the layout of data.

    Of 4 axes, the last holds the channels if it has at most ``most``, else the second if it has,
    else the shorter of the two (the second, if equal).

    Arguments:
        shape: The shape of the data, (n, …).
        most: The number of channels of pictures: grey or RGB, with an alpha channel or without.
    """
    if len(shape) == 2:
        return "flat"
    if len(shape) == 3:
        return "hw"
    first, last = shape[1], shape[3]
    if last <= most or (first > most and last < first):
        return "hwc"
    return "chw"


def event_shape(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """Return the model's shape, (d,) or (c, h, w), of a user's example of shape `shape`."""
    if layout == "hw":
        return (1, *shape)
    if layout == "hwc":
        return (shape[2], shape[0], shape[1])
    return shape


def user_shape(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """Return the user's shape of an example of the model's shape: the inverse of `event_shape`."""
    if layout == "hw":
        return shape[1:]
    if layout == "hwc":
        return (shape[1], shape[2], shape[0])
    return shape


def to_event(flat: Tensor, shape: tuple[int, ...], layout: Layout) -> Tensor:
    """Return flat rows in the user's order (n, D) as the model's (n, *shape)."""
    if layout == "hwc":
        return flat.reshape(flat.shape[0], *user_shape(shape, layout)).movedim(-1, 1)
    return flat.reshape(flat.shape[0], *shape)


def to_user(t: Tensor, layout: Layout) -> Tensor:
    """Return the model's (n, *shape) as the user's (n, *data_shape)."""
    if layout == "hwc":
        return t.movedim(1, -1)
    if layout == "hw":
        return t.flatten(1, 2)
    return t


def conform(array: Array, shape: tuple[int, ...], layout: Layout) -> Array:
    """Return rows (n, D) in the user's order, if the array's shape fits the schema's.

    Raises:
        ValueError: It does not; the message says which shapes do.
    """
    wanted, got = user_shape(shape, layout), array.shape[1:]
    d = math.prod(shape)
    if math.prod(got) != d:
        _refuse_count(math.prod(got), shape, layout)
    flat = 1 in (len(wanted), len(got))
    if not flat and got != wanted and not _is_grey(got, wanted, shape):
        raise ValueError(
            f"X has examples of shape {got}, but this model was fitted on {wanted}. "
            f"Pass images of shape {_batch(wanted)} or flatten to (n, {d})."
        )
    return array.reshape(len(array), d)


def _is_grey(got: tuple[int, ...], wanted: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Return whether just an axis of one channel is missing or too many, which moves no value."""
    same = [size for size in got if size > 1] == [size for size in wanted if size > 1]
    grey = shape[1:]
    return same and shape[0] == 1 and got in (grey, (1, *grey), (*grey, 1))


def _batch(shape: tuple[int, ...]) -> str:
    """Return the shape of a batch of examples, in words."""
    return f"(n, {', '.join(map(str, shape))})"


def _refuse_count(count: int, shape: tuple[int, ...], layout: Layout) -> None:
    """Raise the error for examples with another number of values."""
    d = math.prod(shape)
    cure = f"Pass images of shape {_batch(user_shape(shape, layout))} or flatten to (n, {d})."
    if layout == "flat":
        cure = f"Pass the same {d} columns."
    raise ValueError(f"X has {count} features, but this model was fitted on {d}. {cure}")


def check_fields(schema: Any) -> None:
    """Raise ValueError where fields of a schema, as read from a file, contradict each other."""
    _check_shape(schema)
    _check_scaling(schema)
    if not isinstance(schema.dequantize, bool):
        raise ValueError(f"dequantize must be true or false, got {schema.dequantize!r}")
    if not isinstance(schema.discrete, bool) or (schema.discrete and schema.dequantize):
        raise ValueError(
            "discrete must be true or false, and false for dequantised data, got "
            f"{schema.discrete!r}"
        )
    _check_left_out(schema)
    if schema.columns is not None and (
        schema.layout != "flat" or len(schema.columns) != schema.n_features
    ):
        raise ValueError(f"{len(schema.columns)} columns do not fit shape {schema.shape}")
    if not all(0 <= index < schema.n_features for index in schema.constant):
        raise ValueError(f"constant features {schema.constant} do not fit shape {schema.shape}")


def _check_shape(schema: Any) -> None:
    """Refuse a shape that its layout does not have."""
    kind, axes = "images", 3
    if schema.layout == "flat":
        kind, axes = "table", 1
    if schema.layout not in LAYOUTS or schema.kind != kind:
        raise ValueError(f"layout {schema.layout!r} does not fit kind {schema.kind!r}")
    if len(schema.shape) != axes or min(schema.shape) < 1:
        raise ValueError(f"shape {schema.shape} does not fit layout {schema.layout!r}")


def _check_scaling(schema: Any) -> None:
    """Refuse a shift, scale or mixing of another shape, or one that cannot be undone."""
    shift, scale, mixing = schema.shift, schema.scale, schema.mixing
    if shift.shape != schema.shape or scale.shape not in ((), schema.shape):
        raise ValueError(
            f"shift {shift.shape} and scale {scale.shape} do not fit shape {schema.shape}"
        )
    if not np.isfinite(shift).all() or not np.isfinite(scale).all() or (scale <= 0).any():
        raise ValueError("shift must be finite and scale positive")
    if mixing is None:
        return
    if not np.isfinite(mixing).all() or np.linalg.slogdet(mixing)[0] == 0:
        raise ValueError("mixing must be finite and have an inverse")


def _check_left_out(schema: Any) -> None:
    """Refuse columns that are left out unless they are different ones of a table, with values."""
    if not schema.left_out:
        return
    indices, values = zip(*schema.left_out, strict=True)
    if list(indices) != sorted(set(indices)) or schema.layout != "flat" or indices[0] < 0:
        raise ValueError(
            f"left_out {schema.left_out} is not a list of different columns of a table"
        )
    if indices[-1] >= schema.n_features or np.isinf(values).any():
        raise ValueError(
            f"left_out {schema.left_out} does not fit {schema.n_features} columns, or is infinite"
        )
