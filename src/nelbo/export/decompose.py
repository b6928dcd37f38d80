"""What ONNX has no operator for, in operators that it has."""

from __future__ import annotations

__all__ = ["decomposed", "lgamma", "softplus", "solve_triangular"]

import math
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram


def decomposed(program: ExportedProgram) -> ExportedProgram:
    """Return a program in which each operator that ONNX lacks is written in others."""
    known: dict[Any, Any] = {
        torch.ops.aten.lgamma.default: lgamma,
        torch.ops.aten.linalg_solve_triangular.default: solve_triangular,
        torch.ops.aten.softplus.default: softplus,
    }
    if not any(node.target in known for node in program.graph.nodes):
        return program  # tracing it again would take a second
    found: ExportedProgram = program.run_decompositions(known)
    return found


def lgamma(x: Tensor) -> Tensor:
    r"""Return :math:`\log \Gamma(x)` for x > 0, by Stirling's series at x + 7.

    It is exact to about 1e-12.
    """
    product, y = torch.ones_like(x), x
    for _ in range(7):
        product, y = product * y, y + 1
    series, power = torch.zeros_like(y), 1 / y
    # B_2k / (2k (2k - 1)), the coefficients of the series
    for coefficient in (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188):
        series = series + coefficient * power
        power = power / (y * y)
    return (y - 0.5) * y.log() - y + 0.5 * math.log(2 * math.pi) + series - product.log()


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    r"""Return :math:`\log(1 + e^{\beta x}) / \beta`, which ONNX Runtime has for float32 alone.

    Arguments:
        x: Numbers.
        beta: How sharp the bend is.
        threshold: Where torch takes it for linear; not needed here.
    """
    y = beta * x
    return (y.clamp_min(0) + (1 + (-y.abs()).exp()).log()) / beta


def solve_triangular(
    a: Tensor, b: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """Solve a x = b, or x a = b where not ``left``, by substitution, row after row.

    Arguments:
        a: Triangular matrices (*, n, n).
        b: Right-hand sides (*, n, k), or (*, k, n).
        upper: Whether a is upper triangular.
        left: On which side a stands.
        unitriangular: Whether its diagonal is 1.
    """
    if not left:
        return solve_triangular(a.mT, b.mT, upper=not upper, unitriangular=unitriangular).mT
    size = a.shape[-1]
    order = range(size)
    if upper:
        order = range(size - 1, -1, -1)
    rows: dict[int, Tensor] = {}
    for i in order:
        found = b[..., i, :]
        for j, row in rows.items():
            found = found - a[..., i, j, None] * row
        if not unitriangular:
            found = found / a[..., i, i, None]
        rows[i] = found
    return torch.stack([rows[i] for i in range(size)], -2)
