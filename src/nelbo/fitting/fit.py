"""`fit` and `explain`: what the faces call."""

from __future__ import annotations

__all__ = ["Outcome", "explain", "fit"]

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .. import checkpoint, spec, training
from ..data import Values
from ..data.condition_schema import ConditionSchema, encoded
from ..data.known import KnownRows
from ..data.values import check_finite
from ..fitted import Fitted, door, linear
from ..fitted.state import asked
from ..options import Options
from ..recipe import Choice, Entries, settled
from ..recipe import remarks as odd
from ..recipe.check import check
from ..recipe.choice import Entry
from ..threads import using
from . import clusters, flow, latent, mixture, resume
from .floor import warn_of_floor
from .prepare import Prepared, afresh, explained, going_on, split, threads_of
from .story import KEPT, Task, train


@dataclass(frozen=True)
class Outcome:
    """What a fit came to.

    Attributes:
        fitted: The fitted model.
        interruption: The KeyboardInterrupt that ended training, to be raised again; or None.
        fingerprint: What ties the state that is left in ``checkpoint_dir`` to this fit; None where
            there is none.
    """

    fitted: Fitted
    interruption: KeyboardInterrupt | None = None
    fingerprint: str | None = None


def fit(
    options: Options,
    X: Any,
    names: tuple[str, ...] | None = None,
    before: Fitted | None = None,
    condition: ConditionSchema | None = None,
) -> Outcome:
    """Fit a model to rows.

    Ctrl-C during training leaves the best model so far in what is returned.

    Arguments:
        options: What is asked for.
        X: Rows, as `nelbo.data.Values` takes them.
        names: The names of the columns that the model is to remember.
        before: A fitted model to go on from, with ``warm_start``.
        condition: What conditions the rows may have, where they are some of many; None finds it
            out from them.

    Raises:
        ValueError: X is not a set of at least two finite numeric examples, or an option is out of
            range.
    """
    place = options.checkpoint_dir
    with contextlib.nullcontext() if place is None else checkpoint.locked(place):
        return _fit(options, X, names, before, condition)


def explain(options: Options, X: Any) -> Entries:
    """Return what a fit of these rows would do and why, and train nothing.

    Raises:
        ValueError: As `fit`.
    """
    check(options)
    values = rows_of(options, X)
    options = settled(options, values)
    condition = _condition(values, None)
    size = None
    if options.latent_dim == "auto":
        tried = latent.sizes(int(np.prod(values.shape[1:])))
        reason = f"The smallest of {', '.join(map(str, tried))} as good as any, by short fits."
        size = Choice(tried[-1], f"At most. {reason}")
        options = options.having(latent_dim=tried[-1])
    return explained(options, values, size, condition)


def _fit(
    options: Options,
    X: Any,
    names: tuple[str, ...] | None,
    before: Fitted | None,
    condition: ConditionSchema | None,
) -> Outcome:
    begun = time.monotonic()
    check(options)
    values = rows_of(options, X)
    wanted, options = options, settled(options, values)
    plan = _prepared(options, values, before, condition or _condition(values, before))
    pca = linear.fit_early(plan.schema, plan.vae, values, plan.c)
    warm = plan.vae if plan.warm else None
    store = resume.open_store(options, plan.spec, values, plan.seed, warm)
    history = training.History()
    with _at_work(options, store) as callbacks:
        kept, prior, interruption = _trained(plan, history, callbacks, store, begun)
        if store is not None and interruption is None:
            training.attempt(store.finish, "The model is trained and in memory.")
    entries = plan.recipe.entries() | prior | kept | threads_of(history.threads) | plan.remarks
    fitted = Fitted(
        vae=plan.vae.eval(),
        schema=plan.schema,
        spec=_spec_of(plan, kept),
        recipe=entries,
        asked=asked(wanted),
        history=history,
        seed=plan.seed,
        kept_start=_what(kept) == KEPT,
        dtype=_floats(values),
        names=names,
        known=_known(plan, before),
        linear=pca,
        condition=plan.condition,
    )
    fitted = fitted.with_missing_given_z(values)
    left = None
    if store is not None and interruption is None:
        left = store.fingerprint
    return Outcome(fitted, interruption, left)


@contextlib.contextmanager
def _at_work(
    options: Options, store: checkpoint.Folder | None
) -> Iterator[list[training.Callback]]:
    """Hold the store and its number of threads while training, and give who is told of records."""
    with contextlib.ExitStack() as stack:
        if store is not None:
            stack.enter_context(store)
            if store.threads is not None:
                stack.enter_context(using(store.threads))
        callbacks = list(options.callbacks or ())
        if options.progress:
            callbacks.append(stack.enter_context(training.ProgressBar()))
        yield callbacks


