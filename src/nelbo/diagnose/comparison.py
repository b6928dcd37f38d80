r"""Samples beside data, and data seen beside data unseen.

`baseline` asks whether the model beats a linear one. `memorisation` asks whether it knows its
training rows too well: their log p(x) beside that of unseen rows, and whether samples lie closer to
training rows than unseen rows do (Meehan et al., 2020). `prior_match` asks whether z ~ p(z) look
like z ~ q(z), which is what the decoder was trained on.
"""

from __future__ import annotations

__all__ = ["Baseline", "Memorisation", "PriorMatch", "baseline", "memorisation", "prior_match"]

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..baseline import fit_baseline
from ..data.units import Units
from ..distributions import draw
from ..evaluate import (
    MEMORY,
    Examples,
    encoder_source,
    judged,
    log_likelihood,
    plain_method,
)
from ..vae import VAE
from .drawn import drawn_like
from .standard_error import Estimate, jackknife, log_density, mean, subsample


@dataclass(frozen=True)
class Memorisation:
    """Training rows beside unseen ones.

    Attributes:
        train, test: Mean log p(x), in nats and the units of the data.
        difference: train - test.
        closer: Share of pairs (sample, unseen row) in which the sample lies closer to its nearest
            training row; 1/2 where samples are like unseen rows, 1 for copies of training rows. Its
            error is that of equal distributions.
        searched: Training rows that neighbours were looked for in.
    """

    train: Estimate
    test: Estimate
    difference: Estimate
    closer: Estimate
    searched: int


@dataclass(frozen=True)
class Baseline:
    """The model beside exact pPCA of the same latent size, in nats per row.

    Attributes:
        model, linear: Mean log p(x) of unseen rows, in the units of the data.
        gain: Model minus linear, row by row.
    """

    model: Estimate
    linear: Estimate
    gain: Estimate


@dataclass(frozen=True)
class PriorMatch:
    r"""How far q(z) is from p(z) (Makhzani et al., 2016; Hoffman & Johnson, 2016).

    Attributes:
        energy: Energy distance over twice the mean distance of a draw of q(z) to one of p(z): 0
            where they agree, at most 1 (Rizzo & Székely, 2016).
    """

    energy: Estimate


def memorisation(
    vae: VAE,
    x: Tensor,
    train: Tensor,
    units: Units | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    samples: int = 100,
    searched: int = 10_000,
    c: Tensor | None = None,
    train_c: Tensor | None = None,
    log_p: Tensor | None = None,
) -> Memorisation:
    """Hold training rows against unseen ones.

    Arguments:
        vae: The model.
        x: Unseen rows of shape (n, *vae.shape), in model units.
        train: Rows the model was fitted to, (m, *vae.shape).
        units: Units of the data; None are the model's own.
        seed: The seed of importance samples and of the model's samples, of which there are as many
            as rows in x.
        memory: Bytes for intermediate results.
        samples: Importance samples behind each log p(x).
        searched: Training rows in which nearest neighbours are looked for, at most.
        c, train_c: Conditions of the rows, (n, k) and (m, k), for a model of p(x|c): samples have
            those of x.
        log_p: log p(x) of each row of x in the units of the data, (n,), by as many samples, where
            that is known already.

    Raises:
        ValueError: Rows that do not fit.
    """
    method, shift = plain_method(vae, c), log_density(units)
    settings: dict[str, Any] = {}
    if method == "importance":  # as scores are: the encoder alone may be nats too low
        settings["proposal"] = "mixture"
    seen = subsample(Examples(train, train_c), len(x), seed)

    def scored(rows: Examples) -> Estimate:
        found = log_likelihood(vae, rows.x, method, samples, seed, memory, rows.c, **settings)
        return mean(found.value, shift)

    first = scored(seen)
    if log_p is None:
        second = scored(Examples(x, c))
    else:
        second = mean(log_p)
    error = math.hypot(first.standard_error, second.standard_error)
    with judged(vae, x, c) as (model, rows):
        known = subsample(train, searched, seed).to(rows.x)
        made = nearest(drawn_like(model, rows, len(rows), seed), known)
        held = nearest(rows.x, known)
    return Memorisation(
        first,
        second,
        Estimate(first.value - second.value, error, len(x)),
        _closer(made, held),
        len(known),
    )


