r"""The noise of a fitted model, :math:`\beta^2`, in squared data units."""

from __future__ import annotations

__all__ = ["variance_of"]

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..data import Schema
from ..distributions import draw
from ..vae import VAE

DRAWS = 4096
"""Draws of z ~ p(z) over which noise that depends on z is averaged."""


def variance_of(model: VAE, schema: Schema) -> float | npt.NDArray[Any]:
    """Return one number, or one for each feature.

    Arguments:
        model: The model.
        schema: The schema of its data.

    Raises:
        AttributeError: The likelihood has no such noise.
    """
    noise = model.likelihood.noise()
    if noise.kind == "none":
        raise AttributeError(f"noise_variance_ does not exist: {noise.family} has no beta^2.")
    if noise.variance is None:
        return schema.variance_from_model(_mean(model))
    if noise.kind != "fixed":
        return schema.variance_from_model(noise.variance)
    # columns that are left out have none
    given = np.max(schema.variance_from_model(noise.variance.double().cpu()))
    # one number, as it was given: the model holds it scaled and in float32
    return float(f"{given:.14g}")


@torch.no_grad()
def _mean(model: VAE) -> Tensor:
    r"""Return the mean of :math:`\beta^2(z)` over z ~ p(z), in model units: of shape ``shape``."""
    z = draw(model.prior(), (DRAWS,), torch.Generator(model.device).manual_seed(0), gradients=False)
    variance: Tensor = model.decode(z).variance
    return variance.double().mean(0)
