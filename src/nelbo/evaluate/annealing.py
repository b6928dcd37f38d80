r"""Annealed importance sampling (Neal, 2001), as Wu et al. (2017) use it to judge decoders.

.. math::
    f_t(z) = r(z)^{1 - t} \, p(x, z)^t, \qquad
    \log w = \sum_k (t_k - t_{k-1}) \bigl(\log p(x, z_{k-1}) - \log r(z_{k-1})\bigr), \qquad E[w] = p(x)

Each chain starts at z ~ r, a normal, and follows :math:`f_{t_k}` by Hamiltonian Monte Carlo. All of it happens in the
noise u of z = m + L u, in which a good r makes the posterior round: L is the mass matrix. Run backwards from an exact
posterior sample the same chains give :math:`E[1/w] = 1/p(x)`, and so an upper bound (Grosse et al., 2015).

A step size that follows the acceptance of its own chain would spoil :math:`E[w] = p(x)`. So step sizes are
adapted, to each row and temperature, on pilot chains that are thrown away, and then held.
"""

from __future__ import annotations

__all__ = ["SCHEDULES", "Schedule", "Settings", "anneal", "annealed", "groups", "pilot", "temperatures"]

import dataclasses
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..vae import VAE
from . import noise
from .importance import Stream
from .proposal import PROPOSALS, Normal, log_joint_and_gradient
from .ready import rows_at_once
from .result import Cost, LogLikelihood

RATE = 0.25
"""How fast the logarithm of a pilot's step size follows its acceptance."""
LONGEST = 1.8
"""Step sizes end here: a leapfrog on a unit normal is unstable from 2 on."""
PILOTS = 4
"""Pilot chains of each row."""
PASSES = 2
"""How often they run."""
FORWARD, PILOT, BACKWARD, SIMULATED = range(4)
"""Streams of noise that share one seed."""


