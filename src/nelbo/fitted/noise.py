r"""The noise of a fitted model, :math:`\beta^2`, in squared data units."""

from __future__ import annotations

__all__ = ["mean_variance", "variance_of"]

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.distributions import Distribution

from ..data import Schema
from ..data.condition_schema import ConditionSchema
from ..distributions import draw
from ..vae import VAE


def variance_of(
    model: VAE, schema: Schema, condition: ConditionSchema | None = None
) -> float | npt.NDArray[Any]:
    """Return one number, or one for each feature.

    Arguments:
        model: The model.
        schema: The schema of its data.
        condition: What it is conditioned on: noise that depends on z is averaged over that, too.

    Raises:
        AttributeError: The likelihood has no such noise.
    """
    noise = model.likelihood.noise()
    if noise.kind == "none":
        raise AttributeError(f"noise_variance_ does not exist: {noise.family} has no beta^2.")
    if noise.variance is None:
        return _mean(model, schema, condition)
    if noise.kind != "fixed":
        return schema.variance_from_model(noise.variance)
    # columns that are left out have none
    given = np.max(schema.variance_from_model(noise.variance.double().cpu()))
    # one number, as it was given: the model holds it scaled and in float32
    return float(f"{given:.14g}")


@torch.no_grad()
def _mean(
    model: VAE, schema: Schema, condition: ConditionSchema | None, draws: int = 4096
) -> float | npt.NDArray[Any]:
    r"""Return the mean of :math:`\beta^2(z)` over draws of p(z)."""
    c = None
    if condition is not None:
        c = condition.encode(condition.draw(draws)).to(model.device, model.dtype)
    z = draw(model.prior(), (draws,), torch.Generator(model.device).manual_seed(0), gradients=False)
    return mean_variance(model.decode(z, c), schema)


def mean_variance(p: Distribution, schema: Schema) -> float | npt.NDArray[Any]:
    """Return the variance of p(x|z), averaged over its rows.

    Arguments:
        p: p(x|z) at several z, in model units.
        schema: The schema of the data.
    """
    along = getattr(p, "variance_along", None)
    if along is None or schema.mixing is None:
        return schema.variance_from_model(p.variance.double().mean(0))
    # noise that is correlated in t: its variance along the rows of R
    mixed = along(torch.tensor(schema.mixing).to(p.mean)).double().mean(0)
    return dataclasses.replace(schema, mixing=None).variance_from_model(mixed)
