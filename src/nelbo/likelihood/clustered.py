r"""Normal noise that turns with the cluster that a row belongs to.

.. math::
    p(x \mid z) = \sum_k r_k(z) \, \mathcal{N}(x \mid f_k(z), L_k L_k^\top), \qquad
    r(z) = \operatorname{softmax}(h(z))
"""

from __future__ import annotations

__all__ = ["ClusteredGaussian"]

import math

import torch
from scipy import special
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from ..distributions import GatedNormals, softplus_inverse
from ..integers import integer
from .base import VARIANCE_FLOOR, Likelihood, of_values
from .noise import Noise


class ClusteredGaussian(Likelihood):
    r"""A mixture of normals, whose shares and means the decoder reads from z (Bishop, 1994).

    Where rows lie in thin sheets, each with directions of its own, noise that is independent in
    all columns is far too wide. Here each component k has its own covariance
    :math:`L_k L_k^\top`, and z says which component a row is of.

    Arguments:
        shape: The shape of one example, of D values. The decoder outputs D + 1 numbers for each
            component: the mean :math:`f_k(z)`, and the logit of its share.
        floor: The smallest variance of x_j given all values before it; its root is added to the
            diagonal of :math:`L_k`.
        components: How many normals, at least 1.

    Raises:
        TypeError: ``components`` is no integer.
        ValueError: It is less than 1, the floor is not positive, or ``shape`` is ().
    """

    usual_noise = "Each component has its own covariance, learned in training."
    triangle: nn.Parameter

    def __init__(
        self, shape: tuple[int, ...], floor: float = VARIANCE_FLOOR, components: int = 8
    ) -> None:
        super().__init__()
        components = integer("components", components)
        if not floor > 0:
            raise ValueError(f"floor must be positive, got {floor}.")
        self.shape, self.floor = of_values(shape), floor
        values = math.prod(shape)
        self.in_shape = (components, values + 1)
        start = softplus_inverse(torch.tensor(1 - floor**0.5).clamp_min(1e-3))
        self.triangle = nn.Parameter((start * torch.eye(values)).repeat(components, 1, 1))

    @property
    def components(self) -> int:
        """How many normals."""
        return len(self.triangle)

    @property
    def scale_tril(self) -> Tensor:
        """The triangles L, of shape (components, D, D)."""
        diagonal = softplus(self.triangle.diagonal(dim1=1, dim2=2)) + self.floor**0.5
        found: Tensor = self.triangle.tril(-1) + torch.diag_embed(diagonal)
        return found

    @torch.no_grad()
    def take(self, scale_tril: Tensor) -> None:
        """Take the noise of a mixture that was found otherwise.

        Arguments:
            scale_tril: Lower triangles of shape (components, D, D); what is below the floor ends
                at it.
        """
        diagonal = scale_tril.diagonal(dim1=1, dim2=2) - self.floor**0.5
        raw = softplus_inverse(diagonal.clamp_min(1e-9))
        self.triangle.copy_(scale_tril.tril(-1) + torch.diag_embed(raw))

    def forward(self, h: Tensor) -> GatedNormals:
        """Map features h, of shape (*batch, components, D + 1), to p(x|z)."""
        return GatedNormals(
            h[..., -1].log_softmax(-1), h[..., :-1], self.scale_tril.to(h.dtype), self.shape
        )

    def noise(self) -> Noise:
        """Return that the noise depends on z."""
        return Noise("from z", type(self).__name__)

    def residuals(self, p: Distribution, x: Tensor) -> Tensor | None:
        """Return the standard normal's quantiles at the probabilities of p below each value."""
        if not isinstance(p, GatedNormals):
            return None
        flat = x.flatten(x.ndim - len(self.shape))[..., None, :]
        width = p.scale_tril.square().sum(-1).sqrt()
        t = ((flat - p.loc) / width).detach().double().cpu().numpy()
        share = p.log_weight.exp().detach().double().cpu().numpy()[..., None]
        below, above = ((share * special.ndtr(side)).sum(-2) for side in (t, -t))
        # of the smaller tail, so that no probability comes near 1
        found = torch.from_numpy(
            special.ndtri(below).clip(max=0) - special.ndtri(above).clip(max=0)
        )
        return found.reshape(*found.shape[:-1], *self.shape).to(x.device)
