"""The recipe for a table whose columns are of different kinds.

It is that of tables of numbers where it can be: categories and counts cannot be whitened, have no
noise to be learned, and are not to be jittered; and such a model starts at factors of scores.
"""

from __future__ import annotations

__all__ = ["Mixed", "build", "settled", "started"]

from dataclasses import dataclass

from ..data import Values
from ..options import Options
from . import plain, table
from .choice import Choice
from .facts import Facts
from .recipe import Recipe


@dataclass(frozen=True)
class Mixed:
    """The numbers of this recipe that differ from those of `Table`."""

    score_samples: int = 200
    """Rows of many levels are dear, and their importance weights even."""


MIXED = Mixed()
LIKELIHOOD = "columns"


def settled(options: Options, values: Values) -> Options:
    """Return the options with the likelihood that columns of different kinds have.

    Raises:
        ValueError: Another likelihood or scaling was asked for.
    """
    if values.table is None:
        return options
    if options.likelihood not in ("gaussian", LIKELIHOOD) or options.likelihood_options:
        raise ValueError(
            f"likelihood={options.likelihood!r} is one for all columns, but these are of different "
            "kinds, each with a likelihood of its own. Leave it out: the schema says the kind of "
            "a column, in Python {'age': 'student_t'}, on the shell in a TOML file."
        )
    for name, usual in (("scale", "auto"), ("dequantize", "auto"), ("variance", "auto")):
        if getattr(options, name) != usual:
            raise ValueError(
                f"{name}={getattr(options, name)!r} is for tables of numbers, but these columns "
                "are of different kinds. Leave it at 'auto'."
            )
    return options.having(likelihood=LIKELIHOOD)


def build(options: Options, facts: Facts, kind: Choice[str], latent_dim: Choice[int]) -> Recipe:
    """Return the recipe for columns of different kinds; arguments are those of `plain.build`."""
    recipe = table.build(options, facts, kind, latent_dim)
    return recipe.but(
        likelihood=Choice(LIKELIHOOD, "Each column has the likelihood of its kind."),
        variance=Choice("learned", "Noise is learned column by column, or read from z."),
        scale=Choice(
            "standard", "Numbers are standardised; levels, counts and amounts stay as they are."
        ),
        jitter=Choice(False, "Levels and counts with noise on them would be others."),
        clusters=Choice(False, "Mixtures of factor analysers are for tables of numbers."),
        score_samples=plain.score_samples(
            options, MIXED.score_samples, "Rows of many levels are dear."
        ),
    )


def started(recipe: Recipe, options: Options, able: bool) -> Recipe:
    """Return a recipe that says where training starts: at factors of scores, where networks have a
    linear path.
    """
    if options.init == "random" or not able:
        return recipe
    return recipe.but(
        start=Choice(
            "scores",
            "Columns start at their frequencies and means, z at what they have in common.",
        )
    )
