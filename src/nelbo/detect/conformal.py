r"""Conformal p-values: how improbable a row is beside rows that were held out.

.. math:: p(x) = \frac{1 + \#\{i : s_i \ge s(x)\}}{n + 1}

with scores :math:`s = -\log p` of n ordinary rows that the model was not fitted to. Where x is an
ordinary row as well, the n + 1 scores are exchangeable, and :math:`P(p(x) \le \alpha) \le \alpha`
whatever the model is worth (Vovk et al., 2005; Bates et al., 2023).
"""

from __future__ import annotations

__all__ = ["Calibration", "FEWEST"]

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from ..brief import Brief

FEWEST = 20
"""Rows held out below which a p-value could not even be 0.05."""


@dataclass(frozen=True, eq=False, repr=False)
class Calibration(Brief):
    """The scores of ordinary rows that the model was not fitted to.

    Attributes:
        scores: -log p(x) of each of them in nats, ascending, (n,).

    Raises:
        ValueError: They are fewer than `FEWEST`, or one is NaN.
    """

    scores: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        scores = np.sort(np.asarray(self.scores, dtype=np.float64))
        if scores.ndim != 1 or len(scores) < FEWEST:
            raise ValueError(
                f"Calibration needs the scores of at least {FEWEST} held-out rows, got shape "
                f"{scores.shape}. Hold out more rows."
            )
        if np.isnan(scores).any():
            raise ValueError("A score of the rows for calibration is NaN: it says nothing.")
        object.__setattr__(self, "scores", scores)

    def p_values(
        self, scores: npt.NDArray[np.floating], confidence: float | None = None
    ) -> npt.NDArray[np.float64]:
        r"""Return the p-value of each score, (m,): small where few held-out rows score so high.

        Without ``confidence`` they are valid on average over the rows that might have been held
        out. With it they are valid for most such rows: with a probability of at least
        ``confidence``, :math:`P(p(x) \le \alpha \mid \text{rows held out}) \le \alpha` for every
        :math:`\alpha` at once. For that the smallest grow by a few times (Bates et al., 2023,
        Theorem 2).

        Arguments:
            scores: -log p(x) of rows to judge, (m,).
            confidence: Above 0 and below 1, such as 0.9; None leaves the p-values as they are.

        Raises:
            ValueError: ``confidence`` is out of range, or a score is NaN.
        """
        scores = np.asarray(scores, dtype=np.float64)
        if np.isnan(scores).any():
            raise ValueError("A score is NaN: there is no p-value for it.")
        # rows held out that score as high or higher; equal ones count, so that p is not too small
        beyond = len(self.scores) - np.searchsorted(self.scores, scores, side="left")
        if confidence is None:
            return (1.0 + beyond) / (len(self.scores) + 1)
        bounds = simes_bounds(len(self.scores), 1 - checked(confidence))
        return bounds[beyond]


def checked(confidence: float) -> float:
    """Return a confidence that is one.

    Raises:
        ValueError: It is not above 0 and below 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be above 0 and below 1, such as 0.9, got {confidence}.")
    return float(confidence)


def simes_bounds(n: int, delta: float) -> npt.NDArray[np.float64]:
    r"""Return what the p-values j / (n + 1), j = 1 ... n + 1, become, (n + 1,).

    .. math::
        b_{n+1-i} = 1 - \delta^{1/k} \Bigl( \prod_{l<k} \frac{i - l}{n - l} \Bigr)^{1/k},
        \quad k = \lceil n / 2 \rceil, \quad b_{n+1} = 1

    Of n uniform numbers in order, all are below their bounds, :math:`U_{(j)} \le b_j`, with a
    probability of at least :math:`1 - \delta` (the generalised Simes inequality: Sarkar, 2008).

    Arguments:
        n: Rows held out.
        delta: The probability that some bound fails.
    """
    k = (n + 1) // 2
    i = np.arange(1, n + 1, dtype=np.float64)
    product = np.full(n, -np.inf)  # of the numerators: zero where i < k
    product[k - 1 :] = special.gammaln(i[k - 1 :] + 1) - special.gammaln(i[k - 1 :] - k + 1)
    product -= special.gammaln(n + 1.0) - special.gammaln(n - k + 1.0)
    bounds = -np.expm1((np.log(delta) + product) / k)
    return np.append(bounds[::-1], 1.0)
