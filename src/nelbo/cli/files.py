"""Data in, rows and pictures out.

Each output is whole or absent, and replaces nothing without --overwrite.
"""

from __future__ import annotations

__all__ = [
    "check_output",
    "named",
    "open_model",
    "read",
    "read_for",
    "write_json",
    "write_pictures",
    "write_results",
    "write_rows",
    "write_table",
]

import dataclasses
import json
import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

from ..whole import write_file, write_folder
from . import heavy, stdin
from .flags import visible
from .interrupt import raising
from .mixed import Kinds
from .reading import Data, ReadOptions

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..data import Source
    from ..fitted import Fitted

    Columns = Mapping[str, npt.NDArray[Any]]

MARK = ".nelbo"
"""The file that lists the PNGs of a folder: one that holds others, too, is not replaced."""


def read(where: str, reading: ReadOptions, kinds: Kinds = Kinds()) -> Data:  # noqa: B008 (frozen)
    """Read DATA, tell what was decided about it, and refuse what it cannot hold, by its place.

    Arguments:
        where: DATA.
        reading: How it is read.
        kinds: What its columns may be, what its rows are conditioned on, and whether values may be
            missing.
    """
    from ..data import DataWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # all that these say is in the notes
        if where in (stdin.STANDARD_INPUT, stdin.NAME):
            data = stdin.read(lambda path, name: _read_file(path, name, reading, kinds))
        else:
            data = _read_file(where, where, reading, kinds)
    for note in data.notes:
        warnings.warn(note, DataWarning, stacklevel=2)
    return data


def _read_file(where: str, name: str, reading: ReadOptions, kinds: Kinds) -> Data:
    """Read DATA that is no standard input: columns that are no numbers by their kinds."""
    from ..data import load
    from ..data.read.cells import NotNumbers

    found = None
    if kinds.first(where):
        found = _by_kinds(kinds, where, name, reading)
    if found is not None:
        return found
    try:
        source = load(where, **reading.arguments(), condition=kinds.condition)
    except NotNumbers:
        if kinds.schema != "auto":
            raise
        found = _by_kinds(kinds, where, name, reading)
        if found is None:
            raise
        return found
    return _checked(source, name, where, reading, kinds.missing)


def _by_kinds(kinds: Kinds, where: str, name: str, reading: ReadOptions) -> Data | None:
    """Read a file by its columns' kinds, and tell errors by the line."""
    try:
        return kinds.read(where, name, reading)
    except ValueError as error:
        told = _in_lines(str(error).removeprefix(f"{name}: "), where, reading)
        if told == str(error):
            raise
        raise ValueError(f"{name}: {told}") from error


def _checked(
    source: Source, name: str, path: str, reading: ReadOptions, missing: bool = True
) -> Data:
    """Refuse values that are infinite, or missing where none may be: in a file of text, by the line
    they stand in.
    """
    from ..data import Values

    try:
        values = Values(
            source.array,
            name=name,
            columns=source.columns,
            c=source.conditions,
            missing=missing,
        )
        return Data(values, source.files, source.notes)
    except ValueError as error:
        told = str(error).replace(", as by sklearn.impute.SimpleImputer", "")
        raise ValueError(_in_lines(told, path, reading, bool(source.columns))) from error


def _in_lines(told: str, path: str, reading: ReadOptions, named: bool = True) -> str:
    """Return what is said of a row of a file of text with the line that it stands in.

    Arguments:
        told: What is said, with "row" and its number.
        path: The file.
        reading: How it is read.
        named: Whether its columns have names.
    """
    from ..data.read.delimited import line_of
    from ..data.read.reading import Reading

    found = re.search(r"\brow (\d+)", told)
    if found is None or not re.search(r"\.[ct]sv(\.\w+)?$", path.lower()):
        return told
    asked = {name: value for name, value in reading.arguments().items() if name != "resize"}
    line = line_of(Path(path).expanduser(), Reading(**asked), int(found[1]))
    counted = "" if named else " (columns counting from 0)"
    return told.replace(found[0], f"line {line}").replace(" (counting from 0)", counted)


def open_model(run: str, device: str) -> Fitted:
    """Load a model that `nelbo fit` wrote."""
    heavy.load("fitted")
    from ..fitted import Fitted
    from ..training.precision import resolve_device

    raising()
    place = resolve_device(device)
    return Fitted.load(run, place)


