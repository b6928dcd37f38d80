r"""Numbers some of which come up again and again: point masses beside a mixture of logistics.

.. math:: p(x) = \sum_v \pi_v \, [x = v] + \sum_k \pi_k \, f_k(x), \qquad
    \sum_v \pi_v + \sum_k \pi_k = 1

Of whole numbers, or of others on a grid, f is the probability of the bin of x under a logistic
(Salimans et al., 2017), a difference of two sigmoids that is computed without loss,

.. math:: \sigma(b) - \sigma(a) = \sigma(b) \, \sigma(-a) \, (1 - e^{a - b}).

Of all others f is the logistic's density.
"""

from __future__ import annotations

__all__ = ["SpikeAndSlab"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .factorised import Factorised


class SpikeAndSlab(Factorised):
    r"""Independent numbers, each one of P points or drawn from one of K logistics.

    Without a grid what is computed of a point is its probability, and of all else its density:
    together they sum and integrate to 1. On a grid all are probabilities.

    Arguments:
        logits: Of the points and then of the logistics, of shape (*batch, *event, P + K).
        loc: The means m of the logistics, of shape (*batch, *event, K).
        scale: Their scales s, likewise; the standard deviation is :math:`\pi s / \sqrt 3`.
        points: The points, of shape (P,).
        step: The distance of neighbouring numbers on the grid; None where there is no grid.
        event_dim: How many trailing dimensions of a value make up one event.
    """

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        scale: Tensor,
        points: Tensor,
        step: float | None = None,
        event_dim: int = 1,
    ) -> None:
        self.logits, self.loc, self.scale = logits, loc, scale
        self.points, self.step, self.event_dim = points, step, event_dim
        shape, split = loc.shape[:-1], loc.ndim - 1 - event_dim
        super().__init__(shape[:split], shape[split:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean, of shape (*batch, *event)."""
        return (self.logits.softmax(-1) * self._locations()).sum(-1)

    @property
    def variance(self) -> Tensor:
        """The variance, of shape (*batch, *event), with that of rounding to a grid."""
        share, at = self.logits.softmax(-1), self._locations()
        inside = (math.pi * self.scale).square() / 3
        if self.step is not None:
            inside = inside + self.step**2 / 12
        inside = (share[..., len(self.points) :] * inside).sum(-1)
        return (share * (at - self.mean[..., None]).square()).sum(-1) + inside

    @property
    def mode(self) -> Tensor:
        """The point, or the mean of a logistic, that is most probable: on a grid by its own
        probability, else by that of its point or logistic.
        """
        at, chance = self.rounded(self._locations()), self.logits
        if self.step is not None:
            chance = self.each(at.movedim(-1, 0)).movedim(0, -1)
        return at.gather(-1, chance.argmax(-1, keepdim=True)).squeeze(-1)

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw numbers, of shape (*sample_shape, *batch, *event)."""
        shape, count = self.loc.shape[:-1], math.prod(sample_shape)
        share = self.logits.softmax(-1)
        chosen = torch.multinomial(
            share.reshape(-1, share.shape[-1]), count, replacement=True, generator=generator
        ).T.reshape(count, *shape, 1)
        at, width = (part.expand(count, *share.shape) for part in self.parts())
        at, width = at.gather(-1, chosen).squeeze(-1), width.gather(-1, chosen).squeeze(-1)
        uniform = torch.rand(at.shape, generator=generator, dtype=at.dtype, device=at.device)
        drawn = at + width * uniform.clamp(1e-6, 1 - 1e-6).logit()
        drawn = torch.where(width > 0, self.rounded(drawn), at)
        return drawn.reshape(*sample_shape, *shape)

    def each(self, value: Tensor) -> Tensor:
        """Return the log-probability, or else the log-density, of each number, of value's shape and
        the batch of ``loc``.
        """
        return self._joint(value).logsumexp(-1) - self.logits.logsumexp(-1)

    def local_quadratic(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return logits less their mean, means, and logarithms of scales; and at the first sample
        the gradient of log p(x) for them and their information (see
        `Likelihood.local_quadratic`), as if it were known what each number comes from.

        That of logits is as of `Categorical`; of a logistic's mean it is :math:`1 / (3 s^2)`, and
        of the logarithm of its scale :math:`(3 + \pi^2) / 9`.
        """
        points = len(self.points)
        share = self.logits[0].softmax(-1)
        centred = self.logits - (self.logits * share).sum(-1, keepdim=True)
        first = SpikeAndSlab(
            self.logits[0], self.loc[0], self.scale[0], self.points, self.step, self.event_dim
        )
        came = first._joint(x).softmax(-1)  # of what each number comes
        slab, scale = came[..., points:], first.scale
        by_loc, by_log_scale = first._slopes(x[..., None])
        # what is expected and what is observed: their mean does not overshoot
        weight = 0.5 * (slab + share[..., points:])
        features = [centred, self.loc, self.scale.log()]
        score = [came - share, slab * by_loc, slab * by_log_scale]
        information = [share, weight / (3 * scale.square()), weight * (3 + math.pi**2) / 9]
        return (
            torch.cat(features, -1).movedim(-1, 2).flatten(2),
            torch.cat(score, -1).movedim(-1, 1).flatten(1),
            torch.cat(information, -1).movedim(-1, 1).flatten(1),
        )

    def _slopes(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivatives of log f for the mean and for the logarithm of the scale."""
        u = (value - self.loc) / self.scale
        if self.step is None:
            slope = (u / 2).tanh()
            return slope / self.scale, u * slope - 1
        half = self.step / (2 * self.scale)
        above, below = (u + half).sigmoid(), (half - u).sigmoid()
        at_edge = 2 * half / torch.expm1(2 * half)
        slope = above - below
        return slope / self.scale, -(u + half) * (1 - above) - (half - u) * (1 - below) - at_edge

    def _joint(self, value: Tensor) -> Tensor:
        """Return logits, and log f, of all that may have made each number, (*value, P + K)."""
        value = value[..., None]
        spike = value.float() == self.points.float()  # 0.1 is 0.1 in whichever precision
        slab = self._log_slab(value)
        if self.step is None:
            slab = torch.where(spike.any(-1, keepdim=True), -torch.inf, slab)
        shape = slab.shape[:-1]
        point = torch.where(spike, 0.0, -torch.inf).expand(*shape, len(self.points))
        return self.logits + torch.cat([point, slab], -1)

    def _log_slab(self, value: Tensor) -> Tensor:
        u = (value - self.loc) / self.scale
        if self.step is None:
            return logsigmoid(u) + logsigmoid(-u) - self.scale.log()
        half = self.step / (2 * self.scale)
        inside = (-torch.expm1(-2 * half)).log()
        return logsigmoid(u + half) + logsigmoid(half - u) + inside

    def _locations(self) -> Tensor:
        """Return points and means, (*batch, *event, P + K)."""
        points = self.points.to(self.loc).expand(*self.loc.shape[:-1], len(self.points))
        return torch.cat([points, self.loc], -1)

    def parts(self) -> tuple[Tensor, Tensor]:
        """Return points and means, and the width of each, 0 of a point:
        both (*batch, *event, P + K).
        """
        none = self.scale.new_zeros(*self.loc.shape[:-1], len(self.points))
        return self._locations(), torch.cat([none, self.scale], -1)

    def rounded(self, value: Tensor) -> Tensor:
        """Return numbers on the grid, where there is one."""
        if self.step is None:
            return value
        return (value / self.step).round() * self.step
