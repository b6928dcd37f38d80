r"""A normal seen through a grid of bins.

.. math:: P(x) = \Phi\Bigl(\frac{u - m}{s}\Bigr) - \Phi\Bigl(\frac{l - m}{s}\Bigr), \qquad x \in [l,
    u)
"""

from __future__ import annotations

__all__ = ["DiscretizedNormal"]

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .factorised import Factorised
from .normal import LOG_2PI, DiagonalNormal


@dataclass(frozen=True)
class Ranges:
    """Where each formula for the probability of a bin holds: what it leaves out is rounding."""

    narrow: float = 2.0
    """Largest p, a bin's distance times its width in squared standard deviations, of the series."""
    terms: int = 5
    """Terms of that series, in p^2, in float32."""
    terms_of_doubles: int = 9
    """The same in float64."""
    far: float = 5.0
    """Standard deviations beyond which an outermost bin needs the scaled error function."""
    flat: float = 40.0
    """Standard deviations at which a normal density is zero in float64."""
    coarse: float = 0.5
    """Width of bins, in standard deviations, from which on a mean is summed edge by edge."""
    reach: int = 18
    """Edges on either side of the mean that are then summed.

    They reach 9 standard deviations of the narrowest such bins.
    """


class DiscretizedNormal(Factorised):
    r"""A normal rounded to a grid: the probability of the bin of x.

    Salimans et al. (2017) do so with a logistic.

    .. math:: \log p(x) = \sum_i \log \Bigl(\Phi\bigl(\tfrac{u_i - m_i}{s_i}\bigr)
        - \Phi\bigl(\tfrac{l_i - m_i}{s_i}\bigr)\Bigr)

    with l and u the edges of that bin. The first bin reaches down to minus infinity and the last
    one up to infinity, so the probabilities of all bins sum to 1, whatever m and s.

    Arguments:
        loc: The mean m of the normal, of shape (*batch, *event).
        scale: Its standard deviation s; it broadcasts against ``loc``.
        low: The lower edge of the first bin; a number, or a tensor that broadcasts against ``loc``.
        width: The width of every bin, likewise.
        bins: How many.
        event_dim: How many trailing dimensions make up one event.
    """

    arg_constraints = {}  # noqa: RUF012

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        low: Tensor | float,
        width: Tensor | float,
        bins: int = 256,
        event_dim: int = 1,
    ) -> None:
        self.loc, self.scale, self.bins, self.event_dim = loc, scale, bins, event_dim
        self.low, self.width = (
            torch.as_tensor(v, dtype=loc.dtype, device=loc.device) for v in (low, width)
        )
        split = loc.ndim - event_dim
        super().__init__(loc.shape[:split], loc.shape[split:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """E[x] on the grid, (*batch, *event): between the middles of the outermost bins."""
        mean = _mean_index((self.loc - self.low) / self.width, self.width / self.scale, self.bins)
        return self.low + (mean + 0.5) * self.width

    def index(self, value: Tensor) -> Tensor:
        """Return which bin holds each value, or is nearest: 0 to bins - 1, in its dtype."""
        return ((value - self.low) / self.width).floor_().clamp_(0, self.bins - 1)

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw centres of bins, of shape (*sample_shape, *batch, *event)."""
        drawn = DiagonalNormal(self.loc, self.scale, self.event_dim).sample(sample_shape, generator)
        return self.low + (self.index(drawn) + 0.5) * self.width

    def each(self, value: Tensor) -> Tensor:
        """Return the log-probability of each bin that holds a value, of value's and loc's shape."""
        log_mass: Tensor = _LogMass.apply(*self._in_bins(value))  # type: ignore[no-untyped-call]
        return log_mass

    @torch.no_grad()
    def expected_square(self, value: Tensor) -> Tensor:
        r"""Return E[(y - m)^2 | y in the bin of ``value``] of the normal y before rounding, of
        value's and loc's shape.

        It is the E step of the EM algorithm for s^2, and the same as
        :math:`s^2 (1 + 2 \, \partial \log p / \partial \log s^2)` (Fisher's identity; Dempster et
        al., 1977).
        """
        _, _, by_log_width = _log_mass(*self._in_bins(value))
        return self.scale.square() * (1 - by_log_width).clamp_min(0)

    @torch.no_grad()
    def slopes(self, value: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return the derivative of log p for m, and minus the second one: value's and loc's shape.

        With y the normal before rounding they are E[y - m | x] / s^2 and 1 / s^2 - Var[y | x] / s^4
        (Louis, 1982): the second is 1 / s^2 where bins are narrow, and 0 where m lies far beyond an
        outermost bin that holds x.
        """
        _, by_mean, by_log_width = _log_mass(*self._in_bins(value))
        score = by_mean / self.width
        information = (by_log_width + (self.scale * score).square()).clamp(
            0, 1
        ) / self.scale.square()
        return score, information

    def local_quadratic(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the means, and for them the gradient of log p(x) and their information.

        Both are those at the first sample: see `Likelihood.local_quadratic`.
        """
        first = DiscretizedNormal(
            self.loc[0], self.scale, self.low, self.width, self.bins, self.event_dim
        )
        score, information = first.slopes(x)
        return self.loc.flatten(2), score.flatten(1), information.flatten(1)

    def _in_bins(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
        """Return the mean, in bins; their width, in deviations; and the bin of the value."""
        return (
            (self.loc - self.low) / self.width,
            self.width / self.scale,
            self.index(value),
            self.bins,
        )


class _LogMass(torch.autograd.Function):
    """Log-probability of bins, with closed-form gradients for the mean (in bins) and the width."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, width: Tensor, index: Tensor, bins: int) -> Tensor:
        log_mass, by_mean, by_log_width = _log_mass(mean, width, index, bins)
        ctx.save_for_backward(by_mean, by_log_width, width)
        ctx.mean_shape = mean.shape
        return log_mass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        if torch.is_grad_enabled():  # by create_graph=True: what follows would count as constant
            raise NotImplementedError(
                "A DiscretizedNormal has no second derivatives. Take differences of gradients."
            )
        by_mean, by_log_width, width = ctx.saved_tensors
        to_mean = (grad * by_mean).sum_to_size(ctx.mean_shape) if ctx.needs_input_grad[0] else None
        to_width = (
            (grad * by_log_width).sum_to_size(width.shape) / width
            if ctx.needs_input_grad[1]
            else None
        )
        return to_mean, to_width, None, None


def _log_mass(
    mean: Tensor, width: Tensor, index: Tensor, bins: int
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return log P of each bin, and its derivatives for the mean (in bins) and the log width.

    By symmetry the mean lies below every bin's middle, a bins away. In standard deviations from the
    mean, the bin then reaches from e to f = e + w, or from e to infinity for an outermost one. With
    p = (f^2 - e^2) / 2 = a w^2 and Mills' ratio X(t) = (1 - Phi(t)) / phi(t),

    .. math:: P = \phi(e) R, \qquad R = X(e) - e^{-p} X(f), \qquad
        \frac{\partial \log P}{\partial m} = \pm w \frac{1 - e^{-p}}{R}, \qquad
        \frac{\partial \log P}{\partial \log w} = \frac{f e^{-p} - e}{R},

    in which nothing cancels, nor leaves the range of a float, but in bins that are narrow and near:
    most of those of an image. There P is a series.
    """
    offset = (index - mean).add_(0.5)
    first, last = index == 0, index == bins - 1
    side = 1 - 2 * ((offset < 0) & ~last | first).to(offset.dtype)
    distance, outer = offset * side, (first | last).expand_as(offset)
    w = width.expand_as(offset)
    edge = (distance - 0.5) * width
    p = distance * width.square()
    # A narrow bin: P = w phi(a w) S(p), the integral of exp(-p t) over the bin, weighed by a normal
    # of its own width.
    series, bell = (
        _series(p.clamp(-Ranges.narrow, Ranges.narrow), width.clamp_max(1.0)),
        (-0.125 * width.square()).exp(),
    )
    half = (0.5 * p).clamp_(-Ranges.narrow, Ranges.narrow)
    sinh = half.sinh()
    by_mean = 2 * bell * sinh / series
    by_log_width = bell * (half.cosh() - 2 * distance * sinh) / series
    log_mass = (width * series).log() - 0.5 * ((distance * width).square() + LOG_2PI)
    # An outermost bin near the mean.
    tail = 0.5 * torch.special.erfc(edge * 0.5**0.5)
    rate = (-0.5 * (edge.square() + LOG_2PI)).exp() / tail
    log_mass = torch.where(outer, tail.log(), log_mass)
    by_mean = torch.where(outer, width * rate, by_mean)
    by_log_width = torch.where(outer, -edge * rate, by_log_width)
    hard = (outer & (edge > Ranges.far)) | (~outer & ((p > Ranges.narrow) | (width > 1.0)))
    if torch.compiler.is_exporting():  # a graph has no branches: all bins go both ways
        exact = _hard(edge, w, p, outer)
        both = zip(exact, (log_mass, by_mean, by_log_width), strict=True)
        log_mass, by_mean, by_log_width = (torch.where(hard, put, known) for put, known in both)
    elif bool(hard.any()):
        exact = _hard(edge[hard], w[hard], p[hard], outer[hard])
        for values, put in zip((log_mass, by_mean, by_log_width), exact, strict=True):
            values[hard] = put
    return log_mass, by_mean * side, by_log_width


def _series(p: Tensor, width: Tensor) -> Tensor:
    r"""Return :math:`\int_{-1/2}^{1/2} e^{-p t - w^2 t^2 / 2} dt` as a series in p^2, for w <= 1
    and \|p\| <= 2.
    """
    nodes, powers = _rule(width.device)
    weights = (-0.5 * width.double().square()[..., None] * nodes).exp()
    terms = {torch.float32: Ranges.terms}.get(p.dtype, Ranges.terms_of_doubles)
    moments = (weights @ powers[:, :terms]).to(p.dtype).unbind(-1)
    total, argument = moments[-1], p.square()
    for moment in reversed(moments[:-1]):
        total = torch.addcmul(moment, total, argument)
    return total


@functools.cache
def _rule(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the squared Gauss-Legendre nodes on (-1/2, 1/2), and weight * node^2j / (2 j)!.

    The latter are the columns of a matrix.
    """
    nodes, weights = np.polynomial.legendre.leggauss(16)
    powers = [
        weights / 2 * (nodes / 2) ** (2 * j) / math.factorial(2 * j)
        for j in range(Ranges.terms_of_doubles)
    ]
    return torch.from_numpy((nodes / 2) ** 2).to(device), torch.from_numpy(np.stack(powers, 1)).to(
        device
    )


def _hard(edge: Tensor, width: Tensor, p: Tensor, outer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return log P and its derivatives for wide bins and tails, one number per bin."""
    far, shrink = edge + width, torch.where(outer, 0.0, (-p).exp())
    log_density = -0.5 * (edge.square() + LOG_2PI)
    root = 0.5**0.5
    # Mills' ratio overflows where the mean lies inside the bin: there P itself is not small.
    inside = edge < 0
    mills = [
        math.sqrt(0.5 * math.pi) * torch.special.erfcx(t.clamp_min(0) * root) for t in (edge, far)
    ]
    ratio = mills[0] - shrink * mills[1]
    whole = 0.5 * (
        torch.special.erf(-edge * root) + torch.where(outer, 1.0, torch.special.erf(far * root))
    )
    log_mass = torch.where(inside, whole.clamp_min(0.1).log(), ratio.log() + log_density)
    rate = torch.where(inside, log_density.exp() / whole.clamp_min(0.1), 1 / ratio)
    return log_mass, width * (1 - shrink) * rate, (far * shrink - edge) * rate


def _mean_index(mean: Tensor, width: Tensor, bins: int) -> Tensor:
    r"""Return the expected number of a bin, :math:`\sum_{k=1}^{bins-1} \Phi((m - k) w)`.

    For bins of at most half a standard deviation the sum is an integral with the corrections of
    Euler and Maclaurin at its ends, right to 1e-7 of a bin; for wider ones only edges near the mean
    are unsure.
    """
    smooth = torch.zeros_like(mean)
    narrow = width.clamp_max(Ranges.coarse)
    for end, sign in ((0.5, 1), (bins - 0.5, -1)):
        t = (mean - end) * narrow
        square = t.clamp(-Ranges.flat, Ranges.flat).square()
        density = (-0.5 * (square + LOG_2PI)).exp()
        ends = 1 / 24 - 7 / 5760 * narrow.square() * (square - 1)
        ends = ends + 31 / 967680 * narrow**4 * (square.square() - 6 * square + 3)
        smooth = smooth + sign * (
            (t * torch.special.ndtr(t) + density) / narrow - narrow * density * ends
        )
    # a graph has no branches
    if not torch.compiler.is_exporting() and not bool((width > Ranges.coarse).any()):
        return smooth
    nearest = mean.detach().round().clamp(-Ranges.reach, bins + Ranges.reach)
    total = (nearest - (Ranges.reach + 1)).clamp(0, bins - 1)
    for step in range(-Ranges.reach, Ranges.reach + 1):
        edge = nearest + step
        inside = (edge >= 1) & (edge <= bins - 1)
        total = total + inside * torch.special.ndtr((mean - edge) * width)
    return torch.where(width > Ranges.coarse, total, smooth)
