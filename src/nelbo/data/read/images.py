"""A folder of pictures, in order of name -> (n, h, w) if grey, (n, h, w, 3) if coloured, of uint8
or uint16.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nelbo.data.read.delimited import Note
from nelbo.data.warned import listed

__all__ = ["SUFFIXES", "names", "read_folder"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
LEFT_ALONE = ("__MACOSX",)
"""Folders that programs leave behind; what they hold looks like pictures."""

Picture = npt.NDArray[Any]


def read_folder(
    folder: Path, resize: tuple[int, int] | None = None
) -> tuple[Picture, tuple[str, ...], list[Note]]:
    """Read every picture of a folder and of its subfolders, turned upright; transparent ones lie on
    white.

    Arguments:
        folder: The folder.
        resize: (height, width) that all of them are brought to; None asks that they have one size.

    Returns:
        The pictures: uint8, or uint16 where all have 16 bits, of shape (n, h, w) if all are grey,
        (n, h, w, 3) if all are coloured; their names within the folder, in order; and what was
        decided.

    Raises:
        ValueError: No picture, one that cannot be read, or one unlike the first in size or kind
            (named).
        ImportError: Pillow is absent.
    """
    found = names(folder)
    if not found:
        raise ValueError(
            f"{folder} holds no picture. Put files of one size there: {', '.join(SUFFIXES)}"
        )
    if importlib.util.find_spec("PIL") is None:
        raise ImportError(f'{folder} needs Pillow. Install it with: pip install "nelbo[image]"')
    if resize is not None and not all(isinstance(size, int) and size >= 1 for size in resize):
        raise ValueError(f"resize must be (height, width), two positive integers, got {resize!r}.")
    first = _read(folder / found[0], resize)
    pictures = np.empty((len(found), *first.shape), dtype=first.dtype)
    for i, name in enumerate(found):
        picture = first if i == 0 else _read(folder / name, resize)
        if (picture.shape, picture.dtype) != (first.shape, first.dtype):
            _refuse(folder / name, picture, found[0], first)
        pictures[i] = picture
    return pictures, found, _notes(folder, found)


def names(folder: Path) -> tuple[str, ...]:
    """Return the names of the pictures of a folder and its subfolders, in the order in which they
    are read.
    """
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [
            name for name in folders if not name.startswith(".") and name not in LEFT_ALONE
        ]
        found += [
            path.relative_to(folder)
            for path in map(Path(place).joinpath, files)
            if _is_picture(path)
        ]
    return tuple(path.as_posix() for path in sorted(found))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _notes(folder: Path, found: tuple[str, ...]) -> list[Note]:
    """Say what of a folder was read as what, and what was not."""
    notes = []
    inner = sorted({name.rpartition("/")[0] for name in found})
    if inner != [""]:
        beside = sum("/" not in name for name in found)
        those = listed(
            [
                f"{name} ({sum(other.rpartition('/')[0] == name for other in found)})"
                for name in inner
                if name
            ]
        )
        more = f", and {beside} beside them," if beside else ""
        notes.append(
            Note(f"{folder}: pictures of its folders {those}{more} are read as one set.", False)
        )
    others = sorted(
        path.name for path in folder.iterdir() if path.is_file() and not _is_picture(path)
    )
    others = [name for name in others if not name.startswith(".")]
    if others:
        notes.append(Note(f"{folder}: left out what is no picture: {listed(others)}.", False))
    return notes


def _refuse(path: Path, picture: Picture, name: str, first: Picture) -> None:
    cure = "Give all pictures one size and kind."
    if picture.shape[:2] != first.shape[:2]:
        cure = f"{cure} resize={first.shape[:2]} brings them to one size."
    raise ValueError(f"{path} is {_describe(picture)}, but {name} is {_describe(first)}. {cure}")


def _describe(picture: Picture) -> str:
    kind = "grey" if picture.ndim == 2 else "coloured"
    bits = " of 16 bits" if picture.dtype == np.uint16 else ""
    return f"{kind}{bits}, {picture.shape[0]} high by {picture.shape[1]} wide"


def _read(path: Path, resize: tuple[int, int] | None) -> Picture:
    image_module = importlib.import_module("PIL.Image")
    try:
        with image_module.open(path) as image:
            frames = getattr(image, "n_frames", 1)
            swapped = _low_bytes_first(image)
            image = importlib.import_module("PIL.ImageOps").exif_transpose(image)
            image.load()
        low = None if swapped is None else _opened_as(path, swapped)
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        image_module.DecompressionBombError,
    ) as error:
        raise ValueError(
            f"{path} cannot be read as a picture ({' '.join(str(error).split())}). Replace or "
            "remove it."
        ) from error
    if frames > 1:
        raise ValueError(
            f"{path} has {frames} frames, but one picture per file is required. Save each frame as "
            "a file."
        )
    return _resized(_pixels(image, path) if low is None else _deep(image, low, swapped), resize)


def _low_bytes_first(image: Any) -> list[Any] | None:
    """Return how to read the low bytes of a picture of several channels with 16 bits each, or None
    for any other.

    Pillow has 8 bits for a channel, and keeps the high byte. Told that the order of bytes is the
    other one, it keeps the low byte.
    """
    other = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
    tiles = []
    for codec, extents, offset, details in map(tuple, image.tile):
        mode, *more = details if isinstance(details, tuple) else (details,)
        kind, _, depth = str(mode).partition(";")
        if image.mode not in ("RGB", "RGBA") or depth not in other:
            return None
        # Grey and alpha of two bytes each are as four channels of one.
        swapped = "RGBA" if kind == "LA" else f"{kind};{other[depth]}"
        tiles.append(
            (codec, extents, offset, (swapped, *more) if isinstance(details, tuple) else swapped)
        )
    return tiles or None


def _opened_as(path: Path, tiles: list[Any]) -> Any:
    with importlib.import_module("PIL.Image").open(path) as image:
        image.tile = [
            type(old)(*new) if hasattr(old, "_fields") else new
            for old, new in zip(image.tile, tiles, strict=True)
        ]
        image = importlib.import_module("PIL.ImageOps").exif_transpose(image)
        image.load()
    return image


def _deep(high: Any, low: Any, tiles: list[Any] | None) -> npt.NDArray[np.uint16]:
    """Return (h, w) or (h, w, 3) of both bytes, on white where there is an alpha channel."""
    if tiles and tiles[0][3] == "RGBA":
        bytes_ = np.asarray(low).astype(np.uint16)
        values = 256 * bytes_[..., ::2] + bytes_[..., 1::2]
    else:
        values = 256 * np.asarray(high).astype(np.uint16) + np.asarray(low)
    if values.shape[-1] in (2, 4):
        alpha = values[..., -1:] / 65535
        values = np.rint(alpha * values[..., :-1] + (1 - alpha) * 65535).astype(np.uint16)
    return values[..., 0] if values.shape[-1] == 1 else values


def _pixels(image: Any, path: Path) -> Picture:
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("F", "I"):
        raise ValueError(
            f"{path} has more than 16 bits per value (mode {image.mode}). "
            "Convert it to 8 or 16 bits, or pass the values as .npy."
        )
    if image.has_transparency_data:
        image = _on_white(image)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"), dtype=np.uint8)
    colours = np.asarray(image.convert("RGB"), dtype=np.uint8)
    # A palette says nothing of colour: it is grey if every pixel is.
    grey = image.mode == "P" and bool((colours == colours[..., :1]).all())
    return colours[..., 0] if grey else colours


def _on_white(image: Any) -> Any:
    grey = image.mode in ("1", "L", "LA", "La")
    white = importlib.import_module("PIL.Image").new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("L" if grey else "RGB")


def _resized(picture: Picture, size: tuple[int, int] | None) -> Picture:
    """Return a picture brought to (height, width): each new value is a mean over the old ones,
    weighted by distance.
    """
    if size is None or picture.shape[:2] == size:
        return picture
    image_module = importlib.import_module("PIL.Image")
    channels = picture[..., None] if picture.ndim == 2 else picture
    resized = [
        np.asarray(
            image_module.fromarray(channels[..., c].astype(np.float32)).resize(
                (size[1], size[0]), image_module.Resampling.BILINEAR
            )
        )
        for c in range(channels.shape[-1])
    ]
    whole: Picture = np.rint(np.stack(resized, axis=-1)).astype(picture.dtype)
    return whole[..., 0] if picture.ndim == 2 else whole
