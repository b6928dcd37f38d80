"""A name, a file or a folder of pictures -> one array of numbers.

"digits" comes with scikit-learn; "mnist", "fashion_mnist" and "frey_faces" are read from the folder
that the environment variable NELBO_DATA names. Nothing is downloaded and nothing is unpickled.
"""

from __future__ import annotations

import dataclasses
import difflib
import gzip
import importlib
import importlib.util
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from nelbo.brief import Brief
from nelbo.data.conditions import Conditions, apart
from nelbo.data.read import arrays, images
from nelbo.data.read.delimited import csv_columns, csv_frame, read_csv
from nelbo.data.read.reading import Note, Reading
from nelbo.data.read.tables import parquet_columns, parquet_frame, read_parquet
from nelbo.data.warned import DataWarning, listed

__all__ = ["BUILT_IN", "Source", "load", "load_frame", "read_columns"]

Array = npt.NDArray[Any]

BUILT_IN = ("digits", "mnist", "fashion_mnist", "frey_faces")
"""The data sets that have a name."""


@dataclass(frozen=True, repr=False)
class Source(Brief):
    """Data as stored.

    Attributes:
        array: (n, d), (n, h, w), or with channels.
        columns: Names of the d columns, if any.
        name: What the data are called.
        files: The name of each picture, where they come from a folder.
        notes: What was decided about the files, in words.
        conditions: What rows are conditioned on, where that was asked for.
    """

    array: Array
    columns: tuple[str, ...] | None
    name: str
    files: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    conditions: Conditions | None = None


def load(
    where: str | Path,
    *,
    header: bool | None = None,
    index_column: str | int | None = None,
    delimiter: str | None = None,
    missing: str | Sequence[str] | None = None,
    resize: tuple[int, int] | None = None,
    condition: Sequence[str] | None = None,
) -> Source:
    """Read data; missing cells of tables come back as NaN.

    Arguments:
        where: "digits"; a name in NELBO_DATA ("mnist", or "mnist:x_test" for another of its
            arrays); an .npy, .npz ("file.npz:key" for one of its arrays), .csv, .tsv (both also
            packed, as .csv.gz) or .parquet file; or a folder of images, with those in its
            subfolders. What is there in the file system comes before a name.
        header: Whether the first line of a text file holds names.
        index_column: Name or place, from 0, of a column of a table to leave out; "none" keeps all.
        delimiter: What separates the fields of a text file: a character, or "tab"; "blanks" is any
            number of them.
        missing: A word, or words, that stand for missing cells of a text file, beside the usual
            ones.
        resize: (height, width) that all pictures of a folder are brought to.
        condition: What rows are conditioned on, which is read apart from them and may be text:
            names or places of columns of a table; names of arrays of an .npz ("y" stands for
            "y_train" beside "x_train"); "label" of digits; or "folder", the subfolder of a picture.

    What is None is found out from the file; `Source.notes` says what, and a `DataWarning` what may
    be wrong.

    Raises:
        ValueError: Absent (near names are suggested), empty, unreadable, or not numbers; with the
            cure.
        ImportError: A file type whose reader is not installed.
    """
    reading = Reading(
        header=header,
        index_column=index_column,
        delimiter=delimiter,
        missing=missing,
        condition=condition,
    )
    source, notes = _load(where, reading, resize)
    for note in notes:
        if note.loud:
            warnings.warn(note.text, DataWarning, stacklevel=2)
    return dataclasses.replace(source, notes=tuple(note.text for note in notes))


def load_frame(
    where: str | Path,
    *,
    header: bool | None = None,
    index_column: str | int | None = None,
    delimiter: str | None = None,
    missing: str | Sequence[str] | None = None,
) -> tuple[Any, tuple[str, ...]] | None:
    """Read a .csv, .tsv or .parquet file whose columns may be of different kinds.

    Arguments:
        where: The file.
        header: Whether the first line of a text file holds names.
        index_column: Name or place of a column to leave out; "none" keeps all.
        delimiter: What separates the fields of a text file.
        missing: Words that stand for missing cells of a text file, beside the usual ones.

    Returns:
        A table of pyarrow, and what was decided about the file, in words; None where ``where`` is
        no such file.

    Raises:
        ValueError: It cannot be read.
        ImportError: pyarrow is not installed.
    """
    if str(where) in BUILT_IN or not _expanded(str(where)).is_file():
        return None
    path = _expanded(str(where))
    suffixes = [suffix.lower() for suffix in path.suffixes]
    reading = Reading(
        header=header, index_column=index_column, delimiter=delimiter, missing=missing
    )
    if suffixes[-1:] == [".parquet"]:
        _refuse_options(f"{path}, a .parquet file", reading, None, ("index_column",))
        table, notes = parquet_frame(path, reading)
    elif {".csv", ".tsv"} & {*suffixes[-2:]}:
        table, notes = csv_frame(path, reading)
    else:
        return None
    return table, tuple(note.text for note in notes)


