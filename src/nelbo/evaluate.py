r"""How good a model is: log p(x) and its bounds, in nats per example, at full precision.

.. math::
    \log p(x) \approx \log \frac1K \sum_{k=1}^K w_k, \qquad
    w_k = \frac{p(x \mid z_k) \, p(z_k)}{q(z_k \mid x)}, \quad z_k \sim q(z \mid x)

In expectation the right-hand side never exceeds log p(x) and rises with K (Burda et al., 2016). The noise behind
:math:`z_k` is a function of (seed, the row's content, k): a row gets the same number whatever stands beside it,
in whatever order and in chunks of whatever size.
"""

from __future__ import annotations

__all__ = ["LogLikelihood", "affine_decoder", "elbo", "in_precision", "log_likelihood", "methods"]

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from .distributions import DiagonalNormal, Normal01
from .likelihood import Gaussian
from .linear_gaussian import LinearGaussian
from .vae import VAE, Terms

BLOCK = 32
"""Samples of one row that are decoded together. Part of the definition of the noise, so never tuned at run time."""
AGREED = 0.01
"""Where a row's largest weights agree to this share they have no tail: what differs may be rounding alone."""
MEMORY = 256 * 2**20
"""Default bytes for intermediate results."""


@dataclass(frozen=True)
class LogLikelihood:
    """Estimates of log p(x), one per example, in nats and float64.

    Attributes:
        value: The estimates, of shape (n,).
        standard_error: Of each estimate, by the delta method; 0 where exact.
        ess: Effective number of samples behind each estimate, from 1 to K; infinite where exact.
        khat: Shape of the Pareto tail of each row's weights: above 0.7 the estimate is not to be trusted
            (Vehtari et al., 2024). Minus infinity where the weights are all equal, NaN with fewer than 25 samples.
        method: "importance" or "exact".
        samples: K; 0 where exact.
    """

    value: Tensor
    standard_error: Tensor
    ess: Tensor
    khat: Tensor
    method: str
    samples: int

    @property
    def mean(self) -> float:
        """Mean over examples, nats per example."""
        return float(self.value.mean())

    @property
    def mean_standard_error(self) -> float:
        """Standard error of the mean over examples, as an estimate for new data; infinite for one example."""
        n = len(self.value)
        return float(self.value.std()) / math.sqrt(n) if n > 1 else math.inf


def log_likelihood(
    vae: VAE, x: Tensor, method: str = "importance", samples: int = 100, seed: int = 0, memory: int = MEMORY
) -> LogLikelihood:
    """Estimate log p(x) for each row of x (n, *vae.shape), in nats in the units of x.

    Arguments:
        vae: The model. It is evaluated in the precision of x, float32 or float64, however it was trained.
        x: Rows.
        method: "importance" (a stochastic lower bound), "exact" (an affine decoder with Gaussian noise and a standard
            normal prior), or "auto": exact where possible.
        samples: K, importance samples for each row.
        seed: Of the noise.
        memory: Bytes for intermediate results; it changes speed, not results.

    Raises:
        ValueError: Unknown method, ``samples`` below 1, rows that do not fit, or "exact" for a model that has no
            closed form.
    """
    if method not in methods():
        raise ValueError(f"method must be one of {', '.join(methods())}, got {method!r}.")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}.")
    with _ready(vae, x) as (model, rows):
        if method == "auto":
            method = "importance" if affine_decoder(model) is None else "exact"
        return _METHODS[method](model, rows, samples, seed, memory)


def methods() -> tuple[str, ...]:
    """Return the names that `log_likelihood` accepts as method."""
    return ("auto", *_METHODS)


