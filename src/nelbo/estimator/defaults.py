r"""What the defaults of a table are decided by: the table itself.

A table of numbers, where nothing else is asked for, gets noise that depends on z, and its training
rows get jitter. z starts at its principal components. Two linear models say what noise it starts
with, on rows that neither has seen. One is probabilistic PCA, whose noise is independent. The other
is the normal with every correlation, :math:`\mathcal{N}(m, S)`, whose noise is correlated as what
the principal components leave is: if it predicts at least as well, ``scale="auto"`` whitens. With
few rows for that many columns it does not.
"""

from __future__ import annotations

__all__ = [
    "Watched",
    "hidden_for",
    "is_table",
    "limits_for",
    "objective_for",
    "refit",
    "samples_for",
    "scale_for",
    "varying",
    "was_table",
    "white_start",
    "whitens",
]

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .. import training
from ..data import Schema, Values
from ..data.jitter import Jittered
from ..data.moments import chunks
from ..data.rows import Rows
from ..data.steps.whitening import Axes
from ..linear import LinearGaussian, moments, ppca
from ..objective import Objective
from ..paired import trimmed_mean
from ..vae import VAE

PLAIN = {
    "network": "auto",
    "encoder": None,
    "decoder": None,
    "likelihood": "gaussian",
    "variance": "auto",
    "posterior": "diagonal_normal",
    "init": "auto",
}
"""With these a table may be whitened."""
STEPS, STEPS_PER_ROW, LARGEST_BATCH = 1_000, 0.1, 128
"""Length of a run on a table without limits, and rows in a step."""
LATE, LONGER = 0.4, 1.5
"""Where the best step of the first run came after that share of it, the run on all rows is longer
by this factor. (Where overfitting sets in early, more steps overfit more.)"""
LAST, LONGEST = 0.97, 3.0
"""Where it came after that share, the first run still got better in the end, and the other is
longer by that factor.
"""
MANY_TABLE_ROWS = 3_000
"""Rows from which none are trained on in the end that were held out: a tenth more of so many brings
nothing.
"""
LEARNING_RATE, ROWS_OF_RATE, AVERAGE = 8e-3, 1_000, 1e-2
"""Peak rate for so many rows (for fewer it falls as their root), and weight of the newest weights
in their mean.
"""
SAMPLES = 4
"""Of the objective."""
SCORE_SAMPLES, SCORE_SAMPLES_OF_TABLES = 100, 1_000
"""Importance samples of `score_samples`."""
HIDDEN, HIDDEN_OF_TABLES = (512, 512), (128, 128)
"""Widths of hidden layers."""
MANY_ROWS, HIDDEN_OF_ENCODER, HIDDEN_OF_DECODER = 10_000, (256, 256), (512, 512, 512)
"""Rows from which dense encoder and decoder have other widths: with fewer a deep decoder learns
them by heart.
"""
LEAST_VARIANCE = 2.5e-3
"""Of noise that depends on z: far from all rows it is extrapolated, and an outlier must not meet
one that is tiny.
"""
FOLDS = 5
HELD = 200
"""Rows of a table that are held out at least (or a quarter): they are trained on in the end, so
they cost nothing.
"""
FEWEST_ROWS = 20
"""Tables of fewer are fitted as ever: nothing could be said about them."""
MOST_COLUMNS = 256
"""Wider tables are not whitened: a root of so many correlations is slow, and seldom known well
enough.
"""
MOST_ROWS = 10_000
"""Rows that the comparison looks at."""
MARGIN = 0.01
"""Nats that whitening may lose in it: no more than rounding and floors cost."""


def is_table(estimator: Any, array: np.ndarray) -> bool:
    """Return whether data are a table, two of whose columns vary, and nothing but the defaults was
    asked.
    """
    return (
        array.ndim == 2
        and len(array) >= FEWEST_ROWS
        and array.shape[1] <= MOST_COLUMNS
        and varying(array).sum() >= 2
        and estimator.dequantize in ("auto", False)
        and estimator.scale in ("auto", "whitened")
        and estimator.objective != "autoencoder"
        and all(getattr(estimator, name) == value for name, value in PLAIN.items())
    )


def varying(array: np.ndarray) -> np.ndarray:
    """Return which columns have two values: most show it in the first rows."""
    varies = np.zeros(array.shape[1], dtype=bool)
    for rows in chunks(*array.shape):
        varies |= (array[rows] != array[0]).any(0)
        if varies.all():
            break
    return varies