def baseline(
    vae: VAE,
    x: Tensor,
    train: Tensor | None,
    log_p: Tensor,
    units: Units | None = None,
    linear: Tensor | None = None,
    widest: int = 4096,
    c: Tensor | None = None,
    train_c: Tensor | None = None,
) -> Baseline | None:
    """Hold a model against exact pPCA with as many latents.

    Arguments:
        vae: The model.
        x: Unseen rows of shape (n, *vae.shape), in model units.
        train: Rows the model was fitted to, (m, *vae.shape): pPCA takes them as they are, unscaled.
        log_p: The model's log p(x) of each row of x, in model units, of shape (n,).
        units: Units of the data; None are the model's own.
        linear: log p(x) of each row of x under a pPCA that is known already, in the units of the
            data, of shape (n,).
        widest: Values of a row up to which the covariance matrix of the linear model is made.
        c, train_c: Conditions of the rows, (n, k) and (m, k), for a model of p(x|c).

    Returns:
        The comparison, or None where p(x|z) is not Gaussian, or pPCA is neither given nor quickly
        found: there are no training rows, or rows have more than ``widest`` values.
    """
    shift = log_density(units)
    if linear is None:
        if train is None or math.prod(vae.shape) > widest or not vae.likelihood.density:
            return None
        found = fit_baseline(train.flatten(1), vae.latent_dim, c=train_c)
        if found is None:
            return None
        linear = found.log_prob(x.flatten(1).cpu(), c) + shift
    return Baseline(mean(log_p, shift), mean(linear), mean(log_p + shift - linear.to(log_p)))


def nearest(x: Tensor, known: Tensor) -> Tensor:
    """Return the Euclidean distance of each row of x to its nearest row of ``known``: (n,)."""
    flat = known.flatten(1)
    return (
        torch.cat([torch.cdist(part, flat).amin(1) for part in x.flatten(1).split(256)])
        .double()
        .cpu()
    )


def _closer(made: Tensor, held: Tensor) -> Estimate:
    """Return the share of pairs with made < held, ties counted as half (Mann & Whitney, 1947)."""
    ordered = held.sort().values
    below, until = (torch.searchsorted(ordered, made, right=right) for right in (False, True))
    m, n = len(made), len(held)
    share = 1 - float((below + until).double().mean()) / (2 * n)
    return Estimate(share, math.sqrt((m + n + 1) / (12 * m * n)), n)


def prior_match(vae: VAE, x: Tensor, seed: int = 0, c: Tensor | None = None) -> PriorMatch:
    """Measure the energy distance between draws of q(z) and of p(z).

    Arguments:
        vae: The model.
        x: Rows of shape (n, *vae.shape), at least 4; one draw of q(z|x) from each, and as many of
            p(z).
        seed: The seed of the draws.
        c: Conditions (n, k), for a model of p(x|c).

    Raises:
        ValueError: Rows that do not fit, or fewer than 4.
    """
    if len(x) < 4:
        raise ValueError(f"x needs at least 4 rows for an energy distance, got {len(x)}.")
    with judged(vae, x, c) as (model, rows):
        q = encoder_source(model, rows)
        a = q.draws(rows.keys(), 1, seed, 0, rows.x)[0].double().cpu()
        generator = torch.Generator(rows.device).manual_seed(seed)
        b = draw(model.prior(), (len(rows),), generator, gradients=False).double().cpu()
    across, within, prior = torch.cdist(a, b), torch.cdist(a, a), torch.cdist(b, b)

    def statistic(index: Tensor) -> float:
        pairs = index[:, None], index
        own = len(index) * (len(index) - 1)
        between = float(across[pairs].mean())
        return 1 - (float(within[pairs].sum()) + float(prior[pairs].sum())) / own / (2 * between)

    return PriorMatch(jackknife(statistic, len(x)))
