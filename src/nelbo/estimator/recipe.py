"""What was decided for the user, with the reason for each: plain values, as JSON holds them."""

from __future__ import annotations

__all__ = ["Recipe", "announce", "describe", "settled"]

import warnings
from typing import Any

import numpy as np

from ..data import Schema
from ..data.warned import DataWarning, listed
from ..spec import Spec

Recipe = dict[str, dict[str, Any]]
"""name -> {"value": what, "reason": why}"""


def describe(schema: Schema, array: np.ndarray) -> Recipe:
    """Return what a schema decided about the rows that it was found from."""
    found: Recipe = {}
    if array.dtype == np.uint8 and schema.kind == "table" and not (schema.dequantize or schema.discrete):
        found["dequantize"] = {
            "value": False,
            "reason": "A table of uint8 holds numbers, as of any other type. Flattened 8-bit pictures: pass them as "
            "images (n, h, w), or with dequantize=True.",
        }
    if schema.kind == "images" and schema.scale.ndim:
        found["scale"] = {
            "value": "per channel",
            "reason": "Deviations of channels, or of sensors, differ so much that one scale for all would hide some.",
        }
    if schema.left_out:
        names = [schema.feature_name(j) for j, _ in schema.left_out]
        found["left_out"] = {
            "value": {name: value for name, (_, value) in zip(names, schema.left_out, strict=True)},
            "reason": f"{listed(names)} had one value in all rows, which says nothing and has no density. Results hold "
            "that value; under the model any other is impossible.",
        }
    return found


def settled(estimator: Any, schema: Schema, model_spec: Spec, objective: str, table: bool, kept: bool) -> Recipe:
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
        own = {} if model_spec.decoder_hidden is None else {"decoder": list(model_spec.decoder_hidden)}
        found["hidden"] = {
            "value": {"encoder": list(model_spec.hidden), "decoder": list(model_spec.hidden), **own},
            "reason": "Widths follow the kind of data and the number of rows: wide nets learn few rows by heart.",
        }
    if estimator.objective == "auto":
        found["objective"] = {
            "value": objective,
            "reason": FOUR_SAMPLES if table else ONE_SAMPLE,
        }
    if kept:
        found["start"] = {
            "value": "kept",
            "reason": "Training did not beat its closed-form start beyond doubt on rows held out, so that was kept.",
        }
    return found


NOISE_OF_TABLES = "The noise of a table differs between its clusters, so it is read from z."
FOUR_SAMPLES = "Four samples a row make a tighter bound, and tables are cheap."
ONE_NOISE = "One noise level for all values, learned by its closed form, suits images and tables with options of yours."
ONE_SAMPLE = "The ELBO with one sample a row goes furthest in the same time."


def _scale(schema: Schema, table: bool) -> dict[str, Any]:
    """Say how the data are scaled, and why."""
    if schema.mixing is not None:
        reason = (
            "A normal with every correlation predicted rows held out at least as well as pPCA did: z starts at the "
            "principal components, and noise is correlated as what they leave."
        )
        return {"value": "whitened", "reason": reason}
    if not schema.scale.ndim:
        return {"value": "global", "reason": "One number for all values, so that noise is equal in units of the data."}
    few = " There were too few rows to tell all correlations." if table else ""
    return {"value": "standard", "reason": f"Each column is divided by its own deviation.{few}"}


def announce(found: Recipe) -> None:
    """Warn, in one line, of columns that are left out: nothing is dropped in silence."""
    if "left_out" in found:
        names = list(found["left_out"]["value"])
        warnings.warn(
            f"Left out of the model: {listed(names)}, with one value in all rows. Results hold that value, and "
            "log p(x) of a row with another is -inf. (Flattened pictures: pass them as images, (n, h, w).)",
            DataWarning,
            stacklevel=4,
        )
