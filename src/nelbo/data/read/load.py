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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nelbo.brief import Brief
from nelbo.data.read import arrays, images
from nelbo.data.read.delimited import Note, Reading, read_csv
from nelbo.data.read.tables import read_parquet
from nelbo.data.warned import DataWarning

__all__ = ["BUILT_IN", "Source", "load"]

Array = npt.NDArray[Any]

BUILT_IN = ("digits", "mnist", "fashion_mnist", "frey_faces")

# what an .npz of several arrays calls the one that matters
_KEYS = ("x_train", "X", "x", "data", "images")
_SHAPES = {"frey_faces": (28, 20)}  # kept as flat rows in its file


@dataclass(frozen=True, repr=False)
class Source(Brief):
    """Data as stored.

    Attributes:
        array: (n, d), (n, h, w), or with channels.
        columns: Names of the d columns, if any.
        name: Of the whole.
        files: Of a folder of pictures, the name of each.
        notes: What was decided about the files, in words.
    """

    array: Array
    columns: tuple[str, ...] | None
    name: str
    files: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def load(
    where: str | Path,
    *,
    header: bool | None = None,
    index_column: str | int | None = None,
    delimiter: str | None = None,
    missing: str | Sequence[str] | None = None,
    resize: tuple[int, int] | None = None,
) -> Source:
    """Read data; missing cells of tables come back as NaN.

    Arguments:
        where: "digits"; a name in NELBO_DATA ("mnist", or "mnist:x_test" for another of its
            arrays); an .npy, .npz ("file.npz:key" for one of its arrays), .csv, .tsv (both also
            packed, as .csv.gz) or .parquet file; or a folder of images, with those in its
            subfolders. What is there in the file system comes before a name.
        header: Whether the first line of a text file holds names.
        index_column: Name or place, from 0, of a column of a table to leave out; "none" keeps all.
        delimiter: Between the fields of a text file: a character, or "tab"; "blanks" is any number
            of them.
        missing: A word, or words, that stand for missing cells of a text file, beside the usual
            ones.
        resize: (height, width) that all pictures of a folder are brought to.

    What is None is found out from the file; `Source.notes` says what, and a `DataWarning` what may
    be wrong.

    Raises:
        ValueError: Absent (near names are suggested), empty, unreadable, or not numbers; with the
            cure.
        ImportError: A file type whose reader is not installed.
    """
    reading = Reading(
        header=header, index_column=index_column, delimiter=delimiter, missing=missing
    )
    source, notes = _load(where, reading, resize)
    for note in notes:
        if note.loud:
            warnings.warn(note.text, DataWarning, stacklevel=2)
    return dataclasses.replace(source, notes=tuple(note.text for note in notes))