def scale_for(estimator: Any, values: Values, table: bool) -> Any:
    """Return the scale to use: "auto" is "whitened" for a table whose rows bear it out."""
    if estimator.scale == "auto" and table:
        varies = varying(values.array)
        if whitens(values if varies.all() else values.keeping(varies), estimator.latent_dim):
            return "whitened"
    return estimator.scale


def whitens(values: Values, latent_dim: int) -> bool:
    """Return whether the normal with every correlation predicts rows (n, D) at least as well as
    probabilistic PCA.

    No single row decides: one that is far from all others may lose more nats than all others gain.
    """
    rows = values[:: math.ceil(len(values) / MOST_ROWS)]
    order, gains = np.random.default_rng(0).permutation(len(rows)), []
    for fold in range(FOLDS):
        held = np.zeros(len(rows), dtype=bool)
        held[order[fold::FOLDS]] = True
        gains.append(_gain(rows[~held], rows[held], latent_dim))
    gain, _ = trimmed_mean(torch.from_numpy(np.concatenate(gains)))
    return gain >= -MARGIN


def _gain(train: Values, test: Values, latent_dim: int) -> np.ndarray:
    """Return by how much the normal is better than pPCA at each test row, in nats."""
    whitened, standard = (Schema.infer(train, scale=scale) for scale in ("whitened", "standard"))
    x, t = (standard.to_model(part, noise="centre", dtype=torch.float64) for part in (train, test))
    linear = ppca(*moments(x), latent_dim).log_prob(t) - standard.log_scale_sum
    columns = train.shape[1]
    one = torch.ones((), dtype=torch.float64)
    normal = LinearGaussian(
        torch.zeros(columns, 1, dtype=torch.float64), torch.zeros(columns, dtype=torch.float64), one
    )
    full = (
        normal.log_prob(whitened.to_model(test, noise="centre", dtype=torch.float64))
        - whitened.log_scale_sum
    )
    return np.asarray((full - linear).numpy())


