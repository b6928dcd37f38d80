"""The contract of an objective, and the reductions that several of them share."""

from __future__ import annotations

__all__ = ["Objective", "average", "checked", "count", "importance", "mean_kl"]

import abc
import math
import numbers

import torch
from torch import Tensor, nn

from ..vae import VAE, Terms


class Objective(nn.Module, abc.ABC):
    """Abstract objective.

    Arguments:
        vae: The model.
        samples: How many z are drawn from q(z|x) for each example.

    Raises:
        ValueError: ``samples`` is less than 1.
    """

    is_bound = True
    """Whether its values are bounds on log p(x), in nats, in ``train()`` mode, too."""
    in_nats = True
    """Whether its values are log-densities of x.

    A change of the data's units then adds the log of its Jacobian.
    """
    weighted = False
    """Whether ``train()`` mode returns another quantity than ``eval()``: a KL with another weight,
    say, or another q.
    """
    usual_samples = 1
    """Draws of an example where nobody says how many; several for what is the ELBO with one."""
    groups = 1
    """How many groups of ``samples`` draws an example has."""
    ramp = 0.0
    """Share of a run over which the objective still changes; training may not stop early before."""

    progress: Tensor
    """Share of a run that is spent, from 0 to 1, set by `nelbo.fit` at every step; else 1."""

    def __init__(self, vae: VAE, samples: int = 1) -> None:
        super().__init__()
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}.")
        self.vae = vae
        self.samples = samples
        self.register_buffer("progress", torch.ones(()), persistent=False)

    @abc.abstractmethod
    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, c: Tensor | None = None
    ) -> Tensor:
        """Return the bound for each example of x (*batch, *shape), of shape (*batch,).

        A model of p(x|c) is given c (*batch, k).
        """

    def terms(self, x: Tensor, generator: torch.Generator | None, c: Tensor | None) -> Terms:
        """Return the log-densities at `draws` samples z ~ q(z|x) of each example.

        A VAE whose own ``terms`` knows no condition is asked without one.
        """
        if c is None:
            return self.vae.terms(x, self.draws, generator)
        return self.vae.terms(x, self.draws, generator, c)

    @property
    def draws(self) -> int:
        """How many z are drawn for an example in all."""
        return self.groups * self.samples

    @property
    def averages(self) -> bool:
        r"""Whether log p(x|z) is averaged over z ~ q(z|x) with equal weights.

        The best :math:`\beta^2` is then the plain mean squared residual.
        """
        return self.draws == 1

    def done(self) -> Tensor:
        """Return how much of the `ramp` is spent, from 0 to 1."""
        if not self.ramp:
            return torch.ones_like(self.progress)
        return (self.progress / self.ramp).clamp(max=1.0)


def mean_kl(terms: Terms) -> Tensor:
    """Return KL(q(z|x) || p(z)), of shape (*batch,): exact where it has a closed form, else
    averaged over the z.
    """
    if terms.kl is None:
        return (terms.log_post - terms.log_prior).mean(0)
    return terms.kl


def average(terms: Terms) -> Tensor:
    """Return the ELBO, of shape (*batch,), averaged over the z."""
    return terms.log_lik.mean(0) - mean_kl(terms)


def importance(log_weight: Tensor, dim: int = 0) -> Tensor:
    """Return log of the mean weight over ``dim``."""
    return log_weight.logsumexp(dim) - math.log(log_weight.shape[dim])


def checked(
    name: str, value: object, low: float, high: float = math.inf, *, above: bool = False
) -> float:
    """Return an option as a number, if it is one from ``low`` to ``high``.

    Arguments:
        name: The option, as users know it.
        value: What they passed.
        low: The least number.
        high: The greatest number.
        above: Whether the number must be greater than ``low``.

    Raises:
        ValueError: It is not such a number.
    """
    wanted = f"a number of at least {low:g}"
    if above:
        wanted = f"a number above {low:g}"
    if high < math.inf:
        wanted += f", at most {high:g}"
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} must be {wanted}, got {value!r}.")
    number = float(value)
    if number < low or number > high or (above and number == low):
        raise ValueError(f"{name} must be {wanted}, got {value!r}.")
    return number


def count(name: str, value: object) -> int:
    """Return an option as an integer, if it is one of at least 1.

    Raises:
        ValueError: It is not such an integer.
    """
    number = checked(name, value, 1)
    if number != int(number):
        raise ValueError(f"{name} must be a whole number, got {value!r}.")
    return int(number)
