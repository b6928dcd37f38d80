r"""Bounds whose value is that of a sibling, with a better gradient for the encoder's parameters
:math:`\phi`.

With :math:`z = z(\phi, \varepsilon)`, the gradient of
:math:`\log w = \log p(x, z) - \log q_\phi(z \mid x)` has two parts,

.. math::
    \frac{d \log w}{d\phi} = \underbrace{\frac{\partial \log w}{\partial z}
    \frac{dz}{d\phi}}_\text{path}
        - \underbrace{\frac{\partial \log q_\phi(z \mid x)}{\partial \phi}}_\text{score},

and the score has mean zero: it is nothing but noise. Without it, the gradient vanishes where q is
the exact posterior, since w is the same at every z there. All of this needs a q whose draws are
differentiable.
"""

from __future__ import annotations

__all__ = ["STL", "DReG", "PIWAE"]

import dataclasses

import torch
from torch import Tensor

from ..distributions import draw
from ..vae import VAE, Terms
from .base import Objective, average, count, importance


class STL(Objective):
    r""":math:`\frac1L \sum_l \log w_l`, its gradient without the score: sticking the landing
    (Roeder et al., 2017).

    The ELBO's gradient, without bias for any L. (Roeder et al. drop the score of IWAE as well,
    which biases it for L > 1: take `DReG`.) While training the KL is that of the samples, as the
    path needs; in ``eval()`` mode it is exact where it has a closed form, as for `ELBO`.

    Raises:
        ValueError: ``samples`` is less than 1, or, in the forward pass, draws of q have no
            gradient.
    """

    averages = True

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, c: Tensor | None = None
    ) -> Tensor:
        """Return the ELBO of each example of x (*batch, *shape), of shape (*batch,), in nats."""
        terms = self.terms(x, generator, c)
        if self.training:
            return path_weight(terms).mean(0)
        return average(terms)


class DReG(Objective):
    r"""`IWAE`, whose encoder gradient is
    :math:`\sum_k \tilde w_k^2 \, \frac{\partial \log w_k}{\partial z_k} \frac{dz_k}{d\phi}` with
    :math:`\tilde w = w / \sum_j w_j`: doubly reparameterised (Tucker et al., 2019).

    Without bias, and its ratio of signal to noise does not fall with K. Everything that generates
    (decoder, noise, prior) has the gradient of IWAE. With K = 1 it is `STL`.

    Raises:
        ValueError: ``samples`` is less than 1, or, in the forward pass, draws of q have no
            gradient.
    """

    usual_samples = 4

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, c: Tensor | None = None
    ) -> Tensor:
        """Return the importance-weighted bound of each x (*batch, *shape) in nats: (*batch,)."""
        terms = self.terms(x, generator, c)
        log_weight = path_weight(terms)
        if terms.z.requires_grad:
            # What arrives at z carries one normalised weight already, from the logsumexp; the
            # encoder gets the second.
            share = log_weight.detach().softmax(0).unsqueeze(-1)
            terms.z.register_hook(lambda gradient: gradient * share)
        return importance(log_weight)


class PIWAE(Objective):
    r"""Two bounds of the same samples: :math:`IWAE_{MK}` trains p(x|z), `MIWAE` trains q(z|x).

    Partially importance weighted (Rainforth et al., 2018): the decoder has the tight bound, the
    encoder the less noisy gradient. The value is :math:`\log \frac1{MK} \sum_{mk} w_{mk}`. It costs
    a backward pass through the decoder more.

    Arguments:
        vae: The model.
        samples: K.
        groups: M; the authors have 8 of 8.

    Raises:
        ValueError: ``samples`` or ``groups`` is less than 1, or, in the forward pass, draws of q
            have no gradient.
    """

    usual_samples = 4

    def __init__(self, vae: VAE, samples: int = 1, groups: int = 8) -> None:
        super().__init__(vae, samples)
        self.groups = count("groups", groups)

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, c: Tensor | None = None
    ) -> Tensor:
        """Return the importance-weighted bound of each x (*batch, *shape) in nats: (*batch,)."""
        q = self.vae.encode(x, c)
        z = draw(q, (self.draws,), generator)
        # where the path to the encoder is cut
        leaf = z.detach().requires_grad_(_differentiable(q, z))
        terms = self.vae.terms_at(x, leaf, q, c)
        bound = importance(terms.log_joint - terms.log_post.detach())
        if not leaf.requires_grad:
            return bound
        # One backward pass cannot carry both sets of weights: their ratio overflows.
        grouped = terms.log_weight.detach().unflatten(0, (self.groups, self.samples))
        share = grouped.softmax(1).flatten(0, 1) / self.groups
        (slope,) = torch.autograd.grad(terms.log_weight, leaf, share, retain_graph=True)
        path: Tensor = (slope * (z - z.detach())).sum((0, -1))
        score: Tensor = (share * (terms.log_post - terms.log_post.detach())).sum(0)
        return bound + path - score  # both are zero, and have a gradient


def path_weight(terms: Terms) -> Tensor:
    """Return log_weight (samples, *batch), whose gradient reaches q's parameters through z alone.

    The slope of log q at a z cut off from them, times the z that is not, serves any q, flows
    included, where a copy of q with fixed parameters would have to know how q is made.
    """
    z = terms.z
    if not _differentiable(terms.q, z):
        return terms.log_joint - terms.log_post.detach()
    leaf = z.detach().requires_grad_()
    log_post = dataclasses.replace(terms, z=leaf).log_post
    (slope,) = torch.autograd.grad(log_post.sum(), leaf)
    return terms.log_joint - (log_post.detach() + (slope * (z - z.detach())).sum(-1))


def _differentiable(q: torch.distributions.Distribution, z: Tensor) -> bool:
    """Return whether gradients flow through z: they are wanted, and something before it learns.

    Raises:
        ValueError: They should, but this q cannot.
    """
    if torch.is_grad_enabled() and not q.has_rsample:
        raise ValueError(
            f"{type(q).__name__} draws z without gradients, but this objective's gradient for the "
            "encoder flows "
            "through z. Use a posterior with rsample."
        )
    return bool(z.requires_grad)