def read_for(model: Fitted, where: str, reading: ReadOptions) -> Data:
    """Read DATA with what its rows are conditioned on, if the model needs that.

    Raises:
        ValueError: The data have other columns than the model, or another shape; or a condition is
            none that the model can have.
    """
    condition = None
    if model.condition is not None:
        condition = model.condition.names
    kinds = Kinds(model.schema.table, condition, model.options.missing == "auto")
    try:
        data = read(where, reading, kinds)
    except ValueError as error:
        size = model.schema.data_shape[:2]
        if model.schema.kind != "images" or "brings them to one size" not in str(error):
            raise
        told = re.sub(r"resize=.*", f"resize={size} brings them to that of the model.", str(error))
        raise ValueError(told) from error
    data = _by_name(model, where, data)
    model.views(data.values[:1], "centre")  # says where columns or shape are others
    model.conditions_of(data.values)
    return data


def _by_name(model: Fitted, where: str, data: Data) -> Data:
    """Return the columns of numbers in the order of those fitted, where both have names.

    Raises:
        ValueError: One is absent, or was not there at the fit.
    """
    from ..data.table.schema import absent

    wanted, got = model.schema.columns, data.values.columns
    if model.schema.table is not None or wanted is None or got is None:
        return data
    wanted, got = (tuple(name.strip() for name in names) for names in (wanted, got))
    if wanted == got:
        return data
    odd = [name for name in got if name not in wanted]
    for name in wanted:
        if name not in got:
            raise ValueError(f"{where}: {absent(name, odd, got)}")
    if odd:
        raise ValueError(
            f"{where}: X has the column {odd[0]!r}, which the rows fitted did not have. Drop it."
        )
    places = tuple(got.index(name) for name in wanted)
    return dataclasses.replace(data, values=data.values.in_order(places), places=places)


def check_output(
    out: str | None,
    overwrite: bool,
    pictures: bool = False,
    suffixes: Sequence[str] = (".npy", ".csv", ".parquet"),
) -> None:
    """Refuse an output before anything is computed for it.

    Arguments:
        out: A file with one of the suffixes; or, for ``pictures``, a folder. None is standard
            output.
        overwrite: Whether it may exist.
        pictures: Whether a name without suffix means a folder of PNGs.
        suffixes: The suffixes of files that can be written.

    Raises:
        ValueError: It exists, has an unknown suffix, or no file can be made there.
        ImportError: The package that writes it is not installed.
    """
    if out is None:
        return
    path = Path(out)
    suffix = path.suffix.lower()
    if pictures and not suffix:
        _check_folder(path, out, overwrite)
        needed = {"PIL": "image"}
    elif suffix in suffixes:
        _check_file(path, out, overwrite)
        needed = {}
        if suffix == ".parquet":
            needed = {"pyarrow": "table"}
    else:
        kinds = ", ".join(suffixes)
        if pictures:
            kinds += ", or a name without suffix: a folder of PNGs"
        raise ValueError(f"--out {out} must end in {kinds}.")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"--out {out} cannot be written: {parent} is not a writable folder.")
    for module, extra in needed.items():
        _needs(module, extra, out)


def _check_file(path: Path, out: str, overwrite: bool) -> None:
    """Refuse what is a folder, or a file that may not be replaced."""
    if path.is_dir():
        raise ValueError(f"--out {out} is a folder. Choose another name.")
    if path.exists() and not overwrite:
        raise ValueError(f"--out {out} exists. Choose another name, or pass --overwrite.")


def _check_folder(path: Path, out: str, overwrite: bool) -> None:
    """Refuse what is a file, or a folder that may not be replaced."""
    if not path.exists():
        return
    if not path.is_dir():
        raise ValueError(f"--out {out} is a file. Choose another name.")
    if any(path.iterdir()) and not overwrite:
        raise ValueError(f"--out {out} exists. Choose another name, or pass --overwrite.")
    if not _ours(path):
        raise ValueError(
            f"--out {out} holds other files than PNGs that nelbo wrote, so it is not replaced. "
            "Choose another name."
        )


def _needs(module: str, extra: str, out: str) -> None:
    """Refuse an output whose package is not installed."""
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
        lines = _csv(columns, header)
        if sys.stdout.isatty():
            lines = map(visible, lines)
        sys.stdout.writelines(lines)
    else:
        _write_columns(out, columns, array)


