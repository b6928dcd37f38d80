"""Images as tiles: from rows in data units to colours, and many of them on one sheet."""

from __future__ import annotations

__all__ = ["channels_last", "colours", "mosaic"]

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def mosaic(tiles: Array, across: int) -> Array:
    """Lay tiles (n, h, w, 3) out in lines on white, with gaps."""
    n, height, width, _ = tiles.shape
    gap = max(1, round(min(height, width) / 14))
    lines = math.ceil(n / across)
    sheet = np.ones((lines * (height + gap) - gap, across * (width + gap) - gap, 3))
    for i, tile in enumerate(tiles):
        top, left = (i // across) * (height + gap), (i % across) * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def channels_last(block: Array, layout: str) -> Array:
    """Return images (n, h, w, c), whatever their layout."""
    if layout == "hw":
        return block[..., None]
    if layout == "chw":
        return np.moveaxis(block, 1, -1)
    return block


def colours(block: Array) -> Array:
    """Turn (n, h, w, c) in [0, 1] into RGB; of channels that are not colours, show the first."""
    block = np.clip(block, 0, 1)
    if block.shape[-1] in (3, 4):
        return block[..., :3]
    return np.repeat(block[..., :1], 3, axis=-1)
