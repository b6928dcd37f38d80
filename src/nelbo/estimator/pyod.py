"""A `VAEDetector` with the signs and labels of PyOD: large is anomalous, 1 is an anomaly."""

from __future__ import annotations

__all__ = ["PyODManners"]

from typing import Any

import numpy as np
import numpy.typing as npt


class PyODManners:
    """What PyOD calls a detector, for code that was written for one (Zhao et al., 2019).

    Arguments:
        detector: A `VAEDetector`, fitted or not; ``fit`` fits it.
    """

    def __init__(self, detector: Any) -> None:
        self.detector = detector

    def fit(self, X: Any, y: object = None) -> PyODManners:
        """Fit the detector. y is ignored."""
        self.detector.fit(X)
        return self

    def decision_function(self, X: Any) -> npt.NDArray[np.float64]:
        """Return -log p(x) of each row in nats, (n,): large is anomalous."""
        scores: npt.NDArray[np.float64] = -self.detector.score_samples(X)
        return scores

    def predict(self, X: Any) -> npt.NDArray[np.int64]:
        """Return 1 for anomalies and 0 for ordinary rows, (n,)."""
        found = self.decision_function(X) > self.threshold_
        return found.astype(np.int64)

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Return PyOD's linear scaling of the score beside that of the rows fitted, (n, 2).

        The second column is 0 at the least score of the rows fitted and 1 at the greatest. It is no
        probability; `VAEDetector.p_values` returns one.
        """
        scores, fitted = self.decision_function(X), self.decision_scores_
        span = float(np.ptp(fitted)) or 1.0
        share = ((scores - fitted.min()) / span).clip(0, 1)
        return np.stack([1 - share, share], 1)

    @property
    def contamination(self) -> float:
        """The share of the rows fitted that count as anomalies."""
        return float(self.detector.contamination)

    @property
    def decision_scores_(self) -> npt.NDArray[np.float64]:
        """-log p(x) of each row fitted, (n,)."""
        scores: npt.NDArray[np.float64] = self.detector.decision_scores_
        return scores

    @property
    def threshold_(self) -> float:
        """The score above which a row counts as an anomaly."""
        return float(self.detector.threshold_)

    @property
    def labels_(self) -> npt.NDArray[np.int64]:
        """1 for each row fitted that counts as an anomaly, else 0, (n,)."""
        labels: npt.NDArray[np.int64] = self.detector.labels_
        return labels
