"""What many images can afford: a prior that is fitted to where their z are."""

from __future__ import annotations

__all__ = ["MANY", "Many", "with_fitted_prior"]

from dataclasses import dataclass

from ..options import Options
from .choice import Choice
from .facts import Facts
from .plain import PLAIN
from .recipe import Recipe


@dataclass(frozen=True)
class Many:
    """The numbers of these rules, found on held-out training images of Fashion-MNIST."""

    shortest: int = 1_000
    """Runs that are asked to have fewer steps are to be quick: a prior would take as long."""
    least_seconds: float = 30.0
    """The same for runs of limited time, of which the prior takes some."""
    prior_seconds: float = 3.0
    """The time that is left to it: with 10,000 z and 500 rows to judge by, one core takes two
    seconds."""


MANY = Many()


def with_fitted_prior(recipe: Recipe, options: Options, facts: Facts) -> Recipe:
    """Return the recipe with a mixture that is fitted to z after training, and kept where held-out
    log p(x) improves, for models of 10,000 images or more.
    """
    if recipe.data.value != "images" or facts.rows < PLAIN.many_rows:
        return recipe
    able = recipe.held_out.value > 0 and not (facts.conditioned or facts.incomplete)
    # z of a linear decoder are normal: the model is pPCA
    plainly = recipe.objective.value == "elbo" and recipe.decoder.value != "linear"
    if not (able and plainly) or _is_quick(recipe, options, facts):
        return recipe
    why = "A mixture is fitted to z after training, and kept if held-out log p(x) improves."
    return recipe.but(prior=Choice("judged", why)).as_asked(options)


def _is_quick(recipe: Recipe, options: Options, facts: Facts) -> bool:
    """Return whether training was asked to be short."""
    if options.max_seconds is not None and options.max_seconds < MANY.least_seconds:
        return True
    steps = recipe.max_steps.value or MANY.shortest
    if options.max_epochs is not None:
        epochs = options.max_epochs * facts.rows / recipe.batch_size.value
        steps = min(steps, round(epochs))
    return steps < MANY.shortest
