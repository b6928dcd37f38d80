"""One recipe, by the builder for the kind of data."""

from __future__ import annotations

__all__ = ["build", "going_on", "started"]

from ..data import Schema
from ..options import Options
from . import few, images, many, mixed, plain, table
from .choice import Choice
from .facts import Facts
from .recipe import Recipe, default_or_asked


def build(
    options: Options,
    facts: Facts,
    latent_dim: Choice[int] | None = None,
    kind: Choice[str] | None = None,
) -> Recipe:
    """Return what a fit of these rows will do; where it starts, `started` says.

    Arguments:
        options: What was asked for.
        facts: About the rows.
        latent_dim: How many latent dimensions, where the options leave that open.
        kind: The kind of the data, where an earlier fit has found it out.
    """
    kind = kind or table.kind_of(options, facts)
    if latent_dim is None:
        size = int(options.latent_dim)
        latent_dim = Choice(size, default_or_asked(size, Options.latent_dim))
    builders = {
        "plain": plain.build,
        "images": images.build,
        "table": table.build,
        "mixed": mixed.build,
    }
    recipe = builders[kind.value](options, facts, kind, latent_dim)
    if kind.value in ("images", "plain"):
        recipe = few.regularised(recipe, options, facts)
        recipe = many.widened(recipe, options, facts)
        return many.with_fitted_prior(recipe, options, facts)
    return recipe


def going_on(recipe: Recipe, options: Options, facts: Facts) -> Recipe:
    """Return a recipe for more training of a fitted model: it has left its start behind.

    There is no jitter, no second training, and the budget is that of any data.
    """
    rows = facts.rows - recipe.held_out.value
    return plain.paced(recipe, options, rows).but(
        **plain.once(),
        start=Choice("last fit", "warm_start=True goes on from there."),
    )


def started(
    recipe: Recipe,
    options: Options,
    schema: Schema,
    able: bool,
    linear: bool,
    conditioned: bool = False,
) -> Recipe:
    """Return a recipe that says where training starts, and how images are scaled.

    Arguments:
        recipe: The recipe so far.
        options: What was asked for.
        schema: The schema of the data.
        able: Whether the model has a closed form.
        linear: Whether both networks are linear.
        conditioned: Whether the model is one of p(x|c), whose start is a regression on c.
    """
    recipe = plain.started(recipe, options, able, linear)
    if conditioned and recipe.start.value == "ppca":
        why = "Of what a linear regression on c leaves: training can only improve on both."
        recipe = recipe.but(start=Choice("ppca", why))
    if recipe.data.value == "mixed":
        return mixed.started(recipe, options, able)
    if recipe.data.value == "table":
        return table.started(recipe, options, schema.mixing is not None and not conditioned)
    if recipe.data.value == "images" and recipe.scale.value == "auto":
        return images.scaled(recipe, schema)
    return recipe
