r"""Annealed importance sampling (Neal, 2001), as Wu et al. (2017) use it to judge decoders.

.. math::
    f_t(z) = r(z)^{1 - t} \, p(x, z)^t, \qquad
    \log w = \sum_k (t_k - t_{k-1}) \bigl(\log p(x, z_{k-1}) - \log r(z_{k-1})\bigr), \qquad E[w] =
    p(x)

Each chain starts at z ~ r, a normal, and follows :math:`f_{t_k}` by Hamiltonian Monte Carlo. All of
it happens in the noise u of z = m + L u, in which a good r makes the posterior round: L is the mass
matrix. Run backwards from an exact posterior sample the same chains give :math:`E[1/w] = 1/p(x)`,
and so an upper bound (Grosse et al., 2015).

A step size that follows the acceptance of its own chain would spoil :math:`E[w] = p(x)`. So step
sizes are adapted, to each row and temperature, on pilot chains that are thrown away, and then held.
"""

from __future__ import annotations

__all__ = ["Settings", "annealed", "chunk", "follow", "groups", "pilot"]

import math
import numbers
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..vae import VAE
from ..watching import pieces
from . import row_noise
from .chains import SCHEDULES, Schedule, Stream, anneal, start_noise, stream, temperatures
from .examples import Examples
from .importance import Weights
from .judging import rows_at_once
from .laplace import PROPOSALS
from .proposal import Normal
from .result import Cost, LogLikelihood, rounded


@dataclass(frozen=True)
class Settings:
    """How to anneal.

    Attributes:
        temperatures: Number of distributions between the start and the posterior.
        leapfrogs: Gradient steps of each Hamiltonian move.
        acceptance: Share of accepted moves that step sizes aim at.
        schedule: "linear", "sigmoid" (slow at both ends; Grosse et al., 2015), or "power" (slow at
            the start, for starts wider than the posterior).
        start: "searched" (a normal fitted to each posterior at the best mode that can be found),
            "refined" (at the one that the encoder leads to), "encoder" (q(z|x)) or "prior".
        widen: How many times wider a fitted start is made: wide enough for chains to leave a mode
            that has not all of the mass. 1 is best for posteriors that are normal, and blind to
            other modes.

    Raises:
        TypeError: A setting is not a number.
        ValueError: A number is out of range, or a name is unknown.
    """

    temperatures: int = 200
    leapfrogs: int = 4
    acceptance: float = 0.8
    schedule: str = "power"
    start: str = "searched"
    widen: float = 3.0

    def __post_init__(self) -> None:
        for name, kind, what in (
            ("temperatures", numbers.Integral, "an integer"),
            ("leapfrogs", numbers.Integral, "an integer"),
            ("acceptance", numbers.Real, "a number"),
            ("widen", numbers.Real, "a number"),
        ):
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise TypeError(f"{name} must be {what}, got {value!r}.")
        for name in ("temperatures", "leapfrogs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 < self.acceptance < 1:
            raise ValueError(f"acceptance must be between 0 and 1, got {self.acceptance}.")
        if not 1 <= self.widen < math.inf:
            raise ValueError(f"widen must be at least 1 and finite, got {self.widen}.")
        for name, known in (("schedule", SCHEDULES), ("start", tuple(PROPOSALS))):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}."
                )


def annealed(
    vae: VAE, x: Examples, chains: int, seed: int, memory: int, settings: Settings
) -> LogLikelihood:
    """Estimate log p(x) of each row by annealed importance sampling: a stochastic lower bound."""
    begun = time.perf_counter()
    columns, rates = [], []
    spent = Cost()
    for part in pieces(x.split(chunk(vae, x, chains, memory)), "annealed importance sampling"):
        start, schedule, cost = pilot(vae, part, seed, memory, settings)
        sums, rate, more = follow(vae, part, start, schedule, chains, seed, settings)
        columns.append(sums.result())
        rates.append(rate)
        spent += cost + more
    value, error, ess, khat = (torch.cat(column).cpu() for column in zip(*columns, strict=True))
    error = rounded(error, value, x.dtype)
    cost = Cost(spent.decodes, spent.gradients, time.perf_counter() - begun)
    count = torch.full((len(x),), chains)
    return LogLikelihood(
        value, error, ess, khat, "ais", count, acceptance=torch.cat(rates).cpu(), cost=cost
    )


