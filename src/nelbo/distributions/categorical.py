r"""Categories: one of k levels, by its index.

.. math:: \log p(x) = \sum_i a_{i, x_i} - \log \sum_{k} e^{a_{i, k}}
"""

from __future__ import annotations

__all__ = ["Categorical"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .factorised import Factorised


class Categorical(Factorised):
    r"""Independent choices of one level each; a value is the index of a level, 0 to k - 1.

    Nothing larger than the logits is ever made: no one-hot values, no probabilities of all levels
    where those of one are asked for.

    Arguments:
        logits: The logits a, of shape (*batch, *event, k).
        event_dim: How many trailing dimensions of a value make up one event.
    """

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)

    def __init__(self, logits: Tensor, event_dim: int = 1) -> None:
        self.logits, self.event_dim = logits, event_dim
        shape, split = logits.shape[:-1], logits.ndim - 1 - event_dim
        super().__init__(shape[:split], shape[split:], validate_args=False)

    @property
    def levels(self) -> int:
        """How many levels k there are."""
        return self.logits.shape[-1]

    @property
    def mean(self) -> Tensor:
        """The most probable levels: categories have no mean."""
        return self.mode

    @property
    def mode(self) -> Tensor:
        """The most probable levels, of shape (*batch, *event)."""
        return self.logits.argmax(-1).to(self.logits.dtype)

    @property
    def variance(self) -> Tensor:
        r"""The sum of the variances of all k indicators, :math:`1 - \sum_k p_k^2`, of shape
        (*batch, *event): that of a level's index would depend on their order.
        """
        return 1 - self.probabilities().square().sum(-1)

    def probabilities(self) -> Tensor:
        """Return the probability of each level, of shape (*batch, *event, k)."""
        return self.logits.softmax(-1)

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw indices of levels, of shape (*sample_shape, *batch, *event)."""
        shape, count = self.logits.shape[:-1], math.prod(sample_shape)
        flat = self.probabilities().reshape(-1, self.levels)
        drawn = torch.multinomial(flat, count, replacement=True, generator=generator)
        return drawn.T.reshape(*sample_shape, *shape).to(self.logits.dtype)

    def each(self, value: Tensor) -> Tensor:
        """Return the log-probability of each level, of value's shape and the logits' batch."""
        shape = torch.broadcast_shapes(value.shape, self.logits.shape[:-1])
        index = value.long().expand(shape).unsqueeze(-1)
        chosen = self.logits.expand(*shape, self.levels).gather(-1, index).squeeze(-1)
        return chosen - self.logits.logsumexp(-1)

    def local_quadratic(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return logits less their mean under the probabilities p of the first sample; and there
        the gradient of log p(x) for them and their information (see `Likelihood.local_quadratic`).

        The Fisher information of logits is no diagonal, :math:`\operatorname{diag}(p) - p p^\top`,
        but that of :math:`f = (I - 1 p^\top) a` is p:
        :math:`(I - p 1^\top) \operatorname{diag}(p) (I - 1 p^\top)` is the former.
        """
        p = self.logits[0].softmax(-1)
        centred = self.logits - (self.logits * p).sum(-1, keepdim=True)
        index = x.long().unsqueeze(-1)
        score = -p.scatter_add(-1, index, -torch.ones_like(p).gather(-1, index))
        # of each level the numbers of all values, in turn
        features = centred.movedim(-1, 2).flatten(2)
        return features, score.movedim(-1, 1).flatten(1), p.movedim(-1, 1).flatten(1)