def elbo(vae: VAE, x: Tensor, samples: int = 16, seed: int = 0, memory: int = MEMORY) -> Tensor:
    """Return the ELBO of each row of x (n, *vae.shape), of shape (n,), in nats and float64.

    An average of log p(x, z) - log q(z|x) over ``samples`` draws of z. With the exact posterior every draw is log p(x)
    itself, which a closed-form KL beside sampled reconstructions would only match on average.

    Raises:
        ValueError: ``samples`` below 1, or rows that do not fit.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}.")
    with _ready(vae, x) as (model, rows):
        parts = []
        for part, blocks in _blocks(model, rows, samples, seed, memory):
            total = torch.zeros(len(part), dtype=torch.float64, device=part.device)
            for terms in blocks:
                total += terms.log_weight.double().sum(0)
            parts.append(total / samples)
        return torch.cat(parts).cpu()


# -- methods -----------------------------------------------------------------------------------------


def _importance(vae: VAE, x: Tensor, samples: int, seed: int, memory: int) -> LogLikelihood:
    """Stream blocks of weights: nothing of size (n, K) is held but the largest few per row."""
    columns = []
    for part, blocks in _blocks(vae, x, samples, seed, memory):
        stream = _Stream(len(part), samples, part.device)
        for terms in blocks:
            stream.add(terms.log_weight.double())
        columns.append(stream.result())
    value, error, ess, khat = (torch.cat(column).cpu() for column in zip(*columns, strict=True))
    return LogLikelihood(value, error, ess, khat, "importance", samples)


def _exact(vae: VAE, x: Tensor, samples: int, seed: int, memory: int) -> LogLikelihood:
    """log N(x | b, W W^T + beta^2)."""
    model = affine_decoder(vae)
    if model is None:
        raise ValueError(
            'method="exact" needs an affine decoder, a Gaussian likelihood whose variance does not depend on z, and a '
            'standard normal prior. This model has no closed form: use method="importance".'
        )
    value = model.log_prob(x.flatten(1).double().cpu())
    zero, infinite = torch.zeros_like(value), torch.full_like(value, math.inf)
    return LogLikelihood(value, zero, infinite, -infinite, "exact", 0)


_METHODS: dict[str, Callable[[VAE, Tensor, int, int, int], LogLikelihood]] = {
    "importance": _importance,
    "exact": _exact,
}


@torch.no_grad()
def affine_decoder(vae: VAE) -> LinearGaussian | None:
    """Return the linear-Gaussian model that a VAE is, or None if it is not one.

    Any network will do: it is affine if f(z) = W z + b holds, to rounding, at random z, with W and b read off the axes.
    """
    if not isinstance(vae.prior(), Normal01):
        return None
    copied = in_precision(vae, torch.float64)
    head = copied.likelihood
    if not isinstance(head, Gaussian):
        return None
    q, device = vae.latent_dim, head.log_variance.device
    generator = torch.Generator().manual_seed(0)
    probes = 3 * torch.randn(16, q, generator=generator, dtype=torch.float64).to(device)
    axes = torch.cat([torch.zeros(1, q, dtype=torch.float64), torch.eye(q, dtype=torch.float64)]).to(device)
    outputs = copied.decode(torch.cat([axes, probes])).mean.flatten(1)
    bias, weight = outputs[0], (outputs[1 : q + 1] - outputs[0]).T
    gap = (outputs[q + 1 :] - (probes @ weight.T + bias)).abs().max()
    if not gap <= 1e-9 * (1 + outputs.abs().max()):
        return None
    variance = head.variance.flatten() if head.variance.ndim else head.variance
    return LinearGaussian(weight.cpu(), bias.cpu(), variance.detach().cpu())


# -- streams -----------------------------------------------------------------------------------------


class _Stream:
    """Running sums of weights per row, relative to the largest weight so far, and the largest few weights."""

    def __init__(self, rows: int, samples: int, device: torch.device) -> None:
        self.samples = samples
        self.tail = min(math.ceil(0.2 * samples), math.ceil(3 * math.sqrt(samples))) + 1
        self.top = torch.full((0, rows), -math.inf, dtype=torch.float64, device=device)
        self.peak = torch.full((rows,), -math.inf, dtype=torch.float64, device=device)
        self.sum = torch.zeros(rows, dtype=torch.float64, device=device)
        self.square = torch.zeros(rows, dtype=torch.float64, device=device)

    def add(self, log_weight: Tensor) -> None:
        """Take log-weights of shape (samples, rows)."""
        peak = torch.maximum(self.peak, log_weight.amax(0))
        safe = torch.where(peak.isfinite(), peak, 0.0)
        shrink = (self.peak - safe).exp()
        weight = (log_weight - safe).exp()
        self.sum = self.sum * shrink + weight.sum(0)
        self.square = self.square * shrink.square() + weight.square().sum(0)
        self.peak = peak
        joined = torch.cat([self.top, log_weight])
        self.top = joined.topk(min(self.tail, len(joined)), dim=0).values

    def result(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the value, its standard error, the effective sample size and the Pareto shape of each row."""
        k = self.samples
        value = self.peak + (self.sum / k).log()
        ess = (self.sum.square() / self.square).nan_to_num(0.0)
        variance = (1 / ess - 1 / k).clamp_min(0) * k / max(k - 1, 1)
        error = variance.sqrt() if k > 1 else torch.full_like(value, math.inf)
        return value, error, ess, pareto_shape(self.top, k)


def pareto_shape(top: Tensor, samples: int) -> Tensor:
    """Fit a generalised Pareto distribution to the largest weights of each row (Zhang & Stephens, 2009).

    Arguments:
        top: The largest log-weights in decreasing order, (m + 1, n); the last is the threshold.
        samples: How many weights there were in all.

    Returns:
        The shape k of each row, with the weak prior towards 0.5 of Vehtari et al. (2024), of shape (n,).
    """
    m = len(top) - 1
    if samples < 25 or m < 5:
        return torch.full_like(top[0], math.nan)
    excess = (top[:-1] - top[0]).exp() - (top[-1:] - top[0]).exp()
    excess = excess.flip(0)  # increasing
    count = 30 + int(math.sqrt(m))
    quartile = excess[int(m / 4 + 0.5) - 1].clamp_min(1e-300)
    steps = torch.arange(1, count + 1, dtype=top.dtype, device=top.device)[:, None]
    theta = 1 / excess[-1].clamp_min(1e-300) + (1 - (count / (steps - 0.5)).sqrt()) / (3 * quartile)
    shape = torch.stack([torch.log1p(-t * excess).mean(0) for t in theta])
    profile = m * ((-theta / shape).log() - shape - 1)
    weight = profile.nan_to_num(-math.inf).softmax(0)
    mean = (theta * weight).sum(0)
    k = torch.log1p(-mean * excess).mean(0)
    k = (k * m + 5) / (m + 10)
    found = torch.where(excess[-1] > AGREED, k, -math.inf)
    return torch.where(top[0].isfinite(), found, math.inf)


