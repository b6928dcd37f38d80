"""Data in, rows and pictures out: each output is whole or absent, and replaces nothing unless told
to.
"""

from __future__ import annotations

__all__ = [
    "check_fits",
    "check_output",
    "named",
    "open_model",
    "read",
    "write_pictures",
    "write_results",
    "write_rows",
]

import os
import re
import secrets
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

from . import heavy, stdin
from .flags import visible
from .interrupt import raising
from .reading import Data, ReadOptions

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..data import Source
    from ..fitted import Fitted

    Columns = Mapping[str, npt.NDArray[Any]]

SUFFIXES = (".npy", ".csv", ".parquet")
ROWS_AT_ONCE = 1024
MARK = ".nelbo"
"""File in a folder of named PNGs that lists them: a folder that holds others, too, is not
replaced.
"""


def read(where: str, reading: ReadOptions) -> Data:
    """Read DATA, tell what was decided about it, and refuse what is no number, by row and
    column.
    """
    from ..data import DataWarning, load

    piped = where in (stdin.STANDARD_INPUT, stdin.NAME)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # all that these say is in the notes
        if piped:
            data = stdin.read(reading, _checked)
        else:
            source = load(where, **reading.arguments())
    for note in data.notes if piped else source.notes:
        warnings.warn(note, DataWarning, stacklevel=2)
    return data if piped else _checked(source, where, where, reading)


def _checked(source: Source, name: str, path: str, reading: ReadOptions) -> Data:
    """Refuse values that are not finite: in a file of text, by the line they stand in."""
    from ..data import Values
    from ..data.read.delimited import Reading, line_of

    try:
        values = Values(source.array, name=name, columns=source.columns)
        return Data(values, source.files, source.notes)
    except ValueError as error:
        told = str(error).replace(", as by sklearn.impute.SimpleImputer", "")
        found = re.search(r"\brow (\d+)", told)
        if found is None or not re.search(r"\.[ct]sv(\.\w+)?$", path.lower()):
            raise ValueError(told) from error
        asked = {name: value for name, value in reading.arguments().items() if name != "resize"}
        line = line_of(Path(path).expanduser(), Reading(**asked), int(found[1]))
        told = told.replace(found[0], f"line {line}")
        counted = "" if source.columns else " (columns counting from 0)"
        raise ValueError(told.replace(" (counting from 0)", counted)) from error


def open_model(run: str, device: str) -> Fitted:
    """Load a model that `nelbo fit` wrote."""
    heavy.load("fitted")
    from ..fitted import Fitted
    from ..training.precision import resolve_device

    raising()
    place = resolve_device(device)
    return Fitted.load(run, place)


def check_fits(model: Fitted, data: Data) -> None:
    """Refuse data that have other columns than the model, or another shape."""
    model.schema.to_model(data.values[:1], noise="centre")


