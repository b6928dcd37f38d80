r"""Noise with heavy tails: values far from x_hat are no surprise.

.. math::
    \log p(x \mid z) = \sum_i \log \frac{\Gamma(\frac{\nu + 1}{2})}{\Gamma(\frac{\nu}{2})
        \sqrt{\nu \pi} \, s} - \frac{\nu + 1}{2} \log\Bigl(1 + \frac{(x_i - h_i)^2}{\nu s^2}\Bigr)

Such an x is normal given a precision w that is drawn from a gamma distribution, so that EM weighs
each residual by :math:`E[w \mid x] = (\nu + 1) / (\nu + r^2 / s^2)`: outliers hardly count (Lange
et al., 1989).
"""

from __future__ import annotations

__all__ = ["StudentT"]

import math
import numbers
from collections.abc import Sequence
from typing import Any, Literal

import torch
from scipy import special
from torch import Tensor, nn
from torch.distributions import Distribution

from ..distributions import Factorised
from ..linear import Chunks, LinearGaussian, without_outliers
from .base import VARIANCE_FLOOR, returned
from .noise import Noise
from .shared import SharedVariance

FIRST = 5.0
"""Degrees of freedom at first where they are learned: heavy tails, but a finite variance."""
PACE = 4.0
"""How many times further log df moves in a step of training than a weight: one number for all
values must come a long way in few steps.
"""


class StudentT(SharedVariance):
    r"""Student's t noise around the decoder's output h, with one scale s for every z.

    The mean of p(x|z) is h, or where :math:`\nu \le 1` the median, as there is no mean; its
    variance is :math:`s^2 \nu / (\nu - 2)`, infinite where :math:`\nu \le 2`.

    Arguments:
        shape: The shape of one example.
        variance: :math:`s^2`, the square of the scale: ``"learned"`` is one number for all
            features, ``"per_feature"`` one for each feature, and a float (or a tensor that
            broadcasts to ``shape``) is fixed, in the square of the data's units.
        floor: The smallest value a learned :math:`s^2` may take.
        df: Degrees of freedom :math:`\nu`: a number is fixed, ``"learned"`` is one for all
            features, and ``"per_feature"`` one for each.

    Raises:
        ValueError: A fixed variance, the floor or ``df`` is not positive, or a word is unknown.
    """

    bears_outliers = True
    usual_noise = (
        "One scale for all values, learned by steps of EM, in which outliers weigh little."
    )
    log_df: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        variance: Literal["learned", "per_feature"] | float | Tensor = "learned",
        floor: float = VARIANCE_FLOOR,
        df: Literal["learned", "per_feature"] | float = "learned",
    ) -> None:
        super().__init__(shape, variance, floor)
        self.learns_df = df in ("learned", "per_feature")
        if self.learns_df:
            size = self.shape if df == "per_feature" else ()
            self.log_df = nn.Parameter(torch.full(size, math.log(FIRST) / PACE))
            return
        if isinstance(df, bool) or not isinstance(df, numbers.Real) or not 0 < df < math.inf:
            raise ValueError(
                f'df must be "learned", "per_feature" or a positive number, got {df!r}.'
            )
        self.register_buffer("log_df", torch.tensor(float(df), dtype=torch.float64).log())
        self.exact = (*self.exact, "log_df")

    @property
    def df(self) -> Tensor:
        r"""Degrees of freedom :math:`\nu`, of shape () or ``shape``."""
        if self.learns_df:
            return (PACE * self.log_df).exp()
        return self.log_df.exp()

    def forward(self, h: Tensor) -> _StudentT:
        """Map locations h, of shape (*batch, *shape), to p(x|z)."""
        return _StudentT(self.df.to(h.dtype), h, self.scale(h), len(self.shape))

    def noise(self) -> Noise:
        """Return the noise; its width is the scale s, which exists whatever df is."""
        df = self.df.detach().double()
        degrees = " to ".join(dict.fromkeys(f"{end.item():.3g}" for end in (df.min(), df.max())))
        return Noise(
            self.kind, f"Student's t of {degrees} degrees of freedom", self.variance.detach()
        )

    def beta(self, p: Distribution) -> Tensor | None:
        """Return the scale s of each value."""
        if isinstance(p, _StudentT):
            return p.scale.expand_as(p.mean)
        return None

    def residuals(self, p: Distribution, x: Tensor) -> Tensor | None:
        """Return the quantiles of the standard normal at the probabilities that t has below x."""
        if not isinstance(p, _StudentT):
            return None
        t = ((x - p.mean) / p.scale).detach().double()
        # of |t|, so that no probability comes near 1
        below = special.stdtr(p.df.detach().double().cpu().numpy(), -t.abs().cpu().numpy())
        return torch.from_numpy(special.ndtri(below)).to(t.device) * -t.sign()

    def squared_residual(self, p: Distribution, x: Tensor) -> Tensor:
        """Return E[w|x] (x - h)^2.

        Raises:
            TypeError: p is not what `forward` returns.
        """
        t = returned(p, _StudentT)
        square = (x - t.mean).square()
        return square * (t.df + 1) / (t.df + square / t.scale.square())

    def moments(self, x: Tensor | Chunks) -> tuple[Tensor, Tensor]:
        """Return the moments of rows whose outliers are drawn in: one would set all of them."""
        return super().moments(without_outliers(x))

    def start_at(self, model: LinearGaussian) -> tuple[Tensor, Tensor]:
        """Take the linear model's noise as the variance, where it is learned, and its decoder."""
        if self.learns_df:
            self.log_df.fill_(math.log(FIRST) / PACE)
        if self.learned:
            df = self.df.double().to(model.variance.device)
            share = ((df - 2) / df).clamp_min(0.25)
            log_variance = (model.variance.expand_as(model.bias).reshape(self.shape) * share).log()
            if self.log_variance.ndim == 0:
                log_variance = log_variance.mean()
            self.log_variance.copy_(log_variance)
        return model.weight, model.bias