def _blocks(vae: VAE, x: Tensor, samples: int, seed: int, memory: int) -> Iterator[tuple[Tensor, Iterator[Terms]]]:
    """Yield chunks of rows, each with the terms of its samples block by block; each row is encoded once."""
    size = 8 * x.element_size() * (math.prod(vae.shape) + 2048)  # of one decoded sample: a generous guess
    step = max(1, memory // (size * min(samples, BLOCK)))
    for part in x.split(step):
        q = vae.encode(part)
        yield part, _terms(vae, part, q, samples, seed)


def _terms(vae: VAE, x: Tensor, q: Distribution, samples: int, seed: int) -> Iterator[Terms]:
    """Yield the terms of one chunk of rows, block by block."""
    keys = _row_keys(x)
    for number, start in enumerate(range(0, samples, BLOCK)):
        noise = _noise(keys, vae.latent_dim, seed, number, x)[: samples - start]
        yield vae.terms_at(x, _from_noise(q, noise), q)


def _from_noise(q: Distribution, noise: Tensor) -> Tensor:
    """Turn standard normal noise (samples, n, latent_dim) into samples of q."""
    if not isinstance(q, DiagonalNormal):
        raise ValueError(f"Evaluation needs a posterior that is a function of normal noise, got {type(q).__name__}.")
    return torch.addcmul(q.loc, q.scale, noise)


def _row_keys(x: Tensor) -> Tensor:
    """Return a 62-bit key of each row's content, of shape (n,): equal rows have equal keys."""
    flat = x.flatten(1).to(torch.float64).contiguous().view(torch.int64).cpu()
    generator = torch.Generator().manual_seed(7)
    odd = torch.randint(-(2**62), 2**62, (flat.shape[1],), generator=generator) | 1
    mixed = flat ^ (flat >> 29)  # integer sums wrap around, so their order does not matter
    return _scramble((mixed * odd).sum(1))


def _scramble(key: Tensor) -> Tensor:
    """Mix the bits of 64-bit integers and return non-negative ones."""
    for shift, factor in ((31, -4658895280553007687), (27, -7723592293110705685)):
        key = (key ^ ((key >> shift) & (2 ** (64 - shift) - 1))) * factor
    return (key ^ (key >> 33)) & (2**62 - 1)


def _noise(keys: Tensor, latent_dim: int, seed: int, number: int, like: Tensor) -> Tensor:
    """Return block ``number`` of standard normal noise, (BLOCK, n, latent_dim).

    Each block draws one fresh pool of normals; a row's key says where in the pool its own slice begins. That is
    as cheap as a copy, and two rows hardly ever share a slice.
    """
    width = BLOCK * latent_dim
    size = max(2**18, 2 ** math.ceil(math.log2(64 * width)))
    generator = torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)
    pool = torch.randn(size, generator=generator, dtype=torch.float32)
    offsets = _scramble(keys + number * 1_000_033 + seed) % (size - width)
    slices = pool.as_strided((size - width + 1, width), (1, 1)).index_select(0, offsets)
    return slices.to(like).reshape(len(keys), BLOCK, latent_dim).transpose(0, 1)


# -- precision ---------------------------------------------------------------------------------------


class _ready:
    """Context: a model in the precision of x, in evaluation mode, without gradients or autocast."""

    def __init__(self, vae: VAE, x: Tensor) -> None:
        if tuple(x.shape[1:]) != vae.shape or x.ndim != len(vae.shape) + 1:
            raise ValueError(f"x has shape {tuple(x.shape)}, but the model needs {('n', *vae.shape)}.")
        if len(x) == 0:
            raise ValueError("x has no rows.")
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        self.model = in_precision(vae, dtype)
        parameter = next(self.model.parameters(), None)
        self.x = x.to(parameter.device if parameter is not None else x.device, dtype)
        self.training = vae.training
        self.contexts = (torch.no_grad(), torch.autocast(self.x.device.type, enabled=False))

    def __enter__(self) -> tuple[VAE, Tensor]:
        for context in self.contexts:
            context.__enter__()
        self.model.eval()
        return self.model, self.x

    def __exit__(self, *error: object) -> None:
        self.model.train(self.training)
        for context in reversed(self.contexts):
            context.__exit__(*error)


def in_precision(vae: VAE, dtype: torch.dtype) -> VAE:
    """Return the model itself if its weights have this dtype, else a converted copy."""
    if all(p.dtype == dtype for p in vae.parameters()):
        return vae
    return copy.deepcopy(vae).to(dtype)
