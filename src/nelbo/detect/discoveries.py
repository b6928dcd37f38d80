r"""Which rows to flag, when a given share of the flagged ones may be ordinary.

.. math:: q_{(i)} = \min_{j \ge i} \; \hat\pi_0 \, \frac{m}{j} \, p_{(j)}

A row whose q is at most the rate is flagged: of all rows that are, that share is ordinary on
average (Benjamini & Hochberg, 1995). It holds for conformal p-values, which depend on each other
through the rows held out (Bates et al., 2023).
"""

from __future__ import annotations

__all__ = ["adjusted", "ordinary_share"]

import numpy as np
import numpy.typing as npt
from scipy import stats


def adjusted(
    p_values: npt.NDArray[np.floating], storey: bool = False, split: float = 0.5
) -> npt.NDArray[np.float64]:
    """Return the smallest rate of false discoveries at which each row is flagged, (m,).

    Arguments:
        p_values: One for each row, (m,), none of them NaN.
        storey: Whether to multiply by the estimated share of ordinary rows (Storey, 2002), which
            flags more rows where many are anomalies.
        split: See `ordinary_share`.

    Raises:
        ValueError: A p-value is not within 0 and 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values must be numbers from 0 to 1, of shape (m,).")
    if len(p) == 0:
        return p
    q = np.asarray(stats.false_discovery_control(p, method="bh"), dtype=np.float64)
    if not storey:
        return q
    return q * ordinary_share(p, split)


def ordinary_share(p_values: npt.NDArray[np.floating], split: float = 0.5) -> float:
    r"""Return an estimate of the share of ordinary rows, at most 1 (Storey, 2002).

    .. math:: \hat\pi_0 = \min\Bigl(1, \frac{1 + \#\{p > \lambda\}}{m (1 - \lambda)}\Bigr)

    Arguments:
        p_values: One for each row, (m,), m at least 1.
        split: :math:`\lambda`, the p-value above which rows are taken to be ordinary.

    Raises:
        ValueError: ``split`` is not above 0 and below 1.
    """
    if not 0 < split < 1:
        raise ValueError(f"split must be above 0 and below 1, got {split}.")
    p = np.asarray(p_values, dtype=np.float64)
    return min(1.0, (1 + float((p > split).sum())) / (len(p) * (1 - split)))
