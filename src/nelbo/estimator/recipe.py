"""What was decided for the user, with the reason for each: plain values, as JSON holds them."""

from __future__ import annotations

__all__ = ["Recipe", "announce", "describe", "named", "settled", "threads"]

from typing import Any

import numpy as np

from ..data import Schema
from ..data.peculiar import FarCell, peculiar
from ..data.warned import listed, warn
from ..spec import Spec, resolve

Recipe = dict[str, dict[str, Any]]
"""name -> {"value": what, "reason": why}"""


def describe(schema: Schema, array: np.ndarray) -> Recipe:
    """Return what a schema decided about the rows that it was found from."""
    found: Recipe = {}
    if (
        array.dtype == np.uint8
        and schema.kind == "table"
        and not (schema.dequantize or schema.discrete)
    ):
        found["dequantize"] = {
            "value": False,
            "reason": "A table of uint8 holds numbers, as of any other type. Flattened 8-bit "
            "pictures: pass them as "
            "images (n, h, w), or with dequantize=True.",
        }
    if schema.kind == "images" and schema.scale.ndim:
        found["scale"] = {
            "value": "per channel",
            "reason": (
                "Deviations of channels, or of sensors, differ so much that one scale "
                "for all would hide some."
            ),
        }
    if schema.left_out:
        names = [schema.feature_name(j) for j, _ in schema.left_out]
        found["left_out"] = {
            "value": {name: value for name, (_, value) in zip(names, schema.left_out, strict=True)},
            "reason": f"{listed(names)} had one value in all rows, which says nothing and has "
            "no density. Results hold "
            "that value; under the model any other is impossible.",
        }
    if schema.kind == "table" and not (schema.dequantize or schema.discrete):
        found |= _peculiar(schema, array)
    return found


def _peculiar(schema: Schema, array: np.ndarray) -> Recipe:
    """Return what about a table makes log p(x) mean less than it seems."""
    kept = np.setdiff1d(schema.kept, schema.constant)
    if not len(kept):
        return {}
    seen = peculiar(array if len(kept) == array.shape[1] else array[:, kept])
    found: Recipe = {}
    for name, columns, reason in (
        ("few_values", seen.few, FEW),
        ("repeated_values", seen.repeated, REPEATED),
        ("dependent_columns", seen.dependent, DEPENDENT),
    ):
        if columns:
            found[name] = {
                "value": [schema.feature_name(int(kept[j])) for j in columns],
                "reason": reason,
            }
    if seen.far:
        places = [schema.feature_name(int(kept[cell.column])) for cell in seen.far]
        cells = [_cell(place, cell) for place, cell in zip(places, seen.far, strict=True)]
        found["far_cells"] = {"value": cells, "columns": places, "reason": FAR}
    return found


def named(found: Recipe) -> frozenset[str]:
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


FEW = (
    "A density of few values grows without limit as noise shrinks: log p(x) says how "
    "closely they are hit."
)
REPEATED = (
    "A density of values that repeat grows without limit as noise shrinks, up to the "
    "floor of the noise."
)
DEPENDENT = (
    "Each follows from the others but for 1e-5 of its variance: log p(x) is as large as "
    "the floor allows."
)
FAR = (
    "It makes most of the variance of its column, or is 10 deviations from all others, "
    "and sets the column's scale."
)


def settled(
    estimator: Any, schema: Schema, model_spec: Spec, objective: str, table: bool, kept: bool
) -> Recipe:
    """Return what the options that were left open came to.

    Arguments:
        estimator: Its constructor arguments.
        schema: Of the data.
        model_spec: Of the model.
        objective: What was trained.
        table: Whether the rules for tables held.
        kept: Whether the closed-form start was kept.
    """
    found: Recipe = {}
    if estimator.scale == "auto":
        found["scale"] = _scale(schema, table)
    if estimator.variance == "auto" and isinstance(model_spec.variance, str):
        found["variance"] = {
            "value": model_spec.variance,
            "reason": "The noise of a table differs between its clusters, so it is read from z."
            if table
            else ONE_NOISE,
        }
    if estimator.hidden is None:
        own = (
            {}
            if model_spec.decoder_hidden is None
            else {"decoder": list(model_spec.decoder_hidden)}
        )
        found["hidden"] = {
            "value": {
                "encoder": list(model_spec.hidden),
                "decoder": list(model_spec.hidden),
                **own,
            },
            "reason": (
                "Widths follow the kind of data and the number of rows: wide nets learn "
                "few rows by heart."
            ),
        }
    if estimator.objective == "auto":
        found["objective"] = {
            "value": objective,
            "reason": FOUR_SAMPLES if table else ONE_SAMPLE,
        }
    if kept:
        found["start"] = {
            "value": "kept",
            "reason": (
                "Training did not beat its closed-form start beyond doubt on rows held "
                "out, so that was kept."
            ),
        }
    return found


NOISE_OF_TABLES = "The noise of a table differs between its clusters, so it is read from z."
FOUR_SAMPLES = "Four samples a row make a tighter bound, and tables are cheap."
ONE_NOISE = (
    "One noise level for all values, learned by its closed form, suits images and tables "
    "with options of yours."
)
ONE_SAMPLE = "The ELBO with one sample a row goes furthest in the same time."


def _scale(schema: Schema, table: bool) -> dict[str, Any]:
    """Say how the data are scaled, and why."""
    if schema.mixing is not None:
        reason = (
            "A normal with every correlation predicted rows held out at least as well as pPCA did: "
            "z starts at the "
            "principal components, and noise is correlated as what they leave."
        )
        return {"value": "whitened", "reason": reason}
    if not schema.scale.ndim:
        return {
            "value": "global",
            "reason": "One number for all values, so that noise is equal in units of the data.",
        }
    few = " There were too few rows to tell all correlations." if table else ""
    return {"value": "standard", "reason": f"Each column is divided by its own deviation.{few}"}


def threads(used: int | None) -> Recipe:
    """Return how many threads of a CPU training used, where that is known."""
    if used is None:
        return {}
    reason = (
        "By the size of the products in a step: with small ones, threads wait for each other more "
        "than they work. "
        "There are never more than torch.set_num_threads, OMP_NUM_THREADS or MKL_NUM_THREADS allow."
    )
    return {"threads": {"value": used, "reason": reason}}


def announce(found: Recipe, likelihood: str, variance: object) -> None:
    """Warn, in one line, of columns that are left out, and in another of what makes log p(x) mean
    less than it seems.

    Arguments:
        found: What `describe` found.
        likelihood: Of the model: only a density has no bound.
        variance: Of the model: noise that is fixed does not shrink.
    """
    density = resolve("likelihood", likelihood).takes != "binary"
    told = _told(found, density and isinstance(variance, str))
    if told:
        warn(" ".join(told))
    if "left_out" in found:
        names = list(found["left_out"]["value"])
        warn(
            f"Left out of the model: {listed(names)}, with one value in all rows. Results hold "
            "that value, and "
            "log p(x) of a row with another is -inf. (Flattened pictures: pass them as images, (n, "
            "h, w).)"
        )


def _told(found: Recipe, unbounded: bool) -> list[str]:
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
    if far:
        told.append(
            f"Far from all others: {listed(far)} (rows count from 0). Such a value sets the scale "
            "of its column, and "
            "differences between the others are hardly seen. If it is a slip or stands for a "
            "missing cell, mend it or "
            "leave the row out."
        )
    return told


def _takes(names: list[str]) -> str:
    return "takes" if len(names) == 1 else "take"