def read_columns(where: str | Path, names: Sequence[str]) -> Conditions:
    """Read the conditions of rows from a .csv, .tsv or .parquet file, and leave other columns out.

    Raises:
        ValueError: The file is absent or of another kind, lacks a column, or a cell is missing.
        ImportError: pyarrow is not installed.
    """
    path = _expanded(str(where))
    if not path.is_file():
        raise ValueError(_missing(path))
    reading = Reading(condition=names)
    if path.suffix.lower() == ".parquet":
        return parquet_columns(path, reading)
    return csv_columns(path, reading)


def _load(
    where: str | Path, reading: Reading, resize: tuple[int, int] | None
) -> tuple[Source, list[Note]]:
    """Read data and return what was decided about them beside them."""
    name, _, inner = str(where).partition(":")
    notes: list[Note] = []
    if name in BUILT_IN:
        found = Path(str(where))
        if not found.is_dir() or not images.names(found):
            if found.exists():
                text = f"what lies at {found.resolve()} is not read."
                notes.append(Note(f"{where!r} is the built-in data set; {text}", True))
            _refuse_options(f"the built-in {name!r}", reading, resize, ("condition",))
            return _built_in(name, inner, reading), notes
        text = (
            f"{where!r} is the folder {found.resolve()}, not the built-in data set. Rename it, or "
            "work in another folder, to have that."
        )
        notes.append(Note(text, True))
    text, key = _split_key(str(where))
    path = _expanded(text)
    if not path.exists():
        raise ValueError(_missing(path))
    if not path.is_dir():
        return _read_file(path, key, reading, resize)
    known = ("resize", "condition")
    _refuse_options(f"{path}, a folder of pictures", reading, resize, known)
    pictures, files, told = images.read_folder(path, resize)
    folders = [PurePosixPath(file).parent.as_posix() for file in files]
    given = _beside(path, {"folder": np.array(folders)}, reading)
    source = Source(pictures, None, path.resolve().name, files, conditions=given)
    return source, [*notes, *told]


def _read_file(
    path: Path, key: str | None, reading: Reading, resize: tuple[int, int] | None
) -> tuple[Source, list[Note]]:
    """Read a file by its suffix."""
    suffix = path.suffix.lower()
    packed = Path(path.stem).suffix.lower()
    if packed in (".csv", ".tsv") and suffix in (".gz", ".bz2", ".xz"):
        suffix = packed + suffix
    reader, options = _reader(suffix)
    if reader is None:
        raise ValueError(
            f"{path} is of no known kind ({path.suffix or 'no suffix'}). Pass {_kinds()}."
        )
    try:
        if path.stat().st_size == 0:
            raise ValueError(f"{path} is empty (0 bytes). Write the data again.")
        _refuse_options(f"{path}, a {suffix} file", reading, resize, options)
        return reader(path, key, reading)
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read: {error.strerror or error}. Check the file and its permissions."
        ) from error


def _refuse_options(what: str, reading: Reading, resize: object, known: Sequence[str]) -> None:
    """Raise ValueError for an option of another kind of data: it would be dropped in silence."""
    given = {**vars(reading), "resize": resize}
    odd = [name for name, value in given.items() if value is not None and name not in known]
    if odd:
        raise ValueError(f"{odd[0]} is not for {what}. Leave it out.")


def _expanded(text: str) -> Path:
    """Return a path with ~ replaced.

    Raises:
        ValueError: The system cannot look at it, or it is a pipe, which would be waited on.
    """
    try:
        path = Path(text).expanduser()
        odd = path.exists() and not path.is_file() and not path.is_dir()
    except RuntimeError:
        raise ValueError(
            f"{text} names the home of a user who is unknown here. Write the whole path."
        ) from None
    except OSError as error:
        raise ValueError(
            f"{text} cannot be looked at: {error.strerror or error}. Check the path."
        ) from None
    if odd:
        raise ValueError(
            f"{text} is neither a file nor a folder. Write its contents to a file, or pass - to "
            "pipe them."
        )
    return path


