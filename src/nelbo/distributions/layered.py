r"""Two layers of normals: the second's mean and width depend on a draw of the first.

.. math:: \log p(a, b) = \log \mathcal{N}(a \mid m, s^2) + \log \mathcal{N}(b \mid m(a), s(a)^2)
"""

from __future__ import annotations

__all__ = ["Layered", "check_width", "fewest_of", "layers_of"]

import numbers
from collections.abc import Callable

import torch
from torch import Tensor

from .from_noise import FromNoise
from .normal import DiagonalNormal


class Layered(FromNoise):
    """One vector z = (a, b): a normal a, and b that is normal given a.

    Arguments:
        first: The distribution of a, of shape (*batch, k).
        second: Returns that of b for a of shape (*sample, *batch, k).
        size: How many coordinates z has.
    """

    def __init__(
        self, first: DiagonalNormal, second: Callable[[Tensor], DiagonalNormal], size: int
    ) -> None:
        self.first, self.second, self.like = first, second, first.loc
        self.parts = (first.loc.shape[-1], size - first.loc.shape[-1])
        super().__init__(first.batch_shape, torch.Size([size]), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """What no noise is mapped to, of shape (*batch, size):
        exact for a, and for b its mean given that a.
        """
        a = self.first.mean
        return torch.cat([a, self.second(a).mean], -1)

    @property
    def variance(self) -> Tensor:
        """The variance of a, and that of b given the mean of a, of shape (*batch, size)."""
        return torch.cat([self.first.variance, self.second(self.first.mean).variance], -1)

    def from_noise(self, u: Tensor) -> Tensor:
        """Map standard normal noise u (*sample, *batch, size) to z."""
        noise, rest = u.split(self.parts, -1)
        a = self.first.from_noise(noise)
        return torch.cat([a, self.second(a).from_noise(rest)], -1)

    def to_noise(self, value: Tensor) -> Tensor:
        """Return the noise that `from_noise` maps to ``value`` (*sample, *batch, size)."""
        a, b = value.split(self.parts, -1)
        return torch.cat([self.first.to_noise(a), self.second(a).to_noise(b)], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` (*sample, *batch, size), in nats."""
        a, b = value.split(self.parts, -1)
        return self.first.log_prob(a) + self.second(a).log_prob(b)


def layers_of(latent_dim: int, top: int | None = None) -> tuple[int, int]:
    """Return how many coordinates of z the upper and the lower layer have.

    Arguments:
        latent_dim: Of both together.
        top: Of the upper one; None is half of them.

    Raises:
        ValueError: A layer would be empty.
    """
    upper = latent_dim // 2 if top is None else top
    if latent_dim < 2:
        raise ValueError(f"Two layers need latent_dim=2 or more, got latent_dim={latent_dim}.")
    if (
        not isinstance(upper, numbers.Integral)
        or isinstance(upper, bool)
        or not 1 <= upper < latent_dim
    ):
        raise ValueError(
            f"top must be an integer from 1 to latent_dim - 1, which leaves something to both "
            f"layers, got top={top!r} and latent_dim={latent_dim}."
        )
    return int(upper), latent_dim - int(upper)


def fewest_of(top: object = None) -> int:
    """Return the fewest latent dimensions that two layers can share.

    Arguments:
        top: Of the upper layer; None is half of them.
    """
    if isinstance(top, numbers.Integral):
        return int(top) + 1
    return 2


def check_width(width: object) -> None:
    """Refuse what is no width of a hidden layer.

    Raises:
        ValueError: It is no positive integer.
    """
    if not isinstance(width, numbers.Integral) or isinstance(width, bool) or width < 1:
        raise ValueError(f"width must be a positive integer, got {width!r}.")
