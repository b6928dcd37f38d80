"""What keeps networks from overfitting few examples of many values: images, and wide arrays."""

from __future__ import annotations

__all__ = ["against_overfitting", "is_short", "is_usual", "regularised"]

import math
from dataclasses import dataclass

from ..options import Options
from ..spec import resolve
from .choice import Choice
from .facts import Facts
from .plain import PLAIN, paced
from .recipe import Recipe, Widths
from .table import TABLE


@dataclass(frozen=True)
class Few:
    """The numbers of these rules.

    They were chosen on splits 101 and 103 of digits with 2 to 32 latents, and looked at on the Frey
    faces and 2,000 images of MNIST (docs/defaults.md).
    """

    hidden: Widths = Widths((256, 256), (512, 512))
    """An encoder half as wide is as good, and a fit takes three quarters of the time."""
    input_noise: float = 0.4
    """With 0.5 log p(x) is lower by a nat where there are few latents or many; with 0.3, where
    there are 16."""
    weight_decay: float = 0.1
    """With 0.5 the encoder's ELBO comes two nats closer to log p(x) at 8 latents, but log p(x) is
    lower by 2 to 4 nats with 2 or 4 latents, and by 18 with 32, which stay at their start."""
    average: float = 1e-2
    """Weight of the newest weights in their running mean: that of about 100 steps."""
    shortest: int = 1_000
    """Runs asked to be shorter do not overfit: noise alone costs 2 nats of log p(x) in 150 steps
    and as many in 400."""
    steps: int = 1_200
    """The usual 2,000 gain a quarter of a nat of log p(x) on digits, in half as much time again."""
    steps_per_row: float = 0.3
    small: int = 256
    """Values of an example up to which a run is that short: on the Frey faces, of 560, it would
    cost 13 nats."""


FEW = Few()


def regularised(recipe: Recipe, options: Options, facts: Facts) -> Recipe:
    """Return the recipe with noise on what the encoder sees, weights that decay, and their running
    mean, where that was found to help: in the ELBO of real values and the default networks.
    """
    if not _may_overfit(recipe, facts) or is_short(recipe, options, facts, FEW.shortest):
        return recipe
    recipe = against_overfitting(recipe, FEW.input_noise, FEW.weight_decay).but(
        hidden=Choice(FEW.hidden, "Larger networks overfit so few rows, encoders first."),
        average=Choice(
            FEW.average, "The weight of the newest weights in a running mean, which is steadier."
        ),
    )
    unlimited = options.max_steps is None and options.max_epochs is None
    if unlimited and facts.columns <= FEW.small:
        rows = facts.rows - recipe.held_out.value
        count = FEW.steps + round(FEW.steps_per_row * rows)
        recipe = paced(recipe, options, rows, Choice(count, "1,200, plus 0.3 per row."))
    return recipe.as_asked(options)


def against_overfitting(recipe: Recipe, noise: float, decay: float) -> Recipe:
    """Return the recipe with noise on what the encoder sees, and weights that decay."""
    return recipe.but(
        input_noise=Choice(
            noise, "Normal noise on what the encoder sees in training keeps it from overfitting."
        ),
        weight_decay=Choice(
            decay, "Smaller weights overfit less, most of all those of the encoder."
        ),
    )


def is_usual(recipe: Recipe) -> bool:
    """Return whether real values train the default networks by the ELBO."""
    networks = {recipe.encoder.value, recipe.decoder.value}
    real = resolve("likelihood", recipe.likelihood.value).takes == "real"
    return real and recipe.objective.value == "elbo" and networks == {"residual"}


def _may_overfit(recipe: Recipe, facts: Facts) -> bool:
    """Return whether these are few rows of many real values, in networks as they are by default."""
    if recipe.data.value != "images" and facts.columns <= TABLE.most_columns:
        return False
    return is_usual(recipe) and facts.rows < PLAIN.many_rows


def is_short(
    recipe: Recipe, options: Options, facts: Facts, shortest: int, seconds: float = math.inf
) -> bool:
    """Return whether training was asked to be shorter than so many steps or seconds; by default it
    is where its time is limited at all.
    """
    if options.max_seconds is not None and options.max_seconds < seconds:
        return True
    steps = recipe.max_steps.value or shortest
    if options.max_epochs is not None:
        epoch = facts.rows / recipe.batch_size.value
        steps = min(steps, math.ceil(options.max_epochs * epoch))
    return steps < shortest