def chunk(vae: VAE, x: Examples, chains: int, memory: int) -> int:
    """Return how many rows are annealed at once."""
    together = min(max(chains, Pilot.chains), row_noise.BLOCK)
    return rows_at_once(vae, x, together, memory, gradients=True)


def follow(
    vae: VAE,
    x: Examples,
    start: Normal,
    schedule: Schedule,
    chains: int,
    seed: int,
    settings: Settings,
    z: Tensor | None = None,
) -> tuple[Weights, Tensor, Cost]:
    """Run all chains of some rows: forwards, or backwards from posterior samples z (n, latent_dim).

    Returns:
        Their weights, which backwards are 1 / w, the mean acceptance of each row, and the cost.
    """
    sums = Weights(len(x), chains, x.device)
    rate = torch.zeros(len(x)).to(x.x)
    spent = Cost()
    keys = x.keys()
    for group, count in groups(chains):
        if z is None:
            own = stream(seed, Stream.FORWARD, group)
            u = start_noise(keys, count, vae.latent_dim, own, x.x)
            run = anneal(vae, x, keys, start, u, schedule, own, settings.leapfrogs)
            sums.add(run.log_weight)
        else:
            own = stream(seed, Stream.BACKWARD, group)
            u = start.to_noise(z[None]).expand(count, -1, -1)
            run = anneal(vae, x, keys, start, u, schedule, own, settings.leapfrogs, backward=True)
            sums.add(-run.log_weight)
        rate = rate + run.acceptance * (count / chains)
        spent += run.cost
    return sums, rate, spent


def groups(chains: int) -> Iterator[tuple[int, int]]:
    """Yield the number and the size of groups of chains that run together,
    so that memory does not grow with chains.
    """
    for group, begin in enumerate(range(0, chains, row_noise.BLOCK)):
        yield group, min(row_noise.BLOCK, chains - begin)


@dataclass(frozen=True)
class Pilot:
    """Pilot chains, on which step sizes are adapted before they are held.

    Attributes:
        chains: Chains of each row.
        passes: How often they run; each begins with the step sizes that the one before ended with.
        share: Share of the temperatures at which they stop.
        at_least: Temperatures, where there are as many, however small the share.
    """

    chains: int = 4
    passes: int = 2
    share: float = 0.25
    at_least: int = 20

    def temperatures(self, settings: Settings) -> Tensor:
        """Return the temperatures at which pilot chains stop."""
        count = settings.temperatures
        few = max(math.ceil(self.share * count), min(count, self.at_least))
        return temperatures(few, settings.schedule)


def pilot(
    vae: VAE, x: Examples, seed: int, memory: int, settings: Settings
) -> tuple[Normal, Schedule, Cost]:
    """Make the start of each row,
    and adapt step sizes to it on a few chains with fewer temperatures.
    """
    pilots = Pilot()
    start, cost = PROPOSALS[settings.start](vae, x, memory)
    if settings.start in ("refined", "searched"):
        start = Normal(start.loc, start.scale * settings.widen)
    t = temperatures(settings.temperatures, settings.schedule)
    coarse = pilots.temperatures(settings)
    guess = torch.full(
        (len(x),), min(1.0, 1.2 * vae.latent_dim**-0.25), dtype=torch.float64, device=x.device
    )
    plan = Schedule(coarse, guess.expand(len(coarse) - 1, -1))
    keys = x.keys()
    for attempt in range(pilots.passes):
        own = stream(seed, Stream.PILOT, attempt)
        u = start_noise(keys, pilots.chains, vae.latent_dim, own, x.x)
        run = anneal(
            vae, x, keys, start, u, plan, own, settings.leapfrogs, target=settings.acceptance
        )
        plan = Schedule(coarse, run.step_size)
        cost += run.cost
    # A pilot's step is known at its own temperatures, from the second half on of a run-in; in
    # between, the nearest.
    nearest = torch.searchsorted(coarse[1:-1].contiguous(), t[1:].contiguous())
    return start, Schedule(t, plan.step_size[nearest.to(x.device)]), cost
