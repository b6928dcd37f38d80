"""Data in, rows and pictures out: each output is whole or absent, and replaces nothing unless told to."""

from __future__ import annotations

__all__ = ["check_output", "fits", "open_model", "read", "table", "write_pictures", "write_rows"]

import os
import re
import secrets
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..data import Source
    from ..estimator import VariationalAutoencoder

SUFFIXES = (".npy", ".csv", ".parquet")
ROWS_AT_ONCE = 1024


def read(where: str) -> Source:
    """Read DATA and refuse what is no number, by row and column."""
    from ..data import Source, load, validate_array

    source = load(where)
    return Source(validate_array(source.array, name=where, columns=source.columns), source.columns, source.name)


def table(array: npt.NDArray[Any], columns: Sequence[str] | None) -> Any:
    """Return rows as a data frame where the columns have names (and pandas is there), else as they are."""
    if columns is None:
        return array
    try:
        import pandas
    except ImportError:
        return array
    return pandas.DataFrame(array, columns=list(columns))


def open_model(run: str, device: str) -> VariationalAutoencoder:
    """Load a model that `nelbo fit` wrote."""
    from ..estimator import VariationalAutoencoder
    from ..training.precision import resolve_device

    place = resolve_device(device)
    model = VariationalAutoencoder.load(run)
    model.model_.to(place)
    return model


def fits(model: VariationalAutoencoder, source: Source) -> Any:
    """Return data as the model's methods take them, once they are seen to have its columns."""
    model.schema_.to_model(source.array[:1], noise="centre", columns=source.columns)
    if source.columns is None or not hasattr(model, "feature_names_in_"):
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return source.array
    return table(source.array, source.columns)


def check_output(out: str | None, overwrite: bool, pictures: bool = False, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Refuse an output before anything is computed for it.

    Arguments:
        out: A file with one of the suffixes; or, for ``pictures``, a folder. None is standard output.
        overwrite: Whether it may exist.
        pictures: Whether a name without suffix means a folder of PNGs.
        suffixes: Of files that can be written.

    Raises:
        ValueError: It exists, has an unknown suffix, or no file can be made there.
        ImportError: What writes it is not installed.
    """
    if out is None:
        return
    path = Path(out)
    suffix = path.suffix.lower()
    if suffix not in suffixes and not (pictures and not suffix):
        folder = ", or a name without suffix: a folder of PNGs" if pictures else ""
        raise ValueError(f"--out {out} must end in {', '.join(suffixes)}{folder}.")
    if path.is_dir() == bool(suffix) and path.exists():
        raise ValueError(f"--out {out} is a {'folder' if suffix else 'file'}. Choose another name.")
    if path.exists() and not overwrite and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(f"--out {out} exists. Choose another name, or pass --overwrite.")
    if path.is_dir() and any(not re.fullmatch(r"\d+\.png", entry.name) for entry in path.iterdir()):
        raise ValueError(
            f"--out {out} holds other files than numbered PNGs, so it is not replaced. Choose another name."
        )
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"--out {out} cannot be written: {parent} is not a folder one may write to.")
    if suffix == ".parquet":
        _needs("pyarrow", "table", out)
    if not suffix:
        _needs("PIL", "image", out)


def _needs(module: str, extra: str, out: str) -> None:
    import importlib

    try:
        importlib.import_module(module)
    except ImportError:
        raise ImportError(
            f'--out {out} needs {module}, which is not installed. Run: pip install "nelbo[{extra}]"'
        ) from None


def write_rows(out: str | None, array: npt.NDArray[Any], names: Sequence[str], header: bool = True) -> None:
    """Write an array to a file by its suffix (.npy keeps its shape), or as CSV to standard output.

    Arguments:
        out: The file, or None.
        array: (n, ...).
        names: One for each of the values of a row.
        header: Whether CSV begins with the names.
    """
    if out is None:
        for line in _csv(array, names, header):
            sys.stdout.write(line)
        return
    writers: dict[str, Callable[[BinaryIO], object]] = {
        ".npy": lambda file: _write_npy(file, array),
        ".csv": lambda file: file.writelines(line.encode() for line in _csv(array, names, header=True)),
        ".parquet": lambda file: _write_parquet(file, array, names),
    }
    write_whole(Path(out), writers[Path(out).suffix.lower()])


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file, all or nothing: what was there stays until all is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _beside(path)
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_pictures(out: str, pictures: npt.NDArray[np.uint8]) -> None:
    """Write 8-bit images (n, h, w) or (n, h, w, c) as 000000.png, ... into a folder, all or none."""
    from PIL import Image

    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    part, old = _beside(path), _beside(path)
    try:
        part.mkdir()
        for i, picture in enumerate(pictures):
            Image.fromarray(picture).save(part / f"{i:06d}.png")
        if path.exists():
            os.rename(path, old)
        os.rename(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if old.exists() and not path.exists():
            os.rename(old, path)
        shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def _csv(array: npt.NDArray[Any], names: Sequence[str], header: bool) -> Iterator[str]:
    """Lines of CSV: each number in the fewest digits that give it back."""
    if header:
        yield ",".join(_quoted(name) for name in names) + "\n"
    for start in range(0, len(array), ROWS_AT_ONCE):
        rows = array[start : start + ROWS_AT_ONCE].reshape(-1, len(names)).astype("U32")
        yield "".join(",".join(row) + "\n" for row in rows.tolist())


def _quoted(name: str) -> str:
    if not re.search(r'[,;"\n\r\t]', name):
        return name
    return '"' + name.replace('"', '""') + '"'


def _write_npy(file: BinaryIO, array: npt.NDArray[Any]) -> None:
    import numpy as np

    np.save(file, array, allow_pickle=False)


def _write_parquet(file: BinaryIO, array: npt.NDArray[Any], names: Sequence[str]) -> None:
    import pyarrow
    import pyarrow.parquet

    flat = array.reshape(len(array), -1)
    columns = {name: flat[:, j] for j, name in enumerate(names)}
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
