r"""A mixture of normals over z, learned with the model or fitted to it.

.. math:: p(z) = \sum_k \pi_k \, \mathcal{N}(z \mid m_k, L_k L_k^\top)
"""

from __future__ import annotations

__all__ = ["Mixture"]

import functools
import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..distributions import NormalMixture, softplus_inverse
from ..integers import integer
from ..linear import mixture_of_factor_analysers
from .base import Prior


class Mixture(Prior):
    r"""A mixture of normals, :math:`p(z) = \sum_k \pi_k \mathcal{N}(z \mid m_k, L_k L_k^\top)`.

    Learned, its weights, means and triangles are parameters that follow the gradient of the bound,
    as in the Gaussian mixture VAE (Jiang et al., 2017). At first it is close to N(0, I), which one
    component is exactly; a model that starts in closed form has it at clusters of z, found by EM
    (`start_at`), which gradients alone may take thousands of steps to part. Fixed, it is as `of`
    made it: a mixture fitted to where z of the training rows are, after training (Ghosh et al.,
    2020).

    Arguments:
        latent_dim: Number of latent dimensions, at least 1.
        components: How many normals, at least 1.
        learned: Whether they are trained with the rest of the model.

    Raises:
        TypeError: A number is no integer.
        ValueError: It is less than 1.
    """

    log_weight: Tensor
    loc: Tensor
    scale_tril: Tensor
    strength: ClassVar[float] = 1.0
    """Rows that the covariance of all z counts for in each normal of the start: a few equal z make
    no normal without width."""
    spread: ClassVar[float] = 0.5
    """Standard deviation of the means at first:
    far enough apart to become different, and so near that the mixture is almost N(0, I).
    """

    def __init__(self, latent_dim: int, components: int = 8, learned: bool = True) -> None:
        super().__init__()
        latent_dim = integer("latent_dim", latent_dim)
        components = integer("components", components)
        if not isinstance(learned, bool):
            raise TypeError(f"learned must be True or False, got {learned!r}.")
        self.latent_dim, self.learned = latent_dim, learned
        # neither eye nor log: of tensors without values these import sympy, for a second
        triangle = torch.zeros(components, latent_dim, latent_dim)
        triangle.diagonal(dim1=1, dim2=2).fill_(1)
        values = {
            "log_weight": torch.full((components,), -math.log(components)),
            "loc": torch.zeros(components, latent_dim),
            "scale_tril": triangle,
        }
        for name, tensor in values.items():
            if self.learned:
                setattr(self, name, nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor)
        self.restart()

    @torch.no_grad()
    def restart(self) -> None:
        """Put a learned mixture back to where it starts;
        its means come from a seed of their own.
        """
        if not self.learned:
            return
        components, d = self.loc.shape
        spread = self.spread * (components > 1)
        drawn = torch.randn(components, d, generator=torch.Generator().manual_seed(0))
        diagonal = softplus_inverse(torch.tensor((1 - spread**2) ** 0.5))
        self.log_weight.fill_(1 / components).log_()
        self.loc.copy_(spread * (drawn - drawn.mean(0)))
        self.scale_tril.copy_(diagonal * torch.eye(d).expand_as(self.scale_tril))

    @property
    def follows_rows(self) -> bool:
        """Whether it starts at where z of the rows are: as one normal it is N(0, I)."""
        return self.learned and self.components > 1

    @torch.no_grad()
    def start_at(self, z: Tensor) -> None:
        """Start at the mixture that EM fits to z of training rows, (n, latent_dim); stay where
        there are fewer rows than components.
        """
        if not self.follows_rows or len(z) < self.components:
            return
        fit = functools.partial(mixture_of_factor_analysers, strength=self.strength)
        found = fit(z.cpu(), self.components, self.latent_dim)
        triangle = torch.linalg.cholesky(found.covariances)
        raw = triangle.tril(-1) + torch.diag_embed(
            softplus_inverse(triangle.diagonal(dim1=1, dim2=2))
        )
        self.log_weight.copy_(found.share.log())
        self.loc.copy_(found.means)
        self.scale_tril.copy_(raw)

    @classmethod
    def of(cls, weights: Tensor, means: Tensor, covariances: Tensor) -> Mixture:
        """Return the fixed mixture with these weights (k,),
        means (k, latent_dim) and covariances, as float32.
        """
        found = cls(means.shape[1], len(means), learned=False)
        found.log_weight.copy_((weights / weights.sum()).log())
        found.loc.copy_(means)
        found.scale_tril.copy_(torch.linalg.cholesky(covariances))
        return found

    @property
    def components(self) -> int:
        """How many normals."""
        return len(self.log_weight)

    @property
    def options(self) -> dict[str, Any]:
        """What it was built with besides the number of latent dimensions."""
        return {"components": self.components, "learned": self.learned}

    def forward(self) -> NormalMixture:
        """Return p(z), with event shape (latent_dim,)."""
        if not self.learned:
            return NormalMixture(self.log_weight, self.loc, self.scale_tril)
        diagonal = softplus(self.scale_tril.diagonal(dim1=1, dim2=2))
        triangle = self.scale_tril.tril(-1) + torch.diag_embed(diagonal)
        return NormalMixture(self.log_weight.log_softmax(0), self.loc, triangle)

    def slopes(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of log p(z), (n, d), and the components' mean precision,
        (n, d, d), in float64.
        """
        p = self()
        triangle = p.scale_tril.double()
        inverse = torch.cholesky_inverse(triangle)
        centred = p.loc.double() - z.double()[:, None]  # (n, k, d)
        pulls = torch.matmul(centred[..., None, :], inverse)[..., 0, :]
        log_scale = triangle.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        height = p.log_weight.double() - 0.5 * (pulls * centred).sum(-1) - log_scale
        share = height.softmax(-1)
        return (share[..., None] * pulls).sum(1), torch.einsum("nk,kde->nde", share, inverse)
