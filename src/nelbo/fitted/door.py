"""Where rows come in: they are seen to be like those of the training data, or refused."""

from __future__ import annotations

__all__ = ["check_values", "check_width", "conditions", "latents", "to_model"]

import math
from typing import Any, Literal

import numpy as np
import torch

from ..data import Schema, Values
from ..data.condition_schema import UNCONDITIONED, ConditionSchema, missing
from ..data.conditions import Conditions
from ..data.moments import chunks
from ..data.other_units import other_units
from ..data.warned import listed, warn
from ..likelihood import Likelihood


def to_model(
    schema: Schema, likelihood: Likelihood, values: Values, noise: Literal["hash", "centre"]
) -> torch.Tensor:
    """Return rows in model units, float64 if they are, else float32.

    Raises:
        ValueError: They are not like the training data.
    """
    check_width(schema, values)
    check_values(likelihood, values)
    told = ""
    if likelihood.takes in ("real", "bytes"):
        told = other_units(schema, values.array)
    if told:
        warn(f"{told} Scale X as those were, or fit again on data like X.")
    _warn_of_impossible(schema, values)
    dtype = torch.float32
    if values.dtype == np.float64 and schema.table is None:
        dtype = torch.float64
    return schema.to_model(values, noise=noise, dtype=dtype)


def check_width(schema: Schema, X: Values) -> None:
    """Refuse examples of another size than those fitted, in words that scikit-learn's users know.

    Raises:
        ValueError: X has another number of values per example.
    """
    wanted, got = schema.n_features, math.prod(X.shape[1:])
    if got == wanted:
        return
    shape = schema.data_shape
    cure = f"Pass the same {wanted} columns"
    if len(shape) > 1:
        cure = f"Pass images of shape (n, {', '.join(map(str, shape))}) or flatten to (n, {wanted})"
    raise ValueError(
        f"X has {got} features, but VariationalAutoencoder is expecting {wanted} features as "
        f"input. {cure}, or fit again on data like these."
    )


def check_values(likelihood: Likelihood | type[Likelihood], values: Values) -> None:
    """Refuse data that a likelihood cannot have produced.

    Raises:
        ValueError: X holds such a value.
    """
    X = values.array
    for rows in chunks(len(X), math.prod(X.shape[1:])):
        likelihood.check(X[rows])


def latents(Z: Any, width: int) -> torch.Tensor:
    """Return latent points as a tensor, float64 if they are, else float32.

    Raises:
        ValueError: Z is not of shape (n, latent_dim), or not finite.
    """
    array = Values.of(Z, name="Z").array
    if array.ndim != 2 or array.shape[1] != width:
        raise ValueError(
            f"Z has shape {array.shape}, but this model has {width} latent dimensions. "
            f"Pass shape (n, {width}), as transform returns."
        )
    dtype = np.float64 if array.dtype == np.float64 else np.float32
    return torch.from_numpy(np.array(array, dtype=dtype))


def conditions(condition: ConditionSchema | None, c: Any, rows: int) -> torch.Tensor | None:
    """Return what rows that are drawn or decoded are conditioned on, (rows, k).

    Arguments:
        condition: What the model is conditioned on; None for a model of p(x).
        c: One condition for all rows, or one for each; None where there is none.
        rows: How many rows there are.

    Raises:
        ValueError: c is missing, does not fit, or there is none to be passed.
    """
    if condition is None and c is None:
        return None
    if condition is None:
        raise ValueError(UNCONDITIONED)
    if c is None:
        raise ValueError(missing(condition))
    given = Conditions.of(c)
    if len(given) not in (1, rows):
        raise ValueError(
            f"c has {len(given):,} conditions, but {rows:,} rows are to be made. Pass one for all "
            "of them, or one for each."
        )
    return condition.encode(given).expand(rows, -1)


def _warn_of_impossible(schema: Schema, values: Values) -> None:
    """Warn, naming column and row, where a column left out of the model has another value."""
    if not schema.left_out:
        return
    found, array = schema.impossible_values(values), values.array
    if found:
        name, places = next(iter(found.items()))
        rows = np.unique(np.concatenate(list(found.values())))
        j = next(j for j, _ in schema.left_out if schema.feature_name(j) == name)
        value = array.reshape(len(array), -1)[places[0], j]
        warn(
            f"X holds in {listed(list(found))} another value than all rows that the model was "
            f"fitted on, first {value:g} in row {places[0]} (counting from 0). Under the model "
            f"that is impossible: log p(x) is -inf for {len(rows)} of {len(array)} rows, and all "
            "else is computed as if they held the old value. Fit again on rows in which that "
            "column varies, or drop it."
        )
