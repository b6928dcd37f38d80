"""Everything that a fit needs before it trains: schema, recipe, seed and a fresh model."""

from __future__ import annotations

__all__ = ["Prepared", "afresh", "explained", "going_on", "split"]

import copy
import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .. import recipe, spec, start, training
from ..data import Schema, Values
from ..data.condition_schema import ConditionSchema, encoded
from ..data.order import stream_seed
from ..data.warned import listed
from ..fitted import Fitted, door
from ..networks.paths import is_linear
from ..objective import Objective
from ..options import Options
from ..plain import plain
from ..recipe import Choice, Entries, Facts, Recipe
from ..recipe import model as models
from ..recipe import remarks as odd
from ..threads import allowed, products, worth
from ..vae import VAE
from . import clusters, mixture, resume


@dataclass(frozen=True, eq=False)
class Prepared:
    """A fit that is about to train.

    Attributes:
        options: What was asked for, with a number for ``latent_dim``.
        values: All rows, in data units.
        schema: The schema of the data.
        recipe: What will be done.
        remarks: What about the data makes log p(x) mean less, and what was left out.
        spec: The configuration of the model.
        seed: The seed of everything.
        vae: The model, fresh or trained before.
        warm: Whether it was trained before.
        condition: What the rows are conditioned on; None for a model of p(x).
    """

    options: Options
    values: Values
    schema: Schema
    recipe: Recipe
    remarks: odd.Remarks
    spec: spec.Spec
    seed: int
    vae: VAE
    warm: bool = False
    condition: ConditionSchema | None = None

    @cached_property
    def c(self) -> Tensor | None:
        """What each row is conditioned on, (n, k), as the networks read it."""
        return encoded(self.condition, self.values)

    def objective(self) -> Objective:
        """Return what training maximises, for this model.

        Raises:
            ValueError: The objective does not know an option, such as noise on its inputs.
        """
        options = plain(self.options.objective_options or {})
        noise = self.recipe.input_noise.value
        if noise:
            options = {"input_noise": noise} | options
        name, samples = self.recipe.objective.value, self.recipe.objective_samples.value
        return spec.build_objective(name, self.vae, samples, options)

    @property
    def judged(self) -> bool:
        """Whether rows are held out that may undo what training did."""
        options = self.options
        return bool(
            options.early_stopping
            and options.validation_fraction > 0
            and self.recipe.objective.value != "autoencoder"
        )


def afresh(
    options: Options,
    values: Values,
    latent_dim: Choice[int] | None,
    condition: ConditionSchema | None = None,
) -> Prepared:
    """Prepare a first fit.

    Arguments:
        options: What was asked for, with a number for ``latent_dim``.
        values: All rows.
        latent_dim: That number and why, where it was left open.
        condition: What the rows are conditioned on.
    """
    found, schema = _decided(options, values, latent_dim)
    remarks = _remarks(options, values, schema, condition)
    odd.announce(remarks, options)
    floor = models.floor_of(found, options, schema, values)
    model_spec = models.spec_of(found, options, schema, floor, _width(condition))
    seed = resume.seed_of(options, model_spec, values)
    weights = stream_seed(seed, "weights")
    vae = spec.build(model_spec, torch.Generator().manual_seed(weights))
    found = _started(found, options, schema, vae)
    return Prepared(
        options, values, schema, found, remarks, model_spec, seed, vae, condition=condition
    )


def explained(
    options: Options,
    values: Values,
    latent_dim: Choice[int] | None,
    condition: ConditionSchema | None = None,
) -> Entries:
    """Return what a first fit would do, and why, without training anything."""
    found, schema = _decided(options, values, latent_dim)
    floor = models.floor_of(found, options, schema, values)
    model_spec = models.spec_of(found, options, schema, floor, _width(condition))
    vae = spec.build(model_spec, torch.Generator())
    found = _started(found, options, schema, vae)
    start.check_init(vae, options.init)
    remarks = _remarks(options, values, schema, condition)
    task = Prepared(options, values, schema, found, remarks, spec.Spec((1,), 1), 0, vae)
    return found.entries() | threads_of(_threads(task)) | remarks


