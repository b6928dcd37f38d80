r"""The noise of a fitted model, :math:`\beta^2`, in squared data units."""

from __future__ import annotations

__all__ = ["variance_of"]

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..distributions import draw
from ..likelihood import HeteroscedasticGaussian, SharedVariance
from ..vae import VAE

DRAWS = 4096
"""Of z ~ p(z), for the mean of noise that depends on it."""


def variance_of(estimator: Any) -> Any:
    """Return one number, or one for each feature.

    Raises:
        AttributeError: The likelihood has no such noise.
    """
    head, schema, fixed = estimator.model_.likelihood, estimator.schema_, estimator.spec_.variance
    if isinstance(head, HeteroscedasticGaussian):
        return schema.variance_from_model(_mean(estimator.model_))
    if not isinstance(head, SharedVariance):
        raise AttributeError(
            f"noise_variance_ does not exist: {type(head).__name__} has no beta^2."
        )
    if isinstance(fixed, str):
        return schema.variance_from_model(head.variance)
    # columns that are left out have none
    given = np.max(schema.variance_from_model(np.asarray(fixed)))
    # one number, as it was given: the model holds it scaled and in float32
    return float(f"{given:.14g}")


@torch.no_grad()
def _mean(model: VAE) -> Tensor:
    r"""Return the mean of :math:`\beta^2(z)` over z ~ p(z), of the shape of one example, in model
    units.
    """
    device = model.device
    z = draw(model.prior(), (DRAWS,), torch.Generator(device).manual_seed(0), gradients=False)
    variance: Tensor = model.decode(z).variance
    return variance.double().mean(0)
