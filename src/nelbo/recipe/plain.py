"""The recipe for any data: what is decided where nothing is known but their number and size."""

from __future__ import annotations

__all__ = ["Plain", "build"]

from dataclasses import dataclass
from typing import Any

from ..likelihood import VARIANCE_FLOOR
from ..options import NetworkFactory, Options
from ..spec import resolve
from ..training.budget import default_batch_size, default_steps
from ..training.rate import DECAY, default_learning_rate
from .choice import ASKED, Choice
from .facts import Facts
from .recipe import Recipe, Widths


@dataclass(frozen=True)
class Plain:
    """The numbers of this recipe."""

    hidden: Widths = Widths((512, 512))
    many_rows: int = 10_000
    hidden_of_many: Widths = Widths((256, 256), (512, 512, 512))
    """With fewer rows than ``many_rows`` so deep a decoder overfits."""
    held_out: int = 10
    """The fewest rows that are held out, or a quarter of few."""
    random_linear_rate: float = 1e-2
    """The peak rate of linear networks from a random start.

    They have far to go, and no bad basins on the way.
    """
    score_samples: int = 100


PLAIN = Plain()


def build(options: Options, facts: Facts, kind: Choice[str], latent_dim: Choice[int]) -> Recipe:
    """Return the recipe for any data.

    Arguments:
        options: What was asked for.
        facts: About the rows.
        kind: The kind of the data, and why.
        latent_dim: The number of latent dimensions, and why.
    """
    held = facts.held_out(PLAIN.held_out)
    network = _network(options)
    recipe = Recipe.of(
        options,
        data=kind,
        latent_dim=latent_dim,
        encoder=network,
        decoder=network,
        hidden=_hidden(options, facts),
        variance=_variance(options),
        least_variance=Choice(
            VARIANCE_FLOOR,
            "In units of the scaled data. Without it values predicted exactly have no density.",
        ),
        prior=Choice("standard_normal", "The prior that the model is trained with."),
        scale=_scale(options),
        start=Choice("random", "Nothing else is known yet."),
        objective=Choice(
            "elbo", "With one sample per row, the ELBO gets furthest in a given time."
        ),
        objective_samples=_samples(options),
        input_noise=Choice(0.0, "The encoder sees rows as they are."),
        held_out=held_out(options, held),
        early_stopping=early_stopping(options, held),
        max_epochs=Choice(None, "Passes over the rows are not limited."),
        max_seconds=Choice(None, "Time is not limited."),
        decay=_straight(),
        weight_decay=Choice(0.0, "Weights do not decay."),
        **once(),
        conditioned=facts.conditioned,
        masked=facts.incomplete,
        score_samples=score_samples(
            options,
            PLAIN.score_samples,
            "They give a lower bound that is right to tenths of a nat.",
        ),
    )
    return paced(recipe, options, facts.rows - held)


def paced(
    recipe: Recipe, options: Options, rows: int, steps: Choice[int | None] | None = None
) -> Recipe:
    """Return a recipe with the budget of any data, for so many rows to train on.

    Arguments:
        recipe: The recipe so far.
        options: What was asked for.
        rows: How many rows there are to train on.
        steps: How long to train where no limit was asked for, if not as long as any data.
    """
    steps = steps or _steps(options, rows)
    recipe = recipe.but(
        max_steps=steps,
        batch_size=Choice(
            min(rows, default_batch_size(rows)),
            "A power of two that makes at least 16 batches per epoch; smaller ones at first.",
        ),
        learning_rate=Choice(
            default_learning_rate(options.max_steps or steps.value or default_steps(rows)),
            "Short runs take larger steps. Halved if the validation bound drops sharply.",
        ),
        decay=_straight(),
        own_batch=options.batch_size is not None,
        own_rate=options.learning_rate is not None,
    )
    return recipe.as_asked(options)


