"""Which method, and the public ways in."""

from __future__ import annotations

__all__ = ["bidirectional", "elbo", "log_likelihood", "methods", "plain_method", "without_sampling"]

import dataclasses
import functools
import math
import time
from typing import Any

import torch
from torch import Tensor

from ..vae import VAE
from .annealing import Settings, annealed
from .bidirectional import Bracket, bracket
from .exact import affine_decoder, exact
from .fisher import mixture
from .importance import Sampled, elbo_and_rate, importance
from .judging import MEMORY, judged
from .laplace import PROPOSALS, mass
from .proposal import own
from .quadrature import MOST_DIMENSIONS, quadrature
from .result import UNRELIABLE, UNSURE, Cost, LogLikelihood

CHAINS = 16
"""Chains of each row for annealed importance sampling, unless told."""
SAMPLES = 100
"""Importance samples of each row, unless told."""
FEW, QUICK = 8, Settings(temperatures=100)
"""Chains of the rows that "auto" anneals, and how."""
TRIED, MISSED = 32, 0.5
"""Rows on which "auto" searches for better modes, and the nats of mass at which one counts."""
METHODS = ("importance", "ais", "quadrature", "exact")


def methods() -> tuple[str, ...]:
    """Return the names that `log_likelihood` accepts as method."""
    return ("auto", *METHODS)


def plain_method(vae: VAE) -> str:
    """Return "exact" where that is possible, else "importance": what scores many rows at little
    cost.
    """
    return "importance" if affine_decoder(vae) is None else "exact"


def log_likelihood(
    vae: VAE,
    x: Tensor,
    method: str = "importance",
    samples: int | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    **options: Any,
) -> LogLikelihood:
    r"""Estimate log p(x) for each row of x (n, *vae.shape), in nats in the units of x.

    Arguments:
        vae: The model. It is evaluated in the precision of x, float32 or float64, however it was
            trained.
        x: Rows.
        method: "importance" (a stochastic lower bound; Burda et al., 2016), "ais" (annealed
            importance sampling with Hamiltonian moves, a far tighter one; Neal, 2001, Wu et al.,
            2017), "quadrature" (one or two latent dimensions), "exact" (an affine decoder with
            Gaussian noise and a standard normal prior), or "auto": exact where possible, else
            quadrature for rows that it resolves, else importance sampling; rows that are unreliable
            by their weights are sampled again from a normal fitted to their posterior, and those
            that still are, by AIS. ``reason`` of the result says what was done.
        samples: Importance samples of each row (None is 100), or chains for "ais" (None is 16).
        seed: Of the noise, from 0 to 2**62 - 1.
        memory: Bytes for intermediate results; it changes speed, not results.
        options: For "importance" ``proposal``: "encoder", "mixture" (three in four samples from a
            normal fitted to each row's posterior, at the mode that the encoder leads to, by a few
            steps of Gauss and Newton; it costs little more, and outliers need it), "refined" (all
            of them, by Newton's steps, which take gradients) or "searched" (at the best mode that
            can be found). For "ais" the fields of `Settings`: ``temperatures``, ``leapfrogs``,
            ``acceptance``, ``schedule``, ``start``, ``widen``.

    Raises:
        TypeError: A setting of AIS is no number.
        ValueError: Unknown method or option, ``samples`` below 1, a seed out of range, rows that do
            not fit, or a method that this model has no use for.
    """
    if method not in methods():
        raise ValueError(f"method must be one of {', '.join(methods())}, got {method!r}.")
    count = samples if samples is not None else CHAINS if method == "ais" else SAMPLES
    if count < 1:
        raise ValueError(f"samples must be at least 1, got {samples}.")
    _check_seed(seed)
    proposal, settings = _options(method, options)
    with judged(vae, x) as (model, rows):
        if method == "auto":
            return _auto(model, rows, count, seed, memory)
        if method == "exact":
            return exact(model, rows)
        if method == "quadrature":
            return quadrature(model, rows, memory)
        if method == "ais":
            return annealed(model, rows, count, seed, memory, settings)
        return importance(model, rows, count, seed, memory, _sampled_from(proposal, count))


