"""Picks, for each row, the cheapest method whose answer is reliable, and says why."""

from __future__ import annotations

__all__ = ["Auto", "without_sampling"]

import dataclasses
import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..vae import VAE
from .annealing import Settings, annealed
from .exact import closed_form, exact
from .examples import Examples
from .importance import from_encoder_itself, importance
from .laplace import PROPOSALS, mass
from .quadrature import Quadrature, quadrature
from .result import UNRELIABLE, LogLikelihood


def without_sampling(vae: VAE, x: Examples, memory: int) -> LogLikelihood | None:
    """Return log p(x) in closed form, or from a grid over z, which may leave rows open, or None."""
    if closed_form(vae, x[:1]) is not None:
        reason = "The model is linear, or a mixture of such, so log p(x) has a closed form."
        return dataclasses.replace(exact(vae, x), reason=reason)
    if vae.latent_dim > Quadrature.most_dimensions:
        return None
    dimensions = {1: "one latent dimension", 2: "two latent dimensions"}[vae.latent_dim]
    reason = f"With {dimensions} the integral over z can be done on a grid."
    return dataclasses.replace(quadrature(vae, x, memory), reason=reason)


@dataclass(frozen=True)
class Auto:
    """The rule of method "auto".

    Attributes:
        samples: Importance samples of each row.
        seed: The seed of all noise.
        memory: Bytes for intermediate results.
        chains: Chains of the rows that are annealed: few, since these rows have resisted all else.
        temperatures: Temperatures of these chains.
        tried: Rows on which better modes are searched for: where one is found, all rows deserve a
            search.
        missed: Nats of mass by which a mode must be better to count.
    """

    samples: int
    seed: int
    memory: int
    chains: int = 8
    temperatures: int = 100
    tried: int = 32
    missed: float = 0.5

    def __call__(self, vae: VAE, x: Examples) -> LogLikelihood:
        """Estimate log p(x) of each row."""
        settled = without_sampling(vae, x, self.memory)
        if settled is None:
            return self.sampled(vae, x)
        doubtful = settled.unreliable
        if not bool(doubtful.any()):
            return settled
        better = self.sampled(vae, x[doubtful])
        reason = (
            f"{settled.reason} It did not settle for {int(doubtful.sum())} of {len(x)} rows. "
            f"{better.reason}"
        )
        return dataclasses.replace(_replace(settled, doubtful, better), reason=reason)

    def sampled(self, vae: VAE, x: Examples) -> LogLikelihood:
        """Sample, and sample again, better, the rows that are unreliable."""
        found = importance(vae, x, self.samples, self.seed, self.memory, from_encoder_itself)
        doubtful = found.unreliable
        sign = _sign(found)
        if not bool(doubtful.any()):
            reason = f"Importance sampling from the encoder; {_well(found)} (no {sign})."
            return dataclasses.replace(found, reason=reason)
        first = int(doubtful.sum())
        better, searched = self.fitted(vae, x[doubtful])
        found = _replace(found, doubtful, better)
        doubtful = found.unreliable
        reason = (
            f"Importance sampling; for {first} of {len(x)} rows the encoder's q(z|x) is too far "
            f"from the posterior ({sign}), so their samples come from a normal fitted to it. "
            f"{searched}"
        )
        if bool(doubtful.any()):
            found = _replace(found, doubtful, self.annealed(vae, x[doubtful]))
            reason += (
                f" For {int(doubtful.sum())} rows that was not enough either: they were annealed "
                f"(AIS, {self.chains} chains)."
            )
            still = int(found.unreliable.sum())
            if still:
                reason += f" Of all rows, {still} are unreliable even so."
        return dataclasses.replace(found, reason=reason)

    def fitted(self, vae: VAE, x: Examples) -> tuple[LogLikelihood, str]:
        """Sample from normals fitted to the posterior, and say which modes they stand at.

        A search on a few rows tells whether the encoder leads to the right modes.
        """
        begun = time.perf_counter()
        rows = x[:: max(1, len(x) // self.tried)][: self.tried]
        near, cost = PROPOSALS["refined"](vae, rows, self.memory)
        far, more = PROPOSALS["searched"](vae, rows, self.memory)
        missed = int((mass(vae, rows, far) - mass(vae, rows, near) > self.missed).sum())
        cost = dataclasses.replace(cost + more, seconds=time.perf_counter() - begun)
        proposal = "refined"
        told = (
            f"A search from the prior on {len(rows)} rows found no better modes than the encoder "
            "leads to."
        )
        if missed:
            proposal = "searched"
            told = (
                f"For {missed} of {len(rows)} rows tried, the encoder leads to a wrong mode, so "
                "modes were searched for."
            )
        found = importance(vae, x, self.samples, self.seed, self.memory, PROPOSALS[proposal])
        return dataclasses.replace(found, cost=found.cost + cost), told

    def annealed(self, vae: VAE, x: Examples) -> LogLikelihood:
        """Anneal a few chains of each row."""
        settings = Settings(temperatures=self.temperatures)
        return annealed(vae, x, self.chains, self.seed, self.memory, settings)


def _measured(found: LogLikelihood) -> bool:
    """Return whether there are enough samples for a Pareto shape."""
    return not bool(found.khat.isnan().all())


def _sign(found: LogLikelihood) -> str:
    """Say by what a row would be unreliable."""
    if _measured(found):
        return f"Pareto k above {UNRELIABLE}"
    return f"standard error above {found.unsure} nats"


def _well(found: LogLikelihood) -> str:
    """Say why rows are reliable."""
    if _measured(found):
        return "its weights have no heavy tail"
    return "its errors are small"


def _replace(found: LogLikelihood, rows: Tensor, better: LogLikelihood) -> LogLikelihood:
    """Put better estimates of some rows in place."""
    columns: dict[str, Any] = {}
    for name in ("value", "standard_error", "ess", "khat", "samples", "acceptance"):
        new = getattr(better, name)
        if new is None:
            continue
        old = getattr(found, name)
        if old is None:
            old = torch.full_like(found.value, math.nan)
        columns[name] = old.clone()
        columns[name][rows] = new
    method = found.method
    if bool(rows.all()):
        method = better.method
    elif better.method not in method:
        method = f"{method} + {better.method}"
    return dataclasses.replace(found, **columns, method=method, cost=found.cost + better.cost)
