r"""The encoder's own view of a few made-up rows, as a prior.

.. math:: p(z) = \frac1K \sum_k q(z \mid u_k)
"""

from __future__ import annotations

__all__ = ["Vamp"]

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..distributions import DiagonalMixture, NormalMixture
from ..integers import integer
from .base import Encoding, Prior
from .curvature import slope_and_curvature


class Vamp(Prior):
    r"""The variational mixture of posteriors,
    :math:`p(z) = \frac1K \sum_k q(z \mid u_k)` (Tomczak & Welling, 2018).

    The pseudo-inputs :math:`u_k` are learned with the model and are rows themselves: of all
    priors the best would have every training row among them, as p(z) would then be the mean of
    q(z|x). They start at training rows (`start_at_rows`; an estimator does so itself).

    The encoder serves twice, so that this prior works in a `VAE` alone, whose posterior is a
    normal.

    Arguments:
        latent_dim: Number of latent dimensions, at least 1.
        shape: Shape of one example.
        components: K, the number of pseudo-inputs, at least 1.
        generator: Source of the pseudo-inputs before they are at rows; torch's global one where
            None.

    Raises:
        TypeError: A number is no integer.
        ValueError: It is less than 1.
    """

    def __init__(
        self,
        latent_dim: int,
        shape: Sequence[int],
        components: int = 100,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.latent_dim = integer("latent_dim", latent_dim)
        components = integer("components", components)
        self.inputs = nn.Parameter(torch.randn(components, *shape, generator=generator))
        self._encoding: Encoding | None = None

    @property
    def components(self) -> int:
        """The number of pseudo-inputs."""
        return len(self.inputs)

    @property
    def rows_wanted(self) -> int:
        """As many as there are pseudo-inputs."""
        return self.components

    @property
    def options(self) -> dict[str, Any]:
        """What it was built with besides the number of latent dimensions."""
        return {"components": self.components}

    def join(self, encoding: Encoding) -> None:
        """Take the encoder of the model that this prior has become part of.

        Raises:
            ValueError: The model reads conditions, or q(z|x) is no normal.
        """
        if encoding.takes_condition:
            raise ValueError(
                "prior 'vamp' has rows of its own, but no conditions for them. Use another prior, "
                "such as 'mixture', in a model that reads conditions."
            )
        if not encoding.is_normal:
            raise ValueError(
                "prior 'vamp' needs a posterior that is a normal, such as 'diagonal_normal' or "
                "'full_normal'."
            )
        self._encoding = encoding

    @torch.no_grad()
    def start_at_rows(self, x: Tensor) -> None:
        """Start with some training rows as pseudo-inputs, evenly spaced; with all of them, over
        and over, where there are fewer.

        Arguments:
            x: Rows (n, *shape) in model units. Of a row's missing values the columns' medians take
                the place.
        """
        chosen = torch.arange(self.components) * len(x) // self.components
        if len(x) < self.components:
            chosen = torch.arange(self.components) % len(x)
        rows = x[chosen.to(x.device)].to(self.inputs)
        # The lower median is a value that occurs, so that a level stays one.
        usual = x.flatten(1).nanmedian(0).values.nan_to_num(0.0).view(x.shape[1:]).to(self.inputs)
        self.inputs.copy_(torch.where(rows.isnan(), usual, rows))

    def forward(self) -> Distribution:
        """Return p(z), with event shape (latent_dim,).

        Raises:
            RuntimeError: It is no model's prior yet, which would have an encoder.
        """
        if self._encoding is None:
            raise RuntimeError("A Vamp prior has no encoder before VAE(prior, ...) is built of it.")
        loc, scale = self._encoding.normal(self.inputs)
        log_weight = loc.new_full((len(loc),), 1 / len(loc)).log()
        if scale.ndim == loc.ndim:
            return DiagonalMixture(log_weight, loc, scale)
        return NormalMixture(log_weight, loc, scale)

    def slopes(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of log p(z), (n, d), and its curvature, (n, d, d), in float64."""
        return slope_and_curvature(self(), z)
