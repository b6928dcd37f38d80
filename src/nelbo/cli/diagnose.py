"""`nelbo diagnose`: what is wrong with a RUN."""

from __future__ import annotations

__all__ = ["diagnose"]

import json
from pathlib import Path
from typing import Annotated

from ..whole import write_file
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
    check_which,
    visible,
)
from .reading import ReadOptions


def diagnose(
    run: Run,
    data: str,
    *,
    train: str | None = None,
    rows: str | None = None,
    limit: Annotated[int | None, WHOLE] = None,
    seed: Annotated[int, WHOLE] = 0,
    out: str | None = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    device: Device = "auto",
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
) -> None:
    """Find out what is wrong with the model in RUN.

    The result is a table of verdicts, and one diagnosis with its cure.

    Parameters
    ----------
    data
        The rows to look at: as for fit, or - for standard input. Rows that the model has not seen
        are best. Where DATA also holds rows that it was trained on, the others are compared with
        these.
    train
        The rows it was fitted to, where DATA does not hold them: they show whether the model
        memorised rows or overfitted.
    rows
        Which rows of DATA to look at: held-out, trained or all. By default the held-out ones, where
        there are any.
    limit
        Maximum number of rows to look at, 1000 by default; of more, that many are drawn with the
        seed.
    seed
        Seed of everything drawn.
    out
        Also write the whole diagnosis to this .json file.
    """
    from ..diagnose import LEAST_ROWS

    which, limit = _which(rows, limit)
    check_seed(seed)
    files.check_output(out, overwrite, suffixes=(".json",))
    if out is not None and not Path(out).parent.is_dir():
        raise ValueError(f"--out {out} cannot be written: it is in no folder. Choose another name.")
    model = files.open_model(run, device)
    source, known = files.read_for(model, data, reading), None
    if train is not None:
        known = files.read_for(model, train, reading).values
    chosen = model.choose(source.values, which, LEAST_ROWS)
    with progress.shown(quiet):
        found = model.diagnose(source.values, known, limit, seed, as_flag, which)
    whole = {
        "run": run,
        "data": data,
        "train": train,
        "known_rows": chosen.to_dict(),
        **found.to_dict(),
    }
    text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if out is not None:
        write_file(Path(out), lambda file: file.write(text.encode()))
    if not as_json:
        text = f"{found}\n"
        if said := chosen.sentence(data):
            text += f"\nNote: {said}\n"
    print(visible(text), end="")


def _which(rows: str | None, limit: int | None, most: int = 1000) -> tuple[str | None, int]:
    """Return which rows to look at, and how many of them.

    Arguments:
        rows: What --rows says. A number is taken for --limit, as in earlier versions.
        limit: What --limit says.
        most: How many to look at where it says nothing.
    """
    flag = "--limit"
    if rows is not None and rows.lstrip("-").isdigit() and limit is None:
        flag, limit, rows = "--rows", int(rows), None
    if limit is not None and limit < 1:
        raise ValueError(f"{flag} must be at least 1, got {limit}.")
    check_which(rows)
    if limit is None:
        limit = most
    return rows, limit
