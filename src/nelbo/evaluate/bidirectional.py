r"""Bidirectional Monte Carlo: log p(x) from below and from above, on data simulated from the model.

For x drawn from the model with its z, that z is an exact sample of p(z|x). Chains that anneal forwards from the start
give a stochastic lower bound on log p(x), chains that anneal backwards from that z an upper one (Grosse et al., 2015).
Their gap bounds what the lower bound misses (Wu et al., 2017): on simulated data, and on real data as far as the model
fits.
"""

from __future__ import annotations

__all__ = ["Bracket", "bracket"]

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from ..distributions import draw
from ..vae import VAE
from .annealing import BACKWARD, FORWARD, PILOTS, SIMULATED, Settings, groups, pilot
from .chains import anneal, start_noise, stream
from .importance import Stream
from .noise import BLOCK
from .ready import rows_at_once
from .result import Cost

TOGETHER = 64
"""Rows simulated together. Part of what a seed means, so never tuned at run time."""


@dataclass(frozen=True)
class Bracket:
    """Two bounds on log p(x) of simulated rows, in nats and float64.

    Attributes:
        x: The rows, of shape (n, *shape), in the units of the model.
        lower: Stochastic lower bounds, of shape (n,).
        upper: Stochastic upper bounds, of shape (n,).
        chains: Behind each.
        cost: What it took.
    """

    x: Tensor
    lower: Tensor
    upper: Tensor
    chains: int
    cost: Cost

    @property
    def gap(self) -> float:
        """Mean of upper minus lower, nats per example: on average at least what the lower bounds miss."""
        return float((self.upper - self.lower).mean())

    @property
    def gap_standard_error(self) -> float:
        """Standard error of the gap over examples; infinite for one."""
        n = len(self.lower)
        return float((self.upper - self.lower).std()) / math.sqrt(n) if n > 1 else math.inf


def bracket(vae: VAE, n: int, like: Tensor, chains: int, seed: int, memory: int, settings: Settings) -> Bracket:
    """Simulate n rows and bound log p(x) of each from both sides."""
    begun, spent = time.perf_counter(), Cost()
    generator = torch.Generator(like.device).manual_seed(stream(seed, SIMULATED))
    z = draw(vae.prior(), (n,), generator, gradients=False).to(like)
    simulated = [draw(vae.decode(piece), (), generator, gradients=False) for piece in z.split(TOGETHER)]
    x = torch.cat(simulated)
    step = rows_at_once(vae, like, min(max(chains, PILOTS), BLOCK), memory, gradients=True)
    lower, upper = [], []
    for part, piece in zip(x.split(step), z.split(step), strict=True):
        start, schedule, cost = pilot(vae, part, seed, memory, settings)
        forward, backward = (Stream(len(part), chains, part.device) for _ in range(2))
        spent += cost
        for group, count in groups(chains):
            key = stream(seed, FORWARD, group)
            u = start_noise(part, count, vae.latent_dim, key)
            there = anneal(vae, part, start, u, schedule, key, settings.leapfrogs)
            key, u = stream(seed, BACKWARD, group), start.to_noise(piece[None]).expand(count, -1, -1)
            back = anneal(vae, part, start, u, schedule, key, settings.leapfrogs, backward=True)
            forward.add(there.log_weight)
            backward.add(-back.log_weight)
            spent += there.cost + back.cost
        lower.append(forward.result()[0].cpu())
        upper.append(-backward.result()[0].cpu())
    cost = Cost(spent.decodes, spent.gradients, time.perf_counter() - begun)
    return Bracket(x.cpu(), torch.cat(lower), torch.cat(upper), chains, cost)
