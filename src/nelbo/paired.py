r"""Two models compared row by row, so that no single row decides.

A mean of paired differences is at the mercy of its largest: one row of a thousand that one model
finds impossible outweighs all others. The trimmed mean leaves out the most extreme five-hundredth
on either side, and its standard error (Yuen, 1974) follows from the winsorised variance:

.. math::
    \bar d_t = \frac{1}{n - 2k} \sum_{i=k+1}^{n-k} d_{(i)}, \qquad
    \mathrm{se} = \frac{s_w}{(1 - 2k/n) \sqrt n}, \qquad k = \lceil n / 500 \rceil
"""

from __future__ import annotations

__all__ = ["surely_greater", "trimmed_mean"]

import math

import torch
from scipy.special import stdtrit
from torch import Tensor

TRIMMED = 0.002
"""Share of the rows that is left out on either side, at least one: twice one in a thousand."""
FEWEST = 50
"""Rows from which the extremes are left out: of fewer, each is much of what is known."""
ROUNDING = 1e-5
"""Gain, relative to the numbers compared, below which float32 may have made it up."""


def trimmed_mean(difference: Tensor) -> tuple[float, float]:
    """Return the trimmed mean of paired differences (n,) and its standard error, which is inf for
    one row.

    A difference that is not a number counts as none: two models that find a row impossible agree on
    it.
    """
    values = (
        difference.double().nan_to_num(nan=0.0, posinf=math.inf, neginf=-math.inf).sort().values
    )
    n = len(values)
    k = math.ceil(TRIMMED * n) if n >= FEWEST else 0
    kept = values[k : n - k]
    mean = float(kept.mean())
    if n < 2 or not math.isfinite(mean):
        return mean, math.inf
    winsorised = torch.cat([kept[:1].expand(k), kept, kept[-1:].expand(k)])
    return mean, float(winsorised.std()) / ((1 - 2 * k / n) * math.sqrt(n))


def surely_greater(one: Tensor, other: Tensor, confidence: float) -> bool:
    """Return whether ``one`` is greater than ``other``, row by row, beyond chance and beyond
    rounding.

    Arguments:
        one, other: log p(x) of the same rows by two models, or bounds on it, of shape (n,).
        confidence: Of Student's t test on the trimmed mean, one-sided.
    """
    mean, error = trimmed_mean(one.double() - other.double())
    least = ROUNDING * max(1.0, float(other.double().abs().median()))
    return mean > least and mean > float(stdtrit(len(one) - 1, confidence)) * error
