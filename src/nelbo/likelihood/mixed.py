r"""A likelihood of whitened columns, seen in columns that are standardised: values may be missing.

.. math:: x = R t, \quad t \sim p(t \mid z)

Whitened columns t are each made of all columns x, so that none is there where a value of x is
missing. Of x itself the density of what is there is known, as long as t is normal given z.
"""

from __future__ import annotations

__all__ = ["Mixed"]

from torch import Tensor
from torch.distributions import Distribution

from .. import distributions
from .base import Likelihood, returned


class Mixed(Likelihood):
    """The likelihood of x = R t, for a likelihood of t.

    Arguments:
        head: The likelihood of t, of shape (D,): normals with independent coordinates, or mixtures
            of normals.
        mixing: R, of shape (D, D), in the precision of the head.
    """

    correlated = True
    mixing: Tensor

    def __init__(self, head: Likelihood, mixing: Tensor) -> None:
        super().__init__()
        self.head = head
        self.shape, self.in_shape, self.floor = head.shape, head.in_shape, head.floor
        self.register_buffer("mixing", mixing)

    def forward(self, h: Tensor) -> Distribution:
        """Map features h, of shape (*batch, *in_shape), to p(x|z).

        Raises:
            TypeError: t is not normal given z.
        """
        return distributions.mixed(self.head(h), self.mixing)

    def local_quadratic(self, p: Distribution, x: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return what log p(x|z) is made of, and how it bends there (see `Likelihood`)."""
        normal = returned(p, distributions.Incomplete)
        known: tuple[Tensor, Tensor, Tensor] | None = normal.local_quadratic(x)
        return known
