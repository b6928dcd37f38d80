"""`nelbo impute`: what is missing from rows is filled in."""

from __future__ import annotations

__all__ = ["impute"]

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from . import files, progress, stdin
from .flags import WHOLE, Device, Overwrite, Quiet, Run, check_seed, visible
from .mixed import write_frame
from .reading import Data, ReadOptions

if TYPE_CHECKING:
    from ..fitted import Fitted


def impute(
    run: Run,
    data: str,
    *,
    statistic: str = "mean",
    draws: Annotated[int | None, WHOLE] = None,
    samples: Annotated[int | None, WHOLE] = None,
    seed: Annotated[int, WHOLE] = 0,
    probabilities: str | None = None,
    out: str | None = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    device: Device = "auto",
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
) -> None:
    """Fill in what is missing from every row of DATA, by p(what is missing | what is there) under
    the model in RUN. Rows and columns keep their order, and values that are there stay as they are.

    Parameters
    ----------
    data
        The rows to fill in: as for fit, or - for standard input.
    statistic
        What a cell is filled with: mean, median or mode.
    draws
        Draw so many imputations instead, for multiple imputation: filled.csv becomes
        filled-1.csv, filled-2.csv and so on.
    samples
        Draws of z for each row, 1,000 by default for tables.
    seed
        Seed of the draws.
    probabilities
        Name of a column of categories: write, in place of filled rows, how probable each of its
        levels is in each row, given the row's other values. The header names the levels.
    out
        File to write: .npy, .csv or .parquet. Without it, CSV goes to standard output.
    """
    import numpy as np

    from ..fitted.impute import check

    check(statistic, draws, samples)
    check_seed(seed)
    if probabilities is not None and (draws is not None or statistic != "mean"):
        raise ValueError(
            "--probabilities writes how probable levels are, and fills in nothing. Leave out "
            "--draws and --statistic."
        )
    places = _places(out, draws)
    for place in places:
        files.check_output(place, overwrite)
    model = files.open_model(run, device)
    with stdin.as_file(data) as path:
        source = files.read_for(model, path, reading)
        if probabilities is not None:
            with progress.shown(quiet):
                _write_probabilities(model, source, probabilities, samples, seed, out)
            return
        whole = _frame_of(model, path, reading)
    with progress.shown(quiet):
        found = model.imputed(source.values, statistic, draws=draws, samples=samples, seed=seed)
    values = found.values
    if draws is None:
        values = values[None]
    gone = np.isnan(source.values.array).reshape(len(source.values), -1)
    for place, rows in zip(places, values, strict=True):
        if whole is None:
            _write_numbers(model, source, place, rows)
        else:
            lines = write_frame(place, model.frame(rows, whole, gone))
            sys.stdout.writelines(map(visible, lines))
    if not quiet:
        told = f"{gone.sum():,} values filled in, in {gone.any(1).sum():,} of {len(gone):,} rows."
        print(visible(f"nelbo: {told}"), file=sys.stderr)


def _write_numbers(model: Fitted, source: Data, place: str | None, rows: Any) -> None:
    """Write rows of a table of numbers, whose columns keep the order that they have in DATA."""
    import numpy as np

    schema = model.schema
    names = schema.columns or [f"x{j}" for j in range(schema.n_features)]
    if source.places is not None:
        order = np.argsort(source.places)
        rows, names = rows[:, order], [names[j] for j in order]
    files.write_rows(place, rows, names, schema.columns is not None, files.named(source))


def _write_probabilities(
    model: Fitted, source: Data, column: str, samples: int | None, seed: int, out: str | None
) -> None:
    """Write how probable each level of a column is in each row."""
    found = model.probabilities(source.values, column, samples=samples, seed=seed)
    files.write_rows(out, found, [*map(str, model.levels(column))], lead=files.named(source))


def _frame_of(model: Fitted, data: str, reading: ReadOptions) -> Any:
    """Return DATA as a frame, whose columns that the model has left out are kept; None where all
    columns are numbers.

    Raises:
        ValueError: They are not, and DATA holds no table.
    """
    from ..data.read.load import load_frame

    if model.schema.table is None:
        return None
    asked = {key: value for key, value in reading.arguments().items() if key != "resize"}
    found = load_frame(data, **asked)
    if found is None:
        raise ValueError(f"{data} is no table of columns of different kinds, as the model takes.")
    return found[0]


def _places(out: str | None, draws: int | None) -> list[str | None]:
    """Return the file of each imputation.

    Raises:
        ValueError: There are several, and no file to name them after.
    """
    if draws is None:
        return [out]
    if out is None:
        raise ValueError("--draws writes several files. Pass --out filled.csv.")
    path = Path(out)
    return [str(path.with_name(f"{path.stem}-{i + 1}{path.suffix}")) for i in range(draws)]
