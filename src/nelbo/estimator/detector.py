r"""`VAEDetector`: anomalies by their log p(x), with the manners of scikit-learn.

.. math:: \text{anomalous} \iff -\log p(x) > \text{threshold}
"""

from __future__ import annotations

__all__ = ["VAEDetector"]

import dataclasses
import json
import warnings
from dataclasses import dataclass
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.utils.validation import check_is_fitted

from ..data import DataWarning, Schema, Values
from ..detect import (
    Attribution,
    Calibration,
    adjusted,
    attribute,
    calibration_of,
    improbability,
)
from ..fitted import Fitted
from ..recipe import Entries
from ..recipe.check import seed_from
from . import naming
from .estimator import VariationalAutoencoder
from .pyod import PyODManners

Array = npt.NDArray[Any]

FILE = "detector.json"
"""What lies beside a saved model: thresholds and the scores of rows held out."""


@dataclass(frozen=True)
class FirstFit:
    """How the least probable rows are found, which the model is then not fitted to.

    Attributes:
        trim: The share of rows left out, as of tables of numbers, where rows are of one kind.
        mixed: The same for tables of words, counts and amounts: there the least probable rows are
            mostly rare ones, not wrong ones (measured on a census: see ``docs/anomalies.md``).
        steps: Steps of the first fit of such a table, a fifth of what a fit takes: of a census, its
            bounds put 97 rows in 100 on the side that a whole fit does.
    """

    trim: float = 0.1
    mixed: float = 0.0
    steps: int = 400

    def trim_of(self, values: Values) -> float:
        """Return the share of these rows that is left out where none was asked for."""
        if values.table is None:
            return self.trim
        return self.mixed


