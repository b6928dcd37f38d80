"""`nelbo detect`: improbable rows, the most improbable first, and why."""

from __future__ import annotations

__all__ = ["detect"]

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from . import files, heavy, progress
from .flags import WHOLE, Device, Flag, Json, Overwrite, Quiet, check_seed, visible
from .mixed import Kinds
from .reading import Data, ReadOptions

if TYPE_CHECKING:
    from ..detect import Calibration, Findings, Rule
    from ..estimator import VAEDetector
    from ..fitted import Fitted


def detect(
    source: str,
    data: str | None = None,
    *,
    calibration: str | None = None,
    contamination: float = 0.1,
    rate: float = 0.1,
    storey: Flag = False,
    confidence: float | None = None,
    trim: float | None = None,
    columns: Annotated[int, WHOLE] = 3,
    first: Annotated[int, WHOLE] = 10,
    save: str | None = None,
    seed: Annotated[int, WHOLE] = 0,
    schema: str = "auto",
    out: str | None = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    device: Device = "auto",
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
) -> None:
    """Find improbable rows, the most improbable first, and say which columns make them so.

    nelbo detect DATA judges the rows of DATA by a model fitted to them. nelbo detect TRAIN DATA
    fits it to the rows of TRAIN, and keeps a fifth of them to compare with. nelbo detect RUN DATA
    takes a model that was fitted before.

    Parameters
    ----------
    source
        A RUN, or rows to fit to: as for fit.
    data
        The rows to judge; by default those of the first argument.
    calibration
        Rows that are ordinary and were not fitted: p-values are beside these, and rows are flagged
        by --rate instead of --contamination.
    contamination
        The share of the rows fitted that counts as anomalies, where no rows were held out.
    rate
        The share of the rows flagged that may be ordinary, where rows were held out (false
        discoveries; Benjamini and Hochberg).
    storey
        Estimate the share of ordinary rows as well, which flags more where there are many
        anomalies.
    confidence
        Make p-values hold with this probability given the rows held out, such as 0.9, instead of on
        average over such rows.
    trim
        The share of the rows that has no part in the fit, those farthest from the bulk; by default
        a tenth, and none of tables whose columns are of different kinds.
    columns
        How many columns to tell of each row, those that say most.
    first
        How many rows to print.
    save
        Write what was fitted to this folder, a RUN.
    seed
        Seed of the fit.
    schema
        What the columns are that are fitted to: auto, infer, or a TOML file, as for fit.
    out
        File to write, with a line for every row: .csv, .parquet or .json with row (counting from
        0), log_p in nats, p_value, flagged (0 or 1), and for each column that is told column_1 (its
        name), value_1, expected_1 and excess_1 (nats beyond the usual).
    """
    files.check_output(out, overwrite, suffixes=(".csv", ".parquet", ".json"))
    _check_counts(columns=columns, first=first)
    _check_shares(contamination=contamination, rate=rate, confidence=confidence)
    check_seed(seed)
    if save is not None and Path(save).exists() and not overwrite:
        raise ValueError(f"--save {save} exists. Choose another name, or pass --overwrite.")
    heavy.load()
    known: dict[str, Any] = {"rate": rate, "storey": storey, "confidence": confidence}
    if _is_run(source):
        model, rule = _of_run(source, data, device, contamination, known)
        rows = files.read_for(model, str(data), reading)
    else:
        train = files.read(source, reading, Kinds(schema))
        held = 0.0
        if data is not None and calibration is None:
            held = 0.2
        with progress.shown(quiet):
            detector = _fitted(train, contamination, held, trim, seed)
        if save is not None:
            detector.save(save, overwrite)
        model, rule, rows = detector.fitted_, _rule(detector, known), train
        if data is not None:
            rows = files.read_for(model, data, reading)
    if calibration is not None:
        rule = _calibrated(model, files.read_for(model, calibration, reading), known)
    from ..detect import find

    with progress.shown(quiet):
        found = find(model, rows.values, rule)
    if out is not None:
        _write(out, found, rows, columns)
    _print(found, rows, data or source, (columns, first), out, as_json)


def _check_shares(**shares: float | None) -> None:
    """Refuse what is no share, before anything is read."""
    for name, share in shares.items():
        if share is not None and not 0 < share < 1:
            raise ValueError(f"--{name} must be above 0 and below 1, got {share}.")


def _check_counts(**counts: int) -> None:
    """Refuse counts below 0, before anything is read."""
    for name, count in counts.items():
        if count < 0:
            raise ValueError(f"--{name} must be 0 or more, got {count}.")


def _is_run(source: str) -> bool:
    """Return whether a folder is one that fit wrote."""
    return (Path(source) / "manifest.json").exists()


