"""The recipe for images: one scale for all pixels, or one for each channel, and an encoder that is
kept from overfitting.
"""

from __future__ import annotations

__all__ = ["build", "scaled"]

from dataclasses import dataclass

from ..data import Schema
from ..options import Options
from ..spec import resolve
from . import plain
from .choice import Choice
from .facts import Facts
from .recipe import Recipe, Widths


@dataclass(frozen=True)
class Images:
    """The numbers of this recipe where rows are few, so that networks overfit.

    They were chosen on splits 101 to 103 of digits, and looked at on the Frey faces and 2,000
    images of MNIST (docs/defaults.md).
    """

    hidden: Widths = Widths((256, 256), (512, 512))
    """An encoder half as wide is as good, and a fit takes three quarters of the time."""
    input_noise: float = 0.5
    """With 0.3 the encoder's ELBO is lower by a nat or two; with 0.7, no higher."""
    weight_decay: float = 0.5
    """With 0.6 log p(x) is lower by half a nat, with 1 by two, and the ELBO no higher."""
    average: float = 1e-2
    """Weight of the newest weights in their running mean: that of about 100 steps."""


IMAGES = Images()


def build(options: Options, facts: Facts, kind: Choice[str], latent_dim: Choice[int]) -> Recipe:
    """Return the recipe for images; the arguments are those of `plain.build`."""
    recipe = _regularised(plain.build(options, facts, kind, latent_dim), facts)
    if recipe.scale.value is None:
        return recipe.as_asked(options)
    return recipe.but(scale=Choice("auto", plain.one_scale())).as_asked(options)


def _regularised(recipe: Recipe, facts: Facts) -> Recipe:
    """Return the recipe with noise on what the encoder sees, weights that decay, and their running
    mean, where that was found to help: in the ELBO of real values and the default networks.
    """
    networks = {recipe.encoder.value, recipe.decoder.value}
    real = resolve("likelihood", recipe.likelihood.value).takes == "real"
    if not real or recipe.objective.value != "elbo" or networks != {"residual"}:
        return recipe
    if facts.rows >= plain.PLAIN.many_rows:
        return recipe
    return recipe.but(
        hidden=Choice(IMAGES.hidden, "Larger networks overfit so few rows, encoders first."),
        input_noise=Choice(
            IMAGES.input_noise,
            "Normal noise on the images that the encoder sees in training keeps it from "
            "overfitting them.",
        ),
        weight_decay=Choice(
            IMAGES.weight_decay, "Smaller weights overfit less, most of all those of the encoder."
        ),
        average=Choice(
            IMAGES.average, "The weight of the newest weights in a running mean, which is steadier."
        ),
    )


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
