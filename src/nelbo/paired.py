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


def trimmed_mean(
    difference: Tensor, trimmed: float = 0.002, fewest: int = 50
) -> tuple[float, float]:
    """Return the trimmed mean of paired differences (n,) and its standard error,
    which is inf for one row.

    A difference that is not a number counts as zero: two models that find a row impossible agree on
    it.

    Arguments:
        difference: Differences, of shape (n,).
        trimmed: Share of the rows that is left out on either side, at least one: twice one in a
            thousand.
        fewest: Rows from which the extremes are left out: of fewer, each is much of what is known.
    """
    values = (
        difference.double().nan_to_num(nan=0.0, posinf=math.inf, neginf=-math.inf).sort().values
    )
    n = len(values)
    k = 0
    if n >= fewest:
        k = math.ceil(trimmed * n)
    kept = values[k : n - k]
    mean = float(kept.mean())
    if n < 2 or not math.isfinite(mean):
        return mean, math.inf
    winsorised = torch.cat([kept[:1].expand(k), kept, kept[-1:].expand(k)])
    return mean, float(winsorised.std()) / ((1 - 2 * k / n) * math.sqrt(n))


def surely_greater(one: Tensor, other: Tensor, confidence: float, rounding: float = 1e-5) -> bool:
    """Return whether ``one`` is significantly greater than ``other``, row by row,
    and by more than rounding.

    Arguments:
        one, other: log p(x) of the same rows by two models, or bounds on it, of shape (n,).
        confidence: The confidence of Student's one-sided t test on the trimmed mean.
        rounding: Gain, relative to the numbers compared, below which float32 may have made it up.
    """
    mean, error = trimmed_mean(one.double() - other.double())
    least = rounding * max(1.0, float(other.double().abs().median()))
    return mean > least and mean > float(stdtrit(len(one) - 1, confidence)) * error
