"""Where samples of z come from: one source for each row, from the encoder or from the prior.

Those fitted to p(z|x) itself are in `laplace` and `gauss_newton`.
"""

from __future__ import annotations

__all__ = [
    "Normal",
    "Proposal",
    "Source",
    "encoder_source",
    "from_encoder",
    "from_prior",
    "log_joint",
    "log_joint_and_gradient",
]

import abc
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import LOG_2PI, Normal01, draw
from ..vae import VAE
from . import row_noise
from .examples import Examples
from .judging import MEMORY
from .result import Cost


class Source(Distribution, abc.ABC):
    """Abstract: one distribution per row, whose draws belong to the row."""

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)

    @abc.abstractmethod
    def draws(self, keys: Tensor, count: int, seed: int, number: int, like: Tensor) -> Tensor:
        """Draw the first ``count`` of block ``number``, of shape (count, n, latent_dim).

        Arguments:
            keys: Keys of the rows, (n,), from `row_noise.row_keys`.
            count: At most `row_noise.BLOCK`.
            seed: The seed of the noise.
            number: The number of the block.
            like: A tensor of the dtype and on the device that is wanted.
        """


class Normal(Source):
    r"""One normal per row, :math:`\mathcal{N}(m, L L^\top)`, that maps noise to samples.

    Arguments:
        loc: m, of shape (n, latent_dim).
        scale: L: standard deviations (n, latent_dim), or lower triangles (n, latent_dim,
            latent_dim).
    """

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = loc, scale
        self.full = scale.ndim > loc.ndim
        diagonal = scale
        if self.full:
            diagonal = scale.diagonal(dim1=-2, dim2=-1)
        self.log_scale = diagonal.log().sum(-1)
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    @property
    def marginal_std(self) -> Tensor:
        """The standard deviation of each coordinate, of shape (n, latent_dim)."""
        if not self.full:
            return self.scale
        width: Tensor = self.scale.norm(dim=-1)
        return width

    @property
    def triangle(self) -> Tensor:
        """L, of shape (n, latent_dim, latent_dim)."""
        if self.full:
            return self.scale
        return torch.diag_embed(self.scale)

    @property
    def conditional_std(self) -> Tensor:
        """The standard deviation of each coordinate given the others, of shape (n, latent_dim)."""
        if not self.full:
            return self.scale
        precision = torch.cholesky_inverse(self.scale)
        return precision.diagonal(dim1=-2, dim2=-1).rsqrt()

    @property
    def mean_field(self) -> Normal:
        """The diagonal normal q that is nearest to this one, p, in KL(q || p)."""
        return Normal(self.loc, self.conditional_std)

    def reaches(self, z: Tensor, distance: float) -> Tensor:
        """Return whether z (samples, n, latent_dim) lies so near the mean, in deviations."""
        near: Tensor = self.to_noise(z).norm(dim=-1) < distance
        return near

    def __getitem__(self, rows: Tensor | slice) -> Normal:
        """Return the normals of some rows."""
        return Normal(self.loc[rows], self.scale[rows])

    def draws(self, keys: Tensor, count: int, seed: int, number: int, like: Tensor) -> Tensor:
        """Draw the first ``count`` of block ``number``, of shape (count, n, latent_dim)."""
        return self.from_noise(
            row_noise.block(keys, self.loc.shape[-1], seed, number, like)[:count]
        )

    def from_noise(self, u: Tensor) -> Tensor:
        """Return m + L u for u of shape (samples, n, latent_dim)."""
        if self.full:
            moved: Tensor = self.loc + torch.matmul(self.scale, u.movedim(0, -1)).movedim(-1, 0)
            return moved
        return torch.addcmul(self.loc, self.scale, u)

    def to_noise(self, z: Tensor) -> Tensor:
        """Return u with z = m + L u, for z of shape (samples, n, latent_dim)."""
        centred = z - self.loc
        if self.full:
            solved: Tensor = torch.linalg.solve_triangular(
                self.scale, centred.movedim(0, -1), upper=False
            )
            return solved.movedim(-1, 0)
        return centred / self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` (samples, n, latent_dim), in nats."""
        return self.log_prob_of_noise(self.to_noise(value))

    def log_prob_of_noise(self, u: Tensor) -> Tensor:
        """Return the log-density of ``from_noise(u)``, in nats."""
        return -0.5 * (u.square().sum(-1) + LOG_2PI * u.shape[-1]) - self.log_scale


class Rows(Source):
    """A q(z|x) that is not a normal: each row's draws come from a generator of the row's own, one
    row at a time.

    Arguments:
        whole: q(z|x) of all rows.
        rows: q(z|x) of each row alone, of batch shape (1,).
    """

    def __init__(self, whole: Distribution, rows: Sequence[Distribution]) -> None:
        self.whole, self.rows = whole, rows
        super().__init__(whole.batch_shape, whole.event_shape, validate_args=False)

    def draws(self, keys: Tensor, count: int, seed: int, number: int, like: Tensor) -> Tensor:
        """Draw the first ``count`` of block ``number``, of shape (count, n, latent_dim)."""
        generator, drawn = torch.Generator(like.device), []
        for key, row in zip(keys.tolist(), self.rows, strict=True):
            generator.manual_seed((key ^ row_noise.stream(seed, number)) % 2**63)
            drawn.append(draw(row, (row_noise.BLOCK,), generator, gradients=False)[:count])
        return torch.cat(drawn, 1).to(like)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` (samples, n, latent_dim), in nats."""
        return self.whole.log_prob(value)


class Mapped(Source):
    """A q(z|x) that is not a normal, but maps standard normal noise to z.

    Arguments:
        q: q(z|x) of all rows, with a method ``from_noise``.
    """

    def __init__(self, q: Distribution) -> None:
        self.q = q
        super().__init__(q.batch_shape, q.event_shape, validate_args=False)

    def draws(self, keys: Tensor, count: int, seed: int, number: int, like: Tensor) -> Tensor:
        """Draw the first ``count`` of block ``number``, of shape (count, n, latent_dim)."""
        u = row_noise.block(keys, self.event_shape[0], seed, number, like)[:count]
        z: Tensor = self.q.from_noise(u)  # type: ignore[attr-defined]
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` (samples, n, latent_dim), in nats."""
        return self.q.log_prob(value)


