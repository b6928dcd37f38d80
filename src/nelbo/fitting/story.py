"""Training as a short story: build, start, train, and judge the candidates.

Candidates are the closed-form start, a mixture of factor analysers, a quick model that a run of
little time may end with, and what a second training on all rows comes to. Each takes the place of
what was trained only where it wins on rows that were held out.
"""

from __future__ import annotations

__all__ = ["KEPT", "Task", "train"]

import copy
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .. import checkpoint, training
from .. import start as begin
from ..data import as_rows
from ..data.jitter import Jittered
from ..data.order import stream_seed
from ..data.rows import Rows
from ..data.steps.whitening import Axes
from ..evaluate import Examples
from ..linear import LinearGaussian, Regression
from ..objective import Objective
from ..recipe.choice import Entry
from ..recipe.many import MANY
from ..training.settings import Settings
from . import clusters, mixture, resume
from .prepare import Prepared, split
from .second import Longer, refit


@dataclass(frozen=True, eq=False)
class Task:
    """A model about to be trained, and the rows that train and judge it.

    Attributes:
        plan: What will be done.
        objective: What is maximised.
        taken: The rows to train on.
        everything: Those, and the rows held out.
        validation: The rows held out, in model units; None where there are none.
        noise: The source of the noise of 8-bit data.
        history: Where records are added.
        callbacks: Who is told of each record.
        store: Where the state is kept, or None.
        begun: When the fit began, by `time.monotonic`.
    """

    plan: Prepared
    objective: Objective
    taken: Rows
    everything: Rows
    validation: Examples | None
    noise: torch.Generator
    history: training.History
    callbacks: Sequence[training.Callback] = ()
    store: checkpoint.Folder | None = None
    begun: float = field(default_factory=time.monotonic)

    @classmethod
    def of(
        cls,
        plan: Prepared,
        history: training.History,
        callbacks: Sequence[training.Callback],
        store: checkpoint.Folder | None,
        begun: float,
    ) -> Task:
        """Part the rows, and build the objective."""
        rows, held = split(len(plan.values), plan.recipe.held_out.value, plan.seed)
        noise = torch.Generator().manual_seed(stream_seed(plan.seed, "dequantise"))
        on_cpu = training.resolve_device(plan.options.device).type == "cpu"
        everything = plan.schema.rows(plan.values, on_cpu, generator=noise, c=plan.c)
        taken, validation = everything, None
        if held is not None:
            taken = everything.only(torch.from_numpy(rows))
            x = plan.schema.to_model(plan.values[held], noise=noise)
            validation = Examples(x, None if plan.c is None else plan.c[held])
        objective = plan.objective()
        return cls(
            plan,
            objective,
            taken,
            everything,
            validation,
            noise,
            history,
            callbacks,
            store,
            begun,
        )

    def seconds_left(self) -> float | None:
        """How much of the time limit is left; None where there is none."""
        recipe = self.plan.recipe
        limit = recipe.max_seconds.value
        if limit is None:
            return None
        if recipe.prior.value == "judged":  # it is fitted after training, in the same time
            limit -= MANY.prior_seconds
        return max(limit - (time.monotonic() - self.begun), 1e-3)

    def phase(self, name: str) -> training.Store | None:
        """Where the state of one phase of training is kept."""
        return None if self.store is None else self.store.phase(name)

    def replace_weights(self, other: torch.nn.Module) -> None:
        """Take the weights of another model."""
        self.plan.vae.load_state_dict(other.state_dict())


Candidate = Callable[[Task], dict[str, Entry]]
"""Takes the place of the trained model where it wins.

It returns entries of the recipe, what was kept and why, where that ends the search, else none.
"""


def train(task: Task) -> dict[str, Entry]:
    """Train the model of a task in place.

    Returns:
        Entries of the recipe, what was kept and why, where training did not beat what it started
        from.
    """
    solution = _start(task)
    quick = _quick(task, solution)
    again = _again(task)
    _train(task)
    kept: dict[str, Entry] = {}
    for candidate in (quick, _clusters(solution), _kept_start(solution), again):
        kept = kept or candidate(task)
    return kept


KEPT = "kept"
"""What a recipe says of a closed-form start that was kept."""


def _start(task: Task) -> _Start | None:
    """Put the model at its closed form, where the recipe has it start there."""
    plan = task.plan
    if plan.warm:
        return None
    begin.place_prior(plan.vae, task.taken)
    if plan.recipe.start.value == "scores":
        begin.start_at_scores_of(plan.vae, task.taken)
        return None
    regression = None
    if plan.condition is None:
        first_rows = begin.enough_rows(plan.vae, task.taken)
    else:
        first_rows, regression = begin.regressed(plan.vae, task.taken)
    plan.vae.likelihood.start_missing(task.taken)
    found = begin.closed_form_start(plan.vae, first_rows, plan.options.init, regression)
    if found is None:
        return None
    if plan.recipe.start.value == "principal axes":
        found = _with_every_correlation(plan)
        begin.start_at(plan.vae, found)
        begin.start_prior(plan.vae, first_rows)
    return _Start(found, first_rows, regression)


@dataclass(frozen=True)
class _Start:
    """Where training starts: a linear model, and the rows that it was found from; given c, both
    are of what a regression on c leaves.
    """

    linear: LinearGaussian
    rows: Tensor | begin.Readable
    regression: Regression | None = None

    def of_all_rows(self, task: Task) -> _Start:
        """Return the start that is found from all rows."""
        plan = task.plan
        if plan.recipe.start.value == "principal axes":
            return self
        rows: Tensor | begin.Readable = task.everything
        regression = None
        if self.regression is not None:
            rows, regression = begin.regressed(plan.vae, task.everything)
        found = begin.closed_form(plan.vae, rows)
        return self if found is None else _Start(found, rows, regression)