def _load(
    where: str | Path, reading: Reading, resize: tuple[int, int] | None
) -> tuple[Source, list[Note]]:
    name, _, inner = str(where).partition(":")
    notes: list[Note] = []
    if name in BUILT_IN:
        found = Path(str(where))
        if not _holds_pictures(found):
            if found.exists():
                notes = [
                    Note(
                        (
                            f"{where!r} is the built-in data set; what lies at {found.resolve()} "
                            "is "
                            "not read."
                        ),
                        True,
                    )
                ]
            _refuse_options(f"the built-in {name!r}", reading, resize, ())
            return (_digits(inner) if name == "digits" else _named(name, inner or None)), notes
        notes = [
            Note(
                f"{where!r} is the folder {found.resolve()}, not the built-in data set. Rename it, "
                "or work in another "
                "folder, to have that.",
                True,
            )
        ]
    text, key = _split_key(str(where))
    path = _expanded(text)
    if not path.exists():
        raise ValueError(_missing(path))
    if path.is_dir():
        _refuse_options(f"{path}, a folder of pictures", reading, resize, ("resize",))
        pictures, files, told = images.read_folder(path, resize)
        return Source(pictures, None, path.resolve().name, files), [*notes, *told]
    suffix = "".join(path.suffixes[-2:]).lower()
    suffix = suffix if suffix in _READERS else path.suffix.lower()
    reader, options = _READERS.get(suffix, (None, ()))
    if reader is None:
        raise ValueError(
            f"{path} is of no known kind ({path.suffix or 'no suffix'}). Pass {_KINDS}."
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


def _holds_pictures(path: Path) -> bool:
    return path.is_dir() and bool(images.names(path))


def _refuse_options(what: str, reading: Reading, resize: object, known: Sequence[str]) -> None:
    """Raise ValueError for an option of another kind of data: it would be dropped in silence."""
    given = {**vars(reading), "resize": resize}
    odd = [name for name, value in given.items() if value is not None and name not in known]
    if odd:
        raise ValueError(f"{odd[0]} is not for {what}. Leave it out.")


def _expanded(text: str) -> Path:
    """A path with ~ replaced; one that the system cannot even look at, or that would be waited on,
    is refused.
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
    """Part "file.npz:key"; a colon elsewhere, as in C:\\data.npz, belongs to the path."""
    at = where.lower().rfind(".npz:")
    return (where, None) if at < 0 else (where[: at + 4], where[at + 5 :])


def _digits(key: str) -> Source:
    if key:
        raise ValueError(f"'digits' is one array without keys, got 'digits:{key}'. Pass 'digits'.")
    found = importlib.util.find_spec("sklearn")  # importing its data sets takes a while
    path = (
        Path(found.origin if found and found.origin else "").parent
        / "datasets"
        / "data"
        / "digits.csv.gz"
    )
    if not path.is_file():  # in a release to come
        return Source(
            np.asarray(importlib.import_module("sklearn.datasets").load_digits().images),
            None,
            "digits",
        )
    with gzip.open(path, "rt") as file:
        rows = np.loadtxt(file, delimiter=",")
    return Source(rows[:, :-1].reshape(-1, 8, 8), None, "digits")  # the last column is the class


def _named(name: str, key: str | None) -> Source:
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
    source = _read_numpy(path, key, Reading())[0]
    array, shape = source.array, _SHAPES.get(name)
    if shape is not None and array.ndim == 2:
        array = array.reshape(len(array), *shape)
    return Source(array, None, f"{name}:{key}" if key else name)


def _read_numpy(path: Path, key: str | None, reading: Reading) -> tuple[Source, list[Note]]:
    with path.open("rb") as file:  # not numpy's own opening, which leaves broken archives open
        found = _told(path, lambda: arrays.opened(file))
        if isinstance(found, np.ndarray):
            return Source(_numbers(found, str(path)), None, path.stem), []
        chosen = _choose(path, list(found.files), key)
        array = _told(path, lambda: arrays.member(path, found, chosen))
    return Source(
        _numbers(array, f"{path}:{chosen}"), None, f"{path.stem}:{key}" if key else path.stem
    ), []


def _told(path: Path, read: Callable[[], Any]) -> Any:
    """What `read` returns, with numpy's many errors told as one."""
    try:
        return read()
    except (MemoryError, arrays.PackedError):
        raise
    # of any kind: tokenize.TokenError, RuntimeError for a password, zlib.error, ...
    except Exception as error:
        raise ValueError(_unreadable(path, error)) from error


def _choose(path: Path, names: list[str], key: str | None) -> str:
    if key is not None:
        if key in names:
            return key
        raise ValueError(
            f"{path} has no array {key!r}; it holds {', '.join(names) or 'none'}. "
            f"Pass {path.name}:KEY with one of these."
        )
    if not names:
        raise ValueError(f"{path} holds no array. Write one with numpy.savez.")
    known = names if len(names) == 1 else [name for name in _KEYS if name in names]
    if not known:
        raise ValueError(
            f"{path} holds several arrays: {', '.join(names)}. Choose one: {path.name}:{names[0]}"
        )
    return known[0]


def _unreadable(path: Path, error: Exception) -> str:
    first = error.args[0] if error.args and isinstance(error.args[0], str) else error
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
            f"{where} has shape {array.shape}, but a table (n, d) or images (n, h, w), (n, h, w, "
            "c) are "
            "required. "
            "Choose another array, or reshape it."
        )
    return array


def _missing(path: Path) -> str:
    folder = path.parent
    beside = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    close = difflib.get_close_matches(path.name, [*beside, *BUILT_IN], n=3)
    near = f"Did you mean {' or '.join(close)}?" if close else f"Pass {_KINDS}."
    if not folder.is_dir():
        near = f"There is no folder {folder} either. {near}"
    return f"{path} does not exist. {near}"


def _read_csv(path: Path, key: str | None, reading: Reading) -> tuple[Source, list[Note]]:
    values, names, notes = read_csv(path, reading)
    return Source(values, names, path.name.split(".")[0] or path.stem), list(notes)


def _read_parquet(path: Path, key: str | None, reading: Reading) -> tuple[Source, list[Note]]:
    values, names, notes = read_parquet(path, reading)
    return Source(values, names, path.stem), list(notes)


Reader = Callable[[Path, str | None, Reading], tuple[Source, list[Note]]]
_TEXT = (_read_csv, ("header", "index_column", "delimiter", "missing"))
_READERS: dict[str, tuple[Reader, tuple[str, ...]]] = {
    ".npy": (_read_numpy, ()),
    ".npz": (_read_numpy, ()),
    ".parquet": (_read_parquet, ("index_column",)),
    **{
        f"{suffix}{packed}": _TEXT
        for packed in ("", ".gz", ".bz2", ".xz")
        for suffix in (".csv", ".tsv")
    },
}
"""Of each suffix the reader, and the options that it takes."""
_KINDS = (
    f"one of {', '.join(BUILT_IN)}; a file .npy, .npz, .csv, .tsv, .csv.gz, .parquet; or "
    "a folder of images"
)