class VAEDetector(OutlierMixin, BaseEstimator):
    r"""Anomaly detection by log p(x), the density of a variational autoencoder.

    The score of a row is :math:`-\log p(x)` in nats, in the units of the data: exact, so that the
    same row has the same score in every call. By default p(x) is the average of mixtures of factor
    analysers fitted to small samples of the rows (`nelbo.fitting.subsampled`), as a VAE whose
    decoder is a mixture too: it takes a second, and bears anomalies among the rows fitted.

    Methods have scikit-learn's signs: **large is ordinary**, `predict` returns 1 for ordinary rows
    and -1 for anomalies. The attributes ``decision_scores_``, ``labels_`` and ``threshold_`` are
    PyOD's: **large is anomalous**, labels are 0 and 1. `as_pyod` returns PyOD's methods as well.

    Arguments:
        contamination: The share of the rows fitted that count as anomalies, above 0 and at most
            0.5. It sets the threshold, and nothing else.
        estimator: A `VariationalAutoencoder` to take in place of the default; it is cloned.
        schema: What the columns of a data frame are, as `VariationalAutoencoder` takes it, where
            the ``estimator`` does not say: by default they are looked at where any of them holds
            words, categories, dates or truth values.
        unknown: Whether a category that was not there at the fit is an "error", or "missing".
        calibration_fraction: The share of the rows that are kept from the fit, so that `p_values`
            can compare with them; below 1. They must be ordinary for p-values to mean something.
        trim: The share of the rows fitted that has no part in p(x), so that anomalies among them do
            not make themselves probable: of tables of numbers those farthest from the bulk, of all
            else, and with an ``estimator``, the least probable ones of a first fit. 0 fits all.
            None is 0 for tables with columns of different kinds, and else 0.1.
        random_state: Seed of the samples, and of the rows kept.

    Attributes:
        fitted_ (Fitted): The model in the units of its data (`nelbo.Fitted`).
        offset_ (float): `decision_function` is `score_samples` minus this: the log p(x) in nats
            that a share ``contamination`` of the rows fitted is below.
        decision_scores_ (array of shape (n,)): -log p(x) of each row passed to `fit`.
        threshold_ (float): ``-offset_``.
        labels_ (array of shape (n,)): 1 where ``decision_scores_`` is above ``threshold_``, else 0.
        calibration_ (Calibration or None): The scores of the rows held out.

    References:
        Bates et al. (2023), Testing for outliers with conformal p-values. Liu et al. (2008),
        Isolation forest. Ghahramani & Hinton (1996), The EM algorithm for mixtures of factor
        analyzers.
    """

    fitted_: Fitted
    offset_: float
    calibration_: Calibration | None
    decision_scores_: npt.NDArray[np.float64]

    def __init__(
        self,
        contamination: float = 0.1,
        *,
        estimator: VariationalAutoencoder | None = None,
        schema: Any = "auto",
        unknown: str = "error",
        calibration_fraction: float = 0.0,
        trim: float | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.contamination = contamination
        self.estimator = estimator
        self.schema = schema
        self.unknown = unknown
        self.calibration_fraction = calibration_fraction
        self.trim = trim
        self.random_state = random_state

    # -- fit

    def fit(self, X: Any, y: object = None) -> VAEDetector:
        """Fit p(x) to rows, most of which are ordinary. y is ignored.

        Arguments:
            X: Rows, as `VariationalAutoencoder.fit` takes them.
            y: Is ignored, as by all detectors that learn without labels.

        Raises:
            ValueError: X is not a set of at least two rows of numbers, or an option is out of
                range.
        """
        self._check()
        seed = seed_from(self.random_state)
        values = self._own(seed).rows_of(X)
        names = values.columns
        if values.table is None:
            names = naming.names_of(X)
        rows, held = self._parted(len(values), seed)
        model = self._fit(values[rows], names, seed)
        self.fitted_ = model
        self.decision_scores_ = improbability(model, values)
        self.offset_ = -float(np.percentile(self.decision_scores_, 100 * (1 - self.contamination)))
        self.calibration_ = None
        if len(held):
            self.calibration_ = Calibration(self.decision_scores_[held])
        return self

    def calibrate(self, X: Any) -> VAEDetector:
        """Take ordinary rows that the model was not fitted to for `p_values` to compare with.

        Raises:
            ValueError: X does not fit, is fewer than 20 rows, or holds rows of the fit, which look
                more probable than new ones.
        """
        self.calibration_ = calibration_of(self._fitted(), self._values(X))
        return self

    # -- judge

    def score_samples(self, X: Any) -> npt.NDArray[np.float64]:
        """Return log p(x) of each row in nats, in the units of the data, (n,): large is ordinary.

        Where columns had one value in all rows fitted, see `nelbo.detect.improbability`.
        """
        return -improbability(self._fitted(), self._values(X))

    def decision_function(self, X: Any) -> npt.NDArray[np.float64]:
        """Return `score_samples` minus ``offset_``, (n,): negative for anomalies."""
        found: npt.NDArray[np.float64] = self.score_samples(X) - self.offset_
        return found

    def predict(self, X: Any) -> npt.NDArray[np.int64]:
        """Return 1 for ordinary rows and -1 for anomalies, (n,)."""
        return np.where(self.decision_function(X) < 0, -1, 1).astype(np.int64)

    def p_values(self, X: Any, confidence: float | None = None) -> npt.NDArray[np.float64]:
        r"""Return the conformal p-value of each row, (n,): small for anomalies.

        The share of ordinary rows with a p-value of at most :math:`\alpha` is at most
        :math:`\alpha`: on average over the rows that might have been held out, or, with
        ``confidence``, with that probability for those that were (`nelbo.detect.Calibration`).

        Raises:
            ValueError: No rows were held out, X does not fit, or ``confidence`` is out of range.
        """
        scores = -self.score_samples(X)
        if self.calibration_ is None:
            raise ValueError(
                "p-values need rows that were held out. Pass some to calibrate(), or set "
                "calibration_fraction=0.2 before fit()."
            )
        return self.calibration_.p_values(scores, confidence)

    def discoveries(
        self, X: Any, rate: float = 0.1, storey: bool = False, confidence: float | None = None
    ) -> npt.NDArray[np.bool_]:
        """Return which rows to flag such that on average at most a share of them is ordinary, (n,).

        Arguments:
            X: Rows; which of them are flagged depends on all of them.
            rate: That share, the rate of false discoveries (Benjamini & Hochberg, 1995).
            storey: Whether to estimate the share of ordinary rows, which flags more where there
                are many anomalies (Storey, 2002).
            confidence: As in `p_values`.

        Raises:
            ValueError: As `p_values`, or ``rate`` is not above 0 and below 1.
        """
        if not 0 < rate < 1:
            raise ValueError(f"rate must be above 0 and below 1, got {rate}.")
        return adjusted(self.p_values(X, confidence), storey) <= rate

    def attribute(self, X: Any) -> Attribution:
        """Find which columns make rows improbable, and what would have been expected there.

        ``nats`` of what is returned holds -log p(x_j | x_-j), ``excess`` that beyond its median
        over rows drawn from the model, and ``expected`` holds E[x_j | x_-j], each (n, d).

        Raises:
            ValueError: X does not fit, or the model is not of a table.
        """
        return attribute(self._fitted(), self._values(X))

    # -- what was fitted

    @property
    def threshold_(self) -> float:
        """The score above which a row counts as an anomaly, in nats: PyOD's name."""
        return -self.offset_

    @property
    def labels_(self) -> npt.NDArray[np.int64]:
        """1 for each row of the fit that counts as an anomaly, else 0, (n,): PyOD's name."""
        found = self.decision_scores_ > self.threshold_
        return found.astype(np.int64)

    @property
    def recipe_(self) -> Entries:
        """What was decided about the model, by name: ``{"value": what, "reason": why}``."""
        return self.fitted_.recipe

    @property
    def schema_(self) -> Schema:
        """What lies between the units of the data and those of the model."""
        return self.fitted_.schema

    @property
    def n_features_in_(self) -> int:
        """Values per row."""
        return self.fitted_.schema.n_features

    @property
    def feature_names_in_(self) -> npt.NDArray[Any]:
        """Names of the columns fitted, where these are strings."""
        if self.fitted_.names is None:
            raise AttributeError("feature_names_in_ does not exist: the columns had no names.")
        return np.array(self.fitted_.names, dtype=object)

    # -- keep

    def save(self, path: str | PathLike[str], overwrite: bool = False) -> None:
        """Write the detector to a folder that `nelbo detect` and `nelbo.Fitted.load` read as well.

        ``decision_scores_`` and ``labels_`` of the rows fitted stay behind.

        Raises:
            CheckpointError: The folder exists and ``overwrite`` is False, or it is not a model's.
        """
        model = self._fitted()
        own: dict[str, Any] = {
            "contamination": float(self.contamination),
            "calibration_fraction": float(self.calibration_fraction),
            "trim": self.trim,
            "offset": self.offset_,
            "calibration": None,
        }
        if self.trim is not None:
            own["trim"] = float(self.trim)
        if self.calibration_ is not None:
            own["calibration"] = self.calibration_.scores.tolist()
        text = json.dumps(own, allow_nan=False) + "\n"
        model.save(path, overwrite, {FILE: text})

    @classmethod
    def load(cls, path: str | PathLike[str]) -> VAEDetector:
        """Read a detector that `save` wrote. No code is run from the file.

        Raises:
            CheckpointError: The folder is missing, incomplete, or changed since it was written.
            ValueError: It holds a model without a detector.
        """
        model, own = Fitted.load(path), Path(path) / FILE
        if not own.exists():
            raise ValueError(
                f"{path} holds a model, but no detector. Use nelbo.Fitted.load, or save a "
                "VAEDetector there."
            )
        written = json.loads(own.read_text(encoding="utf-8"))
        names = ("contamination", "calibration_fraction", "trim")
        loaded = cls(**{name: written[name] for name in names}, random_state=model.seed)
        loaded.unknown = model.options.unknown
        loaded.fitted_, loaded.offset_ = model, float(written["offset"])
        loaded.calibration_ = None
        if written["calibration"] is not None:
            loaded.calibration_ = Calibration(np.array(written["calibration"]))
        return loaded

    def as_pyod(self) -> PyODManners:
        """Return this detector with PyOD's methods: large is anomalous, labels are 0 and 1."""
        return PyODManners(self)

    def __sklearn_is_fitted__(self) -> bool:
        return "fitted_" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = True  # it is made dense
        tags.input_tags.allow_nan = True
        return tags

    # -- helpers

    def _check(self) -> None:
        """Refuse options that are out of range."""
        if not isinstance(self.contamination, Real):
            raise TypeError(
                "contamination must be a number above 0 and at most 0.5, got "
                f"{type(self.contamination).__name__}. A model is passed as estimator=."
            )
        if not 0 < self.contamination <= 0.5:
            raise ValueError(
                f"contamination must be above 0 and at most 0.5, got {self.contamination!r}."
            )
        for name in ("calibration_fraction", "trim"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"{name} must be from 0 to below 1, got {value!r}.")
        if self.estimator is not None and not hasattr(self.estimator, "explain"):
            raise TypeError(
                "estimator must be a nelbo.VariationalAutoencoder or None, got "
                f"{type(self.estimator).__name__}."
            )

    def _parted(self, n: int, seed: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Return the numbers of the rows to fit, and of those to hold out."""
        held = round(self.calibration_fraction * n)
        order = np.random.default_rng([seed, 3]).permutation(n)
        return np.sort(order[held:]), np.sort(order[:held])

    def _fit(self, values: Values, names: tuple[str, ...] | None, seed: int) -> Fitted:
        """Fit p(x) to some rows."""
        from ..fitting.subsampled import Subsamples, fit_subsamples

        with warnings.catch_warnings():
            # They say that a density of repeated values has no bound, and that some rows lie far
            # out: scores are compared with each other here, and such rows are what is looked for.
            warnings.simplefilter("ignore", DataWarning)
            complete = len(values.shape) == 2 and not np.isnan(values.array).any()
            if self.estimator is None and complete and values.table is None:
                how = Subsamples()
                if self.trim is not None:
                    how = dataclasses.replace(how, trim=self.trim)
                return fit_subsamples(values, names, LATENTS, seed, how)
            trim = self.trim
            if trim is None:
                trim = FirstFit().trim_of(values)
            if trim > 0:
                scores = self._first_scores(values, seed)
                values = values[scores <= np.quantile(scores, 1 - trim)]
            model = self._own(seed).fit(values).fitted_
            return dataclasses.replace(model, names=names)

    def _first_scores(self, values: Values, seed: int) -> Array:
        """Return the scores of rows by a first fit, the largest of which are left out, (n,)."""
        first = self._own(seed)
        if self.estimator is not None or values.table is None:
            return improbability(first.fit(values).fitted_, values)
        first.set_params(max_steps=FirstFit().steps)
        bound: Array = first.fit(values).fitted_.elbo(values)
        return -bound

    def _own(self, seed: int) -> VariationalAutoencoder:
        """Return an unfitted estimator: the user's, or for other rows than complete tables ours."""
        if self.estimator is None:
            return VariationalAutoencoder(
                schema=self.schema, unknown=self.unknown, random_state=seed
            )
        model: VariationalAutoencoder = clone(self.estimator)
        if model.random_state is None:
            model.set_params(random_state=seed)
        return model

    def _fitted(self) -> Fitted:
        """Return the fitted model."""
        check_is_fitted(self)
        return self.fitted_

    def _values(self, X: Any) -> Values:
        """Return rows, once scikit-learn has compared names of columns."""
        model = self._fitted()
        if model.schema.table is None:
            naming.check_names(self, X, model.names, self.n_features_in_)
        return model.values(X)


LATENTS = 8
"""Latents of the default, as many as `VariationalAutoencoder` has: p(x) does not depend on them."""
