"""From an array to a trained model: split, scale, build, start at the closed form, train, and keep what is better."""

from __future__ import annotations

__all__ = ["run"]

import contextlib
import hashlib
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import checkpoint, evaluate, initialize, spec, training
from ..data import Schema, validate_array
from ..likelihood import Gaussian
from ..linear_gaussian import LinearGaussian
from ..training.variance import learned_gaussians
from ..vae import VAE
from . import options

PASSED_ON = ("max_epochs", "max_steps", "batch_size", "learning_rate", "weight_decay", "device", "precision")
"""Constructor arguments that go to `nelbo.fit` as they are."""
TIED = ("max_seconds", "validation_fraction", "early_stopping", "init", "objective", "objective_samples", "scale")
"""Further arguments that a resumed run must share with the run it resumes."""
SURE = 2.0
"""Standard errors by which training must beat its start on validation rows to be kept."""
JUDGING_SAMPLES = 64
"""Importance samples of that comparison."""
JUDGING_ROWS = 2000
"""Validation rows that it looks at, at most."""


@dataclass(frozen=True)
class Plan:
    """What to do, with every name still a name."""

    objective: str
    objective_samples: int
    init: str
    validation_fraction: float
    early_stopping: bool
    seed: int
    max_seconds: float | None
    training: dict[str, Any] = field(default_factory=dict)
    callbacks: Sequence[Callable[[training.Record], object]] = ()
    store: checkpoint.Folder | None = None


@dataclass(frozen=True)
class Fitted:
    """What came out.

    Attributes:
        model: The trained model.
        history: Its records.
        kept_start: Whether the closed-form start was kept because training did not beat it beyond doubt.
    """

    model: VAE
    history: training.History
    kept_start: bool


def train(X: np.ndarray, schema: Schema, model: VAE, plan: Plan, warm: bool = False) -> Fitted:
    """Fit ``model`` to the rows of X, whose scaling is ``schema``.

    Arguments:
        X: All rows, in data units.
        schema: Their schema.
        model: A freshly built model, or a trained one to go on with.
        plan: How.
        warm: Whether the model is trained already.
    """
    begun = time.monotonic()
    rows, held = split(len(X), plan.validation_fraction, plan.seed)
    noise = torch.Generator().manual_seed(training.schedule.stream_seed(plan.seed, "dequantise"))
    x = schema.to_model(X if held is None else X[rows], noise=noise)
    validation = None if held is None else schema.to_model(X[held], noise=noise)
    start = None if warm else closed_form_start(model, x, plan.init)
    objective = spec.resolve("objective", plan.objective)(model, plan.objective_samples)
    left = None if plan.max_seconds is None else max(plan.max_seconds - (time.monotonic() - begun), 1e-3)
    history = training.fit(
        objective,
        x,
        validation=validation,
        early_stopping=plan.early_stopping,
        seed=plan.seed,
        max_seconds=left,
        callbacks=plan.callbacks,
        units=training.Units(-schema.log_scale_sum, torch.tensor(schema.scale)),
        store=plan.store,
        **plan.training,
    )
    kept = False
    if start is not None and validation is not None and plan.early_stopping and plan.objective != "autoencoder":
        kept = not beats(model, start, validation)
        if kept:
            everything = initialize.closed_form(model, torch.cat([x, validation]))
            initialize.start_at(model, everything or start)
            history.best_step = 0
    warn_of_floor(model, schema)
    return Fitted(model, history, kept)