Proposal = Callable[[VAE, Examples, int], tuple[Normal, Cost]]
"""From a model, examples and bytes of memory to one normal per row, and what that took."""


def encoder_source(vae: VAE, x: Examples) -> Source:
    """Return q(z|x) itself, of any kind that can be drawn from and has a density."""
    q = x.encode(vae)
    normal = vae.posterior.as_normal(q)
    if normal is not None:
        return Normal(*normal)
    if hasattr(q, "from_noise"):
        return Mapped(q)
    return Rows(q, [row.encode(vae) for row in x.split(1)])


def from_encoder(
    vae: VAE, x: Examples, memory: int = MEMORY, blocks: int = 2
) -> tuple[Normal, Cost]:
    """Return q(z|x) where it is a normal,
    else one of the mean and variances of some of its draws.

    Arguments:
        vae: The model.
        x: The examples.
        memory: Bytes for intermediate results.
        blocks: Blocks of `row_noise.BLOCK` draws behind the mean and variances.
    """
    source = encoder_source(vae, x)
    if isinstance(source, Normal):
        return source, Cost()
    keys = x.keys()
    drawn = torch.cat(
        [source.draws(keys, row_noise.BLOCK, 0, number, x.x) for number in range(blocks)]
    )
    smallest = torch.finfo(drawn.dtype).tiny ** 0.5
    return Normal(drawn.mean(0), drawn.std(0).clamp_min(smallest)), Cost()


def from_prior(vae: VAE, x: Examples, memory: int = MEMORY) -> tuple[Normal, Cost]:
    """Return p(z), or the p(z|c) of each row; for a prior that is not a diagonal normal, one of the
    same means and variances.
    """
    loc, scale = x.prior(vae).moments(x.device)
    shape = (len(x), vae.latent_dim)
    return Normal(loc.to(x.x).expand(shape), scale.to(x.x).expand(shape)), Cost()


def log_joint(vae: VAE, x: Examples, z: Tensor) -> Tensor:
    """Return log p(x, z) for z of shape (samples, n, latent_dim),
    minus infinity where it overflows.
    """
    terms = x.terms(vae, z, Normal01(z[0]))
    return terms.log_joint.nan_to_num(-math.inf, math.inf, -math.inf)


def log_joint_and_gradient(vae: VAE, x: Examples, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p(x, z) and its gradient for z, for z of shape (samples, n, latent_dim)."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        height = log_joint(vae, x, z)
        (gradient,) = torch.autograd.grad(height.sum(), z)
    return height.detach(), gradient
