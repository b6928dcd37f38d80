"""From an array to a trained model: split, scale, build, start at the closed form, train, and keep
what is better.
"""

from __future__ import annotations

__all__ = ["run"]

import contextlib
import copy
import dataclasses
import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from .. import checkpoint, spec, training
from .. import start as begin
from ..data import Schema, Values
from ..data.jitter import Jittered
from ..data.known import KnownRows
from ..data.order import stream_seed
from ..data.rows import Rows
from ..data.steps.whitening import mixed_variance
from ..data.warned import warn
from ..fitted import Fitted, door, linear
from ..likelihood import VARIANCE_FLOOR
from ..networks.paths import is_linear
from ..threads import using
from ..vae import VAE
from . import aggregate, defaults, latent, options, recipe

PASSED_ON = (
    "max_epochs",
    "max_steps",
    "batch_size",
    "learning_rate",
    "weight_decay",
    "device",
    "precision",
)
"""Constructor arguments that go to `nelbo.fit` as they are."""
TIED = (
    "dequantize",
    "max_seconds",
    "validation_fraction",
    "early_stopping",
    "init",
    "objective",
    "objective_samples",
    "objective_options",
    "scale",
)
"""Further arguments that a resumed run must share with the run it resumes."""
RANDOM_LINEAR_RATE = 1e-2
"""Peak learning rate of linear networks from a random start, which have far to go and no bad basins
on the way.
"""
FLOOR_ROWS = 256
"""Rows in which noise that depends on z is looked at."""
NEAR_FLOOR = 2.0
"""Times the floor: what the posterior's own width adds to noise that the floor alone holds up."""
STORE_EVERY = 30.0
"""Seconds between two states on disk."""
SMALLEST_VARIANCE = 1e-30
"""Of a fixed variance in model units; float32 holds its inverse, and the square of a far
residual.
"""


@dataclass(frozen=True)
class Plan:
    """What to do, with every name still a name."""

    objective: str
    objective_samples: int
    objective_options: dict[str, Any]
    init: str
    validation_fraction: float
    early_stopping: bool
    seed: int
    max_seconds: float | None
    limits: dict[str, Any] = field(default_factory=dict)
    callbacks: Sequence[training.Callback] = ()
    store: checkpoint.Folder | None = None
    table: bool = False
    """Whether the data are a table, trained on with jitter."""
    told: frozenset[str] = frozenset()
    """Columns of which it is told already that log p(x) means less there."""


