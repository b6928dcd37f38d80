r"""A normal fitted to p(z|x) by Gauss-Newton steps, which take few decodes and no gradient.

With :math:`f(z)` the numbers that p(x|z) is made of, such as a normal's mean and log standard
deviation, :math:`J = \partial f / \partial z` by differences, :math:`s` the gradient of
:math:`\log p(x \mid z)` for f and :math:`i` its Fisher information, a diagonal,

.. math::
    g = -z + J^\top s, \qquad H = I + J^\top \operatorname{diag}(i) \, J

for p(z) = N(0, I). H is positive definite wherever z stands, far from every mode too, so
:math:`z + H^{-1} g` climbs; at the top N(z, H^{-1}) is Laplace's normal. Samples come from it,
widened, and a quarter of them from the encoder's q(z|x): whichever of the two is right, no weight
is above four times what it alone would give (Hesterberg, 1995).
"""

from __future__ import annotations

__all__ = ["Blend", "GaussNewton", "Mixture", "fitted", "is_known", "joint_heights", "mixture"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..vae import VAE
from . import row_noise
from .examples import Examples
from .judging import MEMORY, rows_at_once, rows_fitted
from .laplace import refined
from .proposal import Normal, Source, encoder_source, from_encoder, log_joint
from .result import Cost


def fitted(
    vae: VAE,
    x: Examples,
    memory: int = MEMORY,
    starts: int = 8,
    steps: GaussNewton | None = None,
) -> tuple[Normal, Cost]:
    """Fit a normal to p(z|x) of each row, at the mode that the encoder leads to; for outliers, at
    the best of several.

    Where the likelihood does not say how log p(x|z) bends, it is `laplace.refined`, which takes
    gradients.

    Arguments:
        vae: The model.
        x: The examples.
        memory: Bytes for intermediate results.
        starts: How many further starts outliers have.
        steps: How the mode is climbed to, where the likelihood says how log p(x|z) bends.
    """
    if not is_known(vae, x):
        return refined(vae, x, memory)
    steps = steps or GaussNewton()
    pieces = x.split(rows_fitted(vae, memory))
    parts = [steps.fit(vae, piece, memory, starts) for piece in pieces]
    loc = torch.cat([part[0] for part in parts])
    scale = torch.cat([part[1] for part in parts])
    return Normal(loc, scale), sum((part[2] for part in parts), Cost())


def mixture(samples: int, vae: VAE, x: Examples, memory: int = MEMORY) -> tuple[Mixture, Cost]:
    """Return what ``samples`` draws of each row come from:
    the encoder's q(z|x) and a wider normal fitted to p(z|x), at one mode.
    """
    rule = Blend()
    first = encoder_source(vae, x)
    normal, cost = fitted(vae, x, memory, rule.starts(samples))
    return Mixture(first, rule.widened(normal, first), samples, rule.own), cost


@dataclass(frozen=True)
class Blend:
    """How draws of the encoder and of a fitted normal are mixed.

    Attributes:
        own: One sample in so many is the encoder's.
        widen: How much wider than the fitted normal the others are: of 1.2, 1.3 and 1.4 the least
            with which 5 % of the rows or fewer have heavy tails, on digits, binarised MNIST and
            three tables.
        few: Latent dimensions up to which they are that much wider. With more the excess falls with
            the root of their number, so that the variance of weights does not grow with it.
        agreed: Nats of KL below which the encoder's q(z|x) and the fitted normal are the same.
        most_starts: Further starts of an outlier, at most.
        samples_per_start: No more starts than one for this many samples, so that a table of
            outliers takes at most a few times as long.
    """

    own: int = 4
    widen: float = 1.3
    few: int = 8
    agreed: float = 0.02
    most_starts: int = 8
    samples_per_start: int = 100

    def starts(self, samples: int) -> int:
        """Return how many further starts outliers have."""
        return min(self.most_starts, math.ceil(samples / self.samples_per_start))

    def wider(self, normal: Normal) -> Normal:
        """Return the fitted normal, wider."""
        excess = min(1.0, self.few / normal.loc.shape[-1]) ** 0.5
        return Normal(normal.loc, (1 + (self.widen - 1) * excess) * normal.scale)

    def widened(self, normal: Normal, first: Source) -> Normal:
        """Return the fitted normal, wider, but where the encoder agrees with it the encoder's.

        Where the encoder has the posterior, its weights are all equal, and any width beside it
        would lose that.
        """
        wide = self.wider(normal)
        if not isinstance(first, Normal):
            return wide
        agreed = _divergence(first, normal) < self.agreed
        return Normal(
            torch.where(agreed[:, None], first.loc, wide.loc),
            torch.where(agreed[:, None, None], first.triangle, wide.scale),
        )


def _divergence(q: Normal, p: Normal) -> Tensor:
    """Return KL(q || p) of each row's normals, of shape (n,), in nats; p has a triangle."""
    both = torch.cat([q.triangle, (q.loc - p.loc)[..., None]], -1)
    square = torch.linalg.solve_triangular(p.scale, both, upper=False).square().sum((-2, -1))
    divergence: Tensor = 0.5 * (square - q.loc.shape[-1]) + p.log_scale - q.log_scale
    return divergence


class Mixture(Source):
    """Draws of which every fourth, say, the first included, is of one source,
    and the rest of another.

    Arguments:
        first: The one source.
        second: The other.
        samples: How many draws there will be in all: it makes the shares exact.
        every: One in so many is of the first source.
    """

    def __init__(self, first: Source, second: Source, samples: int, every: int) -> None:
        self.first = first
        self.second = second
        self.every = every
        self.share = math.ceil(samples / every) / samples
        super().__init__(second.batch_shape, second.event_shape, validate_args=False)

    def draws(self, keys: Tensor, count: int, seed: int, number: int, like: Tensor) -> Tensor:
        """Draw the first ``count`` of block ``number``, of shape (count, n, latent_dim)."""
        z = self.second.draws(keys, count, seed, number, like)
        z[:: self.every] = self.first.draws(keys, count, seed, number, like)[:: self.every]
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` (samples, n, latent_dim), in nats."""
        first = self.first.log_prob(value) + math.log(self.share)
        if self.share == 1:
            return first
        return torch.logaddexp(first, self.second.log_prob(value) + math.log1p(-self.share))


@dataclass(frozen=True)
class GaussNewton:
    """Gauss-Newton steps to a mode of log p(x, z).

    Attributes:
        iterations: Steps, at most; most rows take three, far outliers dozens.
        settled: Expected gain of a step, in nats, below which it is the last, and is taken unseen.
        lengths: Lengths tried along a step.
        enough: Share of the expected gain with which the first of them will do.
        reach: How far differences reach, as a share of the conditional standard deviation.
        nearest, furthest: The limits of that.
        lost: Nats that a climb gains where the encoder knew nothing of a row: then the nearest mode
            need not be the one.
        wide: Standard deviation of the draws at which such a row starts again, beside the encoder's
            z, drawn in to where the prior has its mass.
        seed: The seed of these draws.
    """

    iterations: int = 40
    settled: float = 0.3
    lengths: tuple[float, ...] = (1.0, 0.5, 0.2, 0.05, 0.01)
    enough: float = 0.5
    reach: float = 0.3
    nearest: float = 1e-3
    furthest: float = 0.3
    lost: float = 100.0
    wide: float = 1.5
    seed: int = 5

    def fit(self, vae: VAE, x: Examples, memory: int, starts: int) -> tuple[Tensor, Tensor, Cost]:
        """Return a mode of each row, and a triangle L, L L^T = H^-1;
        of outliers the best of several modes.
        """
        start, cost = from_encoder(vae, x, memory)
        begun = log_joint(vae, x, start.loc[None])[0]
        loc, lower, height, spent = self.climb(
            vae, x, start.loc, start.marginal_std, begun, memory=memory
        )
        cost += spent
        lost = (height - begun > self.lost).nonzero()[:, 0]
        if len(lost) == 0:
            return loc, lower, cost
        rows = x[lost]
        for other in self.others(rows, start.loc[lost], starts):
            found, triangle, top, spent = self.climb(
                vae, rows, other, torch.ones_like(other), memory=memory
            )
            cost += spent
            known = (height + Normal(loc, lower).log_scale)[lost]
            better = top + Normal(found, triangle).log_scale > known
            which = lost[better]
            loc[which] = found[better]
            lower[which] = triangle[better]
            height[which] = top[better]
        return loc, lower, cost

    def others(self, x: Examples, first: Tensor, count: int) -> list[Tensor]:
        """Return ``count`` further starts of each row, (n, latent_dim): ``first``, the encoder's,
        drawn in to where the prior has its mass, and draws of the row's own.
        """
        d = first.shape[-1]
        drawn = row_noise.block(x.keys(), d, self.seed, 0, x.x)[: count - 1]
        length = first.norm(dim=-1, keepdim=True)
        return [first * (math.sqrt(d) / length).clamp_max(1.0), *(self.wide * drawn)]

    def climb(
        self,
        vae: VAE,
        x: Examples,
        start: Tensor,
        std: Tensor,
        begun: Tensor | None = None,
        known: Normal | None = None,
        apart: float = 0.0,
        memory: int = MEMORY,
    ) -> tuple[Tensor, Tensor, Tensor, Cost]:
        """Climb from z = ``start`` to a mode, and return it, a triangle L there, log p(x, z) before
        the last step, and what it took; ``begun`` is log p(x, z) at the start, where that is known.

        A row stops where a step leads to within ``apart`` standard deviations of its ``known``
        normal, where there is nothing new to find.
        """
        loc = start.clone()
        cost = Cost()
        points = rows_at_once(vae, x, 1, memory)
        lower = torch.diag_embed(std)
        reach = self.reach * std
        if begun is None:
            begun = joint_heights(vae, x, loc[None], points)[0]
        height = begun.clone()
        active = torch.arange(len(x), device=x.device)
        for _ in range(self.iterations):
            near = reach[active].clamp(self.nearest, self.furthest)
            gradient, curvature = _slopes(vae, x[active], loc[active], near, points)
            cost += Cost(decodes=(vae.latent_dim + 1) * len(active))
            root = _inverse_root(curvature)
            usable = root.isfinite().all((-2, -1)) & gradient.isfinite().all(-1)
            active, gradient, root = active[usable], gradient[usable], root[usable]
            lower[active] = root.to(lower.dtype)
            width = curvature[usable].diagonal(dim1=-2, dim2=-1).rsqrt()
            reach[active] = self.reach * width.to(reach.dtype)
            whitened = torch.matmul(gradient[:, None], root)
            expected = 0.5 * whitened.square().sum((-2, -1))
            move = torch.matmul(root, whitened.mT)[:, :, 0].to(loc.dtype)
            last = expected <= self.settled
            if known is not None:
                last |= known[active].reaches((loc[active] + move)[None], apart)[0]
            loc[active[last]] += move[last]
            active, move, expected = active[~last], move[~last], expected[~last]
            if len(active) == 0:
                break
            moved, heights, tries = self.along(
                vae, x[active], loc[active], move, expected, height[active], points
            )
            cost += tries
            better = heights > height[active]
            active = active[better]
            loc[active] = moved[better]
            height[active] = heights[better]
        return loc, lower, height, cost

    def along(
        self,
        vae: VAE,
        x: Examples,
        start: Tensor,
        move: Tensor,
        expected: Tensor,
        before: Tensor,
        points: int,
    ) -> tuple[Tensor, Tensor, Cost]:
        """Return the best point along a step, log p(x, z) there, and what it took to find: where
        the whole step gains nearly what is expected, shorter ones are not tried.
        """
        moved = start + self.lengths[0] * move
        heights = joint_heights(vae, x, moved[None], points)[0]
        short = (heights < before + self.enough * expected).nonzero()[:, 0]
        cost = Cost(decodes=len(x) + (len(self.lengths) - 1) * len(short))
        if len(short) == 0:
            return moved, heights, cost
        tried = torch.stack([start[short] + length * move[short] for length in self.lengths[1:]])
        tried = torch.cat([moved[None, short], tried])
        others = joint_heights(vae, x[short], tried[1:], points)
        best, which = torch.cat([heights[None, short], others]).max(0)
        moved[short] = tried[which, torch.arange(len(short), device=x.device)]
        heights[short] = best
        return moved, heights, cost


def _inverse_root(curvature: Tensor) -> Tensor:
    """Return the lower triangle L with L L^T = H^-1 of each H (n, d, d),
    not finite where H is no curvature.
    """
    root, failed = torch.linalg.cholesky_ex(curvature.flip(-2, -1))
    eye = torch.eye(curvature.shape[-1], dtype=root.dtype, device=root.device)
    # Of the reversed coordinates H = R R^T, so that H^-1 = R^-T R^-1; reversed again, R^-T is a
    # lower triangle.
    inverse: Tensor = torch.linalg.solve_triangular(root, eye.expand_as(root), upper=False).mT.flip(
        -2, -1
    )
    return torch.where(failed[:, None, None] == 0, inverse, math.nan)


def joint_heights(vae: VAE, x: Examples, z: Tensor, points: int) -> Tensor:
    """Return log p(x, z) for z of shape (samples, n, latent_dim), decoding so many at a time."""
    parts = _split(x, points // len(z))
    return torch.cat([log_joint(vae, x[rows], z[:, rows]) for rows in parts], 1)


def _split(x: Examples, size: int) -> tuple[Tensor, ...]:
    """Return the numbers of the examples, so many at a time; at least one."""
    parts: tuple[Tensor, ...] = torch.arange(len(x), device=x.device).split(max(1, size))
    return parts


def _slopes(vae: VAE, x: Examples, z: Tensor, reach: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """Return g (n, d) and H (n, d, d) at z (n, d), in float64, by differences of ``reach`` (n, d),
    decoding ``points`` at a time.
    """
    parts = _split(x, points // (vae.latent_dim + 1))
    found = [_slopes_of_some(vae, x[rows], z[rows], reach[rows]) for rows in parts]
    gradients, curvatures = zip(*found, strict=True)
    return torch.cat(gradients), torch.cat(curvatures)


def _slopes_of_some(vae: VAE, x: Examples, z: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `_slopes` does, of rows that fit into memory together."""
    points = torch.cat([z[None], z + torch.diag_embed(reach).movedim(1, 0)])
    features, score, information = _local(vae, x, points)
    # (n, d, features)
    jacobian = (features[1:] - features[:1]).div_(reach.T[..., None]).movedim(0, 1)
    slope, precision = x.prior(vae).slopes(z)
    gradient = torch.matmul(jacobian, score[..., None])[..., 0].double() + slope
    curvature = torch.matmul(jacobian * information[:, None], jacobian.mT).double() + precision
    return gradient, curvature


def is_known(vae: VAE, x: Examples) -> bool:
    """Return whether the likelihood says how log p(x|z) bends."""
    first = x[:1]
    p = first.decode(vae, x.x.new_zeros(1, 1, vae.latent_dim))
    return vae.likelihood.local_quadratic(p, first.x) is not None


def _local(vae: VAE, x: Examples, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return f at all z (samples, n, d), and at the first of them the score and the information of
    f, (n, features), both 0 where a value is missing.

    Raises:
        ValueError: The likelihood does not say.
    """
    found = vae.likelihood.local_quadratic(x.decode(vae, z), x.x)
    if found is None:
        raise ValueError(f"{type(vae.likelihood).__name__} does not say how log p(x|z) bends.")
    return found
