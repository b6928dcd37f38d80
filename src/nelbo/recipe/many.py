"""What images can afford: a prior that is fitted to where their z are, and, where there are many, a
wider decoder that is kept from overfitting.
"""

from __future__ import annotations

__all__ = ["MANY", "Many", "widened", "with_fitted_prior"]

from dataclasses import dataclass

from ..options import Options
from .choice import Choice
from .facts import Facts
from .few import against_overfitting, is_short, is_usual
from .plain import PLAIN
from .recipe import Recipe, Widths
from .table import TABLE


@dataclass(frozen=True)
class Many:
    """The numbers of these rules, found on held-out training images of Fashion-MNIST, and for few
    images on splits 101 and 103 of digits.
    """

    fewest_rows: int = 200
    """Of 150 images 15 are held out, too few to tell whether a prior is better."""
    shortest: int = 1_000
    """Runs that are asked to have fewer steps are to be quick: a prior would take as long."""
    least_seconds: float = 30.0
    """The same for runs of limited time, of which the prior takes some."""
    prior_seconds: float = 3.0
    """The time that is left to it: with 10,000 z and 500 rows to judge by, one core takes two
    seconds."""
    hidden: Widths = Widths((256, 256), (512, 512, 1024))
    """With what follows, three to four nats of log p(x) more at 10 latents in the same time, nine
    at 32, and an encoder seven nats closer."""
    input_noise: float = 0.3
    weight_decay: float = 0.05
    """A running mean of the weights gains nothing on top, and takes a tenth of the time."""
    fewest_latents: int = 8
    """With 2 latents log p(x) is 13 nats lower, with 4 it is 4 lower, though z tells more of the
    label."""
    steps: int = 3_000
    """Runs that are asked to have fewer steps overfit less, and keep the narrower decoder; as do
    those of less time than a prior is fitted in."""


MANY = Many()


def widened(recipe: Recipe, options: Options, facts: Facts) -> Recipe:
    """Return the recipe with a wider decoder and with what keeps networks from overfitting, for
    long runs on 10,000 images or more.
    """
    many = recipe.data.value == "images" and facts.rows >= PLAIN.many_rows
    enough = recipe.latent_dim.value >= MANY.fewest_latents
    short = is_short(recipe, options, facts, MANY.steps, MANY.least_seconds)
    # who hides values from the encoder, say, wants no noise on top
    usual = is_usual(recipe) and not options.objective_options
    if short or not (many and enough and usual):
        return recipe
    found = against_overfitting(recipe, MANY.input_noise, MANY.weight_decay)
    why = "With this many rows a deeper and wider decoder pays off."
    return found.but(hidden=Choice(MANY.hidden, why)).as_asked(options)


def with_fitted_prior(recipe: Recipe, options: Options, facts: Facts) -> Recipe:
    """Return the recipe with a mixture that is fitted to z after training, and kept where held-out
    log p(x) improves, for models of images and of wide arrays.
    """
    wide = recipe.data.value == "images" or facts.columns > TABLE.most_columns
    if not wide or facts.rows < MANY.fewest_rows:
        return recipe
    able = recipe.held_out.value > 0 and not (facts.conditioned or facts.incomplete)
    # z of a linear decoder are normal: the model is pPCA
    plainly = recipe.objective.value == "elbo" and recipe.decoder.value != "linear"
    if not (able and plainly) or is_short(
        recipe, options, facts, MANY.shortest, MANY.least_seconds
    ):
        return recipe
    why = "A mixture is fitted to z after training, and kept if held-out log p(x) improves."
    return recipe.but(prior=Choice("judged", why)).as_asked(options)
