"""`nelbo diagnose`: what is wrong with a RUN."""

from __future__ import annotations

__all__ = ["diagnose"]

import json
from pathlib import Path

from . import files
from .flags import Flag, Json, as_flag, check_seed


def diagnose(
    run: str,
    data: str,
    *,
    train: str | None = None,
    rows: int = 1000,
    seed: int = 0,
    out: str | None = None,
    overwrite: Flag = False,
    as_json: Json = False,
    device: str = "auto",
) -> None:
    """Find out what is wrong with the model in RUN: a table of verdicts, and one diagnosis with its cure.

    Parameters
    ----------
    run
        The folder that fit wrote.
    data
        Rows to look at, best such that the model has not seen.
    train
        The rows it was fitted to: with them, memorisation is looked at, and whether the model beats exact pPCA.
    rows
        Look at so many rows of DATA, at most; where there are more, they are drawn with the seed.
    seed
        Seed of everything drawn.
    out
        Also write all of it to this .json file.
    overwrite
        Replace --out if it exists.
    as_json
        Print one JSON object.
    device
        auto, cpu or cuda.
    """
    from ..report.diagnosis import examine

    if rows < 1:
        raise ValueError(f"--rows must be at least 1, got {rows}.")
    check_seed(seed)
    files.check_output(out, overwrite, suffixes=(".json",))
    if out is not None and not Path(out).parent.is_dir():
        raise ValueError(f"--out {out} cannot be written: it is in no folder. Choose another name.")
    model, source = files.open_model(run, device), files.read(data)
    held_out = files.fits(model, source)
    known = None if train is None else files.fits(model, files.read(train))
    found = examine(model, held_out, known, rows, seed, as_flag)
    whole = {"run": run, "data": data, "train": train, **found.to_dict()}
    text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if out is not None:
        files.write_whole(Path(out), lambda file: file.write(text.encode()))
    print(text if as_json else f"{found}\n", end="")
