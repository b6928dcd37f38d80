r"""The posterior of factor analysis, of whatever values of a row are there."""

from __future__ import annotations

__all__ = ["FactorEncoder"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .linear import dense, flat, shaped


class FactorEncoder(nn.Module):
    r"""Encode rows as factor analysis does, by the values that are there.

    .. math:: p(z \mid x_O) = \mathcal{N}(z \mid m, S), \quad
        S = (I + W_O^\top \Psi_O^{-1} W_O)^{-1}, \; m = S W_O^\top \Psi_O^{-1} (x_O - b_O)

    of :math:`x = W z + b + \mathcal{N}(0, \Psi)` (Rubin & Thayer, 1982). Of complete rows m is
    affine in x. A missing value is NaN, and takes no part. The outputs are m and, beside it, the
    conditional standard deviations of z, before softplus, as `DiagonalNormal` reads them.

    Arguments:
        in_shape: Shape of one row.
        out_shape: Shape of one output, whose size is 2 q.
        generator: Source of the initial weights; torch's global one where None.

    Raises:
        ValueError: The outputs are no pairs of a mean and a width.
    """

    takes_missing = True

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        values, outputs = math.prod(in_shape), math.prod(out_shape)
        if outputs % 2:
            raise ValueError(
                f"out_shape of FactorEncoder must hold a mean and a width for each latent, got "
                f"{outputs} numbers, which are no pairs."
            )
        layer = dense(outputs // 2, values, generator)
        self.weight, self.bias = layer.weight, layer.bias
        self.log_variance = nn.Parameter(torch.zeros(values))

    @torch.no_grad()
    def start_at(self, weight: Tensor, bias: Tensor, variance: Tensor) -> None:
        """Become the encoder of a factor analyser.

        Arguments:
            weight, bias: W, (D, q), and b, (D,).
            variance: The diagonal of Psi, (D,), or one number for all of it.
        """
        self.weight.copy_(weight)
        self.bias.copy_(bias)
        self.log_variance.copy_(variance.log().expand_as(self.log_variance))

    def forward(self, x: Tensor) -> Tensor:
        """Map (*batch, *in_shape) to (*batch, *out_shape)."""
        rows = flat(x, self.in_shape)
        gone = rows.isnan()
        precision = (-self.log_variance).exp() * (~gone).to(rows.dtype)
        pull = (precision * (rows - self.bias).masked_fill(gone, 0.0)) @ self.weight
        products = self.weight[:, :, None] * self.weight[:, None, :]
        inner = precision @ products.flatten(1)
        inner = inner.unflatten(-1, products.shape[1:])
        inner = inner + torch.eye(inner.shape[-1], dtype=inner.dtype, device=inner.device)
        width = inner.diagonal(dim1=-2, dim2=-1).rsqrt()
        mean = _solved(inner, pull)
        raw = width + torch.log(-torch.expm1(-width))  # softplus of it is the width
        return shaped(torch.cat([mean, raw], -1), self.out_shape)


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    """Return the solutions (*batch, q) of positive definite systems, by elimination without pivots:
    operations that every runtime has.

    Arguments:
        matrix: Symmetric positive definite ones, (*batch, q, q).
        right: Right-hand sides, (*batch, q).
    """
    both = torch.cat([matrix, right[..., None]], -1)
    size = matrix.shape[-1]
    rows = list(both.unbind(-2))
    for j in range(size):
        first = rows[j] / rows[j][..., j : j + 1]
        rows = [row if i == j else row - row[..., j : j + 1] * first for i, row in enumerate(rows)]
        rows[j] = first
    return torch.stack([row[..., -1] for row in rows], -1)
