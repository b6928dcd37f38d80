r"""Bidirectional Monte Carlo: log p(x) from below and from above, on data simulated from the model.

For x drawn from the model with its z, that z is an exact sample of p(z|x). Chains that anneal
forwards from the start give a stochastic lower bound on log p(x), chains that anneal backwards from
that z an upper one (Grosse et al., 2015). Their gap bounds what the lower bound misses (Wu et al.,
2017): on simulated data, and on real data as far as the model fits.
"""

from __future__ import annotations

__all__ = ["Bracket", "bracket"]

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from ..brief import Brief
from ..distributions import draw
from ..vae import VAE
from ..watching import pieces
from .annealing import Settings, chunk, follow, pilot
from .chains import Stream, stream
from .examples import Examples
from .result import Cost, mean_error


@dataclass(frozen=True, repr=False)
class Bracket(Brief):
    """Two bounds on log p(x) of simulated rows, in nats and float64.

    Attributes:
        x: The rows, of shape (n, *shape), in the units of the model.
        lower: Stochastic lower bounds, of shape (n,).
        upper: Stochastic upper bounds, of shape (n,).
        chains: Chains behind each bound.
        cost: What it took.
    """

    x: Tensor
    lower: Tensor
    upper: Tensor
    chains: int
    cost: Cost

    @property
    def gap(self) -> float:
        """Mean of upper minus lower, nats per example:
        on average at least what the lower bounds miss.
        """
        return float((self.upper - self.lower).mean())

    @property
    def gap_standard_error(self) -> float:
        """Standard error of the gap over examples; infinite for one."""
        return mean_error(self.upper - self.lower)


def bracket(
    vae: VAE,
    n: int,
    like: Examples,
    chains: int,
    seed: int,
    memory: int,
    settings: Settings,
    together: int = 64,
) -> Bracket:
    """Simulate n rows and bound log p(x) of each from both sides.

    Arguments:
        vae: The model.
        n: Rows to simulate.
        like: Examples of the dtype and on the device of the rows, with the conditions of all n rows
            for a model of p(x|c).
        chains: Chains of each row, in each direction.
        seed: The seed of rows and chains.
        memory: Bytes for intermediate results.
        settings: How to anneal.
        together: Rows simulated together. It is part of what a seed means, so never tuned at run
            time.
    """
    begun = time.perf_counter()
    spent = Cost()
    generator = torch.Generator(like.device).manual_seed(stream(seed, Stream.SIMULATED))
    p = like.prior(vae)()
    count = () if p.batch_shape else (n,)  # each row may have a p(z|c) of its own
    z = draw(p, count, generator, gradients=False).to(like.x)
    given = like
    if like.c is None:
        given = Examples(like.x.expand(n, *vae.shape))
    simulated = [
        draw(part.decode(vae, piece), (), generator, gradients=False)
        for part, piece in zip(given.split(together), z.split(together), strict=True)
    ]
    x = Examples(torch.cat(simulated), like.c)
    step = chunk(vae, like, chains, memory)
    lower, upper = [], []
    for part, piece in pieces(
        [*zip(x.split(step), z.split(step), strict=True)], "chains in both directions"
    ):
        start, schedule, cost = pilot(vae, part, seed, memory, settings)
        forward, _, there = follow(vae, part, start, schedule, chains, seed, settings)
        backward, _, back = follow(vae, part, start, schedule, chains, seed, settings, piece)
        spent += cost + there + back
        lower.append(forward.result()[0].cpu())
        upper.append(-backward.result()[0].cpu())
    cost = Cost(spent.decodes, spent.gradients, time.perf_counter() - begun)
    return Bracket(x.x.cpu(), torch.cat(lower), torch.cat(upper), chains, cost)