@dataclass(frozen=True)
class Settings:
    """How to anneal.

    Attributes:
        temperatures: Number of distributions between the start and the posterior.
        leapfrogs: Gradient steps of each Hamiltonian move.
        acceptance: Share of moves that step sizes aim at.
        schedule: "linear", "sigmoid" (slow at both ends; Grosse et al., 2015), or "power" (slow at the start, for
            starts far wider than the posterior, such as the prior).
        start: "refined" (a normal fitted to each posterior), "encoder" (q(z|x)) or "prior".

    Raises:
        ValueError: A number is out of range, or a name is unknown.
    """

    temperatures: int = 200
    leapfrogs: int = 4
    acceptance: float = 0.8
    schedule: str = "linear"
    start: str = "refined"

    def __post_init__(self) -> None:
        for name in ("temperatures", "leapfrogs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 < self.acceptance < 1:
            raise ValueError(f"acceptance must be between 0 and 1, got {self.acceptance}.")
        for name, known in (("schedule", SCHEDULES), ("start", tuple(PROPOSALS))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}.")


SCHEDULES = ("linear", "sigmoid", "power")


@dataclass(frozen=True)
class Schedule:
    """Temperatures t from 0 to 1, of shape (steps + 1,), and a step size for each step and row, (steps, n)."""

    t: Tensor
    step_size: Tensor


def temperatures(count: int, schedule: str) -> Tensor:
    """Return ``count`` + 1 rising numbers from 0 to 1, float64."""
    even = torch.linspace(0, 1, count + 1, dtype=torch.float64)
    if schedule == "sigmoid":
        curve = torch.sigmoid(8 * even - 4)
        return (curve - curve[0]) / (curve[-1] - curve[0])
    return even**4 if schedule == "power" else even


def annealed(vae: VAE, x: Tensor, chains: int, seed: int, memory: int, settings: Settings) -> LogLikelihood:
    """Estimate log p(x) of each row by annealed importance sampling: a stochastic lower bound."""
    begun, columns, rates, spent = time.perf_counter(), [], [], Cost()
    for part in x.split(rows_at_once(vae, x, min(max(chains, PILOTS), noise.BLOCK), memory, gradients=True)):
        start, schedule, cost = pilot(vae, part, seed, memory, settings)
        sums, rate, spent = Stream(len(part), chains, part.device), torch.zeros(len(part)).to(x), spent + cost
        for group, count in groups(chains):
            key = stream(seed, FORWARD, group)
            u = start_noise(part, count, vae.latent_dim, key)
            run = anneal(vae, part, start, u, schedule, key, settings.leapfrogs)
            sums.add(run.log_weight)
            rate, spent = rate + run.acceptance * (count / chains), spent + run.cost
        columns.append(sums.result())
        rates.append(rate)
    value, error, ess, khat = (torch.cat(column).cpu() for column in zip(*columns, strict=True))
    cost = Cost(spent.decodes, spent.gradients, time.perf_counter() - begun)
    return LogLikelihood(value, error, ess, khat, "ais", chains, acceptance=torch.cat(rates).cpu(), cost=cost)


def groups(chains: int) -> Iterator[tuple[int, int]]:
    """Yield the number and the size of groups of chains that run together, so that memory does not grow with chains."""
    for group, begin in enumerate(range(0, chains, noise.BLOCK)):
        yield group, min(noise.BLOCK, chains - begin)


def pilot(vae: VAE, x: Tensor, seed: int, memory: int, settings: Settings) -> tuple[Normal, Schedule, Cost]:
    """Make the start of each row, and adapt step sizes to it on a few chains with a quarter of the temperatures."""
    start, cost = PROPOSALS[settings.start](vae, x, memory)
    t = temperatures(settings.temperatures, settings.schedule)
    coarse = temperatures(max(math.ceil(settings.temperatures / 4), min(settings.temperatures, 20)), settings.schedule)
    guess = torch.full((len(x),), min(1.0, 1.2 * vae.latent_dim**-0.25), dtype=torch.float64, device=x.device)
    plan = Schedule(coarse, guess.expand(len(coarse) - 1, -1))
    for attempt in range(PASSES):  # each begins with the step sizes that the one before ended up with
        key = stream(seed, PILOT, attempt)
        u = start_noise(x, PILOTS, vae.latent_dim, key)
        run = anneal(vae, x, start, u, plan, key, settings.leapfrogs, target=settings.acceptance)
        plan, cost = Schedule(coarse, run.step_size), cost + run.cost
    # A pilot's step is known at its own temperatures, from the second half on of a run-in; in between, the nearest.
    nearest = torch.searchsorted(coarse[1:-1].contiguous(), t[1:].contiguous())
    return start, Schedule(t, plan.step_size[nearest.to(x.device)]), cost


def stream(seed: int, name: int, group: int = 0) -> int:
    """Return a seed of its own for each stream of noise."""
    return 8 * (seed + (group << 40)) + name


def start_noise(x: Tensor, chains: int, latent_dim: int, seed: int) -> Tensor:
    """Draw where chains start, (chains, n, latent_dim), in the noise of the start."""
    return noise.normals(noise.row_keys(x), chains, latent_dim, seed, 0, x)


@dataclass(frozen=True)
class Run:
    """Chains that have arrived.

    Attributes:
        u: Where, of shape (chains, n, latent_dim), in the start's noise.
        log_weight: log w of each, of shape (chains, n), float64.
        acceptance: Mean over chains and moves, of shape (n,).
        step_size: Those used, of shape (steps, n).
        cost: Evaluations.
    """

    u: Tensor
    log_weight: Tensor
    acceptance: Tensor
    step_size: Tensor
    cost: Cost


def anneal(
    vae: VAE,
    x: Tensor,
    start: Normal,
    u: Tensor,
    schedule: Schedule,
    seed: int,
    leapfrogs: int,
    target: float | None = None,
    backward: bool = False,
) -> Run:
    """Move chains from t = 0 to 1, or ``backward`` from 1 to 0.

    Arguments:
        vae: The model.
        x: Rows (n, *shape).
        start: The normal at t = 0, and the map between z and u.
        u: Where chains begin, (chains, n, latent_dim): at draws of the start, or of the posterior if ``backward``.
        schedule: Temperatures and step sizes.
        seed: Of momenta and acceptances.
        leapfrogs: Gradient steps of each move.
        target: Acceptance that step sizes are adapted to, beginning at those of the schedule; None leaves them.
        backward: Whether to go from the posterior to the start. log w then is still that of the forward path.
    """
    keys, (chains, n, d) = noise.row_keys(x), u.shape
    t = schedule.t.flip(0) if backward else schedule.t
    sizes = schedule.step_size.flip(0) if backward else schedule.step_size
    path = _Path(vae, x, start)
    state = path.at(u)
    log_weight = torch.zeros(chains, n, dtype=torch.float64, device=x.device)
    accepted = torch.zeros(n, dtype=torch.float64, device=x.device)
    used: list[Tensor] = []
    factor = torch.zeros(n, dtype=torch.float64, device=x.device)
    for k in range(1, len(t)):
        log_weight += float(t[k] - t[k - 1]) * state.log_ratio
        if k == len(t) - 1:  # nothing is asked of a chain after its last weight
            used.append(used[-1] if used else sizes[0])
            break
        drawn = noise.normals(keys, chains, d + 1, seed, k, x)
        size = (sizes[k if backward else k - 1].log() + factor).exp().clamp_max(LONGEST)
        state, chance = _move(path, state, drawn, size, float(t[k]), leapfrogs)
        rate = chance.mean(0)
        accepted += rate
        used.append(size)
        if target is not None:
            factor += RATE * (rate - target)
    moves = len(t) - 2
    gradients = chains * n * (1 + moves * leapfrogs)
    return Run(
        state.u,
        -log_weight if backward else log_weight,
        accepted / moves if moves else torch.full_like(accepted, math.nan),
        torch.stack(used),
        Cost(gradients, gradients),
    )


@dataclass(frozen=True)
class _State:
    """Chains: where they are, both log-densities there, float64, and the gradient of log p(x, z), all in terms of u."""

    u: Tensor
    log_start: Tensor
    log_joint: Tensor
    gradient: Tensor

    @property
    def log_ratio(self) -> Tensor:
        """log p(x, z) - log r(z)."""
        return self.log_joint - self.log_start

    def energy(self, t: float) -> Tensor:
        """-log f_t."""
        return -torch.lerp(self.log_start, self.log_joint, t)

    def slope(self, t: float) -> Tensor:
        """Gradient of log f_t for u; the start's is -u."""
        return torch.lerp(-self.u, self.gradient, t)


class _Path:
    """The two ends of the path, in terms of u."""

    def __init__(self, vae: VAE, x: Tensor, start: Normal) -> None:
        self.vae, self.x, self.start = vae, x, start

    def at(self, u: Tensor) -> _State:
        z = self.start.from_noise(u)
        height, gradient = log_joint_and_gradient(self.vae, self.x, z)
        if self.start.full:
            gradient = torch.matmul(self.start.scale.mT, gradient.movedim(0, -1)).movedim(-1, 0)
        else:
            gradient = gradient * self.start.scale
        return _State(u, self.start.log_prob_of_noise(u).double(), height.double(), gradient)


def _move(path: _Path, state: _State, drawn: Tensor, size: Tensor, t: float, leapfrogs: int) -> tuple[_State, Tensor]:
    """Make one Hamiltonian move that leaves f_t as it is, and return the chance with which each chain took it."""
    momentum, last = drawn[..., :-1], drawn[..., -1].double()
    step = size.to(drawn.dtype)[:, None]
    begun = state.energy(t) + 0.5 * momentum.double().square().sum(-1)
    moved = state
    momentum = momentum + 0.5 * step * state.slope(t)
    for index in range(leapfrogs):
        moved = path.at(moved.u + step * momentum)
        momentum = momentum + (step if index < leapfrogs - 1 else 0.5 * step) * moved.slope(t)
    ended = moved.energy(t) + 0.5 * momentum.double().square().sum(-1)
    chance = (begun - ended).clamp_max(0.0).exp().nan_to_num(0.0)
    take = torch.special.ndtr(last) < chance
    chosen = [
        torch.where(take[..., None] if new.ndim > take.ndim else take, new, old)
        for new, old in (
            (getattr(moved, field.name), getattr(state, field.name)) for field in dataclasses.fields(_State)
        )
    ]
    return _State(*chosen), chance
