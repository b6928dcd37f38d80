"""The graphs of a model: q(z|x), p(x|z) and a bound on log p(x), with its units inside."""

from __future__ import annotations

__all__ = ["Decoder", "Encoder", "Exact", "Score", "score_of"]

import math

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import pad

from ..evaluate import in_precision
from ..evaluate.exact import solved
from ..fitted import Fitted
from ..linear import LinearGaussian, MixtureOfFactorAnalysers
from .units import FromModel, ToModel


class Encoder(nn.Module):
    """Map x (n, *data_shape) to mean and standard deviation of q(z|x), both (n, latent_dim).

    Where the model takes missing values, these are NaN.

    Arguments:
        model: The model. Where it is one of p(x|c), c (n, k) is a second input.
        dtype: Of weights, inputs and outputs.
    """

    names = ("mean", "deviation")
    """What its outputs are called."""

    def __init__(self, model: Fitted, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.to_model = ToModel(model.schema).to(dtype)
        self.vae = in_precision(model.vae, dtype)

    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation."""
        q = self.vae.encode(self.to_model(x), c)
        return q.mean, q.stddev


class Decoder(nn.Module):
    """Map z (n, latent_dim) to the mean x_hat of p(x|z), (n, *data_shape), and to the standard
    deviation of each value there; of Student's t it is the scale, and of rounded values that of the
    normal before rounding.

    Arguments:
        model: The model. Where it is one of p(x|c), c (n, k) is a second input.
        dtype: Of weights, inputs and outputs.
    """

    names: tuple[str, ...] = ("x_hat", "deviation")

    def __init__(self, model: Fitted, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.from_model = FromModel(model.schema).to(dtype)
        self.vae = in_precision(model.vae, dtype)

    def forward(self, z: Tensor, c: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return x_hat and the deviations."""
        return self.told(self.vae.decode(z, c))

    def told(self, p: Distribution) -> tuple[Tensor, Tensor]:
        """Return mean and deviations of p(x|z), in data units."""
        beta = self.vae.likelihood.beta(p)
        return self.from_model(p.mean), self.from_model.deviations(p, beta)


class Score(nn.Module):
    r"""Map x (n, *data_shape) to a lower bound on log p(x) in nats, (n,), in data units.

    .. math:: \log \frac1K \sum_k \frac{p(x, z_k)}{q(z_k \mid x)}, \qquad
        z_k = \mu(x) + \sigma(x) \odot u_k

    The K draws u are constants of the graph, so that the same x has the same score anywhere. The
    bound (Burda et al., 2016) is exact where q(z|x) is the posterior, as in linear models;
    elsewhere `Fitted.score_samples`, which fits its proposals to each row, is tighter. Where the
    model takes missing values, these are NaN, and it is a bound on log p of what is there.

    Arguments:
        model: The model. Where it is one of p(x|c), c (n, k) is a second input.
        samples: K.
        seed: Seed of the draws.
        dtype: Of weights, inputs and outputs.
    """

    names = ("log_p",)
    noise: Tensor
    log_scale: Tensor

    def __init__(
        self,
        model: Fitted,
        samples: int = 100,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.to_model = ToModel(model.schema).to(dtype)
        self.vae = in_precision(model.vae, dtype)
        self.jacobian = model.schema.log_scale_sum
        self.incomplete = model.vae.takes_missing
        log_scale = torch.tensor(model.schema.log_scales, dtype=dtype)
        self.register_buffer("log_scale", log_scale)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(samples, 1, model.vae.latent_dim, generator=generator)
        self.register_buffer("noise", noise.to(dtype))

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Return the bound."""
        t = self.to_model(x)
        q = self.vae.encode(t, c)
        z: Tensor = q.from_noise(  # type: ignore[attr-defined]
            self.noise.expand(-1, x.shape[0], -1)
        )
        weight: Tensor = self.vae.terms_at(t, z, q, c).log_weight
        bound: Tensor = weight.logsumexp(0) - math.log(len(self.noise))
        if not self.incomplete:
            return bound - self.jacobian
        there = (~t.flatten(1).isnan()).to(self.log_scale.dtype)
        found: Tensor = bound - there @ self.log_scale
        return found


class Exact(nn.Module):
    r"""Map x (n, *data_shape) to log p(x) in nats, (n,), of a model that has a closed form.

    .. math:: p(x) = \sum_k \pi_k \, \mathcal{N}(x \mid b_k, W_k W_k^\top + \Psi_k)

    As in `LinearGaussian.log_prob`, the squared distance is a sum of squares, at the posterior mean
    of z, so that nothing cancels where noise is small.

    Arguments:
        model: The model.
        solution: What its VAE is, in closed form.
    """

    names = ("log_p",)
    bias: Tensor
    weight: Tensor
    gain: Tensor
    precision: Tensor
    constant: Tensor

    def __init__(self, model: Fitted, solution: LinearGaussian | MixtureOfFactorAnalysers) -> None:
        super().__init__()
        self.to_model = ToModel(model.schema).double()
        mixture = solution
        if isinstance(mixture, LinearGaussian):
            mixture = MixtureOfFactorAnalysers(torch.ones(1, dtype=torch.float64), (mixture,))
        parts, share = mixture.parts, mixture.share
        latents = max(part.weight.shape[1] for part in parts)
        weights = [pad(part.weight, (0, latents - part.weight.shape[1])) for part in parts]
        weight = torch.stack(weights)
        noise = torch.stack([part.variance.expand_as(part.bias) for part in parts])
        scaled = (weight / noise[:, :, None]).mT
        inner = torch.eye(latents, dtype=torch.float64) + scaled @ weight
        factor = torch.linalg.cholesky(inner)
        log_det = noise.log().sum(1) + 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
        log_det = log_det + weight.shape[1] * math.log(2 * math.pi)
        self.register_buffer("bias", torch.stack([part.bias for part in parts]))
        self.register_buffer("weight", weight)
        self.register_buffer("gain", torch.cholesky_solve(scaled, factor))
        self.register_buffer("precision", noise.rsqrt())
        jacobian = model.schema.log_scale_sum
        self.register_buffer("constant", share.log() - log_det / 2 - jacobian)

    def forward(self, x: Tensor) -> Tensor:
        """Return log p(x)."""
        away = self.to_model(x.double()).flatten(1) - self.bias[:, None]
        z = away @ self.gain.mT
        misfit = (away - z @ self.weight.mT) * self.precision[:, None]
        square = misfit.square().sum(-1) + z.square().sum(-1)
        found: Tensor = (self.constant[:, None] - square / 2).logsumexp(0)
        return found.float()


def score_of(model: Fitted, samples: int, seed: int = 0) -> Exact | Score:
    """Return the graph of log p(x): exact where there is a closed form, else a bound."""
    solution = None
    if model.condition is None:
        solution = solved(model.vae)
    if solution is not None:
        return Exact(model, solution)
    return Score(model, samples, seed)
