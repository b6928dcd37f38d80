"""Whether training has beaten its start on held-out rows, beyond what chance explains."""

from __future__ import annotations

__all__ = ["JUDGING_SAMPLES", "ahead", "beats"]

import copy
import math

from torch import Tensor

from .. import evaluate
from ..linear import LinearGaussian
from ..paired import surely_greater, trimmed_mean
from ..vae import VAE
from .solution import start_at

SURE = 0.9772
"""Confidence that training has beaten its start that is needed to keep it:
two standard errors of many rows.
"""


FEW_SURE = 0.999999
"""Confidence that ends the comparison after `QUICK_ROWS` rows,
so high that looking twice costs nothing.
"""


QUICK_ROWS = 256
"""Rows that a first look at a comparison takes."""


JUDGING_SAMPLES = 64
"""Importance samples of that comparison."""


JUDGING_ROWS = 2000
"""Validation rows that it looks at, at most."""


def ahead(one: VAE, other: VAE, x: Tensor, samples: int = 1) -> bool:
    """Return whether a model has the greater bound, by so many samples,
    on log p(x) of some of these rows.
    """
    x = x[:: math.ceil(len(x) / QUICK_ROWS)]
    mine, others = (
        evaluate.log_likelihood(vae.eval(), x, evaluate.plain_method(vae), samples).value
        if samples > 1
        else evaluate.elbo(vae.eval(), x, samples=1)
        for vae in (one, other)
    )
    return trimmed_mean(mine - others)[0] > 0


def beats(model: VAE, start: LinearGaussian, x: Tensor) -> bool:
    """Return whether training has beaten its start on held-out rows
    by more than chance explains.
    """
    rows, samples = _effort(model)
    x = x[:: max(1, len(x) // rows)][:rows]
    few = x[:: max(1, len(x) // QUICK_ROWS)]
    if len(few) < len(x):
        one = evaluate.elbo(model, few, samples=1)
        if surely_greater(one, _value_of_start(model, start, few, samples), FEW_SURE):
            return True
    baseline = _value_of_start(model, start, x, samples)
    # cheap, and can only understate the model
    if surely_greater(evaluate.elbo(model, x, samples=1), baseline, SURE):
        return True
    one = evaluate.log_likelihood(model, x, evaluate.plain_method(model), samples).value
    return surely_greater(one, baseline, SURE)


def _value_of_start(model: VAE, start: LinearGaussian, x: Tensor, samples: int) -> Tensor:
    """Return log p(x) of each row by the closed-form start:
    exact for a density, by sampling for a probability.
    """
    if _is_linear_exactly(model):
        return start.log_prob(x.flatten(1).double())
    linear = copy.deepcopy(model)
    start_at(linear, start)
    return evaluate.log_likelihood(linear, x, evaluate.plain_method(linear), samples).value


def _is_linear_exactly(model: VAE) -> bool:
    """Return whether log p(x) of the model at its start is that of the linear model."""
    return model.likelihood.linear_is_exact and model.prior.standard


def _effort(model: VAE) -> tuple[int, int]:
    """Return how many rows and samples to compare on:
    fewer where both sides are sampled, at many times the cost.
    """
    share = 1 if _is_linear_exactly(model) else 4
    return JUDGING_ROWS // share, JUDGING_SAMPLES // share