def bidirectional(
    vae: VAE,
    n: int = 100,
    chains: int = CHAINS,
    seed: int = 0,
    memory: int = MEMORY,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> Bracket:
    """Bound log p(x) from both sides on n rows simulated from the model: bidirectional Monte Carlo.

    Arguments:
        vae: The model.
        n: Rows to simulate.
        chains: Of each row, in each direction.
        seed: Of rows and chains, from 0 to 2**62 - 1.
        memory: Bytes for intermediate results.
        dtype: Precision, float32 or float64.
        options: The fields of `Settings`, as for method "ais".

    Raises:
        ValueError: A number is out of range, or an option unknown.
    """
    for name, value in (("n", n), ("chains", chains)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    _check_seed(seed)
    _, settings = _options("ais", options)
    with judged(vae, torch.zeros(1, *vae.shape, dtype=dtype)) as (model, like):
        return bracket(model, n, like, chains, seed, memory, settings)


def elbo(vae: VAE, x: Tensor, samples: int = 16, seed: int = 0, memory: int = MEMORY) -> Tensor:
    """Return the ELBO of each row of x (n, *vae.shape), of shape (n,), in nats and float64.

    An average of log p(x, z) - log q(z|x) over ``samples`` draws of z. With the exact posterior
    every draw is log p(x) itself, which a closed-form KL beside sampled reconstructions would only
    match on average.

    Raises:
        ValueError: ``samples`` below 1, a seed out of range, or rows that do not fit.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}.")
    _check_seed(seed)
    with judged(vae, x) as (model, rows):
        return elbo_and_rate(model, rows, samples, seed, memory)[0].cpu()


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**62:
        raise ValueError(f"seed must be at least 0 and below 2**62, got {seed}.")


def _options(method: str, options: dict[str, Any]) -> tuple[str, Settings]:
    """Return the proposal and the settings of AIS, refusing what the method does not know."""
    known = {
        "importance": ["proposal"],
        "ais": [field.name for field in dataclasses.fields(Settings)],
    }.get(method, [])
    if unknown := sorted(set(options) - set(known)):
        takes = f"knows {', '.join(known)}" if known else "has no options"
        raise ValueError(f"method={method!r} {takes}, got {', '.join(unknown)}.")
    proposal = options.get("proposal", "encoder")
    known = ["encoder", "mixture", *(name for name in PROPOSALS if name != "encoder")]
    if proposal not in known:
        raise ValueError(f"proposal must be one of {', '.join(known)}, got {proposal!r}.")
    return proposal, Settings(**options) if method == "ais" else Settings()


def _sampled_from(proposal: str, samples: int) -> Sampled:
    """Return what makes the source of so many importance samples of each row, by its name."""
    if proposal == "mixture":
        return functools.partial(mixture, samples)
    if proposal == "encoder":
        return lambda vae, x, memory: (own(vae, x), Cost())
    return PROPOSALS[proposal]


# -- auto
# --------------------------------------------------------------------------------------------


def _auto(vae: VAE, x: Tensor, samples: int, seed: int, memory: int) -> LogLikelihood:
    """Pick the cheapest method whose answer is reliable, and say why."""
    settled = without_sampling(vae, x, memory)
    if settled is None:
        return _sampled(vae, x, samples, seed, memory)
    doubtful = settled.unreliable
    if not bool(doubtful.any()):
        return settled
    better = _sampled(vae, x[doubtful], samples, seed, memory)
    reason = (
        f"{settled.reason} It did not settle for {int(doubtful.sum())} of {len(x)} rows. "
        f"{better.reason}"
    )
    return dataclasses.replace(_replace(settled, doubtful, better), reason=reason)


def _sampled(vae: VAE, x: Tensor, samples: int, seed: int, memory: int) -> LogLikelihood:
    """Sample, and sample again, better, the rows that are unreliable."""
    found = importance(vae, x, samples, seed, memory, _sampled_from("encoder", samples))
    doubtful = found.unreliable
    measured = not bool(found.khat.isnan().all())
    sign = f"Pareto k above {UNRELIABLE}" if measured else f"standard error above {UNSURE} nats"
    if not bool(doubtful.any()):
        well = "weights have no heavy tail" if measured else "errors are small"
        return dataclasses.replace(
            found, reason=f"Importance sampling from the encoder; its {well} (no {sign})."
        )
    n, first = len(x), int(doubtful.sum())
    proposal, cost, searched = _proposal(vae, x[doubtful], memory)
    better = importance(vae, x[doubtful], samples, seed, memory, PROPOSALS[proposal])
    found = _replace(found, doubtful, dataclasses.replace(better, cost=better.cost + cost))
    doubtful = found.unreliable
    reason = (
        f"Importance sampling; for {first} of {n} rows the encoder's q(z|x) is too far from the "
        f"posterior ({sign}), so "
        f"their samples come from a normal fitted to it. {searched}"
    )
    if bool(doubtful.any()):
        second = int(doubtful.sum())
        found = _replace(found, doubtful, annealed(vae, x[doubtful], FEW, seed, memory, QUICK))
        reason += (
            f" For {second} rows that was not enough either: they were annealed (AIS, "
            f"{FEW} chains)."
        )
        if still := int(found.unreliable.sum()):
            reason += f" Of all rows, {still} are unreliable even so."
    return dataclasses.replace(found, reason=reason)


def without_sampling(vae: VAE, x: Tensor, memory: int) -> LogLikelihood | None:
    """Return log p(x) where it has a closed form, or from a grid over z, which may leave rows open;
    else None.
    """
    if affine_decoder(vae) is not None:
        return dataclasses.replace(
            exact(vae, x), reason="The decoder is linear, so log p(x) has a closed form."
        )
    if vae.latent_dim > MOST_DIMENSIONS:
        return None
    dimensions = "one latent dimension" if vae.latent_dim == 1 else "two latent dimensions"
    reason = f"With {dimensions} the integral over z can be done on a grid."
    return dataclasses.replace(quadrature(vae, x, memory), reason=reason)


def _proposal(vae: VAE, x: Tensor, memory: int) -> tuple[str, Cost, str]:
    """Look on a few rows whether the encoder leads to the right modes; if not, all rows deserve a
    search.
    """
    begun = time.perf_counter()
    rows = x[:: max(1, len(x) // TRIED)][:TRIED]
    near, spent = PROPOSALS["refined"](vae, rows, memory)
    far, more = PROPOSALS["searched"](vae, rows, memory)
    missed = int((mass(vae, rows, far) - mass(vae, rows, near) > MISSED).sum())
    spent += more
    cost = Cost(spent.decodes, spent.gradients, time.perf_counter() - begun)
    tried = f"{len(rows)} rows"
    if missed:
        text = (
            f"For {missed} of {tried} tried, the encoder leads to a wrong mode, so modes "
            "were searched for."
        )
        return "searched", cost, text
    return (
        "refined",
        cost,
        f"A search from the prior on {tried} found no better modes than the encoder leads to.",
    )


def _replace(found: LogLikelihood, rows: Tensor, better: LogLikelihood) -> LogLikelihood:
    """Put better estimates of some rows in place."""
    columns: dict[str, Any] = {}
    for name in ("value", "standard_error", "ess", "khat", "samples", "acceptance"):
        old, new = getattr(found, name), getattr(better, name)
        if new is not None:
            columns[name] = torch.full_like(found.value, math.nan) if old is None else old.clone()
            columns[name][rows] = new
    if bool(rows.all()):
        method = better.method
    else:
        method = (
            found.method if better.method in found.method else f"{found.method} + {better.method}"
        )
    return dataclasses.replace(found, **columns, method=method, cost=found.cost + better.cost)
