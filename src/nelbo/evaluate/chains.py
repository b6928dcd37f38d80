r"""Chains that follow a path of distributions by Hamiltonian Monte Carlo, and the weights they
gather (Neal, 2001).

.. math::
    f_t(z) = r(z)^{1 - t} \, p(x, z)^t, \qquad
    \log w = \sum_k (t_k - t_{k-1}) \bigl(\log p(x, z_{k-1}) - \log r(z_{k-1})\bigr)

All of it happens in the noise u of z = m + L u, in which a good r makes the posterior round: L is
the mass matrix.
"""

from __future__ import annotations

__all__ = ["SCHEDULES", "Run", "Schedule", "anneal", "start_noise", "stream", "temperatures"]

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..vae import VAE
from ..watching import pieces
from . import row_noise
from .proposal import Normal, log_joint_and_gradient
from .result import Cost

RATE = 0.25
"""How fast the logarithm of an adapting step size follows its acceptance."""
LONGEST = 1.8
"""Step sizes end here: a leapfrog on a unit normal is unstable from 2 on."""
SCHEDULES = ("linear", "sigmoid", "power")


@dataclass(frozen=True)
class Schedule:
    """Temperatures t from 0 to 1, of shape (steps + 1,), and a step size for each step and row,
    (steps, n).
    """

    t: Tensor
    step_size: Tensor


def temperatures(count: int, schedule: str) -> Tensor:
    """Return ``count`` + 1 rising numbers from 0 to 1, float64."""
    even = torch.linspace(0, 1, count + 1, dtype=torch.float64)
    if schedule == "sigmoid":
        curve = torch.sigmoid(8 * even - 4)
        return (curve - curve[0]) / (curve[-1] - curve[0])
    return even**4 if schedule == "power" else even


def stream(seed: int, name: int, group: int = 0) -> int:
    """Return a seed of its own for each stream of noise."""
    return (8 * (seed + (group << 40)) + name) % 2**63


def start_noise(keys: Tensor, chains: int, latent_dim: int, seed: int, like: Tensor) -> Tensor:
    """Draw where chains of rows with these keys start, (chains, n, latent_dim), in the noise of the
    start.
    """
    return row_noise.normals(keys, chains, latent_dim, seed, 0, like)


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
    keys: Tensor,
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
        keys: Keys of the rows' content, (n,), from `row_noise.row_keys`: momenta and acceptances
            depend on them and the seed.
        start: The normal at t = 0, and the map between z and u.
        u: Where chains begin, (chains, n, latent_dim): at draws of the start, or of the posterior
            if ``backward``.
        schedule: Temperatures and step sizes.
        seed: Of momenta and acceptances.
        leapfrogs: Gradient steps of each move.
        target: Acceptance that step sizes are adapted to, beginning at those of the schedule; None
            leaves them.
        backward: Whether to go from the posterior to the start. log w then is still that of the
            forward path.
    """
    chains, n, d = u.shape
    t = schedule.t.flip(0) if backward else schedule.t
    sizes = schedule.step_size.flip(0) if backward else schedule.step_size
    path = _Path(vae, x, start)
    state = path.at(u)
    log_weight = torch.zeros(chains, n, dtype=torch.float64, device=x.device)
    accepted = torch.zeros(n, dtype=torch.float64, device=x.device)
    used: list[Tensor] = []
    factor = torch.zeros(n, dtype=torch.float64, device=x.device)
    for k in pieces(range(1, len(t)), "annealed chains"):
        log_weight += float(t[k] - t[k - 1]) * state.log_ratio
        if k == len(t) - 1:  # nothing is asked of a chain after its last weight
            used.append(used[-1] if used else sizes[0])
            break
        drawn = row_noise.normals(keys, chains, d + 1, seed, k, x)
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
    """Chains: where they are, both log-densities there, float64, and the gradient of log p(x, z),
    all in terms of u.
    """

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


def _move(
    path: _Path, state: _State, drawn: Tensor, size: Tensor, t: float, leapfrogs: int
) -> tuple[_State, Tensor]:
    """Make one Hamiltonian move that leaves f_t as it is, and return the chance with which each
    chain took it.
    """
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
            (getattr(moved, field.name), getattr(state, field.name))
            for field in dataclasses.fields(_State)
        )
    ]
    return _State(*chosen), chance
