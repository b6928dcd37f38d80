"""Where training starts, in closed form, and whether it has beaten that."""

from __future__ import annotations

__all__ = ["ahead", "beats", "closed_form_start", "enough_rows", "quick_model"]

import copy
import math

import torch
from torch import Tensor

from .. import evaluate, initialize
from ..likelihood import DiscretizedGaussian
from ..linear_gaussian import LinearGaussian
from ..networks import Linear
from ..paired import surely_greater, trimmed_mean
from ..vae import VAE
from .rows import Rows

SURE = 0.9772
"""Confidence that training has beaten its start that is needed to keep it: two standard errors of
many rows.
"""
FEW_SURE = 0.999999
"""Confidence that ends the comparison after `QUICK_ROWS` rows, so high that looking twice costs
nothing.
"""
QUICK_ROWS = 256
"""Rows that a first look at a comparison takes."""
START_WORK = 5e9
"""Products that the covariance of the closed-form start may take: 8,000 rows of 784 features, 0.1
s.
"""
READ = 2**24
"""Numbers that it may read at once."""
JUDGING_SAMPLES = 64
"""Importance samples of that comparison."""
JUDGING_ROWS = 2000
"""Validation rows that it looks at, at most."""


def enough_rows(model: VAE, rows: Rows) -> Tensor | Rows:
    """Return the training rows that the start is found from, evenly spaced; many are read a part at
    a time.

    Networks with a nonlinear path leave the start at once; of many wide rows some are enough for
    them.
    """
    if not (isinstance(model.encoder, Linear) and isinstance(model.decoder, Linear)):
        rows = rows.every(math.ceil(len(rows) * math.prod(model.shape) ** 2 / START_WORK))
    return rows.read() if math.prod(rows.shape) <= READ else rows


def quick_model(model: VAE, x: Tensor | Rows, noise: torch.Generator) -> VAE | None:
    """Return what a run of little time may end with: the start, and a decoder of random features in
    closed form.

    Training does not go on from it, as it would learn features of its own more slowly from there.
    """
    quick = copy.deepcopy(model)
    x = x if isinstance(x, Tensor) else x.every(math.ceil(math.prod(x.shape) / READ)).read()
    return quick if initialize.random_features(quick, x, noise) else None


def ahead(one: VAE, other: VAE, x: Tensor, samples: int = 1) -> bool:
    """Return whether a model has the greater bound, by so many samples, on log p(x) of some of
    these rows.
    """
    x = x[:: math.ceil(len(x) / QUICK_ROWS)]
    mine, others = (
        evaluate.log_likelihood(vae.eval(), x, evaluate.plain_method(vae), samples).value
        if samples > 1
        else evaluate.elbo(vae.eval(), x, samples=1)
        for vae in (one, other)
    )
    return trimmed_mean(mine - others)[0] > 0


def closed_form_start(model: VAE, x: Tensor | Rows, init: str) -> LinearGaussian | None:
    """Put the model at its closed-form solution where it has one and ``init`` wants it.

    Raises:
        ValueError: ``init`` is unknown, or asks for pPCA where there is none.
    """
    if init not in ("auto", "ppca", "random"):
        raise ValueError(f'init must be "auto", "ppca" or "random", got {init!r}.')
    able = initialize.has_linear_paths(model)
    if init == "ppca" and not able:
        raise ValueError(
            'init="ppca" needs networks with a linear path: "linear", "residual" or "conv".'
        )
    start = initialize.closed_form(model, x) if able and init != "random" else None
    if start is None:
        if init == "ppca":
            raise ValueError('init="ppca" needs a Gaussian likelihood.')
        return None
    initialize.start_at(model, start)
    return start


def beats(model: VAE, start: LinearGaussian, x: Tensor) -> bool:
    """Return whether training has beaten its start on held-out rows by more than chance
    explains.
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
    """Return log p(x) of each row by the closed-form start: exact for a density, by sampling for a
    probability.
    """
    if not isinstance(model.likelihood, DiscretizedGaussian):
        return start.log_prob(x.flatten(1).double())
    linear = copy.deepcopy(model)
    initialize.start_at(linear, start)
    return evaluate.log_likelihood(linear, x, evaluate.plain_method(linear), samples).value


def _effort(model: VAE) -> tuple[int, int]:
    """Return how many rows and samples to compare on: fewer where both sides are sampled, at many
    times the cost.
    """
    share = 4 if isinstance(model.likelihood, DiscretizedGaussian) else 1
    return JUDGING_ROWS // share, JUDGING_SAMPLES // share