def train(
    X: Values, schema: Schema, model: VAE, plan: Plan, history: training.History, warm: bool
) -> bool:
    """Fit ``model`` to the rows of X, whose scaling is ``schema``, in place.

    Arguments:
        X: All rows, in data units.
        schema: Their schema.
        model: A freshly built model, or a trained one to go on with.
        plan: How.
        history: Where records are added.
        warm: Whether the model is trained already.

    Returns:
        Whether the closed-form start was kept because training did not beat it beyond doubt.
    """
    begun = time.monotonic()
    rows, held = split(
        len(X), plan.validation_fraction, plan.seed, defaults.HELD if plan.table else 10
    )
    noise = torch.Generator().manual_seed(stream_seed(plan.seed, "dequantise"))
    keep = training.resolve_device(plan.limits["device"]).type == "cpu"
    everything = schema.rows(X, keep, generator=noise)
    taken = everything if held is None else everything.only(torch.from_numpy(rows))
    on: Rows = taken
    validation = None if held is None else schema.to_model(X[held], noise=noise)
    objective = spec.build_objective(
        plan.objective, model, plan.objective_samples, plan.objective_options
    )
    first_rows = begin.enough_rows(model, taken)
    start = None if warm else begin.closed_form_start(model, first_rows, plan.init)
    judged = (
        plan.early_stopping and plan.validation_fraction > 0 and plan.objective != "autoencoder"
    )
    timed = plan.max_seconds is not None and validation is not None and judged
    quick = begin.quick_model(model, first_rows, noise) if start is not None and timed else None
    limits = dict(plan.limits)
    fresh = None
    if plan.table and start is not None:
        if schema.mixing is not None:
            start = defaults.white_start(model, X.array, schema)
            begin.start_at(model, start)
        alone = held is not None and len(X) >= defaults.MANY_TABLE_ROWS
        limits = defaults.limits_for(limits, len(taken), plan.max_seconds is not None, alone)
        on = Jittered(taken)
        fresh = None if alone else copy.deepcopy(objective)
    if start is None and not warm and is_linear(model.encoder) and is_linear(model.decoder):
        limits["learning_rate"] = limits["learning_rate"] or RANDOM_LINEAR_RATE
    left = (
        None
        if plan.max_seconds is None
        else max(plan.max_seconds - (time.monotonic() - begun), 1e-3)
    )
    training.fit(
        objective,
        on,
        validation=validation,
        early_stopping=plan.early_stopping,
        seed=plan.seed,
        max_seconds=left,
        callbacks=plan.callbacks,
        store=None if plan.store is None else plan.store.phase("training"),
        store_every=STORE_EVERY,
        history=history,
        **limits,
    )
    if quick is not None and validation is not None and begin.ahead(quick, model, validation):
        model.load_state_dict(quick.state_dict())
        history.best_step = 0
    kept = (
        start is not None
        and judged
        and (validation is None or not begin.beats(model, start, validation))
    )
    if start is not None and kept and schema.mixing is not None and plan.table:
        begin.start_at(model, start)
        history.best_step = 0
    elif start is not None and kept:
        begin.start_at(model, begin.closed_form(model, everything) or start)
        history.best_step = 0
    if (
        fresh is not None
        and not kept
        and judged
        and validation is not None
        and plan.max_seconds is None
    ):
        store = None if plan.store is None else plan.store.phase("training on all rows")
        steps = history.best_step
        longer = defaults.stretch_of(plan.limits, steps / (limits["max_steps"] or steps))
        watched = defaults.Watched(history, plan.callbacks)
        rest = (plan.seed, limits, longer, store, STORE_EVERY, watched)
        defaults.refit(fresh, everything, len(taken), steps, *rest)
        # Nobody watched over it; and it has seen these rows, the other has not.
        if begin.ahead(fresh.vae, model, validation, begin.JUDGING_SAMPLES):
            model.load_state_dict(fresh.vae.state_dict())
    warn_of_floor(model, schema, everything, plan.told)
    return kept


def fit_prior(
    estimator: Any, model: VAE, values: Values, schema: Schema, plan: Plan, kept: bool
) -> recipe.Recipe:
    """Let p(z) be a mixture where that is asked for, or helps: of tables, unless they are a
    normal.
    """
    if not aggregate.may_fit(estimator):
        return {}
    asked = estimator.prior == aggregate.FITTED
    _, held = split(
        len(values), plan.validation_fraction, plan.seed, defaults.HELD if plan.table else 10
    )
    helps = plan.table and not kept and held is not None and plan.max_seconds is None
    if not asked and not (estimator.prior == aggregate.AUTO and helps):
        return {}
    found = aggregate.adopt(model, values, schema, held, asked)
    return {"prior": found} if found else {}


def known_rows(
    estimator: Any, schema: Schema, array: np.ndarray, seed: int, table: bool, warm: bool
) -> KnownRows:
    """Return what tells the rows of this fit, and of those that a warm start goes on from, from new
    ones.
    """
    _, held = split(len(array), estimator.validation_fraction, seed, defaults.HELD if table else 10)
    found = KnownRows.of(schema.conformed(array), held)
    before = estimator.known_rows_ if warm else None
    return found if before is None else found.and_those_of(before)


