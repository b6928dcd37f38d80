r"""A normal that an invertible map transports.

.. math:: u = T((z - m) / s), \quad u \sim \mathcal{N}(0, I), \qquad
    \log p(z) = \log \mathcal{N}(u \mid 0, I) + \log |\det T'| - \sum_i \log s_i
"""

from __future__ import annotations

__all__ = ["Transported"]

import torch
from torch import Tensor
from torch.distributions import Transform

from .from_noise import FromNoise
from .normal import LOG_2PI


class Transported(FromNoise):
    """The distribution of z, which a map takes to standard normal noise.

    It computes in at least float32, also under autocast: a density is no place for 8 bits.

    Arguments:
        transform: T, from vectors to vectors, whose batch is that of ``loc``.
        loc: m, of shape (*batch, d).
        scale: s, which broadcasts against it.
    """

    def __init__(self, transform: Transform, loc: Tensor, scale: Tensor) -> None:
        self.transform, self.loc, self.scale, self.like = transform, loc, scale, loc
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """What no noise is mapped to, of shape (*batch, d): the mean where T is the identity."""
        return self.from_noise(torch.zeros_like(self.loc))

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate before T, of shape (*batch, d)."""
        return self.scale.square().expand(self.loc.shape)

    def from_noise(self, u: Tensor) -> Tensor:
        """Map standard normal noise u (*sample, *batch, d) to z."""
        with self._exactly():
            moved: Tensor = torch.addcmul(self.loc, self.scale, self.transform.inv(u))
            return moved

    def to_noise(self, value: Tensor) -> Tensor:
        """Return the noise that `from_noise` maps to ``value`` (*sample, *batch, d)."""
        with self._exactly():
            noise: Tensor = self.transform((value - self.loc) / self.scale)
            return noise

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` (*sample, *batch, d), in nats."""
        if value.numel() == 0:  # zuko cannot sum over what has no rows
            return value.sum(-1)
        with self._exactly():
            inner = (value - self.loc) / self.scale
            u, log_slope = self.transform.call_and_ladj(inner)  # type: ignore[attr-defined]
            log_scale = self.scale.log().expand(self.loc.shape).sum(-1)
            square = u.square().sum(-1) + LOG_2PI * u.shape[-1]
            log_prob: Tensor = log_slope - log_scale - 0.5 * square
            return log_prob

    def _exactly(self) -> torch.autocast:
        return torch.autocast(self.loc.device.type, enabled=False)
