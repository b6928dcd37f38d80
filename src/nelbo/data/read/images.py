"""A folder of pictures, in order of name -> (n, h, w) if grey, (n, h, w, 3) if coloured."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nelbo.data.read.reading import Note
from nelbo.data.warned import listed

__all__ = ["SUFFIXES", "names", "read_folder"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
"""How the names of pictures end."""

Picture = npt.NDArray[Any]


def read_folder(
    folder: Path, resize: tuple[int, int] | None = None
) -> tuple[Picture, tuple[str, ...], list[Note]]:
    """Read every picture of a folder and of its subfolders, upright, on white where transparent.

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
        picture = first
        if i > 0:
            picture = _read(folder / name, resize)
        if (picture.shape, picture.dtype) != (first.shape, first.dtype):
            _refuse(folder / name, picture, found[0], first)
        pictures[i] = picture
    return pictures, found, _notes(folder, found)


def names(folder: Path) -> tuple[str, ...]:
    """Return the names of the pictures of a folder and its subfolders, in the order of reading."""
    found = []
    for place, folders, files in os.walk(folder):
        # what macOS leaves in archives looks like pictures
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"]
        paths = map(Path(place).joinpath, files)
        found += [path.relative_to(folder) for path in paths if _is_picture(path)]
    return tuple(path.as_posix() for path in sorted(found))


def _is_picture(path: Path) -> bool:
    """Return whether a path is a picture, by its suffix."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _notes(folder: Path, found: tuple[str, ...]) -> list[Note]:
    """Say what of a folder was read as what, and what was not."""
    notes = []
    count = Counter(name.rpartition("/")[0] for name in found)
    beside = count.pop("", 0)
    if count:
        those = listed([f"{name} ({count[name]})" for name in sorted(count)])
        if beside:
            those += f", and {beside} beside them,"
        notes.append(Note(f"{folder}: pictures of its folders {those} are read as one set.", False))
    others = sorted(path.name for path in folder.iterdir() if _is_other(path))
    if others:
        notes.append(Note(f"{folder}: left out what is not a picture: {listed(others)}.", False))
    return notes


def _is_other(path: Path) -> bool:
    """Return whether a path is a file that people would expect to be read, and is no picture."""
    return path.is_file() and not path.name.startswith(".") and not _is_picture(path)


def _refuse(path: Path, picture: Picture, name: str, first: Picture) -> None:
    """Raise the error for a picture that is unlike the first."""
    cure = "Give all pictures one size and kind."
    if picture.shape[:2] != first.shape[:2]:
        cure = f"{cure} resize={first.shape[:2]} brings them to one size."
    raise ValueError(f"{path} is {_describe(picture)}, but {name} is {_describe(first)}. {cure}")


def _describe(picture: Picture) -> str:
    """Say what kind of picture one is, and how large."""
    kind = {2: "grey", 3: "coloured"}[picture.ndim]
    if picture.dtype == np.uint16:
        kind += " of 16 bits"
    return f"{kind}, {picture.shape[0]} high by {picture.shape[1]} wide"


def _read(path: Path, resize: tuple[int, int] | None) -> Picture:
    """Return the pixels of a picture, upright and resized."""
    image_module = importlib.import_module("PIL.Image")
    try:
        with image_module.open(path) as image:
            frames = getattr(image, "n_frames", 1)
            swapped = _low_bytes_first(image)
            image = _upright(image)
        if swapped is None:
            pixels = None
        else:
            pixels = _deep(image, _opened_as(path, swapped), swapped)
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
    if pixels is None:
        pixels = _pixels(image, path)
    return _resized(pixels, resize)


def _upright(image: Any) -> Any:
    """Return a picture as its camera was held, all of it in memory."""
    image = importlib.import_module("PIL.ImageOps").exif_transpose(image)
    image.load()
    return image


def _low_bytes_first(image: Any) -> list[Any] | None:
    """Return how to read the low bytes of a picture with channels of 16 bits, None for any other.

    Pillow has 8 bits for a channel, and keeps the high byte. Told that the order of bytes is the
    other one, it keeps the low byte.
    """
    other = {"16B": "16L", "16L": "16B", "16N": "16L"}
    if sys.byteorder == "little":
        other["16N"] = "16B"
    tiles: list[Any] = []
    for codec, extents, offset, details in map(tuple, image.tile):
        mode, more = details, []
        if isinstance(details, tuple):
            mode, *more = details
        kind, _, depth = str(mode).partition(";")
        if image.mode not in ("RGB", "RGBA") or depth not in other:
            return None
        swapped: Any = f"{kind};{other[depth]}"
        if kind == "LA":  # grey and alpha of two bytes each are as four channels of one
            swapped = "RGBA"
        if isinstance(details, tuple):
            swapped = (swapped, *more)
        tiles.append((codec, extents, offset, swapped))
    return tiles or None


def _opened_as(path: Path, tiles: list[Any]) -> Any:
    """Return a picture that is read as other tiles than its file says."""
    with importlib.import_module("PIL.Image").open(path) as image:
        if hasattr(image.tile[0], "_fields"):  # a named tuple, since Pillow 11
            tiles = [type(image.tile[0])(*tile) for tile in tiles]
        image.tile = tiles
        return _upright(image)


def _deep(high: Any, low: Any, tiles: list[Any]) -> npt.NDArray[np.uint16]:
    """Return (h, w) or (h, w, 3) of both bytes, on white where there is an alpha channel."""
    if tiles[0][3] == "RGBA":
        bytes_ = np.asarray(low).astype(np.uint16)
        values = 256 * bytes_[..., ::2] + bytes_[..., 1::2]
    else:
        values = 256 * np.asarray(high).astype(np.uint16) + np.asarray(low)
    if values.shape[-1] in (2, 4):
        alpha = values[..., -1:] / 65535
        values = np.rint(alpha * values[..., :-1] + (1 - alpha) * 65535).astype(np.uint16)
    return _flat_if_grey(values)


def _flat_if_grey(picture: Picture) -> Picture:
    """Return (h, w, 1) as (h, w), all else as it is."""
    if picture.shape[-1] == 1:
        return picture[..., 0]
    return picture


def _pixels(image: Any, path: Path) -> Picture:
    """Return pixels of 8 or 16 bits, (h, w) if grey, else (h, w, 3)."""
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
    if image.mode == "P" and (colours == colours[..., :1]).all():
        return colours[..., 0]  # a palette is grey if every pixel is
    return colours


def _on_white(image: Any) -> Any:
    """Return a picture with transparent parts laid on white."""
    white = importlib.import_module("PIL.Image").new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    if image.mode in ("1", "L", "LA", "La"):
        return white.convert("L")
    return white.convert("RGB")


def _resized(picture: Picture, size: tuple[int, int] | None) -> Picture:
    """Return a picture brought to (height, width) by means of old values, weighted by distance."""
    if size is None or picture.shape[:2] == size:
        return picture
    image_module = importlib.import_module("PIL.Image")
    height, width = size
    resized = []
    for channel in np.moveaxis(np.atleast_3d(picture), -1, 0):
        image = image_module.fromarray(channel.astype(np.float32))
        image = image.resize((width, height), image_module.Resampling.BILINEAR)
        resized.append(np.asarray(image))
    return _flat_if_grey(np.rint(np.stack(resized, axis=-1)).astype(picture.dtype))