def hidden_for(
    estimator: Any, rows: int, table: bool
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Return the widths of hidden layers, and the decoder's where they differ."""
    decoder = (
        None
        if estimator.decoder_hidden is None
        else tuple(int(w) for w in estimator.decoder_hidden)
    )
    if estimator.hidden is not None:
        return tuple(int(w) for w in estimator.hidden), decoder
    if table:
        return HIDDEN_OF_TABLES, decoder
    if rows < MANY_ROWS or "conv" in (estimator.network, estimator.encoder, estimator.decoder):
        return HIDDEN, decoder
    return HIDDEN_OF_ENCODER, HIDDEN_OF_DECODER if decoder is None else decoder


def objective_for(estimator: Any, table: bool) -> dict[str, Any]:
    """Return the objective to use and its samples."""
    auto = estimator.objective == "auto"
    dreg = auto and table and not estimator.objective_options  # which are the ELBO's
    name = estimator.objective if not auto else "dreg" if dreg else "elbo"
    samples = SAMPLES if dreg else 1
    return {"objective": name, "objective_samples": estimator.objective_samples or samples}


def was_table(estimator: Any) -> bool:
    """Return whether an estimator was fitted as a table for which nothing but the defaults was
    asked.
    """
    return bool(estimator.variance == "auto" and estimator.spec_.variance == "heteroscedastic")


def samples_for(estimator: Any) -> int:
    """Return how many importance samples `score_samples` takes: small networks and rows of few
    columns allow more.
    """
    chosen: int | None = estimator.score_samples_k
    return chosen or (SCORE_SAMPLES_OF_TABLES if was_table(estimator) else SCORE_SAMPLES)


def white_start(model: VAE, array: np.ndarray, schema: Schema) -> LinearGaussian:
    """Return N(m, S) as a linear model of whitened data: z the principal components of array (n,
    D), noise N(0, I).
    """
    array = array[:, schema.kept] if schema.left_out else array  # all of them would be a copy
    found = torch.from_numpy(Axes.of(array, schema.shift, schema.scale, model.latent_dim).weight)
    weight = torch.zeros(len(found), model.latent_dim, dtype=torch.float64)
    weight[:, : found.shape[1]] = found
    nothing = torch.zeros(len(found), dtype=torch.float64)
    return LinearGaussian(weight, nothing, torch.ones_like(nothing))


def is_open(limits: Mapping[str, Any]) -> bool:
    """Return whether neither steps nor epochs are limited."""
    return limits["max_steps"] is None and limits["max_epochs"] is None


def limits_for(limits: Mapping[str, Any], rows: int, timed: bool, alone: bool) -> dict[str, Any]:
    """Fill in the length of a run on a table, where nothing limits it, and the rows in a step.

    Arguments:
        limits: What was asked for.
        rows: How many are trained on.
        timed: Whether there is a limit of time.
        alone: Whether this is the only run, so that it is the one that counts.
    """
    found = dict(limits)
    if not timed and is_open(found):
        found["max_steps"] = round((LONGER if alone else 1) * (STEPS + STEPS_PER_ROW * rows))
    found["batch_size"] = found["batch_size"] or min(LARGEST_BATCH, rows)
    found["learning_rate"] = (
        found["learning_rate"] or LEARNING_RATE * min(1.0, rows / ROWS_OF_RATE) ** 0.5
    )
    found["average"] = AVERAGE
    found["decay"] = None  # a cosine: what is anew trained on all rows stops on the way
    return found


def stretch_of(limits: Mapping[str, Any], best: float) -> float:
    """Return by how much the run on all rows is to be longer than the first one.

    Arguments:
        limits: What was asked for: a run whose length was asked for is not stretched.
        best: The share of the first run after which it was best.
    """
    if not is_open(limits) or best <= LATE:
        return 1.0
    return LONGEST if best >= LAST else LONGER


class Watched:
    """Tells of the second training what was told of the first: its records follow those, and mark
    it as another phase.

    Arguments:
        history: Of the first training.
        callbacks: Of the fit; one that returns True ends the second training.
    """

    def __init__(self, history: training.History, callbacks: Sequence[training.Callback]) -> None:
        self.history, self.callbacks = history, callbacks
        self.second = training.History()
        self.before = history.records[-1].seconds
        self.until = 1

    def __call__(self, record: training.Record) -> bool:
        """Tell one record, and return whether that ends the training."""
        told = self._told(record)
        asked = [callback(told) is True for callback in self.callbacks]  # all of them are told
        return any(asked)

    def add(self) -> None:
        """Let the records of the second training follow those of the first."""
        self.history.records += [self._told(record) for record in self.second.records]

    def _told(self, record: training.Record) -> training.Record:
        return dataclasses.replace(
            record,
            phase=training.ALL_ROWS,
            seconds=self.before + record.seconds,
            progress=min(1.0, record.step / self.until),
        )


def refit(
    objective: Objective,
    rows: Rows,
    before: int,
    steps: int,
    seed: int,
    limits: Mapping[str, Any],
    longer: float = 1.0,
    store: training.Store | None = None,
    store_every: float = 30.0,
    watched: Watched | None = None,
) -> None:
    """Train a model from its start on all rows, for as many passes as were best on the rows held
    out before.

    More rows take longer to be learned by heart: run and schedule are stretched. One batch of all
    rows stays one.

    Arguments:
        objective: Of the model at its start.
        rows: All rows.
        before: How many rows the run before was trained on.
        steps: How many steps were best.
        seed: Of the run before.
        limits: Of the run before.
        longer: By how much to stretch it beyond that.
        store: Where to keep its state.
        store_every: How often, in seconds.
        watched: Who is to be told.
    """
    limits, batch = dict(limits), limits["batch_size"]
    limits["batch_size"] = len(rows) if batch == before else batch
    stretch = longer * math.ceil(len(rows) / limits["batch_size"]) / math.ceil(before / batch)
    limits["max_steps"] = limits["max_steps"] and round(stretch * limits["max_steps"])
    until = round(stretch * steps)
    callbacks: list[training.Callback] = [lambda record: record.step >= until]
    if watched is not None:
        watched.until = max(until, 1)
        callbacks.append(watched)
    try:
        training.fit(
            objective,
            Jittered(rows),
            early_stopping=False,
            seed=seed,
            callbacks=callbacks,
            history=None if watched is None else watched.second,
            store=store,
            store_every=store_every,
            **limits,
        )
    finally:
        if watched is not None:
            watched.add()