def rows_of(options: Options, X: Any) -> Values:
    """Return the rows of a fit.

    Raises:
        ValueError: They are fewer than two, or not what the likelihood can have produced.
    """
    takes = options.missing == "auto"
    values = Values.of(X, missing=takes)
    if values.incomplete and not takes:
        check_finite(values.array, "X", values.columns)
    if len(values) < 2:
        raise ValueError(
            "X has n_samples=1 row, but at least 2 are needed to fit a model, got shape "
            f"{values.shape}. Pass more rows."
        )
    door.check_values(spec.resolve("likelihood", options.likelihood), values)
    return values


def _floats(values: Values) -> Literal["float32", "float64"]:
    """Return the type of samples, and of z: float64 where the rows are, unless columns are of
    different kinds, whose numbers the model has in float32.
    """
    if values.dtype == np.float64 and values.table is None:
        return "float64"
    return "float32"


def _condition(values: Values, before: Fitted | None) -> ConditionSchema | None:
    """Return what the rows are conditioned on; more training goes on with what there was."""
    if before is not None:
        encoded(before.condition, values)  # refuses what does not fit
        return before.condition
    if values.conditions is None:
        return None
    return ConditionSchema.infer(values.conditions)


def _prepared(
    options: Options, values: Values, before: Fitted | None, condition: ConditionSchema | None
) -> Prepared:
    """Decide everything, and build the model."""
    open_size = options.latent_dim == "auto"
    if before is not None:
        size = before.spec.latent_dim if open_size else int(options.latent_dim)
        why = "The size of the fit that this one goes on from."
        return going_on(options.having(latent_dim=size), values, before, Choice(size, why))
    if not open_size:
        return afresh(options, values, None, condition)

    def score(options: Options, train_rows: Values, test: Values) -> npt.NDArray[np.floating]:
        """Return log p(x) of each test row after a short fit."""
        return fit(options, train_rows, condition=condition).fitted.score_samples(test)

    found = latent.choose(options, values, score)
    return afresh(options.having(latent_dim=found.value), values, found, condition)


def _trained(
    plan: Prepared,
    history: training.History,
    callbacks: list[training.Callback],
    store: checkpoint.Folder | None,
    begun: float,
) -> tuple[dict[str, Entry], dict[str, Entry], KeyboardInterrupt | None]:
    """Train, and fit a prior.

    Return what was kept of the start, what p(z) became, and what interrupted training.
    """
    kept: dict[str, Entry] = {}
    try:
        task = Task.of(plan, history, callbacks, store, begun)
        kept = train(task)
        warn_of_floor(plan.vae, plan.schema, task.everything, odd.named(plan.remarks))
        return kept, _prior(plan, kept), None
    except KeyboardInterrupt as error:
        if not history.records:
            raise
        left = {}
        if plan.recipe.fits_prior:
            left = _normal("Training was interrupted before a prior was fitted to z.")
        return kept, left, error


def _what(kept: dict[str, Entry]) -> str:
    """Return what was kept in a word; nothing where training beat it."""
    return str(kept.get("start", {}).get("value", ""))


def _spec_of(plan: Prepared, kept: dict[str, Entry]) -> spec.Spec:
    """Return the configuration of what the model has become."""
    if _what(kept) == clusters.MIXTURE_KEPT:
        return clusters.spec_of(plan.spec, plan.vae)
    return mixture.spec_of(plan.spec, plan.vae)


def _prior(plan: Prepared, kept: dict[str, Entry]) -> dict[str, Entry]:
    """Let p(z) be a mixture or a flow where that is asked for, or helps: not where the start was
    kept.
    """
    wanted = plan.recipe.prior.value
    if not plan.recipe.fits_prior:
        return {}
    if _what(kept) == clusters.MIXTURE_KEPT:
        return {}
    asked_for = wanted == "fitted mixture"
    if kept and wanted == "judged":
        return _normal("The closed-form start was kept, whose z are normal.")
    _, held = split(len(plan.values), plan.recipe.held_out.value, plan.seed)
    limits = mixture.Limits()
    if wanted == "judged" and plan.recipe.data.value in ("images", "plain"):
        limits = mixture.Limits.of_images()
    whole = asked_for or plan.recipe.max_seconds.value is None
    found = mixture.adopt(plan.vae, plan.values, plan.schema, held, asked_for, limits, whole)
    if wanted == "fitted flow":
        options = plan.options.prior_options or {}
        found = flow.adopt(plan.vae, plan.values, plan.schema, held, options) or found
    if found:
        return {"prior": found}
    tried = {"fitted flow": "Neither a mixture of normals nor a flow predicted"}
    said = tried.get(wanted, "A mixture of normals did not predict")
    return _normal(f"{said} held-out rows better.")


def _normal(reason: str) -> dict[str, Entry]:
    """Return the entry of a prior that stays N(0, I)."""
    return {"prior": {"value": "standard_normal", "reason": reason}}


def _known(plan: Prepared, before: Fitted | None) -> KnownRows:
    """Return what tells the rows of this fit, and of those it goes on from, from new ones."""
    _, held = split(len(plan.values), plan.recipe.held_out.value, plan.seed)
    found = KnownRows.of(plan.schema.conformed(plan.values.array), held)
    if before is None or before.known is None:
        return found
    return found.and_those_of(before.known)
