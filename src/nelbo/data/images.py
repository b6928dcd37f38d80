"""A folder of pictures of one size, in order of name -> uint8 (n, h, w) if grey, (n, h, w, 3) if coloured."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SUFFIXES", "names", "read_folder"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")

Picture = npt.NDArray[np.uint8]


def read_folder(folder: Path) -> Picture:
    """Read every picture of a folder (not of its subfolders), turned upright; transparent ones lie on white.

    Returns:
        uint8 (n, h, w) if all are grey, (n, h, w, 3) if all are coloured.

    Raises:
        ValueError: No picture, one that cannot be read, or one unlike the first in size or kind (named).
        ImportError: Pillow is absent.
    """
    paths = [folder / name for name in names(folder)]
    if not paths:
        inner = " (its subfolders are not read)" if any(path.is_dir() for path in folder.iterdir()) else ""
        raise ValueError(f"{folder} holds no picture{inner}. Put files of one size there: {', '.join(SUFFIXES)}")
    if importlib.util.find_spec("PIL") is None:
        raise ImportError(f'{folder} needs Pillow. Install it with: pip install "nelbo[image]"')
    first = _read(paths[0])
    pictures = np.empty((len(paths), *first.shape), dtype=np.uint8)
    for i, path in enumerate(paths):
        picture = first if i == 0 else _read(path)
        if picture.shape != first.shape:
            raise ValueError(
                f"{path} is {_describe(picture)}, but {paths[0].name} is {_describe(first)}. "
                "Give all pictures one size and kind."
            )
        pictures[i] = picture
    return pictures


def names(folder: Path) -> tuple[str, ...]:
    """Return the names of the pictures of a folder, in the order in which they are read."""
    return tuple(path.name for path in sorted(path for path in folder.iterdir() if _is_picture(path)))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _describe(picture: Picture) -> str:
    kind = "grey" if picture.ndim == 2 else "coloured"
    return f"{kind}, {picture.shape[0]} high by {picture.shape[1]} wide"


def _read(path: Path) -> Picture:
    image_module = importlib.import_module("PIL.Image")
    try:
        with image_module.open(path) as image:
            frames = getattr(image, "n_frames", 1)
            image = importlib.import_module("PIL.ImageOps").exif_transpose(image)
            image.load()
    except (OSError, SyntaxError, ValueError, EOFError, image_module.DecompressionBombError) as error:
        raise ValueError(
            f"{path} cannot be read as a picture ({' '.join(str(error).split())}). Replace or remove it."
        ) from error
    if frames > 1:
        raise ValueError(
            f"{path} has {frames} frames, but one picture per file is required. Save each frame as a file."
        )
    return _pixels(image, path)


def _pixels(image: Any, path: Path) -> Picture:
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        raise ValueError(
            f"{path} has more than 8 bits per value (mode {image.mode}). "
            "Convert it to 8 bits, or pass the values as .npy."
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