def _split_key(where: str) -> tuple[str, str | None]:
    """Divide "file.npz:key"; a colon elsewhere, as in C:\\data.npz, belongs to the path."""
    at = where.lower().rfind(".npz:")
    if at < 0:
        return where, None
    return where[: at + 4], where[at + 5 :]


def _beside(where: Path | str, arrays: Mapping[str, Array], reading: Reading) -> Conditions | None:
    """Return what rows are conditioned on, of what lies beside them, where it is asked for.

    Raises:
        ValueError: There is none of that name.
    """
    if reading.condition is None:
        return None
    for name in reading.condition:
        if name not in arrays:
            known = listed([*map(repr, arrays)]) or "none"
            raise ValueError(
                f"{where} has no {name!r} to condition on. What lies beside its rows is {known}."
            )
    return Conditions.of({name: arrays[name] for name in reading.condition})


def _built_in(name: str, key: str, reading: Reading) -> Source:
    """Return a built-in data set."""
    if name == "digits":
        return _digits(key, reading)
    return _named(name, key or None, reading)


def _digits(key: str, reading: Reading) -> Source:
    """Return the 1,797 digits of scikit-learn, (n, 8, 8)."""
    if key:
        raise ValueError(f"'digits' is one array without keys, got 'digits:{key}'. Pass 'digits'.")
    found, path = importlib.util.find_spec("sklearn"), Path()
    if found is not None and found.origin is not None:
        # read directly, since importing scikit-learn's data sets takes a while
        path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():  # it may be elsewhere in another release
        digits = importlib.import_module("sklearn.datasets").load_digits()
        pictures, label = np.asarray(digits.images), np.asarray(digits.target)
    else:
        with gzip.open(path, "rt") as file:
            rows = np.loadtxt(file, delimiter=",")
        pictures, label = rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]
    given = _beside("'digits'", {"label": label}, reading)
    return Source(pictures, None, "digits", conditions=given)


def _named(name: str, key: str | None, reading: Reading) -> Source:
    """Return a data set from the folder that NELBO_DATA names."""
    folder = os.environ.get("NELBO_DATA")
    if not folder:
        raise ValueError(
            f"{name!r} is read from the folder that NELBO_DATA names, which is not set. "
            "Run: export NELBO_DATA=/path/to/data"
        )
    path = _expanded(folder) / f"{name}.npz"
    if not path.is_file():
        raise ValueError(
            f"{name!r} should be {path}, which does not exist. Put {path.name} there, or point "
            "NELBO_DATA elsewhere."
        )
    source = _read_numpy(path, key, reading)[0]
    array = source.array
    if name == "frey_faces" and array.ndim == 2:  # its file holds flat rows
        array = array.reshape(len(array), 28, 20)
    return Source(array, None, _keyed(name, key), conditions=source.conditions)


def _keyed(name: str, key: str | None) -> str:
    """Return what data are called, with the key of an array among several."""
    if key:
        return f"{name}:{key}"
    return name


def _read_numpy(path: Path, key: str | None, reading: Reading) -> tuple[Source, list[Note]]:
    """Read an .npy, or one array of an .npz."""
    with path.open("rb") as file:  # not numpy's own opening, which leaves broken archives open
        found = _told(path, lambda: arrays.opened(file))
        if isinstance(found, np.ndarray):
            rows, given = apart(_numbers(found, str(path)), reading.condition)
            if given is not None:
                given = Conditions.of(given)
            return Source(rows, None, path.stem, conditions=given), []
        chosen = _choose(path, list(found.files), key)
        array = _told(path, lambda: arrays.member(path, found, chosen))
        beside = {
            name: _told(path, partial(arrays.member, path, found, key))
            for name, key in _keys(reading.condition or (), found.files, chosen).items()
        }
    source = Source(_numbers(array, f"{path}:{chosen}"), None, _keyed(path.stem, key))
    return dataclasses.replace(source, conditions=_beside(path, beside, reading)), []


def _keys(wanted: Sequence[str], there: Sequence[str], chosen: str) -> dict[str, str]:
    """Return names of conditions, and of the arrays of an .npz that hold them.

    Beside "x_test", "y" stands for "y_test".
    """
    _, underscore, suffix = chosen.rpartition("_")
    found = {}
    for name in wanted:
        for key in (name, f"{name}{underscore}{suffix}"):
            if key in there and name not in found:
                found[name] = key
    return found