def split(n: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the rows to train on and those to hold out: a share, but at least 10 rows or a quarter of few."""
    if fraction == 0 or n < 4:
        return np.arange(n), None
    order = np.random.default_rng([seed, 1]).permutation(n)
    count = max(math.ceil(fraction * n), min(10, n // 4))
    count = min(count, n - 2)
    return np.sort(order[count:]), np.sort(order[:count])


def closed_form_start(model: VAE, x: Tensor, init: str) -> LinearGaussian | None:
    """Put the model at its closed-form solution where it has one and ``init`` wants it.

    Raises:
        ValueError: ``init`` is unknown, or asks for pPCA where there is none.
    """
    if init not in ("auto", "ppca", "random"):
        raise ValueError(f'init must be "auto", "ppca" or "random", got {init!r}.')
    able = initialize.has_linear_paths(model)
    if init == "ppca" and not able:
        raise ValueError('init="ppca" needs networks with a linear path: "linear", "residual" or "conv".')
    start = initialize.closed_form(model, x) if able and init != "random" else None
    if start is None:
        if init == "ppca":
            raise ValueError('init="ppca" needs a Gaussian likelihood.')
        return None
    initialize.start_at(model, start)
    return start


def beats(model: VAE, start: LinearGaussian, x: Tensor) -> bool:
    """Return whether training has beaten its start on held-out rows by more than chance explains."""
    x = x[:JUDGING_ROWS]
    baseline = start.log_prob(x.flatten(1).double())
    if _sure(evaluate.elbo(model, x, samples=1) - baseline):  # cheap, and it can only understate the model
        return True
    return _sure(evaluate.log_likelihood(model, x, "auto", samples=JUDGING_SAMPLES).value - baseline)


def _sure(gain: Tensor) -> bool:
    """Return whether the mean of paired differences is above zero beyond doubt."""
    if len(gain) < 2 or not bool(gain.isfinite().all()):
        return False
    return bool(gain.mean() > SURE * gain.std() / math.sqrt(len(gain)))


def warn_of_floor(model: VAE, schema: Schema) -> None:
    """Warn, naming the columns, where a learned noise variance ended at its floor."""
    for likelihood in learned_gaussians(model):
        if not isinstance(likelihood, Gaussian):
            continue
        low = likelihood.at_floor().cpu()
        if not bool(low.any()):
            continue
        floor = math.sqrt(likelihood.floor)
        if low.ndim == 0:
            where = "of all columns together"
        else:
            flat = schema.to_user_flat(low.double().numpy()) > 0
            names = [schema.feature_name(int(i)) for i in np.flatnonzero(flat)]
            where = "of " + ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        warnings.warn(
            f"The noise {where} reached its floor, {floor:g} of the data's scale: these values are predicted "
            "(almost) exactly, so log p(x) is as large as the floor allows. Drop constant or duplicated columns, "
            "or pass a fixed variance.",
            UserWarning,
            stacklevel=4,
        )


def run(estimator: Any, X: Any) -> None:
    """Do the work of ``estimator.fit(X)`` and set its fitted attributes; what training reached is kept on Ctrl-C."""
    begun = time.monotonic()
    options.check(estimator)
    array = validate_array(X)
    if len(array) < 2:
        raise ValueError(f"X has n_samples=1 row, but at least 2 are needed to fit a model, got shape {array.shape}.")
    options.check_binary(estimator.likelihood, array)
    options.check_names(estimator, X, reset=True)
    warm = bool(estimator.warm_start and hasattr(estimator, "model_"))
    seed = options.seed_from(estimator.random_state)
    schema = estimator.schema_ if warm else infer_schema(estimator, X, array)
    if warm:
        schema.to_model(array[:1], noise="centre")  # refuses other columns
        model_spec, model = estimator.spec_, estimator.model_
    else:
        model_spec = make_spec(estimator, schema)
        model = spec.build(model_spec, torch.Generator().manual_seed(training.schedule.stream_seed(seed, "weights")))
    with contextlib.ExitStack() as stack:
        callbacks = list(estimator.callbacks or ())
        if estimator.progress:
            callbacks.append(stack.enter_context(training.ProgressBar()))
        seconds = estimator.max_seconds
        plan = Plan(
            objective=estimator.objective,
            objective_samples=estimator.objective_samples,
            init=estimator.init,
            validation_fraction=estimator.validation_fraction,
            early_stopping=estimator.early_stopping,
            seed=seed,
            max_seconds=None if seconds is None else max(seconds - (time.monotonic() - begun), 1e-3),
            training={name: getattr(estimator, name) for name in PASSED_ON},
            callbacks=callbacks,
            store=open_store(estimator, model_spec, array, seed),
        )
        fitted = train(array, schema, model, plan, warm)
    if plan.store is not None:
        plan.store.clear()
    estimator.schema_, estimator.spec_, estimator.seed_ = schema, model_spec, seed
    estimator.model_ = fitted.model.eval()
    estimator.history_ = fitted.history
    estimator.kept_start_ = fitted.kept_start
    estimator.n_iter_ = max(1, math.ceil(fitted.history.records[-1].epoch))
    estimator.n_features_in_ = schema.n_features


def infer_schema(estimator: Any, X: Any, array: np.ndarray) -> Schema:
    """Choose shape and scaling; zeros and ones are left as they are."""
    binary = estimator.likelihood == "bernoulli"
    scale = None if binary and estimator.scale == "auto" else estimator.scale
    dequantize = False if binary and estimator.dequantize == "auto" else estimator.dequantize
    columns = [str(c) for c in X.columns] if hasattr(X, "columns") else None
    return Schema.infer(array, scale=scale, dequantize=dequantize, columns=columns)


def make_spec(estimator: Any, schema: Schema) -> spec.Spec:
    """Turn constructor arguments into a model's configuration, in model units."""
    variance: Any = estimator.variance
    if not isinstance(variance, str):
        scaled = schema.variance_to_model(float(variance))
        variance = float(scaled) if scaled.ndim == 0 else tuple(scaled.ravel().tolist())
    network = "residual" if estimator.network == "auto" else estimator.network
    return spec.Spec(
        shape=schema.shape,
        latent_dim=int(estimator.latent_dim),
        encoder=estimator.encoder or network,
        decoder=estimator.decoder or network,
        hidden=tuple(int(w) for w in estimator.hidden),
        channels=tuple(int(w) for w in estimator.channels),
        activation=estimator.activation,
        likelihood=estimator.likelihood,
        variance=variance,
        prior=estimator.prior,
        posterior=estimator.posterior,
    )


def open_store(estimator: Any, model_spec: spec.Spec, array: np.ndarray, seed: int) -> checkpoint.Folder | None:
    """Return where training keeps its state, tied to this configuration and these data."""
    if estimator.checkpoint_dir is None:
        return None
    digest = hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data)
    digest.update(repr((model_spec, seed, [(n, getattr(estimator, n)) for n in (*PASSED_ON, *TIED)])).encode())
    return checkpoint.Folder(estimator.checkpoint_dir, digest.hexdigest())
