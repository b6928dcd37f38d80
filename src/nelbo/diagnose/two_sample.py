r"""Whether samples look like data: the classifier two-sample test.

.. math:: \mathrm{AUC} = P\bigl(s(x) > s(\tilde x)\bigr), \qquad x \sim \text{data}, \;
    \tilde x \sim p(x)

A classifier s learns to tell rows of data from samples (Lopez-Paz & Oquab, 2017), and is judged on
others: 0.5 where both have one distribution, 1 where it tells each pair. It is gradient boosting,
which units and monotone transforms of a column do not matter to, and which reads missing values.

A sample can fail for its noise, for its decoder, or for its z. So reconstructions stand beside:
:math:`x' \sim p(x \mid z)` with :math:`z \sim q(z \mid x)`, noise included. Where q is the
posterior and the model is right, x and x' can be exchanged: their AUC is 0.5, too. Without noise
it would not be, however good the model. What is left is z, and is asked without noise on either
side: means f(z) of z ~ p(z) beside those of z ~ q(z|x).
"""

from __future__ import annotations

__all__ = ["TwoSample", "classifier_auc", "two_sample"]

import math
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from ..data.rare import distinct
from ..data.units import Units
from ..distributions import draw
from ..evaluate import MEMORY, Examples, encoder_source, judged, rows_at_once
from ..vae import VAE
from .standard_error import Estimate, subsample

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TwoSample:
    """How well a classifier tells what a model makes from data; each is an AUC, 0.5 at best.

    Attributes:
        samples: Samples x ~ p(x), noise included, beside rows of data. They have values that the
            data repeat, where those do: rounding alone is nothing to tell them by.
        reconstructions: x' ~ p(x|z) with z ~ q(z|x), noise included, beside the rows x, likewise.
        latents: Means f(z) of z ~ p(z) beside those of z ~ q(z|x).
    """

    samples: Estimate
    reconstructions: Estimate
    latents: Estimate


@dataclass(frozen=True)
class Classifier:
    """How the classifier is trained and judged: half a second for 1,000 rows of 64 values, and six
    for 1,000 of 784.

    Attributes:
        rows: Rows of each kind at most: with 1,000 the standard error of an AUC of 0.5 is 0.018.
        fewest: Rows of each kind at least: of fewer a classifier learns nothing.
        folds: Parts of the rows, each of which is judged by a classifier that the others trained.
        trees, leaves: The number of trees, and of the leaves of each.
        rate: The weight of each tree.
    """

    rows: int = 1000
    fewest: int = 100
    folds: int = 5
    trees: int = 50
    leaves: int = 6
    rate: float = 0.1

    def auc(self, data: Array, made: Array, seed: int) -> Estimate:
        """Return the AUC over pairs (row of data, row made), with its standard error.

        Rows of one number stay on one side of each split: a row made from another is like it.
        Errors are those of DeLong et al. (1988), for pairs, times the root of 2: what any two
        parts have in common by chance counts twice, since each judges a classifier that the other
        has trained. Where there is something to tell apart, they are too large rather.
        """
        n = len(data)
        fold = np.random.default_rng([seed, 3]).permutation(n) % self.folds
        of_data, of_made = np.empty(n), np.empty(n)
        with threadpool_limits(1, "openmp"):  # more threads would wait for each other
            for k in range(self.folds):
                mine = fold == k
                model = self._fitted(data[~mine], made[~mine], seed)
                real, drawn = (model.decision_function(rows[mine]) for rows in (data, made))
                of_data[mine], of_made[mine] = _placements(real, drawn)
        error = math.sqrt(2 * np.var(of_data + of_made, ddof=1) / n)
        return Estimate(float(of_data.mean()), error, n)

    def _fitted(self, data: Array, made: Array, seed: int) -> Any:
        """Return a classifier whose decision is greater for data."""
        boosting = _boosting()(
            learning_rate=self.rate,
            max_iter=self.trees,
            max_leaf_nodes=self.leaves,
            early_stopping=False,
            random_state=seed % 2**32,
        )
        label = np.repeat([1, 0], [len(data), len(made)])
        return boosting.fit(np.concatenate([data, made]), label)


def classifier_auc(data: Array, made: Array, seed: int = 0) -> Estimate:
    """Return how well a classifier tells two sets of rows apart: the AUC, cross-validated.

    Arguments:
        data: Rows (n, D); NaN is a missing value.
        made: As many others. Where each was made from the row of the same number, both are kept on
            one side of each split.
        seed: The seed of the splits.

    Raises:
        ValueError: The shapes differ, or there are too few rows.
    """
    least = Classifier.fewest
    if data.shape != made.shape or data.ndim != 2 or len(data) < least:
        raise ValueError(
            f"data and made must be as many rows each, at least {least}, got {data.shape} and "
            f"{made.shape}."
        )
    return Classifier().auc(data, made, seed)