class _StudentT(Factorised):
    r"""Independent :math:`h + s t` with t of Student's distribution, seeded by a generator.

    Arguments:
        df: Degrees of freedom; it broadcasts against ``loc``.
        loc: h, of shape (*batch, *event).
        scale: s; it broadcasts against ``loc``.
        event_dim: How many trailing dimensions make up one event.
    """

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)

    def __init__(self, df: Tensor, loc: Tensor, scale: Tensor, event_dim: int) -> None:
        self.df, self.loc, self.scale, self.event_dim = df, loc, scale, event_dim
        split = loc.ndim - event_dim
        super().__init__(loc.shape[:split], loc.shape[split:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The location h."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """The location h."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The variance, infinite where df is at most 2."""
        finite = self.scale.square() * self.df / (self.df - 2)
        return torch.where(self.df > 2, finite, math.inf).expand_as(self.loc)

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw values, of shape (*sample_shape, *batch, *event)."""
        shape = torch.Size(sample_shape) + self.loc.shape
        like: dict[str, Any] = {"dtype": self.loc.dtype, "device": self.loc.device}
        normal = torch.randn(shape, generator=generator, **like)
        half = (self.df / 2).expand(shape).contiguous()
        precision = torch._standard_gamma(half, generator=generator) / half
        smallest = torch.finfo(self.loc.dtype).tiny
        return self.loc + self.scale * normal * precision.clamp_min(smallest).rsqrt()

    def each(self, value: Tensor) -> Tensor:
        """Return the log-density of each value, of value's and loc's shape."""
        half = self.df.double() / 2  # float32 would lose nats to the difference of large numbers
        constant = torch.lgamma(half + 0.5) - torch.lgamma(half) - 0.5 * (2 * math.pi * half).log()
        square = ((value - self.loc) / self.scale).square()
        power = 0.5 * (self.df + 1)
        return constant.to(value) - self.scale.log() - power * torch.log1p(square / self.df)

    def local_quadratic(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the locations; and at the first sample the gradient of log p(x) for them and their
        Fisher information (see `Likelihood.local_quadratic`).
        """
        features = self.loc.flatten(2)
        shape = self.loc.shape[1:]
        df, precision = (v.expand(shape).flatten(1) for v in (self.df, self.scale.pow(-2)))
        residual = x.flatten(1) - features[0]
        weight = (df + 1) / (df + residual.square() * precision)
        return features, weight * residual * precision, precision * (df + 1) / (df + 3)
