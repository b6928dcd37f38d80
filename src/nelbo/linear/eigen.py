"""The greatest eigenvalues of a symmetric matrix, and their vectors."""

from __future__ import annotations

__all__ = ["leading"]

import torch
from torch import Tensor


def leading(matrix: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` greatest eigenvalues, descending, their vectors (D, count),
    and the sum of the others.
    """
    block = count + 8
    if len(matrix) > max(500, 16 * block):
        pairs = _krylov(matrix, count, block)
        if pairs is not None:
            values, vectors = pairs
            return values, vectors, (matrix.trace() - values.sum()).clamp(min=0.0)
    values, vectors = torch.linalg.eigh(matrix)
    values = values.clamp(min=0.0)
    kept = len(matrix) - count
    return values[kept:].flip(0), vectors[:, kept:].flip(1), values[:kept].sum()


def _krylov(
    matrix: Tensor, count: int, block: int, depth: int = 5, restarts: int = 30
) -> tuple[Tensor, Tensor] | None:
    """Leading eigenpairs by restarted block Krylov iteration,
    as exact as `eigh`; None if unsettled.

    There are ``depth`` blocks between restarts, and at most so many ``restarts``.
    """
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(len(matrix), block, generator=generator, dtype=matrix.dtype).to(
        matrix.device
    )
    basis = torch.linalg.qr(start)[0]
    image = matrix @ basis
    for _ in range(restarts):
        new_image = image
        for _ in range(depth - 1):
            new = new_image
            for _ in range(2):  # twice is enough (Parlett): once leaves rounding along the basis
                new = torch.linalg.qr(new - basis @ (basis.T @ new))[0]
            new_image = matrix @ new
            basis, image = torch.cat([basis, new], 1), torch.cat([image, new_image], 1)
        values, rotation = torch.linalg.eigh(basis.T @ image)
        values, rotation = values[-block:].flip(0), rotation[:, -block:].flip(1)
        basis, image = basis @ rotation, image @ rotation
        residual = (image - basis * values)[:, :count].norm(dim=0)
        if bool((residual <= 1e-11 * values[0]).all()):
            return values[:count].clamp(min=0.0), basis[:, :count]
    return None
