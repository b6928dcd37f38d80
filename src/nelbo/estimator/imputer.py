r"""`VAEImputer`: what is missing from a table, by scikit-learn's conventions for imputers.

.. math:: \hat x_M = E[x_M \mid x_O] = \int E[x_M \mid z, x_O] \, p(z \mid x_O) \, dz
"""

from __future__ import annotations

__all__ = ["VAEImputer"]

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.impute import MissingIndicator
from sklearn.utils.validation import check_is_fitted, validate_data

from ..fitted.impute import check
from ..recipe.check import seed_from
from .estimator import VariationalAutoencoder

Array = npt.NDArray[Any]


class VAEImputer(TransformerMixin, BaseEstimator):
    """Fill in what is missing from a table of numbers, by a variational autoencoder that is fitted
    to incomplete rows (Mattei & Frellsen, 2019).

    Parameters
    ----------
    estimator : VariationalAutoencoder or None, default=None
        The model to fit, which is cloned; None is one with default settings.
    missing_values : float, default=nan
        What stands for a missing value. NaN is one in any case.
    statistic : "mean", "median" or "mode", default="mean"
        What of p(missing | there) a cell is filled with. The mean has the least squared error.
    sample_posterior : bool, default=False
        Whether to draw from p(missing | there) instead, as multiple imputation does: fit once, and
        transform with ``random_state=0, 1, 2, ...`` set. Intervals of single values need draws:
        filled with their means, columns vary less than they do.
    add_indicator : bool, default=False
        Whether to add columns of zeros and ones that say what was missing, for columns with missing
        values at fit.
    keep_empty_features : bool, default=False
        Whether columns without any value at fit are kept, and filled with 0, or left out.
    random_state : int or None, default=None
        Seed of the fit, where the estimator has none, and of the draws.

    Attributes
    ----------
    estimator_ : VariationalAutoencoder
        The fitted model: `score_samples`, `impute(X, draws=20)` and all else that it can do.
    indicator_ : MissingIndicator or None
        What makes the columns of ``add_indicator``.
    n_features_in_ : int
        Columns at fit.
    feature_names_in_ : ndarray of str
        Their names, where these are strings.

    Examples
    --------
    >>> import numpy as np
    >>> from nelbo import VAEImputer
    >>> x = np.random.default_rng(0).normal(size=(50, 1)) * [1, 2, -1]
    >>> x[3, 1] = np.nan
    >>> filled = VAEImputer(random_state=0).fit_transform(x)
    >>> bool(abs(filled[3, 1] - 2 * x[3, 0]) < 0.1)
    True
    """

    def __init__(
        self,
        estimator: VariationalAutoencoder | None = None,
        *,
        missing_values: float = np.nan,
        statistic: str = "mean",
        sample_posterior: bool = False,
        add_indicator: bool = False,
        keep_empty_features: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.missing_values = missing_values
        self.statistic = statistic
        self.sample_posterior = sample_posterior
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.random_state = random_state

    estimator_: VariationalAutoencoder
    indicator_: MissingIndicator | None

    def fit(self, X: Any, y: object = None) -> VAEImputer:
        """Fit the model to rows (n, d), of which values may be missing. y is ignored.

        Raises:
            ValueError: X is no table of numbers, holds an infinite one or no value at all, or an
                option is out of range.
        """
        check(self.statistic, None, None)
        x = self._checked(X, reset=True)
        gone = np.isnan(x)
        if gone.all():
            raise ValueError("X holds no value: all of them are missing.")
        self._empty = gone.all(0)
        self.indicator_ = None
        if self.add_indicator:
            self.indicator_ = MissingIndicator(error_on_new=False).fit(x)
        model = VariationalAutoencoder() if self.estimator is None else clone(self.estimator)
        if model.random_state is None:
            model.set_params(random_state=self.random_state)
        self.estimator_ = model.fit(x[:, ~self._empty])
        return self

    def transform(self, X: Any) -> Array:
        """Return rows with what is missing filled in; what is there stays, to the bit.

        Raises:
            ValueError: X has other columns than at fit, or is infinite.
        """
        check_is_fitted(self)
        x = self._checked(X, reset=False)
        known = x[:, ~self._empty]
        if self.sample_posterior:
            filled = self.estimator_.impute(known, draws=1, random_state=self._seed())[0]
        else:
            filled = self.estimator_.impute(known, self.statistic, random_state=self._seed())
        filled = np.asarray(filled)
        if self.keep_empty_features:
            whole = np.where(np.isnan(x), np.asarray(0, dtype=x.dtype), x)
            whole[:, ~self._empty] = filled
            filled = whole
        if self.indicator_ is not None:
            filled = np.hstack([filled, self.indicator_.transform(x).astype(filled.dtype)])
        return filled

    def get_feature_names_out(self, input_features: Sequence[str] | None = None) -> Array:
        """Return the names of the columns that `transform` returns.

        Arguments:
            input_features: Names at fit, where the data had none; None is "x0", "x1", ....

        Raises:
            ValueError: They are not those at fit.
        """
        check_is_fitted(self)
        own = getattr(self, "feature_names_in_", None)
        names = own
        if input_features is not None:
            names = np.asarray(input_features, dtype=object)
        if names is None:
            names = np.array([f"x{j}" for j in range(self.n_features_in_)], dtype=object)
        if len(names) != self.n_features_in_:
            raise ValueError(
                "input_features should have length equal to number of features "
                f"({self.n_features_in_}), got {len(names)}"
            )
        if own is not None and not np.array_equal(own, names):
            raise ValueError("input_features is not equal to feature_names_in_")
        kept = np.asarray(names, dtype=object)
        if not self.keep_empty_features:
            kept = kept[~self._empty]
        if self.indicator_ is None:
            return kept
        return np.concatenate([kept, self.indicator_.get_feature_names_out(names)]).astype(object)

    n_features_in_: int

    def _checked(self, X: Any, reset: bool) -> Array:
        """Return rows as an array of floats in which what is missing is NaN."""
        try:
            x: Array = validate_data(
                self,
                X,
                reset=reset,
                dtype=[np.float64, np.float32],
                ensure_all_finite="allow-nan",
                copy=True,
            )
        except ValueError as error:
            if "could not convert string" not in str(error):
                raise
            raise ValueError(
                f"VAEImputer fills in tables of numbers, but X holds text: {error}. Encode it as "
                "numbers, or take VariationalAutoencoder().fit(X).impute(X), which takes columns "
                "of any kind."
            ) from error
        if not np.isnan(self.missing_values):
            x[x == self.missing_values] = np.nan
        return x

    def _seed(self) -> int:
        """Return the seed of draws: that of the fit, unless one was passed."""
        if self.random_state is None:
            return int(self.estimator_.seed_)
        return seed_from(self.random_state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
