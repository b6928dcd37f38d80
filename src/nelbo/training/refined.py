r"""The bound by which a run is judged: held-out rows under a q refined for each of them.

.. math:: \log \frac1K \sum_k \frac{p(x, z_k)}{q(z_k)}, \qquad z_k \sim q = \mathcal{N}(m, H^{-1})

An encoder overfits sooner than a decoder does, so that its own bound turns down while log p(x) of
held-out rows still rises. Here m is two Gauss-Newton steps from the encoder's mean, and H the
curvature before the last of them (`nelbo.evaluate.gauss_newton`): the bound is then within a nat or
two of log p(x), and says when the decoder is at its best.

A q near the posterior also tells how far rows that were not trained on lie from what is decoded,
and so what :math:`\beta^2` must be for them: see `noise_step`.
"""

from __future__ import annotations

__all__ = ["Judged", "Refined"]

import dataclasses
import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.rows import Batch
from ..evaluate import MEMORY, Examples, Normal, from_encoder, rows_at_once
from ..evaluate.gauss_newton import GaussNewton, is_known
from ..evaluate.proposal import log_joint
from ..objective import Objective
from ..threads import products
from ..vae import VAE
from .budget import Budget


class Judged(NamedTuple):
    r"""What held-out rows say.

    Attributes:
        bounds: The bound of each row, of shape (n,), in nats and float64.
        residuals: The mean squared residual of each row's values in units of :math:`\beta^2`, of
            shape (n,); None where that is not learned by its closed form.
    """

    bounds: Tensor
    residuals: Tensor | None


@dataclass(frozen=True)
class Refined:
    """Which held-out rows are refined, and how.

    Attributes:
        rows: Rows at most, evenly spaced; their bounds differ little from step to step, as q is
            near the posterior, so that few rows tell as much as many do by the encoder's q.
        samples: Draws of z for each row.
        steps: How q is refined.
        share: The multiplications that it may take, in units of those of training since the last
            time; more are spread over so many validations.
        fewest_steps: Steps of training between two, at least: for a small net one takes as long as
            several steps.
        rarest: Where it could not be done at every so many validations, it is not done at all.
        every: One in so many validations is refined.
    """

    rows: int = 200
    samples: int = 4
    steps: GaussNewton = field(
        default_factory=lambda: GaussNewton(iterations=2, lengths=(1.0, 0.4, 0.1))
    )
    share: float = 0.12
    fewest_steps: int = 25
    rarest: int = 10
    every: int = 1

    def __call__(self, vae: VAE, held_out: Batch, generator: torch.Generator) -> Judged:
        """Judge a model by some held-out rows."""
        examples = Examples(held_out.x, held_out.c)
        pieces = examples.split(rows_at_once(vae, examples, vae.latent_dim + 1, MEMORY))
        found = [self.judged(vae, piece, generator) for piece in pieces]
        residuals = [part.residuals for part in found if part.residuals is not None]
        return Judged(
            torch.cat([part.bounds for part in found]).cpu(),
            torch.cat(residuals).cpu() if residuals else None,
        )

    def judged(self, vae: VAE, x: Examples, generator: torch.Generator) -> Judged:
        """Judge a model by rows that fit into memory together."""
        start, _ = from_encoder(vae, x)
        loc, triangle, _, _ = self.steps.climb(vae, x, start.loc, start.marginal_std)
        q = Normal(loc, triangle)
        shape = (self.samples, *loc.shape)
        u = torch.randn(shape, generator=generator, device=loc.device, dtype=loc.dtype)
        z = q.from_noise(u)
        log_weight = log_joint(vae, x, z) - q.log_prob_of_noise(u)
        bounds = (log_weight.logsumexp(0) - math.log(self.samples)).double()
        variance = vae.likelihood.learned_variance()
        if variance is None:
            return Judged(bounds, None)
        drawn = (
            log_weight.softmax(0).nan_to_num(0.0).add(1e-30).T.multinomial(1, generator=generator)
        )
        chosen = z[drawn[:, 0], torch.arange(len(x), device=z.device)]
        square = vae.likelihood.squared_residual(x.decode(vae, chosen), x.x) / variance.exp()
        return Judged(bounds, square.flatten(1).nanmean(1).double())

    def chosen(self, held_out: Batch) -> Batch:
        """Return the held-out rows that are refined."""
        step = max(1, math.ceil(len(held_out.x) / self.rows))
        return held_out.every(step)

    def spread(self, objective: Objective, held_out: Batch, budget: Budget) -> Refined | None:
        """Return how often this can be done in a run; None where it cannot, or takes too long.

        Arguments:
            objective: What is maximised, in evaluation mode.
            held_out: Held-out rows.
            budget: Of the run.
        """
        vae = objective.vae
        # several draws of the encoder's q make a bound nearly as tight: tables won nothing by this
        if objective.draws > 1 or not objective.in_nats or not _is_able(vae, held_out):
            return None
        rows = len(self.chosen(held_out).x)
        decodes = self.steps.iterations * (vae.latent_dim + 1 + len(self.steps.lengths))
        encoder, decoder = products(vae.encoder, vae.shape), products(vae.decoder, vae.shape)
        taken = rows * (decodes + 1 + self.samples) * decoder
        row = 3 * (encoder + objective.draws * decoder)  # forward, and twice as much backward
        training = budget.validate_every * budget.batch_size * row
        every = max(
            math.ceil(taken / (self.share * max(training, 1))),
            math.ceil(self.fewest_steps / budget.validate_every),
        )
        if every > self.rarest:
            return None
        return dataclasses.replace(self, every=every)


def _is_able(vae: VAE, held_out: Batch) -> bool:
    """Return whether a model's parts say what refining q asks of them."""
    first = Examples(held_out.x, held_out.c)[:1]
    q = first.encode(vae)
    known = vae.posterior.as_normal(q) is not None or hasattr(q, "from_noise")
    return known and is_known(vae, first)
