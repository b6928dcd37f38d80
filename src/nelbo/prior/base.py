r"""What every prior answers, so that nobody has to ask for its class."""

from __future__ import annotations

__all__ = ["Encoding", "Prior"]

import abc
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..distributions import Normal01, draw, is_independent_normal
from ..naming import snake


class Encoding(Protocol):
    """What a prior may ask of the model that it is part of."""

    @property
    def takes_condition(self) -> bool:
        """Whether rows are encoded with conditions."""

    @property
    def is_normal(self) -> bool:
        """Whether q(z|x) is a normal."""

    def normal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean (n, latent_dim) of q(z|x) of rows (n, *shape), and its standard deviations,
        of the same shape, or lower triangle (n, latent_dim, latent_dim).
        """


class Prior(nn.Module, abc.ABC):
    r"""Abstract prior: a module whose forward pass returns :math:`p(z)`;
    only that must be written.
    """

    latent_dim: int

    @abc.abstractmethod
    def forward(self) -> Distribution:
        """Return p(z), with event shape (latent_dim,)."""

    @classmethod
    def fewest(cls, options: Mapping[str, Any]) -> int:
        """Return the fewest latent dimensions that it can have with these options."""
        return 1

    @property
    def name(self) -> str:
        """What options call it."""
        return snake(type(self).__name__)

    @property
    def options(self) -> dict[str, Any]:
        """What it was built with besides the number of latent dimensions, as JSON holds it."""
        return {}

    @property
    def standard(self) -> bool:
        """Whether p(z) is N(0, I), whatever is learned."""
        return not getattr(self, "takes_condition", False) and isinstance(self(), Normal01)

    def restart(self) -> None:
        """Go back to where training starts,
        which is as near to N(0, I) as can be; by default stay.
        """

    @property
    def follows_rows(self) -> bool:
        """Whether it starts at where z of the rows are: `start_at`."""
        return False

    def start_at(self, z: Tensor) -> None:
        """Start near the distribution of some draws z ~ q(z|x) of training rows, (n, latent_dim).

        By default it stays where it is.
        """

    def join(self, encoding: Encoding) -> None:
        """Become part of a model, which calls this; a prior that needs its encoder keeps that."""

    @property
    def rows_wanted(self) -> int:
        """How many training rows it starts at: `start_at_rows`; most need none."""
        return 0

    def start_at_rows(self, x: Tensor) -> None:
        """Start at some training rows (n, *shape), in model units."""

    def moments(
        self, device: torch.device | str = "cpu", draws: int = 4096
    ) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of each coordinate, (latent_dim,):
        of draws, but of an independent normal exactly.

        Arguments:
            device: Of the model.
            draws: How many.
        """
        p = self()
        if is_independent_normal(p):
            return p.loc, p.stddev
        drawn = draw(p, (draws,), torch.Generator(device).manual_seed(0), gradients=False)
        return drawn.mean(0), drawn.std(0)

    def slopes(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of log p(z), (n, d), and a curvature that is positive definite, (n,
        d, d), in float64.

        By default the curvature is that of an independent normal of the same variances.

        Arguments:
            z: Points (n, d).
        """
        p = self()
        if is_independent_normal(p):
            precision = p.stddev.double().pow(-2).expand(z.shape)
            return (p.mean - z) * precision, torch.diag_embed(precision)
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            (slope,) = torch.autograd.grad(p.log_prob(leaf).sum(), leaf)
        scale = self.moments(z.device)[1].to(z).expand(z.shape)
        return slope.double(), torch.diag_embed(scale.double().pow(-2))
