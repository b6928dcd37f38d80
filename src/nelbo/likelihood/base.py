r"""What every likelihood answers, so that nobody has to ask for its class."""

from __future__ import annotations

__all__ = ["VARIANCE_FLOOR", "Likelihood", "independent", "likelihoods_in", "of_values", "returned"]

import abc
import math
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..distributions import is_independent_normal, slopes_of_observed
from ..linear import Chunks, LinearGaussian, moments
from .noise import Noise

Kind = TypeVar("Kind", bound=Distribution)


class Readings(Protocol):
    """Rows that are read all at once."""

    def read(self) -> Tensor: ...


VARIANCE_FLOOR = 1e-6
"""Default floor of a learned variance, for data scaled to unit variance.

It is that of a noise of 0.1 % of their standard deviation.
"""


class Likelihood(nn.Module, abc.ABC):
    r"""Abstract likelihood head: only `forward` must be written.

    All else has a default that holds for any head; a head that knows better says so. With
    defaults a model starts at random weights, its noise is p(x|z)'s own variance, and a learned
    parameter of it is trained by gradients like any other.

    Attributes:
        shape: The shape of one example x.
        in_shape: What the decoder must output for one example.
    """

    shape: tuple[int, ...]
    in_shape: tuple[int, ...]
    floor: float = VARIANCE_FLOOR
    """The smallest variance that may be learned."""

    takes: ClassVar[str] = "real"
    """Which values x has: "real" numbers, "binary" ones, "bytes", 8-bit values as they are,
    "levels", "counts", "positive" ones, "amounts", or "columns" of several kinds."""
    expects: str = "a finite number"
    """Which values x has, for people."""
    density: bool = True
    """Whether p(x|z) is a density, or else a probability; the two do not compare."""
    measure: str = "density"
    """What p(x|z) is of a single value, for people."""
    bears_outliers: ClassVar[bool] = False
    """Whether a value far from all others hardly counts: it then sets neither scale nor start."""
    models_missing: bool = False
    """Whether p(x|z) is also of which values are there."""
    by_gradient: bool = False
    """Whether a variance is learned by gradients, as its closed form would not hold."""
    correlated: bool = False
    """Whether values are correlated given z, so that p(x|z) holds a matrix for each row."""
    starts_linear: bool = False
    """Whether there is a linear model to start at: `linear_model` and `start_at`."""
    linear_is_exact: bool = False
    """Whether p(x) of a model that starts at the linear one is exactly that of the linear one."""
    usual_variance: ClassVar[str] = "learned"
    """What the option ``variance`` comes to where it is left open: a word of `Noise.option`."""
    usual_noise: ClassVar[str] = "The noise is that of the likelihood, learned in training."
    """What the noise is then, in a sentence."""
    variance_steps: int = 0
    """Steps of EM after training that bring `learned_variance` to its optimum."""

    @abc.abstractmethod
    def forward(self, h: Tensor) -> Distribution:
        """Map features h, of shape (*batch, *in_shape), to p(x|z), with event shape ``shape``."""

    def of_values(self) -> Likelihood:
        """Return the likelihood of the values alone, of one that is also of which are there."""
        return self

    # -- values and noise

    @classmethod
    def check(cls, x: Any) -> None:
        """Refuse values, an array or a tensor, that this likelihood cannot have produced.

        Raises:
            ValueError: There is one; the message names it and a cure.
        """

    def possible(self, x: Tensor) -> Tensor:
        """Return which values of x this likelihood can have produced, a boolean tensor of its
        shape; a missing one (NaN) it can.
        """
        return ~x.isinf()

    def reading(self) -> dict[str, Any] | None:
        """Return how a network is to read each value, in the words of `networks.ReadColumns`; None
        where it is to read them as they are.
        """
        return None

    def readings(self) -> tuple[dict[str, Any], ...]:
        """Return `reading` of each column of a table; none where all are to be read as they are."""
        how = self.reading()
        if how is None or len(self.shape) > 1:
            return ()
        return (how,) * self.shape[0]

    def noise(self) -> Noise:
        """Return what the noise is; by default that it depends on z."""
        return Noise("from z", type(self).__name__)

    def beta(self, p: Distribution) -> Tensor | None:
        r"""Return the width :math:`\beta` of each value's noise, of p's shape; None if not normal.

        Arguments:
            p: p(x|z), as `forward` returned it.
        """
        if is_independent_normal(p):
            return p.stddev
        return None

    def residuals(self, p: Distribution, x: Tensor) -> Tensor | None:
        """Return numbers that are standard normal, one for each value, if x comes from p; None
        where there are no such.

        Arguments:
            p: p(x|z), as `forward` returned it.
            x: Data, of shape (*batch, *shape).
        """
        width = self.beta(p)
        if width is None:
            return None
        return (x - p.mean).double() / width.double()

    # -- how noise is learned

    def learned_variance(self) -> nn.Parameter | None:
        r"""Return :math:`\log \beta^2` where its closed-form step moves it, not a gradient's.

        By default it is None.

        Its gradient for a mean of log p(x|z) must be :math:`(r / \beta^2 - 1) / 2` a value, with r
        the mean of `squared_residual`.
        """
        return None

    def squared_residual(self, p: Distribution, x: Tensor) -> Tensor:
        r"""Return what :math:`\beta^2` must be the mean of, one number per value: the E step of EM.
        It is NaN where a value says nothing of it.

        Arguments:
            p: p(x|z), as `forward` returned it.
            x: Data, of shape (*batch, *shape).

        Raises:
            NotImplementedError: There is no such step.
        """
        raise NotImplementedError(f"{type(self).__name__} has no closed-form step of its noise.")

    def parts(self, p: Distribution, x: Tensor) -> list[tuple[Likelihood, Distribution, Tensor]]:
        """Return the likelihoods that this one is made of, with p(x|z) and x of each.

        By default that is itself.

        Arguments:
            p: p(x|z), as `forward` returned it.
            x: Data, of shape (*batch, *shape).
        """
        return [(self, p, x)]

    # -- where it starts

    def start_missing(self, x: Readings) -> None:
        """Begin with the share of each value that is missing from rows, where that is modelled."""

    def moments(self, x: Tensor | Chunks) -> tuple[Tensor, Tensor]:
        """Return the mean (D,) and the covariance (D, D) of rows (n, D) that `linear_model` is for;
        by default every value counts.
        """
        return moments(x)

    def at_marginals(self, x: Tensor, left: Tensor | None = None) -> Tensor | None:
        """Take the noise of a model of independent values, and return the features h, of in_shape,
        that make p(x|z) that model, whatever z is; None where they are not known.

        Arguments:
            x: Data, of shape (n, *shape), in which values may be missing.
            left: The share of each value's variance that z leaves to a noise that is learned, of
                shape ``shape``; None is all of it.
        """
        return None

    def features_of(self) -> Tensor:
        """Return which value each of the features of `forward` is of, (features,), both flat."""
        values = math.prod(self.shape)
        each = math.prod(self.in_shape) // values
        if len(self.in_shape) > len(self.shape):
            return torch.arange(values).repeat_interleave(each)
        return torch.arange(values).repeat(each)

    def linear_model(self, mean: Tensor, covariance: Tensor, latent_dim: int) -> LinearGaussian:
        """Return the best linear model with this noise for data of these moments, in model units.

        Raises:
            NotImplementedError: There is none (see ``starts_linear``).
        """
        raise NotImplementedError(f"{type(self).__name__} has no linear model to start at.")

    def start_at(self, model: LinearGaussian) -> tuple[Tensor, Tensor]:
        """Take the noise of a linear model, and return the affine decoder that makes p(x|z) its.

        Returns:
            Weight (features, latent_dim) and bias (features,), with as many features as in_shape
            has.

        Raises:
            NotImplementedError: There is none (see ``starts_linear``).
        """
        raise NotImplementedError(f"{type(self).__name__} has no linear model to start at.")

    def solves_least_squares(self) -> bool:
        """Return whether the best decoder of given features is that of least squares, and the
        learned variance its mean square.
        """
        return False

    # -- what inference needs

    def local_quadratic(self, p: Distribution, x: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return what log p(x|z) is made of, and how it bends there; None where that is not known.

        Arguments:
            p: p(x|z) at several z, of batch shape (samples, n).
            x: Rows, of shape (n, *shape).

        Returns:
            The numbers f that p is made of, such as means, of shape (samples, n, features); and at
            the first sample the gradient of log p(x|z) for f and its Fisher information, a
            diagonal, both (n, features) and 0 where a value is missing.
        """
        return slopes_of_observed(p, x)


def likelihoods_in(module: nn.Module) -> list[Likelihood]:
    """Return every likelihood inside a module, such as an objective."""
    return [part for part in module.modules() if isinstance(part, Likelihood)]


def returned(p: Distribution, kind: type[Kind]) -> Kind:
    """Return p(x|z) as the class of which the head's `forward` makes it.

    Raises:
        TypeError: It is another.
    """
    if not isinstance(p, kind):
        raise TypeError(f"p must be what the head returns, got {type(p).__name__}.")
    return p


def of_values(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of one example, which must have axes.

    A sum over none would be a sum over all examples.
    """
    if not shape:
        raise ValueError(
            "shape must have at least one axis, got (). An example of a single number has shape "
            "(1,)."
        )
    return tuple(shape)


def independent(
    x: Tensor, floor: float, left: Tensor | None = None, one: bool = False
) -> LinearGaussian:
    """Return the linear model of no correlation: mean and variance of each value of rows x
    (n, *shape), the latter times what is ``left``, or with ``one`` the mean of these, at least
    ``floor``.

    A value that is missing in all rows has mean 0 and variance 1.
    """
    flat = x.flatten(1).double()
    never = flat.isnan().all(0)
    mean = flat.nanmean(0).masked_fill(never, 0.0)
    variance = (flat - mean).square().nanmean(0).masked_fill(never, 1.0)
    if left is not None:
        variance = variance * left.flatten()
    variance = variance.clamp_min(floor)
    if one:
        variance = variance.mean()
    return LinearGaussian(mean.new_zeros(len(mean), 1), mean, variance)
