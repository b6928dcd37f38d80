r"""`VariationalAutoencoder`: a VAE with the manners of scikit-learn, in the units of the data.

.. math:: p(x) = \int \mathcal{N}(x \mid f(z), \beta^2 I) \, \mathcal{N}(z \mid 0, I) \, dz
"""

from __future__ import annotations

__all__ = ["VariationalAutoencoder"]

import contextlib
import dataclasses
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .. import evaluate, spec
from ..baseline import ProbabilisticPCA
from ..data import Schema, Values
from ..data.condition_schema import ConditionSchema
from ..data.conditions import apart
from ..data.known import KnownRows
from ..data.read.cells import NotNumbers
from ..data.read.frames import emptied_of
from ..data.table.door import schema_for
from ..data.values import is_frame
from ..data.warned import listed
from ..fitted import Fitted
from ..fitted.by_column import ByColumn
from ..fitted.conditional import Names
from ..fitted.state import asked, of_one_model
from ..integers import integer
from ..options import NetworkFactory, Options, parameters
from ..recipe import Entries
from ..recipe.check import check, seed_from
from ..synthesis import Quality
from ..training import History
from ..vae import VAE
from . import naming, output, state

Array = npt.NDArray[Any]


class VariationalAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""A variational autoencoder (Kingma & Welling, 2014) with a learned noise level.

    It accepts tables (n, d), images (n, h, w), (n, h, w, c) or (n, c, h, w), uint8 or float, torch
    tensors and data frames. Everything it returns is in the units of the data: log-densities in
    nats with the Jacobian of any scaling counted, :math:`\beta^2` in squared units. 8-bit images
    are dequantised, ``x = (u8 + U) / 256``; their unit is full scale.

    {parameters}

    Attributes
    ----------
    fitted_ : Fitted
        The fitted model in the units of its data (`nelbo.Fitted`), to which this class delegates.
    model_ : VAE
        The torch model, in scaled units.
    schema_ : Schema
        Between the user's units and the model's.
    baseline_ : ProbabilisticPCA or None
        Exact pPCA of the rows fitted, with as many latents, in the units of the data
        (`nelbo.baseline`). None where p(x) is a probability, and for fits so large that it would
        take a while: there only `nelbo fit` finds it.
    known_rows_ : KnownRows or None
        64 bits of each row fitted, which is how `trained_on` knows it again; None for models saved
        before rows were remembered.
    history_ : History
        Records of training.
    n_iter_ : int
        Epochs trained, rounded up.
    kept_start_ : bool
        Whether the closed-form start was kept.
    recipe_ : dict
        What was decided about the data, by name: ``{"value": what, "reason": why}``.
    condition_ : ConditionSchema or None
        What the model is conditioned on: the labels and numbers of the rows fitted.
    n_features_in_ : int
        Values per example x; conditions are no part of it.
    dtype_ : str
        Floating type of samples: "float64" if X was, else "float32".

    References
    ----------
    Kingma & Welling (2014), Auto-encoding variational Bayes. Tipping & Bishop (1999), Probabilistic
    principal component analysis. Burda, Grosse & Salakhutdinov (2016), Importance weighted
    autoencoders.
    """

    def __init__(
        self,
        latent_dim: int | Literal["auto"] = 8,
        *,
        schema: Any = "auto",
        unknown: str = "error",
        condition: Sequence[str | int] | None = None,
        network: str | NetworkFactory = "auto",
        encoder: str | NetworkFactory | None = None,
        decoder: str | NetworkFactory | None = None,
        hidden: Sequence[int] | None = None,
        decoder_hidden: Sequence[int] | None = None,
        channels: Sequence[int] = (32, 64),
        activation: str = "silu",
        likelihood: str = "gaussian",
        likelihood_options: Mapping[str, Any] | None = None,
        variance: str | float = "auto",
        prior: str = "auto",
        prior_options: Mapping[str, Any] | None = None,
        posterior: str = "diagonal_normal",
        posterior_options: Mapping[str, Any] | None = None,
        network_options: Mapping[str, Any] | None = None,
        objective: str = "auto",
        objective_samples: int | None = None,
        objective_options: Mapping[str, Any] | None = None,
        input_noise: float | None = None,
        scale: str | None = "auto",
        dequantize: bool | Literal["auto"] = "auto",
        missing: str = "auto",
        missingness: str = "ignorable",
        max_epochs: int | None = None,
        max_steps: int | None = None,
        max_seconds: float | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        validation_fraction: float = 0.1,
        early_stopping: bool = True,
        init: str = "auto",
        score_samples_k: int | None = None,
        device: str = "auto",
        precision: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        callbacks: Sequence[Callable[[Any], object]] | None = None,
        progress: bool = False,
        checkpoint_dir: str | PathLike[str] | None = None,
    ) -> None:
        given = locals()
        for field in dataclasses.fields(Options):
            setattr(self, field.name, given[field.name])

    fitted_: Fitted

    # -- fit
    # -----------------------------------------------------------------------------------------

    def fit(self, X: Any, y: object = None, c: Any = None) -> VariationalAutoencoder:
        """Fit the model to X: (n, d), (n, h, w), (n, h, w, c) or (n, c, h, w). y is ignored.

        Arguments:
            X: Rows; with the columns that ``condition`` names, if any.
            y: Is ignored.
            c: What each row is conditioned on, where that is no part of X: labels or numbers, of
                shape (n,) or (n, k), a dictionary name -> cells, or a data frame. The model then is
                one of p(x|c).

        Raises:
            ValueError: X is not a set of at least two finite numeric examples, c does not fit, or
                an option is out of range.
        """
        from .. import fitting

        warm = bool(self.warm_start) and self.__sklearn_is_fitted__()
        check(self._options)
        values = self.rows_of(X, c, self.fitted_ if warm else None)
        names = values.columns
        if values.table is None:
            names = naming.names_of(self._apart(X, c)[0])
        if warm and values.table is None:
            naming.check_names(self, X, self.fitted_.names, self.n_features_in_)
        found = fitting.fit(self._options, values, names, self.fitted_ if warm else None)
        self.fitted_ = found.fitted
        self.__dict__.pop("_fingerprint", None)
        if found.fingerprint is not None:
            self._fingerprint = found.fingerprint
        if found.interruption is not None:
            raise found.interruption
        return self

    def explain(self, X: Any, c: Any = None) -> Entries:
        """Return what ``fit(X)`` would decide and why, by name; nothing is trained.

        It prints as a table; ``explain(X)["scale"]["value"]`` is one decision.

        Raises:
            ValueError: As `fit`.
        """
        from .. import fitting

        return fitting.explain(self._options, self.rows_of(X, c))

    # -- embed and decode
    # ----------------------------------------------------------------------------

    def transform(self, X: Any, return_std: bool = False, c: Any = None) -> Any:
        """Return the posterior means E_q[z|x], of shape (n, latent_dim).

        Arguments:
            X: Rows.
            return_std: Whether to return the posterior's standard deviations as well, of the same
                shape: (Z, S). Of the lower of two layers both are those given the mean of the upper
                one.
            c: What each row is conditioned on, for a model of p(x|c) whose X does not hold it; so
                in all methods.

        `set_output` says whether arrays or data frames are returned, here and by
        `inverse_transform`, `reconstruct` and `sample`, which give the columns the names that were
        fitted. Images stay arrays.
        """
        means, deviations = self._fitted().encode(self._values(X, c))
        if not return_std:
            return means  # scikit-learn wraps what transform returns first
        return means, output.framed(self, deviations, self.get_feature_names_out(), X)

    def inverse_transform(self, Z: Any, c: Any = None) -> Any:
        """Return the decoder's means ``x_hat = f(z)`` for Z, in data units and layout.

        Arguments:
            Z: Latent points, (n, latent_dim).
            c: What to condition on, for a model of p(x|c): one condition for all, or one for each.
        """
        return self._named(self._fitted().decode(Z, c), Z)

    def reconstruct(
        self,
        X: Any,
        noise: bool = False,
        random_state: int | np.random.RandomState | None = None,
        c: Any = None,
    ) -> Any:
        """Return ``inverse_transform(transform(X))``, in data units and layout.

        ``noise`` adds N(0, beta^2).
        """
        values = self._values(X, c)
        seed = self._seed(random_state) if noise else 0
        return self._named(self.fitted_.reconstruct(values, noise, seed), X)

    def sample(
        self,
        n_samples: int = 1,
        noise: bool = True,
        random_state: int | np.random.RandomState | None = None,
        c: Any = None,
        given: Mapping[str | int, Any] | None = None,
        missing: bool = False,
    ) -> Any:
        """Draw new examples, in data units and layout, and in the floating type of the data fitted.

        First ``x_hat = f(z)`` with z ~ p(z), then, with ``noise``, ``x_tilde ~ N(x_hat, beta^2)``.

        Arguments:
            n_samples: How many.
            noise: Whether to draw x_tilde rather than return its mean x_hat.
            random_state: Seed; None takes the estimator's.
            c: What to condition on, for a model of p(x|c): one condition for all, such as 3 or
                {"label": 3, "age": 40.0}, or one for each.
            given: Values of some columns of a table, such as {"age": 40}, which all rows are to
                have: the others are drawn from their distribution given these.
            missing: Whether values are missing (NaN) as they are in the rows fitted.

        Raises:
            ValueError: n_samples is less than 1, c does not fit, the values of ``given`` hardly
                occur under the model, or no values were missing.
            TypeError: n_samples is not an integer.
        """
        model = self._fitted()
        integer("n_samples", n_samples)
        seed = self._seed(random_state)
        rows = model.sample(int(n_samples), noise, seed, c, given, missing)
        if given is not None and self.schema_.table is not None:
            return self.schema_.table.decode(rows, exact=True)
        return self._named(rows)

    # -- judge
    # ---------------------------------------------------------------------------------------

    def score_samples(
        self,
        X: Any,
        c: Any = None,
        *,
        given: Names | None = None,
        target: Names | None = None,
    ) -> Array:
        """Return log p(x) of each row, or log p(x|c), in nats in the units of the data, of shape
        (n,); it depends on the row alone.

        Exact for a linear model; else by `score_samples_k` importance samples, a quarter of them
        from q(z|x) and the rest from a normal fitted to the row's posterior: a stochastic lower
        bound. Which rows that bound is unreliable for, and which the model was fitted to,
        `log_likelihood` says.

        Arguments:
            X: Rows; of those with missing values it is log p of what is there.
            c: What each row is conditioned on, for a model of p(x|c).
            given: Names or places of columns: it is then log p(target | given).
            target: The same; None is all columns that are not given, as ``given`` is all that are
                no target.
        """
        values = self._values(X, c)
        return self.fitted_.score_samples(values, self.score_samples_k, given=given, target=target)

    def impute(
        self,
        X: Any,
        statistic: str = "mean",
        *,
        draws: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        c: Any = None,
    ) -> Any:
        """Return X with what is missing filled in, by p(what is missing | what is there).

        Arguments:
            X: Rows with missing values.
            statistic: "mean", "median" or "mode" of each; of a category the most probable level.
            draws: How many imputations to draw instead: (draws, n, d), or, of columns of different
                kinds, a list of so many frames.
            random_state: Seed; None takes the estimator's.
            c: What each row is conditioned on, for a model of p(x|c).

        Raises:
            ValueError: X does not fit, or an argument is out of range.
        """
        values = self._values(X, c)
        found = self.fitted_.impute(
            values,
            statistic,
            draws=draws,
            samples=self.score_samples_k,
            seed=self._seed(random_state),
        )
        gone = np.isnan(values.array)
        if self.schema_.table is not None and draws is not None:
            return [self.fitted_.frame(rows, X, gone) for rows in found]
        if self.schema_.table is not None:
            return self.fitted_.frame(found, X, gone)
        if draws is not None:
            return found
        return self._named(found, X)

    def probabilities(self, X: Any, column: str | int, c: Any = None) -> Any:
        """Return p(level | all other values) of a column of categories for each row.

        Of a data frame X it is one with its index, whose columns are the levels; of an array one of
        shape (n, levels), in the order of `levels`.

        Arguments:
            X: Rows; what they hold in this column makes no difference, and a data frame need not
                have it.
            column: The column, by name or place.
            c: What each row is conditioned on, for a model of p(x|c).

        Raises:
            ValueError: The column is unknown, or has no levels.
        """
        model, rows = self._fitted(), X
        framed = is_frame(X) and not isinstance(X, Values)
        if framed and self.schema_.table is not None:
            name = self.schema_.feature_name(self.schema_.place_of(column))
            rows = emptied_of(X, name)
        found = model.probabilities(self._values(rows, c), column)
        if not framed:
            return found
        return self.fitted_.frame_of_levels(found, column, X)

    def levels(self, column: str | int) -> tuple[Any, ...]:
        """Return the levels of a column of categories, in the order of `probabilities`; of an array
        0, 1, ….

        Raises:
            ValueError: The column is unknown, or has no levels.
        """
        return self._fitted().levels(column)

    def log_likelihood(
        self,
        X: Any,
        method: str = "auto",
        samples: int | None = None,
        seed: int = 0,
        c: Any = None,
        tolerance: float | None = None,
        **settings: Any,
    ) -> evaluate.Scores:
        """Return log p(x) of each row, in nats in the data's units, with error and reliability.

        What is returned holds numpy arrays (``value``, ``standard_error``, ``ess``, ``khat``,
        ``unreliable``, and ``trained``, the rows that the model was fitted to), their ``mean`` and
        ``mean_standard_error``, and prints as a short table.

        Arguments:
            X: Rows.
            method: "auto", "exact", "quadrature", "importance" or "ais", as in
                `evaluate.log_likelihood`.
            samples: Importance samples per row (None is `score_samples_k`), or AIS chains (None is
                16).
            seed: Seed of those samples.
            c: What each row is conditioned on, for a model of p(x|c).
            tolerance: The standard error of each row that is asked for, in nats, with method
                "auto"; None is 0.5. ``rungs`` of what is returned says how many rows took how much
                effort.
            settings: Further arguments of `evaluate.log_likelihood`, such as ``memory`` and
                ``temperatures``.
        """
        if samples is None and method != "ais":
            samples = self.score_samples_k
        values = self._values(X, c)
        return self.fitted_.log_likelihood(
            values, method, samples, seed, tolerance=tolerance, **settings
        )

    def score_columns(self, X: Any, samples: int | None = None, c: Any = None) -> ByColumn:
        """Return what each column adds to log p(x) of each row, in nats or in nats per unit.

        Arguments:
            X: Rows.
            samples: Importance samples per row; None takes as many as `score_samples`.
            c: What each row is conditioned on, for a model of p(x|c).

        Returns:
            ``value`` (n, d), what each column adds, E[log p(x_j|z)] over p(z|x), and ``of_z`` (n,),
            what z does, -KL(p(z|x) || p(z)): they sum to log p(x) by as many importance samples, as
            `score_samples` estimates it of rows that it has no need to look at again.
        """
        return self._fitted().by_column(self._values(X, c), samples or self.score_samples_k)

    def trained_on(self, X: Any) -> npt.NDArray[np.bool_]:
        """Return which rows of X this model was fitted to, those for validation included: (n,).

        A row is known by its values, in whatever order and floating type; what `score_samples` says
        of it is not what it says of new rows.

        Raises:
            ValueError: X does not fit, or the model was saved before rows were remembered.
        """
        return self._fitted().trained_on(X)

    def score(self, X: Any, y: object = None, c: Any = None) -> float:
        """Return the mean of `score_samples`: log p(x) in nats per example; larger is better.

        It is held-out log p(x) only where no row is one that `trained_on` knows.
        """
        return float(np.mean(self.score_samples(X, c), dtype=np.float64))

    def elbo(self, X: Any, refined: bool = False, c: Any = None) -> Array:
        """Return the evidence lower bound of each row in nats, in the units of the data: (n,).

        Arguments:
            X: Rows.
            refined: Whether it is that of a normal fitted to each row's posterior, where that is
                better than the encoder's q(z|x): a tighter bound on log p(x), which says little of
                the encoder.
            c: What each row is conditioned on, for a model of p(x|c).
        """
        return self._fitted().elbo(self._values(X, c), refined)

    def quality(
        self,
        X: Any,
        synthetic: Any = None,
        target: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> Quality:
        """Judge synthetic rows: are they like the data, useful in their place, or copies of them.

        Arguments:
            X: Rows of data, best those of the fit together with others that were kept from it.
            synthetic: Rows that `sample` drew; None draws as many as there are rows of training.
            target: The name of a column: how well it is predicted from the others by what was
                trained on synthetic rows.
            random_state: Seed of what is drawn; None is that of the fit.

        Returns:
            What prints as a short table: see `nelbo.synthesis.Quality`.

        Raises:
            ValueError: The rows are no table, do not fit, or none is new where ``target`` needs
                such.
        """
        values = self._values(X, None)
        if synthetic is not None:
            synthetic = self._values(synthetic, None)
        return self.fitted_.quality(values, synthetic, target, self._seed(random_state))

    def report(
        self,
        path: str | PathLike[str],
        X: Any = None,
        *,
        c: Any = None,
        labels: Any = None,
        title: str = "",
    ) -> Path:
        """Write what there is to see of the fitted model as one page that needs no network.

        Arguments:
            path: The page, whose name ends in .html. A JSON file is written beside it.
            X: Rows; those that the model was not fitted to are what it is judged by, where there
                are any. Without them nothing is shown that needs rows, as a model does not keep
                its own.
            c: What each row is conditioned on, where X does not hold it.
            labels: A label or a number of each row, by which the map of the latent space is
                coloured.
            title: What the data are called.

        Returns:
            The path of the page.
        """
        model, values = self._fitted(), None
        if X is not None:
            values = self._values(X, c)
        return model.report(path, values, labels=labels, title=title, seed=self.seed_)

    # -- what was fitted
    # -----------------------------------------------------------------------------

    @property
    def model_(self) -> VAE:
        """The torch model, in scaled units."""
        return self.fitted_.vae

    @property
    def schema_(self) -> Schema:
        """What lies between the units of the data and those of the model."""
        return self.fitted_.schema

    @property
    def spec_(self) -> spec.Spec:
        """The configuration of the model."""
        return self.fitted_.spec

    @property
    def recipe_(self) -> Entries:
        """What was decided, by name: ``{"value": what, "reason": why}``; prints as a table."""
        return self.fitted_.recipe

    @property
    def baseline_(self) -> ProbabilisticPCA | None:
        """Exact pPCA of the rows fitted, in data units."""
        return self.fitted_.linear

    @property
    def known_rows_(self) -> KnownRows | None:
        """64 bits of each row fitted."""
        return self.fitted_.known

    @property
    def condition_(self) -> ConditionSchema | None:
        """What the model is conditioned on."""
        return self.fitted_.condition

    @property
    def history_(self) -> History:
        """Records of training."""
        return self.fitted_.history

    @property
    def seed_(self) -> int:
        """The seed that random_state came to."""
        return self.fitted_.seed

    @property
    def kept_start_(self) -> bool:
        """Whether the closed-form start was kept."""
        return self.fitted_.kept_start

    @property
    def n_iter_(self) -> int:
        """Epochs trained, rounded up."""
        return self.fitted_.n_iter

    @property
    def dtype_(self) -> str:
        """Floating type of samples."""
        return self.fitted_.dtype

    @property
    def n_features_in_(self) -> int:
        """Values per example."""
        return self.fitted_.schema.n_features

    @property
    def feature_names_in_(self) -> npt.NDArray[Any]:
        """Names of the columns fitted, where these are strings."""
        names = self.fitted_.names
        if names is None:
            raise AttributeError("feature_names_in_ does not exist: the columns had no names.")
        return np.array(names, dtype=object)

    @property
    def noise_variance_(self) -> float | Array:
        r""":math:`\beta^2` in squared data units: a number, or one per feature, (n_features_in_,).

        Of noise that depends on z it is the mean over z ~ p(z): the variance that x_tilde has
        beyond x_hat's. Of Student's t it is the square of the scale s, which exists whatever the
        degrees of freedom are; the variance is s^2 df / (df - 2) where df > 2.
        """
        return self._fitted().noise

    # -- keep
    # ----------------------------------------------------------------------------------------

    def save(
        self,
        path: str | PathLike[str],
        overwrite: bool = False,
        extra_text: Mapping[str, str] | None = None,
    ) -> None:
        """Write the model to a folder: JSON, safetensors and checksums, whole or not at all.

        Arguments:
            path: The folder.
            overwrite: Whether to replace a model that is there.
            extra_text: Further files of text, name -> text.

        Raises:
            CheckpointError: The folder exists and ``overwrite`` is False, or it is not a model's.
            TypeError: A network is a factory, which a file cannot hold.
        """
        model = dataclasses.replace(self._fitted(), asked=asked(self._options))
        model.save(path, overwrite, extra_text)
        state.forget(self.checkpoint_dir, vars(self).get("_fingerprint"))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> VariationalAutoencoder:
        """Read a model that `save` wrote. No code is run from the file.

        Raises:
            CheckpointError: The folder is missing, incomplete, changed since it was written, or
                from a newer version.
        """
        model = Fitted.load(path)
        with of_one_model(path):
            loaded = cls(**model.asked)
            check(loaded._options)
        loaded.fitted_ = model
        return loaded

    def __setstate__(self, values: dict[str, Any]) -> None:
        super().__setstate__(state.brought_up(values))

    def _repr_html_inner(self) -> str:
        """Return what scikit-learn shows of an estimator, after what was fitted where it was."""
        shown: str = super()._repr_html_inner()
        if not self.__sklearn_is_fitted__():
            return shown
        return self.fitted_._repr_html_() + shown

    def __sklearn_is_fitted__(self) -> bool:
        return "fitted_" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "auto"
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = True  # it is made dense
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    _n_features_out = property(lambda self: self.model_.latent_dim)

    # -- helpers
    # -------------------------------------------------------------------------------------

    @property
    def _options(self) -> Options:
        """The constructor arguments as one value."""
        names = [field.name for field in dataclasses.fields(Options)]
        return Options(**{name: getattr(self, name) for name in names})

    def _fitted(self) -> Fitted:
        """Return the fitted model."""
        check_is_fitted(self)
        return self.fitted_

    def _values(self, X: Any, c: Any) -> Values:
        """Return rows with their conditions, once scikit-learn has compared names of columns."""
        check_is_fitted(self)
        if self.fitted_.asked.get("condition") is not None:
            X, c = apart(X, self.fitted_.asked["condition"], c)
        if self.schema_.table is None:
            naming.check_names(self, X, self.fitted_.names, self.n_features_in_)
        return self.fitted_.values(X, c, self.unknown)

    def rows_of(self, X: Any, c: Any = None, before: Fitted | None = None) -> Values:
        """Return rows of a fit, once it is known what their columns are.

        Arguments:
            X: Rows.
            c: What each is conditioned on, where that is no part of X.
            before: The model that the fit goes on from.
        """
        X, c = self._apart(X, c)
        takes, table = self.missing == "auto", None
        if before is not None:
            table = before.schema.table
        elif not isinstance(X, Values) and self.looks_for_kinds:
            table = schema_for(X, self.schema)
        if table is None or isinstance(X, Values):
            with self.numbers_alone():
                return Values.of(X, c=c, missing=takes)
        return Values.of_table(X, table, c=c, unknown=self.unknown, missing=takes)

    @property
    def looks_for_kinds(self) -> bool:
        """Whether a fit looks for columns of different kinds: not where one likelihood for all of
        them, or a scaling, was asked for.
        """
        return (
            not isinstance(self.schema, str)
            or self.schema != "auto"
            or (self.likelihood == "gaussian" and self.scale == self.dequantize == "auto")
        )

    @contextlib.contextmanager
    def numbers_alone(self) -> Iterator[None]:
        """Say of text where numbers are required which option requires them, if one does."""
        try:
            yield
        except NotNumbers as error:
            if self.looks_for_kinds:
                raise
            usual = {"likelihood": "gaussian", "scale": "auto", "dequantize": "auto"}
            asked = {name: getattr(self, name) for name in usual}
            odd = [f"{name}={asked[name]!r}" for name in usual if asked[name] != usual[name]]
            raise NotNumbers(
                f"{error} Or leave out {listed(odd)}, which is for numbers alone: then each column "
                "has the likelihood of its kind."
            ) from error

    def _apart(self, X: Any, c: Any) -> tuple[Any, Any]:
        """Return rows of a fit without their conditions, and these.

        Raises:
            ValueError: Conditions came beside X, and ``condition`` names columns of it.
        """
        if c is not None and self.condition is not None:
            raise ValueError(
                f"condition={self.condition!r} names columns of X, but c was passed as well. Keep "
                "one of them."
            )
        return apart(X, self.condition, c)

    def _named(self, rows: Array, like: Any = None) -> Any:
        """Return rows in data units as `set_output` asks for them."""
        if self.schema_.table is not None:
            return self.fitted_.frame(rows, like)
        names = self.fitted_.names or self.schema_.columns
        return output.framed(self, rows, names, like)

    def _seed(self, random_state: int | np.random.RandomState | None) -> int:
        return seed_from(self.random_state if random_state is None else random_state)


VariationalAutoencoder.__doc__ = (VariationalAutoencoder.__doc__ or "").replace(
    "{parameters}", textwrap.indent(parameters(), "    ").strip()
)
