"""What a table holds that makes log p(x) mean less than it seems, and what was left out of it."""

from __future__ import annotations

__all__ = ["announce", "describe", "named"]


import numpy as np

from ..data import Schema, TableSchema
from ..data.moments import has_missing
from ..data.peculiar import FarCell, peculiar
from ..data.warned import listed, warn
from ..options import Options
from ..spec import resolve
from .choice import Entry

Remarks = dict[str, Entry]
"""name -> {"value": what, "reason": why}"""


def describe(schema: Schema, array: np.ndarray, likelihood: str) -> Remarks:
    """Return what a schema decided about the rows that it was found from.

    Arguments:
        schema: The schema.
        array: The rows.
        likelihood: Of the model: outliers mean little to some.
    """
    found: Remarks = {}
    numbers = schema.kind == "table" and not (schema.dequantize or schema.discrete)
    if numbers and array.dtype == np.uint8:
        found["dequantize"] = {
            "value": False,
            "reason": "A table of uint8 holds numbers, like any other table. If these are "
            "flattened 8-bit pictures, pass them as images (n, h, w), or with dequantize=True.",
        }
    if has_missing(array):
        found["missing"] = _missing(schema, array)
    found |= _constant(schema)
    if schema.table is not None:
        found |= _columns(schema.table)
    if numbers:
        found |= _peculiar(schema, array)
    if "far_cells" in found and resolve("likelihood", likelihood).bears_outliers:
        found["far_cells"]["reason"] = (
            "It is far from all others. Under this likelihood it hardly counts, neither for the "
            "column's scale nor for the start."
        )
    return found


def _constant(schema: Schema) -> Remarks:
    """Say which columns are left out because they had one value."""
    constant = {
        schema.feature_name(j): value for j, value in schema.left_out if not np.isnan(value)
    }
    if not constant:
        return {}
    why = (
        f"{listed([*constant])} had one value in all rows, so there is nothing to "
        "model. Results hold that value; under the model any other is impossible."
    )
    return {"left_out": {"value": constant, "reason": why}}


def _columns(table: TableSchema) -> Remarks:
    """Say what the columns of a table are, and which are left out."""
    kinds = [column.kind.replace("_", " ") for column in table.columns]
    counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    why = "Found from what each holds, or said; the schema tells each column and its reason."
    found: Remarks = {"columns": {"value": counted, "reason": why}}
    if table.left_out:
        found["ignored"] = {
            "value": dict(table.left_out),
            "reason": "Nothing can be learned from these columns.",
        }
    return found


def _missing(schema: Schema, array: np.ndarray) -> Entry:
    """Say how many values are missing, and what is made of them."""
    gone = np.isnan(array.reshape(len(array), -1))
    rows, columns = int(gone.any(1).sum()), int(gone.any(0).sum())
    kinds = {"table": "columns"}.get(schema.kind, "pixels")
    where = f"In {rows:,} of {len(array):,} rows and {columns:,} of {gone.shape[1]:,} {kinds}."
    told: Entry = {
        "value": f"{gone.mean():.2%} of values",
        "reason": f"{where} They are left out of the likelihood, and the encoder reads a mask.",
    }
    never = [schema.feature_name(j) for j, value in schema.left_out if np.isnan(value)]
    if never:
        told["never"] = never
        told["reason"] += f" Left out of the model, as all values are missing: {listed(never)}."
    empty = int(gone.all(1).sum())
    if empty:
        told["reason"] += f" {empty:,} rows without any value say nothing."
    return told


def _peculiar(schema: Schema, array: np.ndarray) -> Remarks:
    """Return what about a table makes log p(x) mean less than it seems."""
    kept = np.setdiff1d(schema.kept, schema.constant)
    if schema.table is not None:
        kept = kept[schema.table.continuous[kept]]
    if not len(kept):
        return {}
    seen = peculiar(array if len(kept) == array.shape[1] else array[:, kept])
    found: Remarks = {}
    for name, columns, reason in (
        (
            "few_values",
            seen.few,
            (
                "The density of a column with few different values grows without limit as noise "
                "shrinks: log p(x) mostly says how closely they are hit."
            ),
        ),
        (
            "repeated_values",
            seen.repeated,
            (
                "The density of values that repeat grows as noise shrinks, up to the floor of the "
                "noise."
            ),
        ),
        (
            "dependent_columns",
            seen.dependent,
            (
                "Each follows from other columns, but for 1e-5 of its variance: log p(x) is as "
                "large as the floor of the noise allows."
            ),
        ),
    ):
        if columns:
            found[name] = {
                "value": [schema.feature_name(int(kept[j])) for j in columns],
                "reason": reason,
            }
    return found | _far(schema, kept, seen.far)


