"""`nelbo report`: what there is to see of a RUN, as one page."""

from __future__ import annotations

__all__ = ["report", "rows_of"]

import json
import os
import sys
import tomllib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from . import files, progress
from .flags import (
    WHOLE,
    Device,
    Json,
    Overwrite,
    Quiet,
    Run,
    as_flag,
    check_seed,
    visible,
)
from .reading import ReadOptions

if TYPE_CHECKING:
    from ..data import Values
    from ..fitted import Fitted
    from ..report import Portrait


def report(
    run: Run,
    data: str | None = None,
    *,
    out: str | None = None,
    color: str | None = None,
    seed: Annotated[int, WHOLE] = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    device: Device = "auto",
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
) -> None:
    """Write what there is to see of the model in RUN as one page that needs no network.

    The page is RUN/report.html, which fit has written without a diagnosis; beside it is a .json
    file with its numbers.

    Parameters
    ----------
    data
        The rows to show: as for fit, or - for standard input. By default those that the model was
        fitted to and judged by, as RUN/run.toml names them.
    out
        Write to this .html file instead.
    color
        What to colour the map of the latent space by: a column of DATA, an array of an .npz, label
        (of digits), or folder, the subfolder of a picture.
    seed
        Seed of everything drawn.
    """
    check_seed(seed)
    page = Path(run, "report.html")
    if out is not None:
        page = Path(out)
        _check_out(out, overwrite)
    model = files.open_model(run, device)
    found = rows_of(model, run, data, color, reading)
    with progress.shown(quiet):
        portrait = _portrait(model, found, seed)
    from ..report import write_report

    written = [str(path) for path in write_report(page, portrait)]
    print(visible(_told(portrait, run, found, written, as_json)), end="")


@dataclass(frozen=True, eq=False)
class Found:
    """The rows of a report.

    Attributes:
        data: What they are called; empty where there are none.
        values: The rows that the model is judged by, or is to choose from; None without any.
        train: Rows that it was fitted to, where these are others.
        labels: A label of each of the former, or None.
        color: What labels are called.
        note: What to know.
    """

    data: str = ""
    values: Values | None = None
    train: Values | None = None
    labels: Any = None
    color: str = "label"
    note: str = ""

    @property
    def title(self) -> str:
        """What the rows are called, without the folders they lie in."""
        return os.path.basename(self.data.rstrip("/")) or self.data


def _check_out(out: str, overwrite: bool) -> None:
    """Refuse a page, or its twin, that cannot be written."""
    files.check_output(out, overwrite, suffixes=(".html",))
    twin = Path(out).with_suffix(".json")
    if twin.exists() and not overwrite:
        raise ValueError(
            f"{twin}, which would hold the numbers of the page, exists. Choose another --out, or "
            "pass --overwrite."
        )


def rows_of(
    model: Fitted, run: str, data: str | None, color: str | None, reading: ReadOptions
) -> Found:
    """Read the rows that DATA names, or RUN's own."""
    train = None
    if data is None:
        known = _settings(run)
        if "data" not in known:
            if color is not None:
                raise ValueError("--color needs rows. Name DATA, as for fit.")
            return Found(
                note=f"{run} does not say what it was fitted to: no rows are shown. "
                f"Name them: nelbo report {run} DATA"
            )
        data, reading = str(known["data"]), _as_read(known, reading)
        _check_there(data, run)
        if known.get("test"):
            _check_there(str(known["test"]), run)
            train = files.read_for(model, data, reading).values
            data = str(known["test"])
    values = files.read_for(model, data, reading).values
    name, labels = _labels(data, color, reading)
    return Found(data, values, train, labels, name)


def _settings(run: str) -> dict[str, Any]:
    """Return what a fit wrote of its options; nothing where it was no fit of the shell."""
    path = Path(run, "run.toml")
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}. Name DATA instead.") from error


def _as_read(known: dict[str, Any], asked: ReadOptions) -> ReadOptions:
    """Return how the data of a fit were read, but for what is asked for otherwise."""
    found: dict[str, Any] = {
        name: known.get(name) if value is None else value for name, value in vars(asked).items()
    }
    return ReadOptions(**found)


def _check_there(data: str, run: str) -> None:
    """Refuse data of a fit that are no longer where they were."""
    from ..data.read.load import BUILT_IN

    name = data.partition(":")[0]
    if name in BUILT_IN or Path(data).expanduser().exists() or Path(name).expanduser().exists():
        return
    raise ValueError(
        f"{run}/run.toml says that the model was fitted to {data}, which is not there from this "
        f"folder. Name the data: nelbo report {run} DATA"
    )


def _labels(data: str, color: str | None, reading: ReadOptions) -> tuple[str, Any]:
    """Return what the map is coloured by, which is read apart from the rows.

    Without being asked: the labels of digits, those beside images in an .npz, and the subfolders of
    pictures, where there are any.
    """
    name = color
    if color is None:
        name = _usual(data)
        if name is None:
            return "label", None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # told when the rows were read
        try:
            found = _cells(data, str(name), reading)
        except ValueError as error:
            if color is not None:
                said = str(error).replace("to condition on", "to colour by")
                said = said.replace("Pass such columns, or conditions beside the rows", "Name one")
                raise ValueError(f"--color {color}: {said}") from error
            return "label", None
    return str(name), found


def _cells(data: str, name: str, reading: ReadOptions) -> Any:
    """Return a column of DATA: of a table with None where a cell is missing.

    Raises:
        ValueError: DATA has no such column, or array.
    """
    from ..data import load
    from ..data.conditions import places_of
    from ..data.read.load import load_frame

    asked = reading.arguments()
    frame = load_frame(data, **{key: value for key, value in asked.items() if key != "resize"})
    if frame is None:
        found = load(data, **asked, condition=[name]).conditions
        return None if found is None else found.columns[0]
    names = frame[0].column_names
    return frame[0].column(places_of([name], names, len(names), data)[0]).to_pylist()


def _usual(data: str) -> str | None:
    """Return what rows of these data are coloured by unasked."""
    name = data.partition(":")[0]
    if name == "digits":
        return "label"
    if name in ("mnist", "fashion_mnist"):
        return "y"
    path = Path(data).expanduser()
    if path.is_dir() and any(entry.is_dir() for entry in os.scandir(path)):
        return "folder"
    return None


def _portrait(model: Fitted, found: Found, seed: int) -> Portrait:
    """Find what is shown."""
    from ..fitted.portrait import portray

    return portray(
        model,
        found.values,
        found.train,
        labels=found.labels,
        label=found.color,
        title=found.title,
        seed=seed,
        spell=as_flag,
    )


def _told(portrait: Portrait, run: str, found: Found, written: Sequence[str], as_json: bool) -> str:
    """Say what the verdict is, and where the page is."""
    verdict = portrait.verdict
    if as_json:
        whole = {
            "run": run,
            "data": found.data or None,
            "verdict": portrait.to_dict()["verdict"],
            "files": [*written],
        }
        return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if found.note:
        print(visible(f"nelbo: {found.note}"), file=sys.stderr, flush=True)
    lines = [f"{verdict.headline}.", "", *verdict.sentences]
    return "\n".join([*lines, "", "Written:", *(f"  {path}" for path in written)]) + "\n"
