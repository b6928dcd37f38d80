r"""How :math:`\log p(z)` of any density slopes and bends, by differentiating twice."""

from __future__ import annotations

__all__ = ["slope_and_curvature"]

import torch
from torch import Tensor
from torch.distributions import Distribution


def slope_and_curvature(p: Distribution, z: Tensor, widest: float = 2.0) -> tuple[Tensor, Tensor]:
    r"""Return the gradient of log p(z), (n, d), and a curvature that is positive definite,
    (n, d, d), in float64.

    The curvature is :math:`-\nabla^2 \log p(z)`, its eigenvalues at least
    :math:`1 / \text{widest}^2`: between clusters a density bends the other way, where no normal is
    like it. It takes d passes back through the density.

    Arguments:
        p: A density that can be differentiated twice.
        z: Points (n, d).
        widest: The greatest standard deviation that a direction may have.
    """
    if len(z) == 0:
        return z.double(), torch.diag_embed(z.double())
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        (slope,) = torch.autograd.grad(p.log_prob(leaf).sum(), leaf, create_graph=True)
        rows = [
            torch.autograd.grad(column.sum(), leaf, retain_graph=True)[0]
            for column in slope.unbind(-1)
        ]
    hessian = torch.stack(rows, -2).double()
    values, vectors = torch.linalg.eigh(-0.5 * (hessian + hessian.mT).nan_to_num(0.0))
    floored = values.clamp_min(widest**-2)
    return slope.detach().double(), (vectors * floored[..., None, :]) @ vectors.mT