def _told(path: Path, read: Callable[[], Any]) -> Any:
    """Return what `read` returns, with numpy's many errors told as one."""
    try:
        return read()
    except (MemoryError, arrays.PackedError):
        raise
    # of any kind: tokenize.TokenError, RuntimeError for a password, zlib.error, ...
    except Exception as error:
        raise ValueError(_unreadable(path, error)) from error


def _choose(path: Path, names: list[str], key: str | None) -> str:
    """Return the name of the array to read: the one asked for, the only one, or a usual one."""
    if key is not None:
        if key in names:
            return key
        raise ValueError(
            f"{path} has no array {key!r}; it holds {', '.join(names) or 'none'}. "
            f"Pass {path.name}:KEY with one of these."
        )
    if not names:
        raise ValueError(f"{path} holds no array. Write one with numpy.savez.")
    if len(names) == 1:
        return names[0]
    for usual in ("x_train", "X", "x", "data", "images"):
        if usual in names:
            return usual
    raise ValueError(
        f"{path} holds several arrays: {', '.join(names)}. Choose one: {path.name}:{names[0]}"
    )


def _unreadable(path: Path, error: Exception) -> str:
    """Say why numpy cannot read a file, and what to do."""
    first: object = error
    if error.args and isinstance(error.args[0], str):
        first = error.args[0]
    reason = " ".join(str(first).split()).rstrip(".")
    if "encrypted" in reason:
        return (
            f"{path} is encrypted. Unpack it with its password, and write it again with "
            "numpy.savez."
        )
    if "allow_pickle" in reason or "pickled" in reason:
        return (
            f"{path} is not a plain array of numbers (it holds a pickle, which nelbo never opens). "
            "Save it as X.astype(float)."
        )
    return (
        f"{path} is not a readable {path.suffix} file ({reason}). Write it again with "
        "numpy.save or savez."
    )


def _numbers(array: Any, where: str) -> Array:
    """Refuse what could not be data, such as labels; the values are checked where they are used."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{where} is not an array. Write it again with numpy.savez.")
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"{where} has dtype {array.dtype}, but real numbers are required. Save it as "
            "X.astype(float)."
        )
    if not 2 <= array.ndim <= 4 or array.size == 0:
        raise ValueError(
            f"{where} has shape {array.shape}, but a table (n, d) or images (n, h, w) or "
            "(n, h, w, c) are required. Choose another array, or reshape it."
        )
    return array


def _missing(path: Path) -> str:
    """Say that a path does not exist, and what may be meant."""
    folder, known = path.parent, [*BUILT_IN]
    cure = f"Pass {_kinds()}."
    if folder.is_dir():
        known = [*(entry.name for entry in folder.iterdir()), *known]
    if close := difflib.get_close_matches(path.name, known, n=3):
        cure = f"Did you mean {' or '.join(close)}?"
    if not folder.is_dir():
        cure = f"There is no folder {folder} either. {cure}"
    return f"{path} does not exist. {cure}"


def _read_csv(path: Path, key: str | None, reading: Reading) -> tuple[Source, list[Note]]:
    """Read a text file; it has no arrays to choose from."""
    values, names, notes, given = read_csv(path, reading)
    source = Source(values, names, path.name.split(".")[0] or path.stem, conditions=given)
    return source, list(notes)


def _read_parquet(path: Path, key: str | None, reading: Reading) -> tuple[Source, list[Note]]:
    """Read a .parquet file; it has no arrays to choose from."""
    values, names, notes, given = read_parquet(path, reading)
    return Source(values, names, path.stem, conditions=given), list(notes)


Reader = Callable[[Path, str | None, Reading], tuple[Source, list[Note]]]


def _reader(suffix: str) -> tuple[Reader | None, tuple[str, ...]]:
    """Return what reads files of a suffix, and the options that it takes."""
    if suffix in (".npy", ".npz"):
        return _read_numpy, ("condition",)
    if suffix == ".parquet":
        return _read_parquet, ("index_column", "condition")
    if Path(suffix).stem in (".csv", ".tsv"):  # packed or not
        return _read_csv, ("header", "index_column", "delimiter", "missing", "condition")
    return None, ()


def _kinds() -> str:
    """Return what may be passed, in words."""
    return (
        f"one of {', '.join(BUILT_IN)}; a file .npy, .npz, .csv, .tsv, .csv.gz, .parquet; or a "
        "folder of images"
    )
