"""Images as data URIs: sheets of tiles, strips, and the numbers of pixels as colours."""

from __future__ import annotations

__all__ = ["heat", "packed", "sheet", "tiles_of"]

import base64
import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .portrait import Look
from .tiles import channels_last, colours

Array = npt.NDArray[Any]


def tiles_of(rows: Array, look: Look) -> Array:
    """Return images as colours in [0, 1], (n, h, w, 3).

    Arguments:
        rows: Images (n, ...) in data units.
        look: How they are shown.
    """
    return colours((channels_last(rows, look.layout) - look.low) / (look.high - look.low))


def sheet(rows: Array, look: Look, across: int, quality: int | None = None) -> str:
    """Return images in lines of ``across`` as a data URI; what lies between them is transparent.

    Arguments:
        rows: Images (n, ...) in data units.
        look: How they are shown.
        across: How many stand in a line.
        quality: Of lossy compression; None loses nothing.
    """
    tiles = tiles_of(rows, look)
    count, height, width, _ = tiles.shape
    gap = max(1, round(min(height, width) / 14))
    lines = math.ceil(count / across)
    page = np.zeros((lines * (height + gap) - gap, across * (width + gap) - gap, 4), np.uint8)
    for i, tile in enumerate(tiles):
        top, left = (i // across) * (height + gap), (i % across) * (width + gap)
        page[top : top + height, left : left + width, :3] = np.rint(255 * tile)
        page[top : top + height, left : left + width, 3] = 255
    return _encoded(page, quality)


def packed(rows: Array, look: Look, across: int, most: int = 32) -> dict[str, Any]:
    """Return images without gaps as one data URI with some loss, each at most ``most`` pixels wide
    and high, and the size of one of them.

    Arguments:
        rows: Images (n, ...) in data units.
        look: How they are shown.
        across: How many stand in a line.
        most: Pixels.
    """
    tiles = tiles_of(rows, look)
    step = max(1, math.ceil(max(tiles.shape[1:3]) / most))
    tiles = np.rint(255 * tiles[:, ::step, ::step]).astype(np.uint8)
    count, height, width, _ = tiles.shape
    page = np.zeros((math.ceil(count / across), height, across, width, 3), np.uint8)
    for i, tile in enumerate(tiles):
        page[i // across, :, i % across] = tile
    lines = page.reshape(-1, across * width, 3)
    return {"src": _encoded(lines, 60), "width": width, "height": height}


def heat(values: Array) -> str:
    """Return an image (h, w) of numbers, in colours from dark to light, as a data URI."""
    import matplotlib

    low, high = float(values.min()), float(values.max())
    unit = (values - low) / ((high - low) or 1.0)
    return _encoded(np.rint(255 * matplotlib.colormaps["viridis"](unit)).astype(np.uint8), None)


def _encoded(page: Array, quality: int | None, wide: int = 720) -> str:
    """Return colours (h, w, 4) as a data URI: small ones are enlarged, so that pixels stay squares
    however large the page shows them."""
    from PIL import Image, features

    if quality is None:
        factor = max(1, min(12, wide // page.shape[1]))
        page = page.repeat(factor, 0).repeat(factor, 1)
    image, file = Image.fromarray(page), io.BytesIO()
    kind = "png"
    options: dict[str, Any] = {"optimize": True}
    if features.check("webp"):
        kind, options = "webp", {"lossless": True, "exact": False}
        if quality is not None:
            options = {"quality": quality}
    image.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