def _of_run(
    run: str, data: str | None, device: str, contamination: float, known: dict[str, Any]
) -> tuple[Fitted, Rule]:
    """Return a model that was fitted before, and when rows are flagged by it."""
    from ..detect import Rule
    from ..estimator import VAEDetector
    from ..estimator.detector import FILE

    if data is None:
        raise ValueError(f"{run} is a RUN: name the rows to judge as well. nelbo detect RUN DATA")
    if not (Path(run) / FILE).exists():
        return files.open_model(run, device), Rule(contamination, **known)
    detector = VAEDetector.load(run)
    return detector.fitted_, _rule(detector, known)


def _fitted(
    train: Data, contamination: float, held: float, trim: float | None, seed: int
) -> VAEDetector:
    """Fit a detector to rows."""
    from ..estimator import VAEDetector

    fewest = 100  # of which a fifth is as many as p-values need
    if len(train.values) < fewest:
        held = 0.0
    detector = VAEDetector(contamination, calibration_fraction=held, trim=trim, random_state=seed)
    return detector.fit(train.values)


def _rule(detector: VAEDetector, known: dict[str, Any]) -> Rule:
    """Return when rows are flagged by a detector."""
    from ..detect import Rule

    return Rule(
        detector.contamination, detector.threshold_, calibration=detector.calibration_, **known
    )


def _calibrated(model: Fitted, rows: Data, known: dict[str, Any]) -> Rule:
    """Return the rule of rows held out."""
    from ..detect import Rule, calibration_of

    found: Calibration = calibration_of(model, rows.values)
    return Rule(calibration=found, **known)


def _write(out: str, found: Findings, rows: Data, columns: int) -> None:
    """Write a line for every row."""
    table = dict(found.table(rows.values.array, columns))
    if rows.files is not None:
        import numpy as np

        table = {"row": table.pop("row"), "file": np.array(rows.files)[found.order], **table}
    if Path(out).suffix.lower() == ".json":
        files.write_json(out, _records(table))
    else:
        files.write_table(out, table)


def _records(table: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the lines of a table as JSON holds them: what is no number is null."""
    names = [*table]
    lines = zip(*(column.tolist() for column in table.values()), strict=True)
    return [dict(zip(names, map(_finite, line), strict=True)) for line in lines]


def _finite(cell: Any) -> Any:
    if isinstance(cell, float) and not math.isfinite(cell):
        return None
    return cell


def _print(
    found: Findings, rows: Data, data: str, shown: tuple[int, int], out: str | None, as_json: bool
) -> None:
    """Say what was found."""
    columns, first = shown
    flagged = int(found.flagged.sum())
    table = dict(found.table(rows.values.array, columns))
    lines = _records({name: column[:first] for name, column in table.items()})
    if as_json:
        whole = {
            "data": data,
            "rows": len(found.log_p),
            "flagged": flagged,
            "rule": found.rule.said,
            "first": lines,
            "out": out,
        }
        print(json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False))
        return
    text = [f"{data}: {flagged:,} of {len(found.log_p):,} rows flagged ({found.rule.said})", ""]
    head = "  row    log p(x)  p-value"
    if columns > 0 and found.attribution is not None:
        head += "  what makes it so (value, not the expected one, nats beyond the usual)"
    if rows.files is not None:
        head += "  file"
    text += [head]
    text += [_line(line, rows.files) for line in lines]
    if any(line["flagged"] for line in lines):
        text += ["* flagged"]
    if out is not None:
        text += ["", f"Written: {out}"]
    print(visible("\n".join(text)))


def _line(line: dict[str, Any], names: Sequence[str] | None) -> str:
    """Return one row as text: * marks those that are flagged, and a picture has its name."""
    parts = []
    if names is not None:
        parts.append(names[line["row"]])
    for k in range(1, len(line)):
        if not line.get(f"column_{k}"):
            break
        value, expected = line[f"value_{k}"], _shown(line[f"expected_{k}"])
        if value is None:
            continue  # a missing value makes no row improbable
        beside = f"not {expected}"
        if _shown(value) == expected:
            beside = "as expected"
        excess = line[f"excess_{k}"]
        parts.append(f"{line[f'column_{k}']} {_shown(value)}, {beside} ({excess:+.1f})")
    mark = " *"[line["flagged"]]
    left = f"{line['row']:>5,}{mark} {line['log_p']:>10.2f}  {line['p_value']:>7.2g}"
    return f"{left}  {'; '.join(parts)}".rstrip()


def _shown(cell: Any) -> str:
    """Return a value as text: a number with few digits, and words as they are."""
    if cell is None:
        return "missing"
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return str(cell).strip()