def split(
    n: int, fraction: float, seed: int, least: int = 10
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the rows to train on and those to hold out: a share, but ``least`` rows or a quarter
    of few.

    More than a run looks at would be lost to training.
    """
    if fraction == 0 or n < 4:
        return np.arange(n), None
    order = np.random.default_rng([seed, 1]).permutation(n)
    count = max(math.ceil(fraction * n), min(least, n // 4))
    count = min(count, n - 2, training.VALIDATED)
    return np.sort(order[count:]), np.sort(order[:count])


def warn_of_floor(model: VAE, schema: Schema, rows: Rows, told: frozenset[str]) -> None:
    """Warn, naming the columns, where a learned noise variance ended at its floor.

    Noise that depends on z is warned of only for columns of which nothing is ``told`` yet.
    """
    noise = model.likelihood.noise()
    if noise.floor is None or noise.kind == "fixed":
        return
    if noise.variance is not None:
        low = (noise.variance <= NEAR_FLOOR * noise.floor).cpu()
        _warn_of_low(low, math.sqrt(VARIANCE_FLOOR), schema, frozenset())
    elif schema.kind == "table":
        low = _at_floor_for_most(model, noise.floor, schema, rows)
        _warn_of_low(low, math.sqrt(noise.floor), schema, told)


@torch.no_grad()
def _at_floor_for_most(model: VAE, floor: float, schema: Schema, rows: Rows) -> torch.Tensor:
    """Return of which columns most rows have noise at its floor, which depends on z: as the user
    sees columns.
    """
    x = rows.every(math.ceil(len(rows) / FLOOR_ROWS)).read()
    variance = (
        model.decode(model.encode(x.to(model.device, model.dtype)).mean).variance.double().cpu()
    )
    if schema.mixing is not None:
        variance = torch.from_numpy(
            np.stack([mixed_variance(row, schema.mixing) for row in variance.numpy()])
        )
    return variance.median(0).values <= NEAR_FLOOR * floor


def _warn_of_low(low: torch.Tensor, floor: float, schema: Schema, told: frozenset[str]) -> None:
    if not bool(low.any()):
        return
    if low.ndim == 0:
        constant = schema.constant_features()
        where = "of all columns together" + (
            f" (constant: {', '.join(constant[:5])})" if constant else ""
        )
    else:
        flat = schema.to_user_flat(low.double().numpy()) > 0
        names = [schema.feature_name(int(i)) for i in np.flatnonzero(flat)]
        names = [name for name in names if name not in told]
        if not names:
            return
        where = (
            "of " + ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        )
    warn(
        f"The noise {where} reached its floor, {floor:g} of the data's scale: these values are "
        "predicted "
        "(almost) exactly, so log p(x) is as large as the floor allows. Drop constant or "
        "duplicated columns, "
        "lower latent_dim where it reaches the number of rows or columns, or pass a fixed variance."
    )


def run(estimator: Any, X: Any) -> None:
    """Do the work of ``estimator.fit(X)`` and set its fitted attributes, all of them or none.

    Ctrl-C during training leaves the best model so far behind.
    """
    place = estimator.checkpoint_dir
    with contextlib.nullcontext() if place is None else checkpoint.locked(place):
        _run(estimator, X)


def _run(estimator: Any, X: Any) -> None:
    begun = time.monotonic()
    options.check(estimator)
    values = Values.of(X)
    array = values.array
    if len(array) < 2:
        raise ValueError(
            "X has n_samples=1 row, but at least 2 are needed to fit a model, got shape "
            f"{array.shape}."
        )
    door.check_values(spec.resolve("likelihood", estimator.likelihood), values)
    names = options.names_of(X)
    warm = bool(estimator.warm_start and hasattr(estimator, "model_"))
    asked, sized = latent.settled(estimator, values, warm)
    if warm:
        schema, model_spec, seed, model = take_up(asked, X, values)
        described = recipe.describe(schema, array)
        table = defaults.was_table(asked)
    else:
        table = defaults.is_table(asked, array)
        schema = infer_schema(asked, values, table)
        described = recipe.describe(schema, array)
        recipe.announce(described, estimator.likelihood, estimator.variance)
        floor = max(noise_floor(asked, schema, values), defaults.LEAST_VARIANCE if table else 0.0)
        model_spec = make_spec(asked, schema, floor, table, len(array))
        seed = options.seed_from(seed_for(asked, model_spec, array))
        model = spec.build(
            model_spec,
            torch.Generator().manual_seed(stream_seed(seed, "weights")),
        )
    pca = linear.fit_early(schema, model, values)
    history, interruption, kept, mixed = training.History(), None, False, {}
    store = open_store(estimator, model_spec, array, seed, model if warm else None)
    with contextlib.ExitStack() as stack:
        if store is not None:
            stack.enter_context(store)
            if store.threads is not None:
                stack.enter_context(using(store.threads))
        callbacks = list(estimator.callbacks or ())
        if estimator.progress:
            callbacks.append(stack.enter_context(training.ProgressBar()))
        seconds = estimator.max_seconds
        plan = Plan(
            **defaults.objective_for(estimator, table),
            objective_options=plain(estimator.objective_options) or {},
            init=estimator.init,
            validation_fraction=estimator.validation_fraction,
            early_stopping=estimator.early_stopping,
            seed=seed,
            max_seconds=None
            if seconds is None
            else max(seconds - (time.monotonic() - begun), 1e-3),
            limits={name: plain(getattr(estimator, name)) for name in PASSED_ON},
            callbacks=callbacks,
            store=store,
            table=table,
            told=recipe.named(described),
        )
        try:
            kept = train(values, schema, model, plan, history, warm)
            mixed = fit_prior(asked, model, values, schema, plan, kept)
        except KeyboardInterrupt as error:
            if not history.records:
                raise
            interruption = error
        if store is not None and interruption is None:
            training.attempt(store.finish, "The model is trained and in memory.")
    if store is not None and interruption is None:
        estimator._fingerprint = store.fingerprint
    else:
        vars(estimator).pop("_fingerprint", None)
    settled = recipe.settled(asked, schema, model_spec, plan.objective, table, kept)
    used = recipe.threads(history.threads)
    estimator.fitted_ = Fitted(
        vae=model.eval(),
        schema=schema,
        spec=aggregate.spec_of(model_spec, model),
        recipe={**sized, **settled, **mixed, **used, **described},
        asked=options.asked(estimator.get_params(deep=False)),
        history=history,
        seed=seed,
        kept_start=kept,
        dtype="float64" if array.dtype == np.float64 else "float32",
        names=None if names is None else tuple(map(str, names)),
        known=known_rows(estimator, schema, array, seed, table, warm),
        linear=pca,
    )
    if interruption is not None:
        raise interruption


def plain(value: Any) -> Any:
    """A numpy number as Python's, which JSON can hold; options in the order of their names."""
    if isinstance(value, Mapping):
        return {name: plain(value[name]) for name in sorted(value)}
    return value.item() if isinstance(value, np.generic) else value


def take_up(estimator: Any, X: Any, values: Values) -> tuple[Schema, spec.Spec, int, VAE]:
    """Return what a warm start goes on from: a copy, so that a fit that fails leaves the last one
    as it was.

    Raises:
        ValueError: The columns or the options that shape the model have changed.
    """
    old = estimator.fitted_
    options.check_names(estimator, X, old.names, old.schema.n_features)
    door.check_width(old.schema, values)
    options.check_possible(estimator.schema_, values)
    before, model = aggregate.untrained(estimator.spec_, estimator.model_)
    new = make_spec(
        estimator, estimator.schema_, before.floor, defaults.was_table(estimator), len(values)
    )
    if estimator.hidden is None:  # None was decided by the rows of then
        asked = (
            new.decoder_hidden if estimator.decoder_hidden is not None else before.decoder_hidden
        )
        new = dataclasses.replace(new, hidden=before.hidden, decoder_hidden=asked)
    for option in dataclasses.fields(spec.Spec):
        was, now = getattr(before, option.name), getattr(new, option.name)
        if was != now:
            raise ValueError(
                f"warm_start=True goes on from a model with {option.name}={was!r}, but that is now "
                f"{now!r}. "
                "Set it back, or fit anew with warm_start=False."
            )
    # The old seed again: rows held out then are held out now.
    return estimator.schema_, before, estimator.seed_, copy.deepcopy(model)


def infer_schema(estimator: Any, values: Values, table: bool) -> Schema:
    """Choose shape and scaling; zeros and ones are left as they are.

    Raises:
        ValueError: Zeros and ones would not stay as they are, or an option is unknown.
    """
    discrete = options.is_discretised(estimator)
    if estimator.likelihood != "bernoulli":
        return Schema.infer(
            values,
            scale=defaults.scale_for(estimator, values, table),
            dequantize=estimator.dequantize,
            discrete=discrete,
            # With one scale for all, beta^2 I is in data units, and a column that never varies has
            # a density under it.
            leave_out=not discrete and estimator.scale not in ("global", None),
            latent_dim=int(estimator.latent_dim),
        )
    if estimator.scale not in ("auto", None) or estimator.dequantize not in ("auto", False):
        raise ValueError(
            "likelihood='bernoulli' needs zeros and ones as they are, got "
            f"scale={estimator.scale!r} and "
            f"dequantize={estimator.dequantize!r}. Leave both at 'auto'."
        )
    return Schema.infer(values, scale=None, dequantize=False)


def noise_floor(estimator: Any, schema: Schema, values: Values) -> float:
    """Return the smallest variance that may be learned: relative to the data, also where these are
    not scaled.
    """
    if estimator.scale is not None or estimator.likelihood == "bernoulli":
        return VARIANCE_FLOOR
    spread = Schema.infer(values, scale="global", dequantize=schema.dequantize).scale
    return float(VARIANCE_FLOOR * spread**2)


def make_spec(estimator: Any, schema: Schema, floor: float, table: bool, rows: int) -> spec.Spec:
    """Turn constructor arguments into a model's configuration, in model units."""
    variance: Any = estimator.variance
    spec.check_variance(estimator.likelihood, variance)
    if variance == "auto":
        variance = "heteroscedastic" if table else "learned"
    if not isinstance(variance, str):
        scaled = schema.variance_to_model(float(variance))
        if not ((scaled > SMALLEST_VARIANCE) & (scaled < 1 / SMALLEST_VARIANCE)).all():
            raise ValueError(
                f"variance={variance!r} is beyond all proportion to the data, whose scale goes "
                "from "
                f"{schema.scale.min():g} to {schema.scale.max():g}. It is in squared units of the "
                "data: pass one near "
                "the variance of what the model should leave unexplained, or variance='learned'."
            )
        variance = _numbers(scaled)
    grid = (
        dict(zip(("low", "width"), map(_numbers, schema.grid), strict=True))
        if schema.discrete
        else {}
    )
    hidden, decoder_hidden = defaults.hidden_for(estimator, rows, table)
    network = "residual" if estimator.network == "auto" else estimator.network
    return spec.Spec(
        shape=schema.shape,
        latent_dim=int(estimator.latent_dim),
        encoder=estimator.encoder or network,
        decoder=estimator.decoder or network,
        hidden=hidden,
        decoder_hidden=decoder_hidden,
        channels=tuple(int(w) for w in estimator.channels),
        activation=estimator.activation,
        likelihood=estimator.likelihood,
        variance=variance,
        prior="standard_normal" if aggregate.may_fit(estimator) else estimator.prior,
        posterior=estimator.posterior,
        floor=floor,
        **{f"{kind}_options": _given(estimator, kind) for kind, _ in spec.OPTIONS},
        **grid,
    )


def _given(estimator: Any, kind: str) -> Any:
    """Return the options asked of a kind of part, as JSON holds them."""
    return plain(getattr(estimator, f"{kind}_options") or {})


def _numbers(values: np.ndarray) -> Any:
    """One number, or a tuple with one for each feature: what JSON holds."""
    return float(values) if values.ndim == 0 else tuple(values.ravel().tolist())


def open_store(
    estimator: Any, model_spec: spec.Spec, array: np.ndarray, seed: int, warm: VAE | None
) -> checkpoint.Folder | None:
    """Return where training keeps its state, tied to configuration, data, and the weights it goes
    on from.
    """
    if estimator.checkpoint_dir is None:
        return None
    found = fingerprint(estimator, model_spec, array, seed)
    if warm is not None:
        weights = b"".join(value.cpu().numpy().tobytes() for value in warm.state_dict().values())
        found = hashlib.sha256(found.encode() + weights).hexdigest()
    return checkpoint.Folder(estimator.checkpoint_dir, found)


def seed_for(estimator: Any, model_spec: spec.Spec, array: np.ndarray) -> Any:
    """Return the random_state; for a run that may have to be resumed, None is a seed that will be
    found again.
    """
    if estimator.random_state is None and estimator.checkpoint_dir is not None:
        return int(fingerprint(estimator, model_spec, array, None)[:15], 16)
    return estimator.random_state


def fingerprint(estimator: Any, model_spec: spec.Spec, array: np.ndarray, seed: int | None) -> str:
    """Return a digest of the data and of every option that a resumed run must share."""
    fields = {name: _named(value) for name, value in vars(model_spec).items()}
    digest = hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data)
    digest.update(
        repr(
            (
                array.shape,
                fields,
                seed,
                [(n, plain(getattr(estimator, n))) for n in (*PASSED_ON, *TIED)],
            )
        ).encode()
    )
    return digest.hexdigest()


def _named(value: Any) -> Any:
    """A network factory by its name, which other than its address is the same in the next
    process.
    """
    return getattr(value, "__qualname__", type(value).__qualname__) if callable(value) else value
