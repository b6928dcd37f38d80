"""A warning where the noise that was learned ended at its floor."""

from __future__ import annotations

__all__ = ["warn_of_floor"]

import math

import numpy as np
import torch

from ..data import Schema
from ..data.rows import Rows
from ..data.steps.whitening import mixed_variance
from ..data.warned import warn
from ..likelihood import VARIANCE_FLOOR
from ..vae import VAE


def warn_of_floor(
    model: VAE, schema: Schema, rows: Rows, told: frozenset[str], near: float = 2.0
) -> None:
    """Warn, naming the columns, where a learned noise variance ended at its floor.

    Noise that depends on z is warned of only for columns of which nothing is told yet.

    Arguments:
        model: The model.
        schema: The schema of its data.
        rows: Rows in which noise that depends on z is looked at.
        told: The columns that the user has been told of.
        near: Multiple of the floor that counts as the floor: the posterior's own width adds as
            much.
    """
    noise = model.likelihood.noise()
    if noise.floor is None or noise.kind == "fixed":
        return
    if noise.variance is not None:
        low = (noise.variance <= near * noise.floor).cpu()
        _warn_of_low(low, math.sqrt(VARIANCE_FLOOR), schema, frozenset())
    elif schema.kind == "table":
        low = _at_floor_for_most(model, near * noise.floor, schema, rows)
        _warn_of_low(low, math.sqrt(noise.floor), schema, told)


@torch.no_grad()
def _at_floor_for_most(
    model: VAE, floor: float, schema: Schema, rows: Rows, most: int = 256
) -> torch.Tensor:
    """Return in which columns, as the user sees them, most rows have noise at its floor.

    At most ``most`` rows are looked at.
    """
    rows = rows.every(math.ceil(len(rows) / most))
    x, c = rows.read().to(model.device, model.dtype), rows.conditions()
    if c is not None:
        c = c.to(model.device, model.dtype)
    variance = model.decode(model.encode(x, c).mean, c).variance.double().cpu()
    if schema.mixing is not None:
        mixed = [mixed_variance(row, schema.mixing) for row in variance.numpy()]
        variance = torch.from_numpy(np.stack(mixed))
    return variance.median(0).values <= floor


def _warn_of_low(low: torch.Tensor, floor: float, schema: Schema, told: frozenset[str]) -> None:
    if not bool(low.any()):
        return
    where = _all_columns(schema) if low.ndim == 0 else _some_columns(low, schema, told)
    if where:
        warn(
            f"The noise {where} reached its floor, {floor:g} of the data's scale: these values are "
            "predicted (almost) exactly, so log p(x) is as large as the floor allows. Drop "
            "constant or duplicated columns, lower latent_dim where it reaches the number of rows "
            "or columns, or pass a fixed variance."
        )


def _all_columns(schema: Schema) -> str:
    constant = schema.constant_features()
    told = f" (constant: {', '.join(constant[:5])})" if constant else ""
    return f"of all columns together{told}"


def _some_columns(low: torch.Tensor, schema: Schema, told: frozenset[str]) -> str:
    flat = schema.to_user_flat(low.double().numpy()) > 0
    names = [schema.feature_name(int(i)) for i in np.flatnonzero(flat)]
    names = [name for name in names if name not in told]
    if not names:
        return ""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"of {', '.join(names[:5])}{more}"
