r"""`Fitted`: a VAE in the units of its data.

.. math:: x = m + s \odot (R t), \qquad
    \log p(x) = \log p(t) - \sum_j \log s_j - \log |\det R|

The VAE knows t alone. Here its numbers become those of x, and the Jacobian is counted.
"""

from __future__ import annotations

__all__ = ["Fitted"]

import dataclasses
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .. import evaluate, spec
from ..baseline import ProbabilisticPCA
from ..brief import Brief
from ..data import Schema, Values
from ..data.condition_schema import ConditionSchema, encoded
from ..data.conditions import apart
from ..data.known import KnownRows, Uses
from ..data.read.cells import NotNumbers
from ..data.read.frames import with_columns
from ..data.rows import Batch
from ..data.table.build import library_of, side_by_side
from ..data.table.column import Unknown
from ..data.values import check_finite, is_frame
from ..data.warned import listed
from ..distributions import draw
from ..evaluate.posterior import levels_of
from ..markup import card
from ..networks.sub_pixel import quickened
from ..options import Options
from ..recipe import Entries
from ..training import History, Units
from ..vae import VAE
from ..watching import pieces
from . import choice, conditional, diagnosis, door, linear, noise, state
from . import impute as imputing
from .by_column import ByColumn
from .conditional import Names
from .given import Resampling, row_of
from .given_others import GivenOthers, given_others
from .incomplete import View, of_incomplete, without_mechanism
from .missing_given_z import MissingGivenZ

