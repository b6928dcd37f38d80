r"""Chains that follow a path of distributions by Hamiltonian Monte Carlo,
and the weights they gather (Neal, 2001).

.. math::
    f_t(z) = r(z)^{1 - t} \, p(x, z)^t, \qquad
    \log w = \sum_k (t_k - t_{k-1}) \bigl(\log p(x, z_{k-1}) - \log r(z_{k-1})\bigr)

All of it happens in the noise u of z = m + L u, in which a good r makes the posterior round: L is
the mass matrix.
"""

from __future__ import annotations

__all__ = [
    "SCHEDULES",
    "Run",
    "Schedule",
    "Stream",
    "anneal",
    "start_noise",
    "stream",
    "temperatures",
]

import dataclasses
import enum
from dataclasses import dataclass

import torch
from torch import Tensor

from ..vae import VAE
from ..watching import pieces
from . import row_noise
from .examples import Examples
from .proposal import Normal, log_joint_and_gradient
from .result import Cost

SCHEDULES = ("linear", "sigmoid", "power")


class Stream(enum.IntEnum):
    """Streams of noise that share one seed."""

    FORWARD = 0
    PILOT = 1
    BACKWARD = 2
    SIMULATED = 3
    SEARCH = 4


@dataclass(frozen=True)
class Schedule:
    """Temperatures and step sizes of annealing.

    Attributes:
        t: Temperatures from 0 to 1, of shape (steps + 1,).
        step_size: The step size of each step and row, of shape (steps, n).
        rate: How fast the logarithm of an adapting step size follows its acceptance.
        longest: Where step sizes end: a leapfrog on a unit normal is unstable from 2 on.
    """

    t: Tensor
    step_size: Tensor
    rate: float = 0.25
    longest: float = 1.8

    def flipped(self) -> Schedule:
        """Return the schedule from 1 to 0."""
        return dataclasses.replace(self, t=self.t.flip(0), step_size=self.step_size.flip(0))


def temperatures(count: int, schedule: str) -> Tensor:
    """Return ``count`` + 1 rising numbers from 0 to 1, float64.

    Arguments:
        count: How many steps there are.
        schedule: "linear", "sigmoid" or "power", as in `Settings`.
    """
    even = torch.linspace(0, 1, count + 1, dtype=torch.float64)
    if schedule == "sigmoid":
        curve = torch.sigmoid(8 * even - 4)
        return (curve - curve[0]) / (curve[-1] - curve[0])
    if schedule == "power":
        return even**4
    return even


def stream(seed: int, name: Stream, group: int = 0) -> int:
    """Return a seed of its own for each stream of noise and each group of chains."""
    return (8 * (seed + (group << 40)) + name) % 2**63


def start_noise(keys: Tensor, chains: int, latent_dim: int, seed: int, like: Tensor) -> Tensor:
    """Draw where chains of rows with these keys start, (chains, n, latent_dim),
    in the noise of the start.
    """
    return row_noise.normals(keys, chains, latent_dim, seed, 0, like)


@dataclass(frozen=True)
class Run:
    """Chains that have arrived.

    Attributes:
        u: Where they are, of shape (chains, n, latent_dim), in the start's noise.
        log_weight: log w of each, of shape (chains, n), float64.
        acceptance: Acceptance of each row, the mean over chains and moves, of shape (n,).
        step_size: The step sizes used, of shape (steps, n).
        cost: What it took.
    """

    u: Tensor
    log_weight: Tensor
    acceptance: Tensor
    step_size: Tensor
    cost: Cost


def anneal(
    vae: VAE,
    x: Examples,
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
        x: The examples.
        keys: Keys of the rows' content, (n,), from `row_noise.row_keys`: momenta and acceptances
            depend on them and the seed.
        start: The normal at t = 0, and the map between z and u.
        u: Where chains begin, (chains, n, latent_dim): at draws of the start, or of the posterior
            if ``backward``.
        schedule: Temperatures and step sizes.
        seed: The seed of momenta and acceptances.
        leapfrogs: Gradient steps of each move.
        target: Acceptance that step sizes are adapted to, beginning at those of the schedule; None
            leaves them.
        backward: Whether to go from the posterior to the start. log w then is still that of the
            forward path.
    """
    chains, n, d = u.shape
    ahead = 1
    if backward:
        schedule = schedule.flipped()
        ahead = 0
    t = schedule.t
    path = _Path(vae, x, start)
    state = path.at(u)
    log_weight = torch.zeros(chains, n, dtype=torch.float64, device=x.device)
    accepted = torch.zeros(n, dtype=torch.float64, device=x.device)
    used: list[Tensor] = []
    factor = torch.zeros(n, dtype=torch.float64, device=x.device)
    for k in pieces(range(1, len(t)), "annealed chains"):
        log_weight += float(t[k] - t[k - 1]) * state.log_ratio
        if k == len(t) - 1:  # nothing is asked of a chain after its last weight
            used.append([schedule.step_size[0], *used][-1])
            break
        drawn = row_noise.normals(keys, chains, d + 1, seed, k, x.x)
        size = (schedule.step_size[k - ahead].log() + factor).exp().clamp_max(schedule.longest)
        state, chance = _move(path, state, drawn, size, float(t[k]), leapfrogs)
        rate = chance.mean(0)
        accepted += rate
        used.append(size)
        if target is not None:
            factor += schedule.rate * (rate - target)
    moves = len(t) - 2
    gradients = chains * n * (1 + moves * leapfrogs)
    if backward:
        log_weight = -log_weight
    # 0 / 0, not a number, where there were no moves
    return Run(state.u, log_weight, accepted / moves, torch.stack(used), Cost(gradients, gradients))


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

    def where(self, take: Tensor, other: _State) -> _State:
        """Return these chains where ``take`` (chains, n) says so, else the others."""
        each = take[..., None]
        return _State(
            torch.where(each, self.u, other.u),
            torch.where(take, self.log_start, other.log_start),
            torch.where(take, self.log_joint, other.log_joint),
            torch.where(each, self.gradient, other.gradient),
        )


class _Path:
    """The two ends of the path, in terms of u."""

    def __init__(self, vae: VAE, x: Examples, start: Normal) -> None:
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
    """Make one Hamiltonian move that leaves f_t as it is,
    and return the chance with which each chain took it.
    """
    momentum, last = drawn[..., :-1], drawn[..., -1].double()
    step = size.to(drawn.dtype)[:, None]
    begun = state.energy(t) + 0.5 * momentum.double().square().sum(-1)
    moved = state
    momentum = momentum + 0.5 * step * state.slope(t)
    for index in range(leapfrogs):
        moved = path.at(moved.u + step * momentum)
        length = step
        if index == leapfrogs - 1:
            length = 0.5 * step
        momentum = momentum + length * moved.slope(t)
    ended = moved.energy(t) + 0.5 * momentum.double().square().sum(-1)
    chance = (begun - ended).clamp_max(0.0).exp().nan_to_num(0.0)
    take = torch.special.ndtr(last) < chance
    return moved.where(take, state), chance
