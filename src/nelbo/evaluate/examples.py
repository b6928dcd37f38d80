"""Examples that are judged: rows and, for a model of p(x|c), what each is conditioned on."""

from __future__ import annotations

__all__ = ["Examples"]

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..prior import Prior
from ..vae import VAE, Terms
from . import row_noise


@dataclass(frozen=True, eq=False)
class Examples:
    """Some rows, with their conditions where there are any:
    what a chunk of an evaluation is made of.

    Attributes:
        x: Rows (n, *shape), in the precision of the model and on its device.
        c: Conditions (n, k) of p(x|c); None for a model of p(x).
    """

    x: Tensor
    c: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Tensor | slice | int) -> Examples:
        """Return the examples of some rows, or a single one without its first axis."""
        if self.c is None:
            return Examples(self.x[rows])
        return Examples(self.x[rows], self.c[rows])

    def split(self, size: int) -> list[Examples]:
        """Return the examples in chunks of ``size`` rows."""
        return [self[start : start + size] for start in range(0, len(self), size)]

    @property
    def device(self) -> torch.device:
        """The device of the rows."""
        return self.x.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the rows."""
        return self.x.dtype

    def keys(self) -> Tensor:
        """Return a key of each example's content, (n,), on which its noise depends."""
        if self.c is None:
            return row_noise.row_keys(self.x)
        return row_noise.row_keys(torch.cat([self.x.flatten(1), self.c.flatten(1)], 1))

    def encode(self, vae: VAE) -> Distribution:
        """Return q(z|x), or q(z|x,c)."""
        return vae.encode(self.x, *self._given())

    def decode(self, vae: VAE, z: Tensor) -> Distribution:
        """Return p(x|z), or p(x|z,c), for z of shape (*samples, n, latent_dim)."""
        return vae.decode(z, *self._given())

    def prior(self, vae: VAE) -> Prior:
        """Return the prior; one that reads conditions has those of the examples."""
        return vae.prior_given(self.c)

    def terms(self, vae: VAE, z: Tensor, q: Distribution) -> Terms:
        """Return the log-densities at given z, of shape (samples, n, latent_dim),
        for a given q(z|x).
        """
        return vae.terms_at(self.x, z, q, *self._given())

    def _given(self) -> tuple[Tensor, ...]:
        """Return c, where there is one, as arguments."""
        if self.c is None:
            return ()
        return (self.c,)
