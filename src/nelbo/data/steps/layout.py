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

_MOST_CHANNELS = 4  # grey, grey + alpha, RGB, RGB + alpha


def infer_layout(shape: tuple[int, ...]) -> Layout:
    """The layout of data of shape (n, …).

    Of 4 axes, the last holds the channels if it has at most 4, else the second if it has, else the
    shorter of the two (the second, if equal).
    """
    if len(shape) < 4:
        return "flat" if len(shape) == 2 else "hw"
    first, last = shape[1], shape[3]
    return "hwc" if last <= _MOST_CHANNELS or (first > _MOST_CHANNELS and last < first) else "chw"


def event_shape(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """The model's shape, (d,) or (c, h, w), of a user's example of shape `shape`."""
    if layout == "hw":
        return (1, *shape)
    return (shape[2], shape[0], shape[1]) if layout == "hwc" else shape


def user_shape(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """The user's shape of an example of the model's shape `shape`: the inverse of `event_shape`."""
    if layout == "hw":
        return shape[1:]
    return (shape[1], shape[2], shape[0]) if layout == "hwc" else shape


def to_event(flat: Tensor, shape: tuple[int, ...], layout: Layout) -> Tensor:
    """Flat rows in the user's order (n, D) -> the model's (n, *shape)."""
    if layout == "hwc":
        return flat.reshape(len(flat), *user_shape(shape, layout)).movedim(-1, 1)
    return flat.reshape(len(flat), *shape)


def to_user(t: Tensor, layout: Layout) -> Tensor:
    """The model's (n, *shape) -> the user's (n, *data_shape)."""
    if layout == "hwc":
        return t.movedim(1, -1)
    return t.flatten(1, 2) if layout == "hw" else t


def conform(array: Array, shape: tuple[int, ...], layout: Layout) -> Array:
    """Rows (n, D) in the user's order, once the array's shape is seen to fit the schema's.

    Raises:
        ValueError: It does not; the message says which shapes do.
    """
    wanted, got = user_shape(shape, layout), array.shape[1:]
    d = math.prod(shape)
    if math.prod(got) != d:
        _refuse_count(math.prod(got), shape, layout)
    # A missing or extra axis of one channel moves no value; any other rearrangement would.
    same = [size for size in got if size > 1] == [size for size in wanted if size > 1]
    if not (
        len(wanted) == 1
        or len(got) == 1
        or got == wanted
        or (same and shape[0] == 1 and _one_channel(got, shape))
    ):
        raise ValueError(
            f"X has examples of shape {got}, but this model was fitted on {wanted}. "
            f"Pass images of shape {_batch(wanted)} or flatten to (n, {d})."
        )
    return array.reshape(len(array), d)


def _one_channel(got: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    grey = shape[1:]
    return got in (grey, (1, *grey), (*grey, 1))


def _batch(shape: tuple[int, ...]) -> str:
    return f"(n, {', '.join(map(str, shape))})"


def _refuse_count(count: int, shape: tuple[int, ...], layout: Layout) -> None:
    d = math.prod(shape)
    flat = layout == "flat"
    cure = (
        f"Pass the same {d} columns."
        if flat
        else f"Pass images of shape {_batch(user_shape(shape, layout))} or flatten to (n, {d})."
    )
    raise ValueError(f"X has {count} features, but this model was fitted on {d}. {cure}")


def check_fields(schema: Any) -> None:
    """Raise ValueError where the fields
    of a schema (read from a file, say) contradict each other.
    """
    if schema.layout not in LAYOUTS or schema.kind != (
        "table" if schema.layout == "flat" else "images"
    ):
        raise ValueError(f"layout {schema.layout!r} does not fit kind {schema.kind!r}")
    if len(schema.shape) != (1 if schema.layout == "flat" else 3) or min(schema.shape) < 1:
        raise ValueError(f"shape {schema.shape} does not fit layout {schema.layout!r}")
    if schema.shift.shape != schema.shape or schema.scale.shape not in ((), schema.shape):
        raise ValueError(
            f"shift {schema.shift.shape} and scale {schema.scale.shape} do not fit shape "
            f"{schema.shape}"
        )
    if not (
        np.isfinite(schema.shift).all()
        and np.isfinite(schema.scale).all()
        and (schema.scale > 0).all()
    ):
        raise ValueError("shift must be finite and scale positive")
    if not (
        schema.mixing is None
        or (np.isfinite(schema.mixing).all() and np.linalg.slogdet(schema.mixing)[0] != 0)
    ):
        raise ValueError("mixing must be finite and have an inverse")
    if not isinstance(schema.dequantize, bool):
        raise ValueError(f"dequantize must be true or false, got {schema.dequantize!r}")
    if not isinstance(schema.discrete, bool) or (schema.discrete and schema.dequantize):
        raise ValueError(
            "discrete must be true or false, and false for dequantised data, got "
            f"{schema.discrete!r}"
        )
    indices = [index for index, _ in schema.left_out]
    if indices != sorted(set(indices)) or (indices and (schema.layout != "flat" or indices[0] < 0)):
        raise ValueError(
            f"left_out {schema.left_out} is not a list of different columns of a table"
        )
    if indices and not (
        indices[-1] < schema.n_features and np.isfinite([v for _, v in schema.left_out]).all()
    ):
        raise ValueError(
            f"left_out {schema.left_out} does not fit {schema.n_features} columns, or is not finite"
        )
    if schema.columns is not None and (
        schema.layout != "flat" or len(schema.columns) != schema.n_features
    ):
        raise ValueError(f"{len(schema.columns)} columns do not fit shape {schema.shape}")
    if not all(0 <= index < schema.n_features for index in schema.constant):
        raise ValueError(f"constant features {schema.constant} do not fit shape {schema.shape}")