def _far(schema: Schema, kept: np.ndarray, far: tuple[FarCell, ...]) -> Remarks:
    """Say which values are far from all others, in columns where that counts."""
    if schema.table is not None:
        kinds = [column.kind for column in schema.table.in_model]
        far = tuple(cell for cell in far if not _bears(kinds[int(kept[cell.column])]))
    if not far:
        return {}
    places = [schema.feature_name(int(kept[cell.column])) for cell in far]
    cells = [_cell(place, cell) for place, cell in zip(places, far, strict=True)]
    why = (
        "Each makes up most of the variance of its column, or is 10 standard deviations "
        "from all other values: it sets the column's scale."
    )
    return {"far_cells": {"value": cells, "columns": places, "reason": why}}


def _bears(kind: str) -> bool:
    """Return whether a value far from all others hardly counts in a column of a kind."""
    found: bool = resolve("likelihood", kind).bears_outliers
    return found


def named(found: Remarks) -> frozenset[str]:
    """Return the columns that any of this names."""
    odd = [
        found[name]["value"]
        for name in ("few_values", "repeated_values", "dependent_columns")
        if name in found
    ]
    return frozenset(
        name for names in (*odd, found.get("far_cells", {}).get("columns", [])) for name in names
    )


def _cell(place: str, cell: FarCell) -> str:
    """Say in words which value is far from all others."""
    return f"{cell.value:.10g} in {place}, row {cell.row}" + (
        f" and {cell.cells - 1} more" if cell.cells > 1 else ""
    )


def announce(found: Remarks, options: Options) -> None:
    """Warn of columns that are left out, and of what makes log p(x) mean less than it seems.

    Arguments:
        found: What `describe` found.
        options: Of the model: only a density has no bound, and noise that is fixed does not shrink.
    """
    head = resolve("likelihood", options.likelihood)
    density = head.takes in ("real", "bytes")
    told = _told(found, density and isinstance(options.variance, str), head.bears_outliers)
    if told:
        warn(" ".join(told))
    never = found.get("missing", {}).get("never", [])
    if never:
        warn(
            f"Left out of the model: {listed(never)}, as all values are missing. Results hold NaN "
            "there."
        )
    if "ignored" in found:
        alike: dict[str, list[str]] = {}
        for name, why in found["ignored"]["value"].items():
            alike.setdefault(why, []).append(name)
        said = [f"{listed(names)} ({why})" for why, names in alike.items()]
        warn(f"Left out of the model: {listed(said)}. Say otherwise by schema={{'name': 'kind'}}.")
    if "left_out" in found:
        names = list(found["left_out"]["value"])
        pictures = ""
        if "columns" not in found:
            pictures = " (Flattened pictures: pass them as images, (n, h, w).)"
        warn(
            f"Left out of the model: {listed(names)}, with one value in all rows. Results hold "
            f"that value, and log p(x) of a row with another is -inf.{pictures}"
        )


def _told(found: Remarks, unbounded: bool, bears_outliers: bool) -> list[str]:
    """Return what is to be said of odd columns, each with its cure."""
    few, repeated, dependent, far = (
        found.get(name, {}).get("value", [])
        for name in ("few_values", "repeated_values", "dependent_columns", "far_cells")
    )
    told = []
    if unbounded and (few or repeated):
        what = [f"{listed(few)} {_takes(few)} few values"] if few else []
        if repeated:
            what.append(
                f"{listed(repeated)} {'repeats' if len(repeated) == 1 else 'repeat'} values a lot"
            )
        told.append(
            f"Few or repeated values: {', and '.join(what)}. A density has no bound there, so log "
            "p(x) says how "
            "closely the model hits such values: it compares models of the same columns, and is "
            "neither a probability "
            "nor what continuous data would score. To bound it, add uniform noise as wide as a "
            "column's step before "
            "fit, or, where all columns are whole numbers from 0 to 255, use "
            "likelihood='discretized_gaussian'."
        )
    if unbounded and dependent:
        told.append(
            f"Computed from others: {listed(dependent)} (copies, totals or one-hot groups: each "
            "follows from other "
            "columns but for 1e-5 of its variance), which raises log p(x) as far as the floor of "
            "the noise allows. "
            "Drop one column of each such group."
        )
    if far and not bears_outliers:
        told.append(
            f"Far from all others: {listed(far)} (rows count from 0). Such a value sets the scale "
            "of its column, and "
            "differences between the others are hardly seen. If it is a slip or stands for a "
            f"missing cell, mend it or leave the row out, or {_cure(found)}."
        )
    return told


def _cure(found: Remarks) -> str:
    """Say which likelihood bears values that are far from all others."""
    if "columns" in found:
        return "call the column student_t in the schema"
    return "use likelihood='student_t'"


def _takes(names: list[str]) -> str:
    return "takes" if len(names) == 1 else "take"
