r"""The model: two factors generate, one infers.

.. math:: p(x, z) = p(z) \, p(x \mid z), \qquad q(z \mid x) \approx p(z \mid x)

`VAE.terms` is the only place where the three log-densities are computed. Objectives, evaluation
and diagnosis are reductions of what it returns.
"""

from __future__ import annotations

__all__ = ["VAE", "Terms"]

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from .brief import Brief
from .distributions import closed_form_kl, draw
from .likelihood import Likelihood
from .posterior import Posterior
from .prior import Prior


@dataclass(frozen=True, eq=False, repr=False)
class Terms(Brief):
    r"""The log-densities every bound is made of, at z ~ q(z|x): unpacks to ``log_lik, log_prior, log_post``.

    Each has shape (samples, *batch) and is in nats. What is not asked for is not computed.
    """

    log_lik: Tensor
    """:math:`\\log p(x \\mid z)`."""
    z: Tensor
    """The samples, of shape (samples, *batch, latent_dim)."""
    p: Distribution
    """The prior p(z)."""
    q: Distribution
    """The posterior q(z|x)."""

    @cached_property
    def log_prior(self) -> Tensor:
        r""":math:`\log p(z)`."""
        return self.p.log_prob(self.z)

    @cached_property
    def log_post(self) -> Tensor:
        r""":math:`\log q(z \mid x)`."""
        return self.q.log_prob(self.z)

    @cached_property
    def log_joint(self) -> Tensor:
        r""":math:`\log p(x, z)`."""
        return self.log_lik + self.log_prior

    @cached_property
    def log_weight(self) -> Tensor:
        r""":math:`\log p(x, z) - \log q(z \mid x)`."""
        return self.log_joint - self.log_post

    @cached_property
    def kl(self) -> Tensor | None:
        r""":math:`KL(q(z \mid x) \| p(z))` of shape (*batch,) where it has a closed form, else None."""
        return closed_form_kl(self.q, self.p)

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.log_lik, self.log_prior, self.log_post))


class VAE(nn.Module):
    r"""A variational autoencoder (Kingma & Welling, 2014; Rezende et al., 2014).

    Arguments:
        prior: p(z).
        decoder: A network from (latent_dim,) to ``likelihood.in_shape``.
        likelihood: The head of p(x|z).
        encoder: A network from ``likelihood.shape`` to ``posterior.in_shape``.
        posterior: The head of q(z|x).
    """

    def __init__(
        self, prior: Prior, decoder: nn.Module, likelihood: Likelihood, encoder: nn.Module, posterior: Posterior
    ) -> None:
        super().__init__()
        self.prior = prior
        self.decoder = decoder
        self.likelihood = likelihood
        self.encoder = encoder
        self.posterior = posterior

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example x."""
        return self.likelihood.shape

    @property
    def latent_dim(self) -> int:
        """The number of latent dimensions."""
        return self.prior.latent_dim

    def encode(self, x: Tensor) -> Distribution:
        """Return q(z|x) for x of shape (*batch, *shape).

        Raises:
            ValueError: The trailing dimensions of x are not the model's, or the encoder's output does not fit.
        """
        _check("x", x, self.shape)
        return self.posterior(_check("the encoder's output", self.encoder(x), self.posterior.in_shape))  # type: ignore[no-any-return]

    def decode(self, z: Tensor) -> Distribution:
        """Return p(x|z) for z of shape (*batch, latent_dim). Its mean is ``x_hat = f(z)``, a sample is ``x_tilde``.

        Raises:
            ValueError: The last dimension of z is not latent_dim, or the decoder's output does not fit.
        """
        _check("z", z, (self.latent_dim,))
        return self.likelihood(_check("the decoder's output", self.decoder(z), self.likelihood.in_shape))  # type: ignore[no-any-return]

    def terms(self, x: Tensor, samples: int = 1, generator: torch.Generator | None = None) -> Terms:
        """Return the log-densities at ``samples`` draws z ~ q(z|x), for x of shape (*batch, *shape).

        Draws come from ``generator``, or from torch's global one where it is None.
        """
        q = self.encode(x)
        return self.terms_at(x, draw(q, (samples,), generator), q)

    def terms_at(self, x: Tensor, z: Tensor, q: Distribution) -> Terms:
        """Return the log-densities at given z, of shape (samples, *batch, latent_dim), for a given q(z|x)."""
        return Terms(self.decode(z).log_prob(x), z, self.prior(), q)

    @torch.no_grad()
    def sample(self, n: int, noise: bool = True, generator: torch.Generator | None = None) -> Tensor:
        """Draw n examples: z ~ p(z), then ``x_tilde ~ p(x|z)``, or its mean ``x_hat`` without ``noise``."""
        p = self.decode(draw(self.prior(), (n,), generator))
        return draw(p, (), generator, gradients=False) if noise else p.mean


def _check(name: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the tensor if its trailing shape is right, in at least float32: autocast stops at the networks' ends."""
    if tuple(tensor.shape[tensor.ndim - len(shape) :]) != shape:
        expected = ", ".join(["*batch", *map(str, shape)])
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, but this model needs ({expected}).")
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
