r"""log p(x) in closed form, where a decoder is affine in each cluster of z:

.. math::
    p(k, z) = \pi_k \, \mathcal{N}(z \mid m_k, V_k), \quad
    p(x \mid z, k) = \mathcal{N}(x \mid W_k z + b_k, N_k)
    \;\Rightarrow\;
    p(x) = \sum_k \pi_k \, \mathcal{N}(x \mid W_k m_k + b_k, \, W_k V_k W_k^\top + N_k)
"""

from __future__ import annotations

__all__ = ["mixture_decoder"]

import torch
from torch import Tensor

from ..distributions import GatedNormals, NormalMixture
from ..linear import LinearGaussian, MixtureOfFactorAnalysers, ppca
from ..vae import VAE
from .judging import in_precision


@torch.no_grad()
def mixture_decoder(vae: VAE, c: Tensor | None = None) -> MixtureOfFactorAnalysers | None:
    """Return the mixture of factor analysers that a VAE is, or None if it is not one.

    The components of p(x|z) must be those of the prior: at z drawn from it, the shares that the
    decoder gives them must be p(k|z), and their means affine in z, to rounding in float32.

    Arguments:
        vae: The model.
        c: The condition (k,) of a model of p(x|c), given which it is a mixture.
    """
    prior = vae.prior
    if getattr(prior, "takes_condition", False) or not isinstance(prior(), NormalMixture):
        return None
    copied = in_precision(vae, torch.float64)
    p_z = copied.prior()
    if not isinstance(p_z, NormalMixture):
        return None
    given: tuple[Tensor, ...] = ()
    if c is not None:
        given = (c.to(p_z.loc),)
    found = _Decoded.drawn(copied, p_z, given)
    if found is None or not found.fits(p_z):
        return None
    covariances = p_z.scale_tril @ p_z.scale_tril.mT
    covariances = found.weight @ covariances @ found.weight.mT + found.noise
    means = found.bias + (found.weight @ p_z.loc[..., None])[..., 0]
    share = p_z.log_weight.exp().cpu()
    parts = [_normal(*both) for both in zip(means.cpu(), covariances.cpu(), strict=True)]
    return MixtureOfFactorAnalysers(share / share.sum(), tuple(parts))


class _Decoded:
    """The components of p(x|z) at some z, and the affine maps that their means would be.

    Attributes:
        z: Where they were decoded, (n, d): zero, the axes, and draws from the prior.
        log_weight: The logarithms of their shares there, (n, K).
        loc: Their means there, (n, K, D).
        weight, bias: The affine maps, (K, D, d) and (K, D).
        noise: Their covariances, (K, D, D).
    """

    def __init__(self, z: Tensor, p: GatedNormals) -> None:
        d = z.shape[1]
        self.z, self.log_weight, self.loc = z, p.log_weight, p.loc
        self.bias = p.loc[0]
        self.weight = (p.loc[1 : d + 1] - self.bias).movedim(0, -1)
        self.noise = p.scale_tril @ p.scale_tril.mT

    @classmethod
    def drawn(cls, vae: VAE, p: NormalMixture, given: tuple[Tensor, ...]) -> _Decoded | None:
        """Decode draws from the prior; None where p(x|z) has other components, or none."""
        components, d = p.loc.shape
        generator = torch.Generator(p.loc.device).manual_seed(0)
        axes = torch.cat([torch.zeros(1, d), torch.eye(d)]).to(p.loc)
        z = torch.cat([axes, p.sample((128,), generator)])
        decoded = vae.decode(z, *(c.expand(len(z), -1) for c in given))
        if not isinstance(decoded, GatedNormals) or decoded.log_weight.shape[-1] != components:
            return None
        return cls(z, decoded)

    def fits(self, p: NormalMixture, rounding: float = 1e-3) -> bool:
        """Return whether shares are those of the prior's components, and means affine.

        Arguments:
            p: The prior.
            rounding: How far the logarithms of shares may be apart, and the logarithm of a small
                one by that share of a hundredth: sums of large numbers leave so much in float32.
        """
        share = p.log_joint(self.z).log_softmax(0).T
        allowed = rounding * (1 + share.abs() / 100)
        if bool(((share - self.log_weight).abs() > allowed).any()):
            return False
        affine = torch.einsum("kdq,nq->nkd", self.weight, self.z) + self.bias
        moved = (self.loc - self.bias).abs().amax((0, 1))
        gap = (affine - self.loc).abs().amax((0, 1))
        return bool((gap <= 1e-9 * moved + 1e-12 * self.loc.abs().amax()).all())


def _normal(mean: Tensor, covariance: Tensor) -> LinearGaussian:
    """Return the normal with every correlation as a linear model."""
    return ppca(mean, (covariance + covariance.mT) / 2, len(mean), floor=1e-12)
