r"""All that there is to say of some rows, the most improbable first."""

from __future__ import annotations

__all__ = ["Findings", "Rule", "find"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..brief import Brief
from ..fitted import Fitted
from .attribution import Attribution, attribute
from .conformal import Calibration
from .discoveries import adjusted
from .improbability import improbability

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """When a row is flagged.

    Attributes:
        contamination: The share of the rows judged that is flagged, where nothing else is known.
        threshold: The score above which a row is flagged instead, in nats; or None.
        calibration: Rows held out, which take the place of both; or None.
        rate: The share of the rows flagged beside those that may be ordinary.
        storey: Whether the share of ordinary rows is estimated.
        confidence: Of the p-values given the rows held out; or None.
    """

    contamination: float = 0.1
    threshold: float | None = None
    calibration: Calibration | None = None
    rate: float = 0.1
    storey: bool = False
    confidence: float | None = None

    def p_values(self, scores: Array) -> Array:
        """Return the p-value of each score, (n,).

        Without rows held out it is the share of the rows judged that are as improbable: valid for
        each row where all are exchangeable, and of no use to tell how many of them are anomalies.
        """
        if self.calibration is not None:
            return self.calibration.p_values(scores, self.confidence)
        as_high = len(scores) - np.searchsorted(np.sort(scores), scores, side="left")
        return as_high / len(scores)

    def flagged(self, scores: Array, p_values: Array) -> npt.NDArray[np.bool_]:
        """Return which rows are flagged, (n,)."""
        if self.calibration is not None:
            return adjusted(p_values, self.storey) <= self.rate
        threshold = self.threshold
        if threshold is None:
            threshold = float(np.percentile(scores, 100 * (1 - self.contamination)))
        return np.asarray(scores > threshold)

    @property
    def said(self) -> str:
        """Why rows are flagged, in words."""
        if self.calibration is not None:
            return (
                f"p-values beside {len(self.calibration.scores):,} rows held out; of those flagged "
                f"at most {self.rate:.0%} are ordinary, on average"
            )
        if self.threshold is not None:
            return f"log p(x) below {-self.threshold:.4g} nats"
        return f"the {self.contamination:.0%} of these rows that are least probable"


@dataclass(frozen=True, eq=False, repr=False)
class Findings(Brief):
    """What was found of some rows, each array in the order of the rows.

    Attributes:
        log_p: log p(x) in nats, (n,).
        p_value: The share of ordinary rows that are as improbable, (n,).
        flagged: Whether a row counts as an anomaly, (n,).
        rule: Why.
        told: The rows that `attribution` is of, the most improbable first.
        attribution: What each value of those has to do with it; None for images.
    """

    log_p: Array
    p_value: Array
    flagged: npt.NDArray[np.bool_]
    rule: Rule
    told: npt.NDArray[np.intp]
    attribution: Attribution | None

    @property
    def order(self) -> npt.NDArray[np.intp]:
        """The numbers of the rows, the most improbable first, (n,)."""
        return np.argsort(self.log_p, kind="stable")

    def table(self, values: npt.NDArray[Any], count: int = 3) -> Mapping[str, npt.NDArray[Any]]:
        """Return columns of a table with a line for each row, the most improbable first.

        Arguments:
            values: The rows (n, ...).
            count: How many columns of the data are told of each row, those that say most first,
                each by name, value, expected value, and its nats beyond the usual. Rows that are
                not in ``told`` have an empty name and NaN. Of columns of different kinds values
                are words, and None where there is none.
        """
        order = self.order
        found = {
            "row": order,
            "log_p": self.log_p[order],
            "p_value": self.p_value[order],
            "flagged": self.flagged[order].astype(np.int64),
        }
        if self.attribution is None:
            return found
        why = self.attribution
        place, most = np.arange(len(self.told))[:, None], why.most(count)
        names = np.array(why.columns)[most]
        is_there, expected = why.told(values[self.told])
        each: dict[str, npt.NDArray[Any]] = {
            "value": is_there[place, most],
            "expected": expected[place, most],
            "excess": why.excess[place, most],
        }
        rest = len(order) - len(self.told)
        for k in range(most.shape[1]):
            found[f"column_{k + 1}"] = np.append(names[:, k], np.full(rest, ""))
            for name, cells in each.items():
                empty = np.full(rest, None if cells.dtype.kind == "O" else np.nan)
                found[f"{name}_{k + 1}"] = np.append(cells[:, k], empty)
        return found


def find(
    model: Fitted, X: Any, rule: Rule | None = None, told: int | None = None, many: int = 1000
) -> Findings:
    """Find what is improbable among rows, and why.

    Arguments:
        model: The model.
        X: Rows.
        rule: When a row is flagged.
        told: The number of rows whose columns are looked at, at most: the most improbable. None is
            ``many`` where that takes no samples, and else a fifth of them.
        many: See ``told``.

    Raises:
        ValueError: X does not fit the training data.
    """
    values, rule = model.values(X), rule or Rule()
    scores = improbability(model, values)
    p_values = rule.p_values(scores)
    if told is None and model.plain_method(values) == "exact":
        told = many
    elif told is None:
        told = many // 5
    first = np.argsort(-scores, kind="stable")[:told]
    attribution = None
    if len(values.shape) == 2:
        attribution = attribute(model, values[first])
    return Findings(-scores, p_values, rule.flagged(scores, p_values), rule, first, attribution)