def two_sample(
    vae: VAE,
    x: Tensor,
    units: Units | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    c: Tensor | None = None,
    most: int = Classifier.rows,
    values: int = 2**20,
) -> TwoSample:
    """Let classifiers tell samples, and reconstructions, from data.

    Arguments:
        vae: The model.
        x: Rows of shape (n, *vae.shape), in model units, at least 100, best such that the model has
            not seen; of more than 1,000 some are drawn.
        units: Units of the data: columns of a table are compared in these.
        seed: The seed of all draws and splits.
        memory: Bytes for intermediate results.
        c: Conditions (n, k), for a model of p(x|c): what is made has those of the rows, and the
            classifier reads them, too.
        most: Rows that it learns from, at most.
        values: Values of a row that it reads, evenly spread, at most.

    Raises:
        ValueError: The rows do not fit, or are too few.
    """
    some = subsample(Examples(x, c), most, seed)
    with judged(vae, some.x, some.c) as (model, rows):
        made = _Made.of(model, rows, seed, memory)
    features = _Features(some, units, values)
    data = features.of(some.x)
    return TwoSample(
        samples=classifier_auc(*rounded_alike(data, features.of(made.samples)), seed),
        reconstructions=classifier_auc(
            *rounded_alike(data, features.of(made.reconstructions)), seed
        ),
        latents=classifier_auc(
            features.of(made.means_of_posterior), features.of(made.means_of_prior), seed
        ),
    )


@dataclass(frozen=True, eq=False)
class _Made:
    """What a model makes, a row for each row of data, in model units, on the CPU.

    Attributes:
        samples: x ~ p(x).
        reconstructions: x ~ p(x|z) with z ~ q(z|x).
        means_of_prior: f(z) of the samples.
        means_of_posterior: f(z) of the reconstructions.
    """

    samples: Tensor
    reconstructions: Tensor
    means_of_prior: Tensor
    means_of_posterior: Tensor

    @classmethod
    def of(cls, vae: VAE, x: Examples, seed: int, memory: int) -> _Made:
        """Draw all of them."""
        generator = torch.Generator(x.device).manual_seed(seed)
        parts = []
        for part in x.split(rows_at_once(vae, x, 2, memory)):
            prior = draw(vae.prior(), (len(part),), generator, gradients=False)
            posterior = encoder_source(vae, part).draws(part.keys(), 1, seed, 0, part.x)[0]
            drawn = []
            for z in (prior, posterior):
                p = part.decode(vae, z)
                drawn += [draw(p, (), generator, gradients=False), p.mean]
            parts.append([rows.cpu() for rows in drawn])
        samples, means, reconstructed, reconstructed_means = map(
            torch.cat, zip(*parts, strict=True)
        )
        return cls(samples, reconstructed, means, reconstructed_means)


@dataclass(frozen=True, eq=False)
class _Features:
    """What the classifier reads of rows: their values, missing where those of the data are, and
    what they are conditioned on.

    Attributes:
        rows: The rows of data.
        units: Units of the data.
        values: How many values of a row are read, at most.
    """

    rows: Examples
    units: Units | None
    values: int

    def of(self, x: Tensor) -> Array:
        """Return rows (n, D)."""
        x = x.cpu()
        flat = x.flatten(1).double()
        if self.units is not None and self.units.columns is not None:
            flat = self.units.columns(x)
        gone = self.rows.x.cpu().flatten(1).isnan()
        if bool(gone.any()):
            flat = flat.masked_fill(gone, math.nan)
        flat = flat[:, :: math.ceil(flat.shape[1] / self.values)]
        if self.rows.c is not None:
            flat = torch.cat([flat, self.rows.c.cpu().double()], 1)
        return np.asarray(flat.numpy())


def rounded_alike(data: Array, made: Array, repeated: float = 0.5) -> tuple[Array, Array]:
    """Return rows of data, and rows made with values rounded to those that the data repeat.

    A density never draws a value twice: that data are rounded, or count, a classifier would see at
    once, and look at nothing else.

    Arguments:
        data: Rows of data (n, D).
        made: Rows made, of the same shape.
        repeated: Share of the rows up to which there are different values in a column that repeats
            them.
    """
    data, made = data.copy(), made.copy()
    for j, column in enumerate(data.T):
        values, _ = distinct(column[~np.isnan(column)])
        if not 0 < len(values) <= repeated * len(column):
            continue
        middles = (values[1:] + values[:-1]) / 2
        for rows in (data, made):
            there = ~np.isnan(rows[:, j])
            rows[there, j] = values[np.searchsorted(middles, rows[there, j])]
    return data, made


def _placements(real: Array, made: Array) -> tuple[Array, Array]:
    """Return the share of the others that each row of data is above, and that each row made is
    below; ties count as half.
    """
    above = (real[:, None] > made).astype(np.float64) + 0.5 * (real[:, None] == made)
    return above.mean(1), above.mean(0)


def _boosting() -> Any:
    """Import scikit-learn's gradient boosting; its own imports draw from Python's random state."""
    before = random.getstate()
    from sklearn.ensemble import HistGradientBoostingClassifier

    random.setstate(before)
    return HistGradientBoostingClassifier