def started(recipe: Recipe, options: Options, able: bool, linear: bool) -> Recipe:
    """Return a recipe that says where training starts.

    Arguments:
        recipe: The recipe so far.
        options: What was asked for.
        able: Whether the model has a closed form.
        linear: Whether both networks are linear.
    """
    if able and options.init != "random":
        return recipe.but(
            start=Choice(
                "ppca",
                "Training starts at the closed-form solution of the linear model."
                if options.init == "auto"
                else ASKED,
            )
        )
    why = (
        ASKED
        if options.init == "random"
        else "This model has no closed-form solution to start from."
    )
    recipe = recipe.but(start=Choice("random", why))
    if linear and not recipe.own_rate:
        rate = Choice(
            PLAIN.random_linear_rate, "Linear networks have a long way to go from a random start."
        )
        recipe = recipe.but(learning_rate=rate, own_rate=True)
    return recipe


def held_out(options: Options, rows: int) -> Choice[int]:
    """Return how many rows are held out, and what for."""
    if rows == 0:
        return Choice(0, "Every row is trained on.")
    if not options.early_stopping:
        return Choice(rows, "They only measure how training goes.")
    return Choice(rows, "They decide when to stop and which weights to keep.")


def early_stopping(options: Options, held_out: int) -> Choice[bool]:
    """Return whether the rows held out decide when to stop."""
    if not options.early_stopping:
        return Choice(False, ASKED)
    if held_out == 0:
        return Choice(False, "No rows are held out to say when. The last weights are kept.")
    return Choice(
        True,
        "Once the bound of held-out rows no longer improves, its best weights are taken up again.",
    )


def score_samples(options: Options, otherwise: int, reason: str) -> Choice[int]:
    """Return how many importance samples a row gets."""
    if options.score_samples_k is not None:
        return Choice(options.score_samples_k, ASKED)
    return Choice(otherwise, reason)


def _network(options: Options) -> Choice[str | NetworkFactory]:
    """Return the network of both encoder and decoder."""
    if options.network != "auto":
        return Choice(options.network, ASKED)
    return Choice(
        "residual", "An MLP beside a linear path, which starts at the closed-form solution."
    )


def _hidden(options: Options, facts: Facts) -> Choice[Widths]:
    """Return the default widths."""
    if "conv" in (options.network, options.encoder, options.decoder):
        return Choice(PLAIN.hidden, "Dense layers next to the convolutions.")
    if facts.rows < PLAIN.many_rows:
        return Choice(PLAIN.hidden, "Larger networks overfit so few rows.")
    return Choice(PLAIN.hidden_of_many, "With this many rows a deeper decoder pays off.")


def _variance(options: Options) -> Choice[str | float]:
    """Return which noise is usual for the likelihood."""
    head = resolve("likelihood", options.likelihood)
    return Choice(head.usual_variance, head.usual_noise)


def _samples(options: Options) -> Choice[int]:
    """Return how many z are drawn for a row: several for what is made of several."""
    usual = 1
    if options.objective != "auto":
        usual = resolve("objective", options.objective).usual_samples
    if usual > 1:
        return Choice(usual, "Samples tighten its bound; with one it would be the ELBO.")
    return Choice(usual, "One sample per row is enough for it.")


def _scale(options: Options) -> Choice[str | None]:
    takes = resolve("likelihood", options.likelihood).takes
    if takes == "binary":
        return Choice(None, "Zeros and ones stay as they are.")
    if takes not in ("real", "bytes"):
        return Choice(None, "Levels, counts and amounts stay as they are.")
    if takes == "bytes" or options.dequantize not in ("auto", False):
        return Choice("global", one_scale())
    return Choice("standard", "Each column is divided by its own standard deviation.")


def _steps(options: Options, rows: int) -> Choice[int | None]:
    if options.max_epochs is not None or options.max_seconds is not None:
        return Choice(None, "Another limit was asked for.")
    return Choice(default_steps(rows), "2,000, plus 0.3 per row, at most 60,000.")


def once() -> dict[str, Any]:
    """Return the decisions of training that is simple: once, on the rows as they are."""
    return {
        "average": Choice(0.0, "There is no running mean of the weights."),
        "jitter": Choice(False, "Rows are trained on as they are."),
        "refit": Choice(False, "The model is trained once."),
        "clusters": Choice(False, "Nothing but the closed-form start competes with training."),
    }


def one_scale() -> str:
    """Return why all values are divided by one number."""
    return "All values are divided by one number, so that noise is the same in units of the data."


def _straight() -> Choice[float | None]:
    return Choice(
        DECAY, "The share of the run, at its end, over which the rate falls in a straight line."
    )
