"""The recipe for images: one scale for all pixels, or one for each channel."""

from __future__ import annotations

__all__ = ["build", "scaled"]

from ..data import Schema
from ..options import Options
from . import plain
from .choice import Choice
from .facts import Facts
from .recipe import Recipe


def build(options: Options, facts: Facts, kind: Choice[str], latent_dim: Choice[int]) -> Recipe:
    """Return the recipe for images; the arguments are those of `plain.build`."""
    recipe = plain.build(options, facts, kind, latent_dim)
    if recipe.scale.value is None:
        return recipe
    return recipe.but(scale=Choice("auto", plain.one_scale())).as_asked(options)


def scaled(recipe: Recipe, schema: Schema) -> Recipe:
    """Return a recipe that says whether there is one scale, or one for each channel."""
    if schema.scale.ndim == 0:
        return recipe.but(scale=Choice("global", plain.one_scale()))
    return recipe.but(
        scale=Choice(
            "per channel",
            "The scales of the channels, or sensors, differ so much that a common one would hide "
            "some of them.",
        )
    )
