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
from .annealing import BACKWARD, FORWARD, PILOTS, SIMULATED, Settings, anneal, pilot, start_noise, stream
from .ready import rows_at_once
from .result import Cost


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
    step = rows_at_once(vae, like, max(chains, PILOTS), memory, gradients=True)
    rows, lower, upper = [], [], []
    for piece in z.split(step):
        x = draw(vae.decode(piece), (), generator, gradients=False)
        start, schedule, cost = pilot(vae, x, seed, memory, settings)
        u = start_noise(x, chains, vae.latent_dim, stream(seed, FORWARD))
        forward = anneal(vae, x, start, u, schedule, stream(seed, FORWARD), settings.leapfrogs)
        exact = start.to_noise(piece[None]).expand(chains, -1, -1)
        backward = anneal(vae, x, start, exact, schedule, stream(seed, BACKWARD), settings.leapfrogs, backward=True)
        rows.append(x.cpu())
        lower.append((forward.log_weight.logsumexp(0) - math.log(chains)).cpu())
        upper.append((math.log(chains) - (-backward.log_weight).logsumexp(0)).cpu())
        spent += cost + forward.cost + backward.cost
    cost = Cost(spent.decodes, spent.gradients, time.perf_counter() - begun)
    return Bracket(torch.cat(rows), torch.cat(lower), torch.cat(upper), chains, cost)