def _with_every_correlation(plan: Prepared) -> LinearGaussian:
    """Return N(m, S) as a linear model of whitened rows, z the principal components.

    Its noise is N(0, I).
    """
    schema, array = plan.schema, plan.values.array
    array = array[:, schema.kept] if schema.left_out else array  # all of them would be a copy
    latent_dim = plan.vae.latent_dim
    found = torch.from_numpy(Axes.of(array, schema.shift, schema.scale, latent_dim).weight)
    weight = torch.zeros(len(found), latent_dim, dtype=torch.float64)
    weight[:, : found.shape[1]] = found
    nothing = torch.zeros(len(found), dtype=torch.float64)
    return LinearGaussian(weight, nothing, torch.ones_like(nothing))


def _train(task: Task) -> None:
    """Train on the rows that are not held out."""
    plan = task.plan
    rows = _jittered(plan, task.taken)
    validation = None
    if task.validation is not None:
        validation = as_rows(task.validation.x, c=task.validation.c, missing=plan.values.incomplete)
    training.fit(
        task.objective,
        rows,
        validation=validation,
        seed=plan.seed,
        callbacks=task.callbacks,
        store=task.phase("training"),
        store_every=resume.STORE_EVERY,
        history=task.history,
        **_limits(plan) | {"max_seconds": task.seconds_left()},
    )


def _jittered(plan: Prepared, rows: Rows) -> Rows:
    """Return rows with the noise that the recipe wants on them in training."""
    if plan.recipe.jitter.value:
        return Jittered(rows)
    return rows


def _limits(plan: Prepared) -> dict[str, Any]:
    """Return the arguments of `nelbo.fit` that the recipe and the options decide."""
    names = [field.name for field in dataclasses.fields(Settings)]
    asked = {name: getattr(plan.options, name) for name in names if hasattr(plan.options, name)}
    return asked | plan.recipe.budget


def _nobody(task: Task) -> dict[str, Entry]:
    """Stand for a candidate that there is not."""
    return {}


def _quick(task: Task, start: _Start | None) -> Candidate:
    """Return what a run of little time may end with: the start, with a decoder of random features.

    It is found before training, which changes the model.
    """
    plan, validation = task.plan, task.validation
    timed = plan.recipe.max_seconds.value is not None and plan.judged
    if start is None or validation is None or not timed or plan.condition is not None:
        return _nobody
    if plan.values.incomplete:  # least squares needs complete rows
        return _nobody
    quick = begin.quick_model(plan.vae, start.rows, task.noise)
    if quick is None:
        return _nobody

    def candidate(task: Task) -> dict[str, Entry]:
        if begin.ahead(quick, task.plan.vae, validation):
            task.replace_weights(quick)
            task.history.best_step = 0
        return {}

    return candidate


def _kept_start(start: _Start | None) -> Candidate:
    """Return the closed-form start, which wins unless training has clearly beaten it."""

    def candidate(task: Task) -> dict[str, Entry]:
        plan, validation = task.plan, task.validation
        if start is None or not plan.judged:
            return {}
        if validation is not None and begin.beats(
            plan.vae, start.linear, validation, start.regression
        ):
            return {}
        best = start.of_all_rows(task)
        begin.place_prior(plan.vae, task.taken)
        begin.start_at(plan.vae, best.linear, best.regression)
        task.history.best_step = 0
        why = "Training did not clearly beat its closed-form start on held-out rows."
        return {"start": {"value": KEPT, "reason": why}}

    return candidate


def _clusters(start: _Start | None) -> Candidate:
    """Return a mixture of factor analysers, which wins unless training has clearly beaten it."""

    def candidate(task: Task) -> dict[str, Entry]:
        plan, validation = task.plan, task.validation
        if start is None or validation is None or not plan.recipe.clusters.value:
            return {}
        search = clusters.Search()
        if {"few_values", "repeated_values", "dependent_columns"} & set(plan.remarks):
            search = dataclasses.replace(search, floor=plan.spec.floor)
        trained = copy.deepcopy(plan.vae).eval()
        if plan.recipe.prior.value == "judged":
            _, held = split(len(plan.values), plan.recipe.held_out.value, plan.seed)
            mixture.adopt(trained, plan.values, plan.schema, held, False, whole=False)
        rows = (task.taken.read(), validation.x, task.everything.read())
        linear = start.of_all_rows(task).linear
        kept = clusters.adopt(plan.vae, trained, linear, rows, search)
        if kept:
            task.history.best_step = 0
        return kept

    return candidate


def _again(task: Task) -> Candidate:
    """Return what a second training, on all rows and from the same start, comes to.

    The start is copied before training changes the model.
    """
    if not task.plan.recipe.refit.value or task.validation is None:
        return _nobody
    fresh, validation = copy.deepcopy(task.objective), task.validation

    def candidate(task: Task) -> dict[str, Entry]:
        plan, limits, steps = task.plan, _limits(task.plan), task.history.best_step
        longer = 1.0
        if plan.options.max_steps is None and plan.options.max_epochs is None:
            longer = Longer().of(steps / (limits["max_steps"] or steps))
        refit(
            fresh,
            _jittered(plan, task.everything),
            len(task.taken),
            steps,
            longer,
            limits,
            seed=plan.seed,
            history=task.history,
            callbacks=task.callbacks,
            store=task.phase("training on all rows"),
            store_every=resume.STORE_EVERY,
        )
        # The refit had no early stopping, and these rows were in its training set: it is kept only
        # where it is ahead by a finer comparison.
        if begin.ahead(fresh.vae, plan.vae, validation, begin.Comparison.samples):
            task.replace_weights(fresh.vae)
        return {}

    return candidate