def write_results(out: str, data: Data, results: Columns, mask: npt.NDArray[np.bool_]) -> None:
    """Write results of some rows to a file, each after the row's number and name.

    An .npy holds the results alone, side by side.
    """
    import numpy as np

    lead = {name: column[mask] for name, column in _numbered(data).items()}
    _write_columns(out, {**lead, **results}, np.stack([*results.values()], axis=1))


def write_table(out: str, columns: Columns) -> None:
    """Write columns to a .csv or .parquet file."""
    import numpy as np

    _write_columns(out, columns, np.empty(0))


def write_json(out: str, value: Any) -> None:
    """Write a JSON file."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"
    write_file(Path(out), lambda file: file.write(text.encode()))


def _write_columns(out: str, columns: Columns, array: npt.NDArray[Any]) -> None:
    """Write columns to a file by its suffix; an .npy holds the array instead."""
    writers: dict[str, Callable[[BinaryIO], object]] = {
        ".npy": lambda file: _write_npy(file, array),
        ".csv": lambda file: file.writelines(line.encode() for line in _csv(columns, header=True)),
        ".parquet": lambda file: _write_parquet(file, columns),
    }
    write_file(Path(out), writers[Path(out).suffix.lower()])


def _numbered(data: Data) -> Columns:
    """Return what identifies rows in a file of results: numbers from 0, and names of pictures."""
    import numpy as np

    return {"row": np.arange(len(data.values)), **named(data)}


def named(data: Data) -> Columns:
    """Return the names of pictures as a column; of other data there is none."""
    import numpy as np

    if data.files is None:
        return {}
    return {"file": np.array(data.files)}


def write_pictures(
    out: str, pictures: npt.NDArray[np.uint8], names: Sequence[str] | None = None
) -> None:
    """Write 8-bit images (n, h, w) or (n, h, w, c) as PNGs into a folder, all or none.

    Arguments:
        out: The folder.
        pictures: The images.
        names: The names of the files they belong to, which they keep; None calls them 000000.png
            and so on.
    """
    from PIL import Image

    places = [f"{i:06d}.png" for i in range(len(pictures))]
    if names is not None:
        places = _as_png(names)

    def fill(folder: Path) -> None:
        if names is not None:
            (folder / MARK).write_text("\n".join(places) + "\n", encoding="utf-8")
        for place, picture in zip(places, pictures, strict=True):
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / place)

    write_folder(Path(out), fill)


def _as_png(names: Sequence[str]) -> list[str]:
    """Return names with .png for a suffix, or after the suffix where names would be the same."""
    short = [str(PurePosixPath(name).with_suffix(".png")) for name in names]
    count = Counter(short)
    for i, name in enumerate(names):
        if count[short[i]] > 1:
            short[i] = f"{name}.png"
    return short


def _ours(folder: Path) -> bool:
    """Return whether a folder holds nothing but PNGs that an earlier command wrote."""
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if MARK in files:
        return files == {MARK, *(folder / MARK).read_text(encoding="utf-8").splitlines()}
    return all(re.fullmatch(r"\d+\.png", name) for name in files)


def _csv(columns: Columns, header: bool, together: int = 1024) -> Iterator[str]:
    """Yield lines of CSV, some rows together, each number in the fewest digits that identify it."""
    if header:
        yield ",".join(_quoted(name) for name in columns) + "\n"
    rows = len(next(iter(columns.values())))
    for start in range(0, rows, together):
        cells = [_cells(column[start : start + together]) for column in columns.values()]
        yield "".join(",".join(row) + "\n" for row in zip(*cells, strict=True))


def _cells(column: npt.NDArray[Any]) -> list[str]:
    """Return the cells of a column as text."""
    if column.dtype.kind in "UO":
        return [_quoted(text or "") for text in column.tolist()]
    texts: list[str] = column.astype("U32").tolist()
    return texts


def _quoted(name: str) -> str:
    """Return a name as a cell of CSV."""
    if not re.search(r'[,;"\n\r\t]', name):
        return name
    return '"' + name.replace('"', '""') + '"'


def _write_npy(file: BinaryIO, array: npt.NDArray[Any]) -> None:
    """Write an array as NumPy does."""
    import numpy as np

    np.save(file, array, allow_pickle=False)


def _write_parquet(file: BinaryIO, columns: Columns) -> None:
    """Write columns as pyarrow does."""
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(dict(columns)), file)
