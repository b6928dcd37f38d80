r"""Importance-weighted bounds: ordinary functions of :math:`w_k = p(x, z_k) / q(z_k \mid x)`."""

from __future__ import annotations

__all__ = ["CIWAE", "IWAE", "MIWAE"]

import torch
from torch import Tensor

from ..vae import VAE
from .base import Objective, average, checked, count, importance


class IWAE(Objective):
    r"""The importance-weighted bound, which tightens as K grows (Burda et al., 2016).

    .. math:: \log \frac1K \sum_k p(x, z_k) / q(z_k \mid x)

    The gradient of the encoder drowns in noise as K grows (Rainforth et al., 2018): see `DReG`.
    """

    usual_samples = 4

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, c: Tensor | None = None
    ) -> Tensor:
        """Return the importance-weighted bound of each x (*batch, *shape) in nats: (*batch,)."""
        return importance(self.terms(x, generator, c).log_weight)


class MIWAE(Objective):
    r""":math:`\frac1M \sum_m \log \frac1K \sum_k w_{mk}`: the mean of M bounds of K samples
    (Rainforth et al., 2018).

    M lowers the variance of the bound and K tightens it. M = 1 is `IWAE`; K = 1 is the ELBO of M
    samples, its KL averaged over them. (Mattei & Frellsen, 2019, gave this name to another method,
    for missing values.)

    Arguments:
        vae: The model.
        samples: K.
        groups: M; the authors have 8 of 8.

    Raises:
        ValueError: ``samples`` or ``groups`` is less than 1.
    """

    usual_samples = 4

    def __init__(self, vae: VAE, samples: int = 1, groups: int = 8) -> None:
        super().__init__(vae, samples)
        self.groups = count("groups", groups)

    @property
    def averages(self) -> bool:
        """Whether log p(x|z) is averaged over z ~ q(z|x) with equal weights."""
        return self.samples == 1

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, c: Tensor | None = None
    ) -> Tensor:
        """Return the bound of each example of x (*batch, *shape), of shape (*batch,), in nats."""
        log_weight = self.terms(x, generator, c).log_weight
        return importance(log_weight.unflatten(0, (self.groups, self.samples)), 1).mean(0)


class CIWAE(Objective):
    r"""A combination of ELBO and IWAE of the same K samples (Rainforth et al., 2018).

    .. math:: \beta \, ELBO + (1 - \beta) \, IWAE_K

    :math:`\beta = 1` is `ELBO` (its KL exact where that class has it so), :math:`\beta = 0` is
    `IWAE`.

    Arguments:
        vae: The model.
        samples: K.
        beta: Weight of the ELBO, from 0 to 1.

    Raises:
        ValueError: ``samples`` is less than 1, or ``beta`` is out of range.
    """

    usual_samples = 4

    def __init__(self, vae: VAE, samples: int = 1, beta: float = 0.5) -> None:
        super().__init__(vae, samples)
        self.beta = checked("beta", beta, 0, 1)

    @property
    def averages(self) -> bool:
        """Whether log p(x|z) is averaged over z ~ q(z|x) with equal weights."""
        return self.samples == 1 or self.beta == 1

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, c: Tensor | None = None
    ) -> Tensor:
        """Return the bound of each example of x (*batch, *shape), of shape (*batch,), in nats."""
        terms = self.terms(x, generator, c)
        return self.beta * average(terms) + (1 - self.beta) * importance(terms.log_weight)
