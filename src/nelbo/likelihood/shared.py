r"""Noise that has one :math:`\beta^2` for every z."""

from __future__ import annotations

__all__ = ["SharedVariance", "relative"]

import math
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from ..linear import LinearGaussian, factor_analysis, ppca
from .base import VARIANCE_FLOOR, Likelihood, independent, of_values
from .noise import Noise


class SharedVariance(Likelihood):
    r"""Abstract likelihood whose noise has one :math:`\beta^2` for every z, fixed or learned.

    A learned :math:`\beta^2` (Dai & Wipf, 2019; Rybkin et al., 2021) is the parameter
    ``log_variance``. `nelbo.fit` moves it by its closed-form step, which needs no tuning.

    Arguments:
        shape: The shape of one example.
        variance: ``"learned"`` is one number for all features, ``"per_feature"`` one for each
            feature, and a float (or a tensor that broadcasts to ``shape``) is a fixed
            :math:`\beta^2`, in the square of the data's units.
        floor: The smallest value a learned :math:`\beta^2` may take.

    Raises:
        ValueError: A fixed variance or the floor is not positive, the word is unknown, or ``shape``
            is ().
    """

    starts_linear = True
    usual_noise = "One noise level for all values, learned by steps of EM."
    variance_steps = 2
    # one is not the optimum itself; the running mean of training has come close by then
    log_variance: Tensor
    exact: tuple[str, ...] = ()
    """Buffers kept in float64 whatever the module is cast to:
    rounded ones would be another model.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        variance: Literal["learned", "per_feature"] | float | Tensor = "learned",
        floor: float = VARIANCE_FLOOR,
    ) -> None:
        super().__init__()
        self.shape = self.in_shape = of_values(shape)
        if not floor > 0:
            raise ValueError(f"floor must be a positive variance, got {floor}.")
        self.floor = floor
        self.learned = isinstance(variance, str)
        if isinstance(variance, str):
            if variance not in ("learned", "per_feature"):
                raise ValueError(
                    'variance must be "learned", "per_feature" or a positive number, got '
                    f"{variance!r}."
                )
            size = self.shape if variance == "per_feature" else ()
            self.log_variance = nn.Parameter(torch.zeros(size))
        else:
            fixed = torch.as_tensor(variance, dtype=torch.float64)
            if not bool(((fixed > 0) & fixed.isfinite()).all()):
                raise ValueError(
                    f"variance is beta^2 and must be positive and finite, got {variance}."
                )
            if fixed.ndim and tuple(fixed.shape) != self.shape:
                raise ValueError(
                    f"variance has shape {tuple(fixed.shape)}, but one example has shape "
                    f"{self.shape}."
                )
            self.register_buffer("log_variance", fixed.log())
            self.exact = ("log_variance",)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Move with the module, but keep exact buffers in float64."""
        kept = {name: getattr(self, name) for name in self.exact}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in kept.items():
            if getattr(self, name).device.type != "mps":  # which has no float64
                setattr(self, name, value.to(getattr(self, name).device))
        return self

    @property
    def variance(self) -> Tensor:
        r""":math:`\beta^2`, of shape () or ``shape``."""
        return self.log_variance.exp()

    def at_floor(self) -> Tensor:
        """Return which learned variances stand at the floor,
        a boolean tensor of the variance's shape.
        """
        floor = math.log(self.floor)
        return self.log_variance.detach().double() <= floor + 1e-6 * max(1.0, abs(floor))

    @property
    def kind(self) -> str:
        """What the noise is: "fixed", "learned" or "per feature"."""
        if not self.learned:
            return "fixed"
        if self.log_variance.ndim:
            return "per feature"
        return "learned"

    def noise(self) -> Noise:
        """Return the noise, which is one for every z."""
        return Noise(self.kind, type(self).__name__, self.variance.detach())

    def learned_variance(self) -> nn.Parameter | None:
        r"""Return :math:`\log \beta^2`, None where it is fixed, or learned by gradients."""
        if isinstance(self.log_variance, nn.Parameter) and not self.by_gradient:
            return self.log_variance
        return None

    def linear_model(self, mean: Tensor, covariance: Tensor, latent_dim: int) -> LinearGaussian:
        """Return pPCA, factor analysis for noise per feature, or the best model of fixed noise."""
        if not self.learned:
            fixed = self.variance.flatten().squeeze().double().cpu()
            return _of_fixed_noise(mean, covariance, latent_dim, fixed)
        floor = relative(self.floor, covariance)
        if self.log_variance.ndim:
            return factor_analysis(mean, covariance, latent_dim, floor=floor)
        return ppca(mean, covariance, latent_dim, floor=floor)

    def start_at(self, model: LinearGaussian) -> tuple[Tensor, Tensor]:
        """Take the noise of a linear model where it is learned; the decoder is the model's."""
        if self.learned:
            self.log_variance.copy_(model.variance.log().reshape(self.log_variance.shape))
        return model.weight, model.bias

    @torch.no_grad()
    def at_marginals(self, x: Tensor, left: Tensor | None = None) -> Tensor:
        """Take the variance of each value, and return the means, of shape ``shape``."""
        one = self.learned and self.log_variance.ndim == 0
        return self.start_at(independent(x, self.floor, left, one))[1].reshape(self.shape)

    def scale(self, h: Tensor) -> Tensor:
        r""":math:`\beta` in the precision of h."""
        return (0.5 * self.log_variance).exp().to(h.dtype)


def relative(floor: float, covariance: Tensor) -> float:
    """Return a floor in units of the mean variance, as solutions of linear models take it."""
    spread = float(covariance.diagonal().mean())
    if spread > 0:
        return floor / spread
    return floor


def _of_fixed_noise(
    mean: Tensor, covariance: Tensor, latent_dim: int, variance: Tensor
) -> LinearGaussian:
    """Return the model of maximum likelihood for given noise, without directions below that."""
    std = variance.sqrt().expand_as(mean)
    values, vectors = torch.linalg.eigh(covariance / std / std[:, None])
    rank = min(latent_dim, len(mean))
    weight = mean.new_zeros(len(mean), latent_dim)
    gain = (values.flip(0)[:rank] - 1).clamp_min(0).sqrt()
    weight[:, :rank] = std[:, None] * vectors.flip(1)[:, :rank] * gain
    return LinearGaussian(weight, mean, variance)