if TYPE_CHECKING:
    from ..diagnose import Diagnosis, Effort, Spell
    from ..synthesis import Quality

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False, repr=False)
class Fitted(Brief):
    """A variational autoencoder in the units of its data.

    Rows X are arrays, tensors or data frames in the layout of the training data; what comes back
    is a numpy array, of which `frame` makes a data frame where columns are of different kinds.
    Log-densities are in nats with the Jacobian of any scaling counted.

    Attributes:
        vae: The torch model, in scaled units.
        schema: What lies between the units of the data and those of the model.
        spec: The configuration of the model.
        recipe: What was decided for this fit, by name: ``{"value": what, "reason": why}``; prints
            as a table.
        asked: The options of the fit, as JSON holds them.
        history: The records of training.
        seed: The seed of the fit, below 2**62.
        kept_start: Whether the closed-form start was kept, because training did not beat it.
        dtype: The floating type of samples: "float64" if the training data were, else "float32".
        names: The column names that the training data had, or None.
        known: 64 bits of each row fitted; None for models saved before rows were remembered.
        linear: Exact pPCA of the rows fitted, with as many latents, in data units
            (`nelbo.baseline`); None where p(x) is a probability, or where nobody has found it yet.
        condition: What the rows are conditioned on, where the model is one of p(x|c); then c is
            passed beside X, or X holds the columns that ``condition`` of the fit named.
        missing_given_z: Which values are missing, given z, where the rows fitted had such.
    """

    vae: VAE
    schema: Schema
    spec: spec.Spec
    recipe: Entries = field(repr=False)
    asked: Mapping[str, Any] = field(repr=False)
    history: History
    seed: int
    kept_start: bool
    dtype: Literal["float32", "float64"]
    names: tuple[str, ...] | None = None
    known: KnownRows | None = None
    linear: ProbabilisticPCA | None = None
    condition: ConditionSchema | None = None
    missing_given_z: MissingGivenZ | None = None

    # -- judge

    def log_likelihood(
        self,
        X: Any,
        method: str = "auto",
        samples: int | None = None,
        seed: int = 0,
        c: Any = None,
        tolerance: float | None = None,
        given: Names | None = None,
        target: Names | None = None,
        **settings: Any,
    ) -> evaluate.Scores:
        """Return log p(x) of each row, with its standard error and how far to trust it.

        Arguments:
            X: Rows.
            c: What each is conditioned on, for a model of p(x|c): the result is log p(x|c).
            method: "auto", "exact", "quadrature", "importance" or "ais", as in
                `nelbo.evaluate.log_likelihood`.
            samples: Importance samples per row (None takes `score_count`; "auto" begins with 100),
                or AIS chains (None takes 16).
            seed: Seed of those samples.
            tolerance: The standard error of each row that is asked for, in nats, with method
                "auto"; None is 0.5.
            given, target: Names or places of columns of a table: then it is log p(target | given),
                as in `score_samples`.
            settings: Further arguments of `nelbo.evaluate.log_likelihood`, such as ``memory``.

        Returns:
            Arrays of shape (n,), in nats and in data units; ``trained`` tells the rows that the
            model was fitted to.

        Raises:
            ValueError: X does not fit the training data, or is not finite.
        """
        values = self.values(X, c)
        found = self._conditional(
            values, given, target, method, samples, seed, tolerance=tolerance, **settings
        )
        use = self._uses(values)
        trained = None if use is None else torch.from_numpy(choice.fitted(use))
        return dataclasses.replace(found, trained=trained).numpy()

    def score_samples(
        self,
        X: Any,
        samples: int | None = None,
        c: Any = None,
        *,
        given: Names | None = None,
        target: Names | None = None,
    ) -> Array:
        r"""Return log p(x) of each row in nats, of shape (n,): exact, or by importance samples.

        With ``given`` or ``target`` it is that of some columns given others,
        :math:`\log p(x_T \mid x_G) = \log p(x_T, x_G) - \log p(x_G)`.

        Arguments:
            X: Rows; of those with missing values it is log p of what is there.
            samples: Importance samples per row; None takes `score_count`.
            c: What each is conditioned on, for a model of p(x|c).
            given: G, names or places of columns of a table; None is all columns but T.
            target: T; None is all columns but G. With ``given=[]`` it is the marginal of T.

        Raises:
            ValueError: X or c does not fit the training data, X is infinite, or a column is
                unknown.
        """
        values = self.values(X, c)
        found = self._conditional(values, given, target, self.plain_method(values), samples)
        return self._as_given(values, found.value)

    def impute(
        self,
        X: Any,
        statistic: str = "mean",
        *,
        draws: int | None = None,
        samples: int | None = None,
        seed: int = 0,
        c: Any = None,
    ) -> Array:
        """Return rows in which what is missing is filled in, by p(what is missing | what is there).

        Values that are there stay as they are, to the bit.

        Arguments:
            X: Rows with missing values.
            statistic: "mean", "median" or "mode" of each value; of a category it is the most
                probable level in any case.
            draws: How many imputations to draw instead, for multiple imputation: the result is then
                (draws, n, *shape).
            samples: Draws of z for each row; None takes `score_count`.
            seed: Their seed.
            c: What each row is conditioned on, for a model of p(x|c).

        Raises:
            ValueError: X does not fit the training data, the statistic is unknown, or ``draws`` is
                below 1.
        """
        return self.imputed(X, statistic, draws=draws, samples=samples, seed=seed, c=c).values

    def imputed(
        self,
        X: Any,
        statistic: str = "mean",
        *,
        draws: int | None = None,
        samples: int | None = None,
        seed: int = 0,
        c: Any = None,
    ) -> imputing.Imputed:
        """Return what `impute` does with the standard deviation of each value that was filled in,
        and the effective number of samples behind each row.
        """
        imputing.check(statistic, draws, samples)
        values = self.values(X, c)
        array = values.array
        gone = np.isnan(array) if values.incomplete else np.zeros(array.shape, dtype=np.bool_)
        rows = gone.reshape(len(array), -1).any(1)
        count, shape = draws or 1, array.shape
        whole = np.repeat(array[None], count, 0)
        std, ess = np.zeros(shape), np.full(len(array), math.inf)
        if rows.any():
            views = self.views(values[rows], "centre", mechanism=True)
            some = imputing.impute(
                views,
                (int(rows.sum()), *self.schema.data_shape),
                statistic,
                draws or 0,
                samples or self.score_count,
                seed,
            )
            filled = some.values.reshape(count, int(rows.sum()), *shape[1:])
            whole[:, rows] = np.where(gone[rows], filled, array[rows])
            if some.std is not None:
                std[rows] = np.where(gone[rows], some.std.reshape(-1, *shape[1:]), 0.0)
            ess[rows] = some.ess
        if draws is None:
            return imputing.Imputed(whole[0], std, ess)
        return imputing.Imputed(whole, None, ess)

    def probabilities(
        self,
        X: Any,
        column: str | int,
        *,
        samples: int | None = None,
        seed: int = 0,
        c: Any = None,
    ) -> Array:
        """Return p(level | all other values that are there) of a column of categories for each row,
        of shape (n, levels), in the order of `levels`.

        Arguments:
            X: Rows; what they hold in this column makes no difference.
            column: The column, by name or place.
            samples: Draws of z for each row; None takes `score_count`.
            seed: Their seed.
            c: What each row is conditioned on, for a model of p(x|c).

        Raises:
            ValueError: The column is unknown, or has no levels.
        """
        values = self.values(X, c)
        place = self.schema.place_of(column)
        others = np.arange(self.schema.n_features) != place
        views = self.views(values.only(others), "centre")
        inside = np.flatnonzero(self.schema.kept == place)
        found = None
        if len(inside):
            number = samples or self.score_count
            found = imputing.level_probabilities(views, int(inside[0]), number, seed)
        if found is None:
            raise self._no_levels(place)
        return np.asarray(found.cpu().numpy())

    def levels(self, column: str | int) -> tuple[Any, ...]:
        """Return the levels of a column of categories, in the order of `probabilities`: text,
        numbers or true and false, as in the frame that was fitted; of an array 0, 1, ….

        Raises:
            ValueError: The column is unknown, or has no levels.
        """
        place = self.schema.place_of(column)
        if self.schema.table is not None:
            found = self.schema.table.in_model[place].cells
        else:
            found = tuple(range(self._level_count(place)))
        if not found:
            raise self._no_levels(place)
        return found

    @torch.no_grad()
    def _level_count(self, place: int) -> int:
        """Return how many levels a column of the array has; 0 where it has none."""
        inside = np.flatnonzero(self.schema.kept == place)
        if not len(inside):
            return 0
        z = torch.zeros(1, self.vae.latent_dim, device=self.vae.device, dtype=self.vae.dtype)
        c = None if self.condition is None else z.new_zeros(1, self.condition.width)
        found = levels_of(self.vae.decode(z, c), int(inside[0]))
        return 0 if found is None else found.shape[-1]

    def _no_levels(self, place: int) -> ValueError:
        return ValueError(f"{self.schema.feature_name(place)} has no levels, so no probabilities.")

    def frame_of_levels(self, shares: Array, column: str | int, like: Any) -> Any:
        """Return what `probabilities` found as a data frame, whose columns are the levels.

        Arguments:
            shares: (n, levels).
            column: The column that has these levels.
            like: The frame that they were computed from; one of pandas hands down its index.
        """
        name = self.schema.feature_name(self.schema.place_of(column))
        index = getattr(like, "index", None)
        return side_by_side(shares, self.levels(column), name, library_of(like), index)

    def given_others(
        self, X: Any, samples: int | None = None, seed: int = 0, c: Any = None
    ) -> GivenOthers:
        """Return log p(x_j | x_-j) of each value of a table given the others of its row, and what
        these lead to expect.

        Exact for linear models and mixtures of such; else by importance samples, half of which come
        from the posterior of the whole row.

        Arguments:
            X: Rows, in which values may be missing: of those only what is expected is told.
            samples: Draws of z for each row; None takes `score_count`.
            seed: Their seed.
            c: What each row is conditioned on, for a model of p(x|c).

        Raises:
            ValueError: X does not fit the training data, or is no table.
        """
        values = self.values(X, c)
        if len(self.schema.data_shape) > 1:
            raise ValueError("Columns can only be told of tables, got rows of more than one axis.")
        vae, schema = of_incomplete(without_mechanism(self.vae), self.schema)
        x = door.to_model(schema, self.vae.likelihood, values, "centre")
        every = torch.ones(len(values), dtype=torch.bool)
        view = View(every, vae, schema, x, self.conditions_of(values))
        return given_others(view, samples or self.score_count, seed)

    def plain_method(self, X: Any, c: Any = None) -> str:
        """Return "exact" where log p(x) has a closed form, else "importance".

        That scores many rows at little cost.
        """
        return evaluate.plain_method(self.vae, self.conditions_of(self.values(X, c)))

    def elbo(self, X: Any, refined: bool = False, c: Any = None) -> Array:
        """Return the evidence lower bound of each row in nats, of shape (n,).

        Arguments:
            X: Rows.
            refined: Whether it is that of a normal fitted to each row's posterior, where that is
                better than the encoder's q(z|x), as in `nelbo.evaluate.elbo`.
            c: What each row is conditioned on, for a model of p(x|c).

        Raises:
            ValueError: X or c does not fit the training data, or is not finite.
        """
        values = self.values(X, c)
        nats = torch.empty(len(values), dtype=torch.float64)
        for view in self.views(values):
            bound = evaluate.elbo(view.vae, view.x, c=view.c, refined=refined)
            nats[view.rows] = view.schema.log_density(bound, view.x)
        return self._as_given(values, self._possible(values, nats))

    def by_column(
        self, X: Any, samples: int | None = None, seed: int = 0, c: Any = None
    ) -> ByColumn:
        """Return what each column adds to log p(x) of each row, in nats or in nats per unit: see
        `ByColumn`.

        Arguments:
            X: Rows.
            samples: Importance samples per row; None takes `score_count`.
            seed: Their seed.
            c: What each row is conditioned on, for a model of p(x|c).

        Raises:
            TypeError: The columns of p(x|z) are not independent given z.
            ValueError: X or c does not fit the training data, or columns are whitened.
        """
        if self.schema.mixing is not None:
            raise ValueError(
                "The columns of this model are whitened, so that none of them has a term of its "
                "own. Fit with scale='standard'."
            )
        values = self.values(X, c)
        value = np.zeros((len(values), self.schema.n_features))
        of_z = np.zeros(len(values))
        log_scale = self.schema.log_scales
        for view in self.views(values):
            count = samples or self.score_count
            each, rest = evaluate.of_each_column(view.vae, view.x, count, seed, c=view.c)
            there = ~view.x.flatten(1).isnan().cpu().numpy()
            rows = np.flatnonzero(view.rows.numpy())
            value[np.ix_(rows, self.schema.kept)] = each.numpy() - log_scale * there
            of_z[rows] = rest.numpy()
        names = tuple(map(self.schema.feature_name, range(self.schema.n_features)))
        said = ["density" if self.vae.likelihood.density else "probability"] * len(names)
        measures = getattr(self.vae.likelihood, "measures", ())
        for place, measure in zip(self.schema.kept, measures, strict=False):
            said[place] = measure
        return ByColumn(names, tuple(said), value, of_z)

    def baseline(self, X: Any, c: Any = None) -> Array | None:
        """Return log p(x) of each row under exact pPCA in nats, of shape (n,), or None without it.

        Raises:
            ValueError: X does not fit the training data.
        """
        if self.linear is None:
            return None
        values = self.values(X, c)
        nats = linear.log_prob(self.schema, self.linear, values, self.conditions_of(values))
        return np.asarray(self._possible(values, nats).numpy())

    def bidirectional(self, rows: int, seed: int = 0, **settings: Any) -> evaluate.Bracket:
        """Bound log p(x) of simulated rows from both sides, as `nelbo.evaluate.bidirectional` does.

        The bounds are in data units; the simulated rows ``x`` are those of the model, and their
        conditions, if any, drawn by their shares in the training rows.
        """
        c = None
        if self.condition is not None:
            c = self.condition.encode(self.condition.draw(rows, seed))
        found = evaluate.bidirectional(self.vae, rows, seed=seed, c=c, **settings)
        lower, upper = self.nats(found.lower), self.nats(found.upper)
        return dataclasses.replace(found, lower=lower, upper=upper)

    def diagnose(
        self,
        X: Any,
        train: Any | None = None,
        limit: int = 1000,
        seed: int = 0,
        spell: Spell | None = None,
        which: str | None = None,
        c: Any = None,
        train_c: Any = None,
        effort: Effort | None = None,
        log_p: Array | None = None,
    ) -> Diagnosis:
        """Find out what is wrong with this model: verdicts, and one diagnosis with its cure.

        Arguments:
            X: Rows, best such that the model has not seen. Where it was trained on some of them
                only, the others are looked at, and these serve as ``train``.
            train: Rows that the model was fitted to, or None.
            limit: How many rows to look at.
            seed: Seed of everything drawn.
            spell: How the advice writes an option and its value; None is as in Python.
            which: "held-out", "trained" or "all" of X; None is "held-out" where there are such
                rows.
            c, train_c: What the rows, and those of ``train``, are conditioned on, for a model of
                p(x|c).
            effort: How closely to look; None is as closely as is worth while.
            log_p: log p(x) of each row of X, as `log_likelihood` finds it by `plain_method` and
                ``effort.samples`` importance samples, where that is known already.

        Raises:
            ValueError: Rows do not fit or are too few, or there are none of those asked for.
        """
        from ..diagnose import LEAST_ROWS, Effort, diagnose, in_python

        X = diagnosis.readable(self.vae, self.values(X, c), LEAST_ROWS)
        x, model = evaluate.Examples(self._rows(X), self.conditions_of(X)), self
        if log_p is not None and len(log_p) != len(X):
            raise ValueError(
                f"log_p has {len(log_p):,} values, but {len(X):,} rows are looked at. Pass one for "
                "each row, or none."
            )
        known: evaluate.Examples | None = None
        if train is not None:
            train = diagnosis.readable(self.vae, self.values(train, train_c), LEAST_ROWS)
            known = evaluate.Examples(self._rows(train), self.conditions_of(train))
            model = self.with_baseline(train)
        if known is not None and self.known is not None:
            seen = self.trained_on(train)
            diagnosis.refuse_unknown(seen)
            known = known[torch.from_numpy(seen)]
        chosen = self.choose(X, which, LEAST_ROWS)
        mask = torch.from_numpy(chosen.mask)
        linear, told = model.baseline(X), chosen.seen
        if not chosen.judged_as_new:
            known = None  # to hold these rows against
        elif known is None and told is not None and chosen.trained:
            known = x[torch.from_numpy(told)]
        looked_at, fitted, fitted_c = x[mask], None, None
        if known is not None:
            fitted, fitted_c = known.x, known.c
        return diagnose(
            self.vae,
            looked_at.x,
            fitted,
            c=looked_at.c,
            train_c=fitted_c,
            rows=limit,
            units=self.units,
            linear=diagnosis.picked(linear, mask),
            log_p=diagnosis.picked(log_p, mask),
            seen=diagnosis.picked(told, mask),
            seed=seed,
            used=diagnosis.used(self),
            spell=spell or in_python,
            effort=effort or Effort(),
        )

    def quickened(self) -> Fitted:
        """Return a model that is the same but for rounding, and takes less time for each decode
        where its decoder is a convolutional one; it is not for training or saving."""
        vae, decoder = self.vae, quickened(self.vae.decoder)
        if decoder is vae.decoder:
            return self
        swift = VAE(vae.prior, decoder, vae.likelihood, vae.encoder, vae.posterior)
        return dataclasses.replace(self, vae=swift.train(vae.training))

    def report(
        self,
        path: str | PathLike[str],
        X: Any = None,
        *,
        c: Any = None,
        labels: Any = None,
        title: str = "",
        seed: int = 0,
    ) -> Path:
        """Write what there is to see of this model as one page that needs no network.

        A JSON file with its numbers is written beside it. A model does not keep its rows, so what
        is shown of rows is shown where they are passed.

        Arguments:
            path: The page, whose name ends in .html; it is replaced where it exists.
            X: Rows; those that the model was not fitted to are what it is judged by, where there
                are any.
            c: What each is conditioned on, for a model of p(x|c).
            labels: A label or a number of each row, by which the map of the latent space is
                coloured.
            title: What the data are called.
            seed: Seed of everything drawn.

        Returns:
            The path of the page.

        Raises:
            ImportError: matplotlib or jinja2 is not installed; the extra "report" has both.
            ValueError: The name does not end in .html, or X, c or labels do not fit.
        """
        from ..report import write_report
        from .portrait import portray

        found = portray(self, X, c=c, labels=labels, title=title, seed=seed)
        return write_report(path, found)[0]

    def quality(
        self, X: Any, synthetic: Any = None, target: str | None = None, seed: int = 0
    ) -> Quality:
        """Judge synthetic rows: are they like the data, useful in their place, or copies of them.

        Arguments:
            X: Rows of data. Best are those of the fit together with others: the model knows which
                it was trained on, to which synthetic rows may be too close, and tests on others
                what they are useful for.
            synthetic: Rows that were drawn; None draws as many as there are rows of training in X.
            target: The name of a column: how well it is predicted from the others by what was
                trained on synthetic rows.
            seed: Seed of all that is drawn.

        Raises:
            ValueError: The rows are no table, do not fit, or none is new where ``target`` needs
                such.
        """
        from .synthetic import quality_of

        return quality_of(self, X, synthetic, target, seed)

    def check_quality(self, X: Any, target: str | None = None) -> None:
        """Refuse rows, or a column to predict, that `quality` could not judge by.

        Arguments:
            X: Rows of data.
            target: The column.

        Raises:
            ValueError: As `quality` raises it.
        """
        from .synthetic import check

        check(self, X, target)

    def _repr_html_(self) -> str:
        """Return what this model is, and where it comes from, for a notebook."""
        from .portrait import about

        title, facts = about(self)
        return card("Fitted", [title, "Its report: model.report(path, X)"], facts)

    @property
    def options(self) -> Options:
        """What was asked for; what is not known is left open."""
        return state.options_of(self.asked)

    @property
    def score_count(self) -> int:
        """How many importance samples a row gets: more where networks and rows are small."""
        if self.options.score_samples_k is not None:
            return self.options.score_samples_k
        if "score_samples" in self.recipe:
            return int(self.recipe["score_samples"]["value"])
        return {"table": 1_000}.get(self.kind, 100)

    @property
    def kind(self) -> str:
        """The kind of the data: "table", "images" or "plain"."""
        if "data" in self.recipe:
            return str(self.recipe["data"]["value"])
        # models saved before the recipe told: tables alone had their noise read from z unasked
        left_open = self.options.variance == "auto"
        if left_open and self.spec.variance == "heteroscedastic":
            return "table"
        return {"images": "images"}.get(self.schema.kind, "plain")

    @property
    def objective(self) -> str:
        """The name of what training maximised."""
        if self.options.objective != "auto":
            return self.options.objective
        found: str = self.recipe.get("objective", {"value": "elbo"})["value"]
        return found

    @property
    def noise(self) -> float | Array:
        r""":math:`\beta^2` in squared data units: a number, or one for each feature.

        Of noise that depends on z it is the mean over z ~ p(z), of Student's t the square of its
        scale.

        Raises:
            AttributeError: The likelihood has no such noise.
        """
        return noise.variance_of(self.vae, self.schema, self.condition)

    # -- encode, decode, sample

    def encode(self, X: Any, c: Any = None) -> tuple[Array, Array]:
        """Return means and standard deviations of q(z|x), each of shape (n, latent_dim).

        Those of the lower of two layers are those given the mean of the upper one.

        Arguments:
            X: Rows.
            c: What each is conditioned on, for a model of p(x|c).

        Raises:
            ValueError: X or c does not fit the training data, or is not finite.
        """
        values = self.values(X, c)
        found: Tensor | None = None
        for view in self.views(values, "centre"):
            both = self._encoded(view)
            if found is None:
                found = both.new_empty(2, len(values), self.vae.latent_dim)
            found[:, view.rows] = both.to(found)
        if found is None:
            raise ValueError("X has no rows.")
        return np.asarray(found[0].numpy()), np.asarray(found[1].numpy())

    def _encoded(self, view: View) -> Tensor:
        """Return means and standard deviations of q(z|x) of some rows, (2, n, latent_dim)."""
        parts = []
        with torch.no_grad():
            model = evaluate.in_precision(view.vae, view.x.dtype)
            for part, given in pieces([*self._chunks(view.x, view.c)], "encoding"):
                q = model.encode(part, given)
                parts.append(torch.stack([q.mean.cpu(), q.stddev.cpu()]))
        return torch.cat(parts, 1)

    def decode(self, Z: Any, c: Any = None) -> Array:
        """Return the means ``x_hat = f(z)`` of p(x|z), in data units and layout.

        Arguments:
            Z: Latent points, of shape (n, latent_dim).
            c: What to condition on, for a model of p(x|c): one condition for each, or one for all.

        Raises:
            ValueError: Z has another shape, or is not finite; or c does not fit.
        """
        z = door.latents(Z, self.vae.latent_dim)
        return self._decode(z, None, door.conditions(self.condition, c, len(z)))

    def reconstruct(self, X: Any, noise: bool = False, seed: int = 0, c: Any = None) -> Array:
        """Return ``decode(encode(X)[0])``, in data units; ``noise`` draws from p(x|z) instead."""
        generator = self._generator(seed) if noise else None
        values = self.values(X, c)
        z = torch.from_numpy(self.encode(values)[0])
        return self._decode(z, generator, self.conditions_of(values))

    def sample(
        self,
        count: int = 1,
        noise: bool = True,
        seed: int = 0,
        c: Any = None,
        given: Mapping[str | int, Any] | None = None,
        missing: bool = False,
    ) -> Array:
        """Draw new examples in data units and layout, and in the floating type of the data.

        First ``x_hat = f(z)`` with z ~ p(z), then, with ``noise``, x ~ p(x|z).

        Arguments:
            count: How many.
            noise: Whether to draw x rather than to return its mean x_hat.
            seed: Seed of the draw.
            c: What to condition on, for a model of p(x|c): one condition for all, or one for each.
            given: Values of some columns of a table, by name or place, which all rows are to have:
                then z is drawn from its posterior given these, by importance resampling.
            missing: Whether values are missing (NaN) as they are in the rows fitted: what is
                missing depends on z. It does not go with ``given``.

        Raises:
            ValueError: ``count`` is less than 1, c does not fit, a column is unknown, the values
                are so improbable that there is hardly a draw of z for them, or values are to be
                missing as in rows that had none missing.
        """
        if missing and self.missing_given_z is None:
            raise ValueError(
                "missing=True asks for missing values as in the rows fitted, but none were missing "
                "there, or the model was saved before that was remembered. Leave it at False."
            )
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}.")
        if given is not None and missing:
            raise ValueError("missing=True draws whole rows with holes: leave out given, or it.")
        if given is not None:
            return self.sample_given(given, count, noise, seed, c)[0]
        condition = door.conditions(self.condition, c, count)
        generator = self._generator(seed)
        z = draw(self.vae.prior(), (count,), generator, gradients=False)
        z = z.cpu().to(getattr(torch, self.dtype))
        rows = self._decode(z, generator if noise else None, condition)
        if missing and self.missing_given_z is not None:
            gone = self.missing_given_z.draw(z, torch.Generator().manual_seed(seed))
            rows = np.where(gone, np.asarray(math.nan, rows.dtype), rows)
        return rows

    def sample_given(
        self,
        given: Mapping[str | int, Any],
        count: int = 1,
        noise: bool = True,
        seed: int = 0,
        c: Any = None,
    ) -> tuple[Array, float]:
        """Return what ``sample(..., given=given)`` draws, and the effective number of draws of z
        behind it, which is infinite where the model is linear and nothing is approximated.
        """
        row = row_of(self.schema, given)
        (view,) = self.views(self.values(row, c), "centre")
        drawn, ess = Resampling()(view, count, seed, noise)
        known = ~np.isnan(row[0])
        if self.schema.table is None:
            drawn = drawn.astype(self.dtype)
        if self.schema.table is not None:
            drawn = self.schema.table.rounded(drawn)  # what is given may lie beyond the data
        drawn[:, known] = row[0, known]
        return drawn, ess

    # -- which rows it knows

    def uses(self, X: Any) -> Uses | None:
        """Return what each row was used for, a `nelbo.data.known.Use` of shape (n,).

        None stands for a model that was saved before rows were remembered.

        Raises:
            ValueError: X does not fit the training data.
        """
        return self._uses(self._table(X))

    def trained_on(self, X: Any) -> npt.NDArray[np.bool_]:
        """Return which rows this model was fitted to, those for validation included: (n,).

        A row is known by its values, in whatever order and floating type.

        Raises:
            ValueError: X does not fit, or the model was saved before rows were remembered.
        """
        use = self.uses(X)
        if use is None:
            raise ValueError(
                "This model was saved before rows were remembered, so which rows it was trained on "
                "is unknown. Fit and save it again."
            )
        return choice.fitted(use)

    def choose(self, X: Any, which: str | None = None, least: int = 1) -> choice.Chosen:
        """Choose the rows to judge this model by: see `nelbo.fitted.choice.choose`."""
        values = self._table(X)
        return choice.choose(self._uses(values), len(values), which, least)

    def counts(self, held_out: Any | None) -> choice.RowCounts:
        """Count the rows of the fit, and those that were kept from it."""
        rows = None if held_out is None else self.schema.conformed(self._table(held_out).array)
        return choice.count_rows(self.known, rows)

    def with_held_out(self, X: Any) -> Fitted:
        """Return the same model, which remembers rows kept from it to be judged by."""
        if self.known is None:
            return self
        known = self.known.with_held_out(self.schema.conformed(self._table(X).array))
        return dataclasses.replace(self, known=known)

    def with_baseline(self, train: Any) -> Fitted:
        """Return the same model with exact pPCA of all training rows, where it lacks that."""
        if self.linear is not None:
            return self
        values = self.values(train)
        found = linear.fit(self.schema, self.vae, values, self.conditions_of(values))
        return dataclasses.replace(self, linear=found)

    def with_missing_given_z(self, train: Any, most: int = 20_000) -> Fitted:
        """Return the same model, which knows which values of the training rows are missing given z;
        as it is where none are, or rows are no table.

        Arguments:
            train: The training rows.
            most: From so many of them on, evenly spaced ones are taken.
        """
        values = self.values(train)
        if not values.incomplete or values.array.ndim != 2:
            return self
        some = values[:: max(1, len(values) // most)]
        mean, deviation = self.encode(some)
        random = np.random.default_rng([self.seed, 5])
        z = mean + deviation * random.standard_normal(mean.shape)
        found = MissingGivenZ.of(z.astype(np.float64), np.isnan(some.array))
        return dataclasses.replace(self, missing_given_z=found)

    # -- keep

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
        state.save(self, path, overwrite, extra_text)

    @classmethod
    def load(cls, path: str | PathLike[str], device: str | torch.device = "cpu") -> Fitted:
        """Read a model that `save`, the estimator or `nelbo fit` wrote. No code is run from it.

        Arguments:
            path: The folder.
            device: Where the VAE is put.

        Raises:
            CheckpointError: The folder is missing, incomplete, changed since it was written, or
                from a newer version.
        """
        return cls(**state.load(path)).to(device)

    def to(self, device: str | torch.device) -> Fitted:
        """Put the VAE on a device, and return this model."""
        self.vae.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where the VAE is."""
        return self.vae.device

    @property
    def n_iter(self) -> int:
        """Epochs trained, rounded up."""
        return max(1, math.ceil(self.history.last.epoch))

    def __getstate__(self) -> dict[str, Any]:
        return state.to_numpy(vars(self))

    def __setstate__(self, values: dict[str, Any]) -> None:
        vars(self).update(state.from_numpy(values))

    # -- units

    def nats(self, of_model: Tensor) -> Tensor:
        """Return log p(x) of x for log p(t) of the model: the Jacobian of complete rows is
        counted.
        """
        return self.schema.log_density(of_model)

    @property
    def units(self) -> Units:
        """What turns the numbers of training and diagnosis into data units."""
        return self.schema.units

    def rows(self, X: Any, noise: Literal["hash", "centre"] = "hash") -> Tensor:
        """Return rows in the units of the model, (n, *vae.shape): float64 if X is, else float32.

        Arguments:
            X: Rows.
            noise: What 8-bit data get added: a function of each row's content, or 1/2.

        Raises:
            ValueError: X does not fit the training data, or is not finite.
        """
        return self._rows(self._table(X), noise)

    def values(self, X: Any, c: Any = None, unknown: Unknown | None = None) -> Values:
        """Return rows with their conditions, once both are checked.

        Arguments:
            X: Rows; for a model of p(x|c) whose fit named the columns of X that are c, with these.
            c: What each row is conditioned on, where that is no part of X.
            unknown: Whether a category that was not there at the fit is an "error", or "missing";
                None is as the fit was asked.

        Raises:
            ValueError: X is not finite, c is missing, or there is none to be passed.
        """
        values = self._table(X, c, unknown)
        if (values.conditions is None) != (self.condition is None):
            self.conditions_of(values)  # says what is wrong
        return values

    def frame(self, rows: Array, like: Any = None, filled: Array | None = None) -> Any:
        """Return rows in data units as a data frame, with the types, categories, ranges and
        rounding of the columns that were fitted; of columns that all are numbers, the rows.

        Arguments:
            rows: What `sample`, `reconstruct`, `decode` or `impute` returned, (n, d).
            like: What they were computed from: a pandas frame hands down its index.
            filled: Which values were filled in, (n, d): all others stay as they are, and columns
                that the model has left out are those of ``like``.
        """
        if self.schema.table is None:
            return rows
        library = None
        if is_frame(like):
            library = library_of(like)
        table, index = self.schema.table, getattr(like, "index", None)
        if filled is None:
            return table.decode(rows, index, library)
        rows = np.where(filled, table.rounded(rows), rows)
        found = table.decode(rows, index, library, exact=True)
        return with_columns(found, like, tuple(table.left_out))

    def _table(self, X: Any, c: Any = None, unknown: Unknown | None = None) -> Values:
        """Return rows with their conditions, as far as there are any."""
        names = self.asked.get("condition")
        if isinstance(X, Values) and X.conditions is None:
            names = None  # they have been taken apart before, or have none
        rows, given = apart(X, names, c)
        takes = self.options.missing == "auto"
        if self.schema.table is not None and is_frame(rows) and not isinstance(rows, Values):
            unknown = unknown or self.options.unknown
            return Values.of_table(rows, self.schema.table, c=given, unknown=unknown, missing=takes)
        try:
            values = Values.of(rows, c=given, missing=takes)
        except NotNumbers as error:
            if self.schema.table is None:
                raise
            raise NotNumbers(
                f"{error} The columns of this model are of different kinds: pass a data frame with "
                f"{listed(self.schema.table.names)}."
            ) from error
        if self.schema.table is not None and values.table is None:
            self.schema.table.check(values.array)
        if values.incomplete and not takes:
            check_finite(values.array, "X", values.columns)
        return values

    def conditions_of(self, values: Values) -> Tensor | None:
        """Return what rows are conditioned on, (n, k), as networks read it; None for p(x).

        Raises:
            ValueError: There are no conditions where the model needs them, or the other way round,
                or they do not fit.
        """
        return encoded(self.condition, values)

    def _rows(self, values: Values, noise: Literal["hash", "centre"] = "hash") -> Tensor:
        return door.to_model(self.schema, self.vae.likelihood, values, noise)

    def views(
        self,
        values: Values,
        noise: Literal["hash", "centre"] = "hash",
        mechanism: bool = False,
    ) -> list[View]:
        """Return the model and the rows in its units, once or twice: incomplete rows may need
        another form of a model that was fitted to complete ones.

        A row's numbers depend on itself alone: whether another one is incomplete changes nothing.

        Arguments:
            values: Rows.
            noise: As in `rows`.
            mechanism: Whether a value is missing because it is so, which a model of missingness has
                something to say of; else it is left out, as by who asks about the others.
        """
        vae = self.vae
        if not mechanism:
            vae = without_mechanism(vae)
        c = self.conditions_of(values)
        every = torch.ones(len(values), dtype=torch.bool)
        if not values.incomplete or vae.takes_missing:
            return [View(every, vae, self.schema, self._rows(values, noise), c)]
        gone = values.lacking
        vae, schema = of_incomplete(self.vae, self.schema)
        x = door.to_model(schema, self.vae.likelihood, values, noise)
        other = torch.from_numpy(gone)
        found = [View(other, vae, schema, x[other], None if c is None else c[other])]
        if not gone.all():
            told = values[~gone]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it has been said of all rows
                x = self._rows(told, noise)
            found.append(View(~other, self.vae, self.schema, x, None if c is None else c[~other]))
        return found

    def _possible(self, values: Values, nats: Tensor) -> Tensor:
        """Return nats of rows, -inf for those that are impossible under the model."""
        if not self.schema.left_out:
            return nats
        return nats.masked_fill(torch.from_numpy(~self.schema.possible(values)), -math.inf)

    def _uses(self, values: Values) -> Uses | None:
        if self.known is None:
            return None
        return self.known.uses(self.schema.conformed(values.array))

    def _as_given(self, values: Values, nats: Tensor) -> Array:
        """Return nats in the floating type of the rows that they belong to."""
        dtype = torch.float64 if values.dtype == np.float64 else torch.float32
        return np.asarray(nats.to(dtype).numpy())

    def _judge(
        self,
        values: Values,
        method: str,
        samples: int | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> evaluate.LogLikelihood:
        if samples is None and method == "auto":
            samples = self.asked.get("score_samples_k")  # it adds as many as a row needs
        elif samples is None and method != "ais":
            samples = self.score_count
        if method == "importance":  # the encoder alone scores outliers hundreds of nats too low
            settings = {"proposal": "mixture", **settings}
        parts = []
        for view in self.views(values):
            given = {"c": view.c, **settings}
            found = evaluate.log_likelihood(view.vae, view.x, method, samples, seed, **given)
            value = view.schema.log_density(found.value, view.x.cpu())
            parts.append((view.rows, dataclasses.replace(found, value=value)))
        return evaluate.interleaved(parts)

    def _conditional(
        self,
        values: Values,
        given: Names | None,
        target: Names | None,
        method: str,
        samples: int | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> evaluate.LogLikelihood:
        """Return log p(T|G) of each row, or log p(x) where neither is named."""

        def judged(rows: Values) -> evaluate.LogLikelihood:
            found = self._judge(rows, method, samples, seed, **settings)
            return dataclasses.replace(found, value=self._possible(rows, found.value))

        if given is None and target is None:
            return judged(values)
        both, known = conditional.parted(self.schema, values, given, target)
        return conditional.difference(judged(both), judged(known))

    def _decode(
        self, z: Tensor, generator: torch.Generator | None, c: Tensor | None = None
    ) -> Array:
        """Return means, or samples where there is a generator, in data units."""
        parts = []
        with torch.no_grad():
            model = evaluate.in_precision(self.vae, z.dtype)
            for part, given in pieces([*self._chunks(z, c)], "decoding"):
                p = model.decode(part, given)
                x = p.mean if generator is None else draw(p, (), generator)
                parts.append(x.cpu())
        return self.schema.from_model(torch.cat(parts), drawn=generator is not None)

    def _chunks(self, rows: Tensor, c: Tensor | None, most: int = 2**24) -> Iterator[Batch]:
        """Go through rows and their conditions on the VAE's device, ``most`` numbers at a time."""
        # hidden layers take memory, too, and a head that reads more than two numbers for each value
        wide = max(math.prod(self.schema.shape), math.prod(self.vae.likelihood.in_shape) // 2)
        step = max(1, most // (wide + 2048))
        for x, given in Batch(rows, c).split(step):
            yield Batch(x.to(self.device), None if given is None else given.to(self.device))

    def _generator(self, seed: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(seed)