def check_output(
    out: str | None, overwrite: bool, pictures: bool = False, suffixes: Sequence[str] = SUFFIXES
) -> None:
    """Refuse an output before anything is computed for it.

    Arguments:
        out: A file with one of the suffixes; or, for ``pictures``, a folder. None is standard
            output.
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
    if path.is_dir() and not _ours(path):
        raise ValueError(
            f"--out {out} holds other files than PNGs that nelbo wrote, so it is not replaced. "
            "Choose another name."
        )
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(
            f"--out {out} cannot be written: {parent} is not a folder one may write to."
        )
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


def write_rows(
    out: str | None,
    array: npt.NDArray[Any],
    names: Sequence[str],
    header: bool = True,
    lead: Columns | None = None,
) -> None:
    """Write an array to a file by its suffix (.npy keeps its shape), or as CSV to standard output.

    Arguments:
        out: The file, or None.
        array: (n, ...).
        names: One for each of the values of a row.
        header: Whether CSV on standard output begins with the names.
        lead: Columns to write before these; an .npy holds the array alone.
    """
    flat = array.reshape(len(array), -1)
    columns = {**(lead or {}), **{name: flat[:, j] for j, name in enumerate(names)}}
    if out is None:
        for line in _csv(columns, header):
            sys.stdout.write(visible(line) if sys.stdout.isatty() else line)
    else:
        _write_columns(out, columns, array)


def write_results(out: str, data: Data, results: Columns, mask: npt.NDArray[np.bool_]) -> None:
    """Write results of some rows to a file: after a row's number and name, or, as an .npy, stacked
    by themselves.
    """
    import numpy as np

    lead = {name: column[mask] for name, column in _numbered(data).items()}
    _write_columns(out, {**lead, **results}, np.stack([*results.values()], axis=1))


def _write_columns(out: str, columns: Columns, array: npt.NDArray[Any]) -> None:
    writers: dict[str, Callable[[BinaryIO], object]] = {
        ".npy": lambda file: _write_npy(file, array),
        ".csv": lambda file: file.writelines(line.encode() for line in _csv(columns, header=True)),
        ".parquet": lambda file: _write_parquet(file, columns),
    }
    write_whole(Path(out), writers[Path(out).suffix.lower()])


def _numbered(data: Data) -> Columns:
    """Return what tells rows apart in a file of results: their numbers from 0, and the names of
    pictures.
    """
    import numpy as np

    return {"row": np.arange(len(data.values)), **named(data)}


def named(data: Data) -> Columns:
    """Return the names of pictures as a column; of other data there is none."""
    import numpy as np

    return {} if data.files is None else {"file": np.array(data.files)}


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


def write_pictures(
    out: str, pictures: npt.NDArray[np.uint8], names: Sequence[str] | None = None
) -> None:
    """Write 8-bit images (n, h, w) or (n, h, w, c) as PNGs into a folder, all or none.

    Arguments:
        out: The folder.
        pictures: The images.
        names: Of the files they belong to, whose names they keep; None calls them 000000.png, ...
    """
    from PIL import Image

    path = Path(out)
    places = [f"{i:06d}.png" for i in range(len(pictures))] if names is None else _as_png(names)
    path.parent.mkdir(parents=True, exist_ok=True)
    part, old = _beside(path), _beside(path)
    try:
        part.mkdir()
        if names is not None:
            (part / MARK).write_text("\n".join(places) + "\n", encoding="utf-8")
        for place, picture in zip(places, pictures, strict=True):
            (part / place).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(part / place)
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


def _as_png(names: Sequence[str]) -> list[str]:
    """Return names that end in .png, in place of the suffix where that leaves them different."""
    short = [str(PurePosixPath(name).with_suffix(".png")) for name in names]
    twice = {name for name, count in Counter(short).items() if count > 1}
    return [f"{name}.png" if png in twice else png for name, png in zip(names, short, strict=True)]


def _ours(folder: Path) -> bool:
    """Whether a folder holds nothing but PNGs that an earlier command wrote."""
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if MARK in files:
        return files == {MARK, *(folder / MARK).read_text(encoding="utf-8").splitlines()}
    return all(re.fullmatch(r"\d+\.png", name) for name in files)


def _csv(columns: Columns, header: bool) -> Iterator[str]:
    """Lines of CSV: each number in the fewest digits that give it back."""
    if header:
        yield ",".join(_quoted(name) for name in columns) + "\n"
    rows = len(next(iter(columns.values())))
    for start in range(0, rows, ROWS_AT_ONCE):
        cells = [_cells(column[start : start + ROWS_AT_ONCE]) for column in columns.values()]
        yield "".join(",".join(row) + "\n" for row in zip(*cells, strict=True))


def _cells(column: npt.NDArray[Any]) -> list[str]:
    if column.dtype.kind == "U":
        return [_quoted(text) for text in column.tolist()]
    texts: list[str] = column.astype("U32").tolist()
    return texts


def _quoted(name: str) -> str:
    if not re.search(r'[,;"\n\r\t]', name):
        return name
    return '"' + name.replace('"', '""') + '"'


def _write_npy(file: BinaryIO, array: npt.NDArray[Any]) -> None:
    import numpy as np

    np.save(file, array, allow_pickle=False)


def _write_parquet(file: BinaryIO, columns: Columns) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(dict(columns)), file)