def going_on(options: Options, values: Values, before: Fitted, latent_dim: Choice[int]) -> Prepared:
    """Prepare a fit that goes on from the last one: a copy, which leaves that as it was.

    Raises:
        ValueError: The columns or the options that shape the model have changed.
    """
    schema = before.schema
    door.check_width(schema, values)
    schema.check_columns(values.columns)
    _check_possible(schema, values)
    options = clusters.going_on(options, before.spec)
    old, vae = before.spec, before.vae
    if not clusters.is_of(old):
        old, vae = mixture.untrained(old, vae)
    found = _as_before(options, values, before, old).but(latent_dim=latent_dim)
    new = models.spec_of(found, options, schema, old.floor, _width(before.condition))
    for field in dataclasses.fields(spec.Spec):
        was, now = getattr(old, field.name), getattr(new, field.name)
        if was != now:
            raise ValueError(
                f"warm_start=True goes on from a model with {field.name}={was!r}, but that is now "
                f"{now!r}. Set it back, or fit anew with warm_start=False."
            )
    remarks = _remarks(options, values, schema, before.condition)
    # The old seed again: rows held out then are held out now.
    seed, vae = before.seed, copy.deepcopy(vae)
    return Prepared(
        options,
        values,
        schema,
        found,
        remarks,
        old,
        seed,
        vae,
        warm=True,
        condition=before.condition,
    )


def threads_of(used: int | None) -> dict[str, dict[str, object]]:
    """Return how many threads of a CPU training uses, where that is known, as an entry."""
    if used is None:
        return {}
    reason = (
        "As many as the matrix products of a step keep busy: with small products, threads mostly "
        "wait for each other. Never more than torch.set_num_threads, OMP_NUM_THREADS or "
        "MKL_NUM_THREADS allow."
    )
    return {"threads": {"value": used, "reason": reason}}


def _width(condition: ConditionSchema | None) -> int:
    """Return how many values c has; 0 without conditions."""
    if condition is None:
        return 0
    return condition.width


def _remarks(
    options: Options, values: Values, schema: Schema, condition: ConditionSchema | None
) -> odd.Remarks:
    """Return what is odd about the data, and what the model is conditioned on, as entries."""
    remarks = odd.describe(schema, values.array, options.likelihood)
    if condition is None:
        return remarks
    reason = (
        "The model is one of p(x|c): encoder and decoder also read c, whose labels are one-hot "
        "encoded and whose numbers are standardised."
    )
    return remarks | {"condition": {"value": str(condition), "reason": reason}}


def split(
    rows: int, held_out: int, seed: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp] | None]:
    """Return the numbers of the rows to train on, and of those to hold out."""
    if held_out == 0:
        return np.arange(rows), None
    order = np.random.default_rng([seed, 1]).permutation(rows)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _decided(
    options: Options, values: Values, latent_dim: Choice[int] | None
) -> tuple[Recipe, Schema]:
    found = recipe.build(options, Facts(values, options.validation_fraction), latent_dim)
    return found, models.schema_of(found, options, values)


def _started(found: Recipe, options: Options, schema: Schema, vae: VAE) -> Recipe:
    linear = is_linear(vae.encoder) and is_linear(vae.decoder)
    able, conditioned = start.has_closed_form(vae), vae.takes_condition
    if schema.table is not None:
        able = start.has_linear_paths(vae)
    return recipe.started(found, options, schema, able, linear, conditioned)


def _threads(task: Prepared) -> int | None:
    """Return how many threads a step is worth, where it runs on a CPU."""
    if training.resolve_device(task.options.device).type != "cpu":
        return None
    vae, draws = task.vae, task.objective().draws
    row = products(vae.encoder, vae.shape) + draws * products(vae.decoder, vae.shape)
    return min(allowed(), worth(task.recipe.batch_size.value * row))


def _as_before(options: Options, values: Values, before: Fitted, old: spec.Spec) -> Recipe:
    """Return a recipe in which what was left open is what the last fit decided."""
    facts = Facts(values, options.validation_fraction)
    why = "As in the fit that this one goes on from."
    asked = options.having(scale="standard")
    if options.variance == "auto" and isinstance(old.variance, str):
        asked = asked.having(variance=old.variance)
    table = recipe.build(asked, facts, kind=Choice(before.kind, why))
    hidden = table.hidden
    if options.hidden is None:  # None was decided by the rows of then
        decoder = old.decoder_hidden
        if options.decoder_hidden is not None:
            decoder = hidden.value.decoder
        hidden = Choice(recipe.Widths(old.hidden, decoder), why)
    last = Choice("last fit", "warm_start=True goes on from there.")
    found = recipe.going_on(table, asked, facts).but(
        hidden=hidden,
        scale=Choice(before.schema.scaling, why),
        start=last,
    )
    if options.prior == "auto" and mixture.is_fitted(before.spec) and not found.fits_prior:
        # however short this training is, and however few the rows
        found = found.but(prior=Choice("judged", "The last fit had a prior fitted to z."))
    return found


def _check_possible(schema: Schema, values: Values) -> None:
    """Refuse to go on with a column that was left out of the model but now has another value.

    Raises:
        ValueError: There is one (it is named).
    """
    found = schema.impossible_values(values) if schema.left_out else {}
    if found:
        raise ValueError(
            f"warm_start=True goes on from a model that leaves {listed(list(found))} out, as all "
            "rows had one value there, but now some have another. Fit anew with warm_start=False."
        )
