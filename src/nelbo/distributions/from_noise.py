"""Distributions of real vectors that are a function of standard normal noise."""

from __future__ import annotations

__all__ = ["FromNoise"]

import abc
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution


class FromNoise(Distribution, abc.ABC):
    """Abstract distribution whose draws are `from_noise` of noise that a generator makes.

    The noise is standard normal.

    Attributes:
        like: Some tensor of the type and on the device of the draws.
    """

    like: Tensor

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)
    has_rsample = True

    @abc.abstractmethod
    def from_noise(self, u: Tensor) -> Tensor:
        """Map standard normal noise u (*sample, *batch, *event) to a draw of the same shape."""

    def rsample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Return draws of shape (*sample, *batch, *event), with gradients."""
        shape = torch.Size(sample_shape) + self.batch_shape + self.event_shape
        dtype, device = self.like.dtype, self.like.device
        return self.from_noise(torch.randn(shape, generator=generator, dtype=dtype, device=device))

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Like `rsample`, without gradients."""
        return self.rsample(sample_shape, generator)
