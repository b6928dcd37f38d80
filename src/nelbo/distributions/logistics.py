r"""Mixtures of logistics, fitted to numbers.

.. math:: p(x) = \sum_k \pi_k \, \sigma(t_k) \, \sigma(-t_k) / s_k, \qquad t_k = (x - m_k) / s_k
"""

from __future__ import annotations

__all__ = ["fit_logistics"]

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def fit_logistics(
    u: Tensor, components: int, least: float, most: int = 5_000, steps: int = 50
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return weights, means and scales of a mixture of logistics that is fitted to numbers u (n,)
    by EM, each (components,).

    A logistic is a mixture of normals of one mean, whose precisions are by expectation
    :math:`\tanh(t / 2) / t` at t standard units (the M step is that of normals so weighted).

    Arguments:
        u: Numbers, standardised.
        components: How many logistics.
        least: The least scale.
        most: Numbers at most, evenly spaced in rank.
        steps: Steps of EM.
    """
    k = components
    weight, scale = u.new_full((k,), 1 / k), u.new_full((k,), max(0.5 / k, least))
    if not len(u):
        return weight, u.new_zeros(k), u.new_ones(k)
    u = u.sort().values
    u = u[torch.linspace(0, len(u) - 1, min(len(u), most)).round().long()]
    loc = u.quantile((torch.arange(k, dtype=u.dtype, device=u.device) + 0.5) / k)
    for _ in range(steps):
        t = (u[:, None] - loc) / scale
        share = (weight.log() - scale.log() + logsigmoid(t) + logsigmoid(-t)).softmax(1)
        counts = share.sum(0) + 1e-6
        weight = counts / counts.sum()
        precise = share * torch.where(t.abs() < 1e-4, 0.5, (t / 2).tanh() / t)
        loc = (precise * u[:, None]).sum(0) / precise.sum(0).clamp_min(1e-9)
        square = (precise * (u[:, None] - loc).square()).sum(0) / counts
        scale = square.sqrt().clamp_min(least)
    return weight, loc, scale
