"""The recipe for a table of numbers.

Few rows are overfitted by any network, and columns differ: the noise of a table depends on z,
training rows get jitter, and the model is trained a second time, on all rows. Each rule replaces
one decision of the recipe for any data, and each option replaces just itself.
"""

from __future__ import annotations

__all__ = ["Table", "build", "kind_of"]

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..options import MODEL, NOISE, Options
from ..spec import resolve
from . import plain
from .choice import Choice
from .facts import Facts
from .recipe import Recipe, Widths


@dataclass(frozen=True)
class Table:
    """The numbers of this recipe, found on tables of 150 to 11,000 rows (``docs/defaults.md``)."""

    fewest_rows: int = 20
    """About fewer rows nothing could be said."""
    most_columns: int = 256
    """The root of more correlations is slow, and seldom known well enough."""
    hidden: Widths = Widths((128, 128))
    least_variance: float = 2.5e-3
    """The floor of noise that depends on z: far from all rows it is extrapolated, and an outlier
    must not meet one that is tiny."""
    samples: int = 4
    held_out: int = 200
    """The fewest rows that are held out, or a quarter of few.

    They are trained on in the end, so they cost nothing.
    """
    many_rows: int = 3_000
    """From so many rows on, a tenth more of them brings nothing, and there is no second training.
    """
    steps: int = 1_000
    steps_per_row: float = 0.1
    longer: float = 1.5
    """How much longer the only run is than the first of two."""
    largest_batch: int = 128
    learning_rate: float = 8e-3
    random_rate: float = 0.5
    """What the rate is multiplied by where training starts at random.

    At the full rate two fits of three of an MLP to 1,300 rows of 12 columns diverged, and none at
    half of it; other tables lose 0.1 to 0.6 nats by it.
    """
    rows_of_rate: int = 1_000
    """With fewer rows the rate falls as their root."""
    average: float = 1e-2
    score_samples: int = 1_000


TABLE = Table()


def kind_of(options: Options, facts: Facts) -> Choice[str]:
    """Return whether rows are a table of numbers, and why."""
    if facts.values.table is not None:
        return Choice("mixed", "Columns are of different kinds.")
    if facts.are_images:
        return Choice("images", "Each row has more than one axis.")
    takes = resolve("likelihood", options.likelihood).takes
    for holds, reason in (
        (options.dequantize not in ("auto", False), "Values are 8-bit levels, to be dequantised."),
        (takes != "real", "The likelihood gives levels probabilities, not densities."),
        (
            options.objective == "autoencoder",
            "An autoencoder has no log p(x), by which the rules for tables were found.",
        ),
        (_decoder(options) == "linear", "A linear decoder makes the model pPCA, or nearly so."),
        (facts.rows < TABLE.fewest_rows, "Too few rows for the rules for tables."),
        (facts.columns > TABLE.most_columns, "Too many columns for the rules for tables."),
    ):
        if holds:
            return Choice("plain", reason)
    if facts.varying.sum() < 2:
        return Choice("plain", "Fewer than two columns vary.")
    return Choice("table", "Rows of numbers; at least two columns vary.")


def build(options: Options, facts: Facts, kind: Choice[str], latent_dim: Choice[int]) -> Recipe:
    """Return the recipe for a table; the arguments are those of `plain.build`."""
    recipe = plain.build(options, facts, kind, latent_dim)
    held = facts.held_out(TABLE.held_out)
    recipe = recipe.but(
        hidden=Choice(TABLE.hidden, "Wider networks overfit tables."),
        variance=_variance(options, recipe),
        held_out=plain.held_out(options, held),
        early_stopping=plain.early_stopping(options, held),
        jitter=Choice(
            True,
            "Noise on the training rows, which fades out, keeps networks from overfitting them.",
        ),
        score_samples=plain.score_samples(
            options,
            TABLE.score_samples,
            "The importance weights of tables are uneven, and their rows are cheap.",
        ),
    )
    recipe = recipe.but(scale=_scale(options, recipe, facts))
    if recipe.noise_from_z and options.scale not in ("global", None):
        recipe = recipe.but(
            least_variance=Choice(
                TABLE.least_variance, "A higher floor, as the noise of an outlier is extrapolated."
            )
        )
    recipe = recipe.but(clusters=_clusters(options, facts, held))
    return _trained(_maximised(recipe, options), options, facts, held).as_asked(options)


def started(recipe: Recipe, options: Options, whitened: bool) -> Recipe:
    """Return a recipe in which whitened rows start at the normal with every correlation, and the
    rate is lower where training starts at random.
    """
    if recipe.start.value == "random" and options.learning_rate is None:
        rate = TABLE.random_rate * recipe.learning_rate.value
        why = "Half of that from a closed form: from a random start a higher one may diverge."
        return recipe.but(learning_rate=Choice(rate, why))
    if recipe.start.value == "ppca" and whitened and recipe.noise_from_z:
        return recipe.but(
            start=Choice(
                "principal axes",
                "z starts at the principal components, and the noise has the correlations that "
                "they leave.",
            )
        )
    return recipe


def _decoder(options: Options) -> object:
    return options.network if options.decoder is None else options.decoder


def _variance(options: Options, recipe: Recipe) -> Choice[str | float]:
    """Return which noise: read from z, unless a shared scale says that noise is equal."""
    if options.variance != "auto" or options.likelihood != "gaussian":
        return recipe.variance
    if options.missingness == "self_masking":
        return Choice("per_feature", "Noise that depends on z would explain what is missing away.")
    if options.scale in ("global", None):
        return Choice("learned", "With one scale for all columns goes one noise level for all.")
    return Choice(
        "heteroscedastic",
        "The noise of a table differs between its clusters, so it is read from z.",
    )


def _scale(options: Options, recipe: Recipe, facts: Facts) -> Choice[str | None]:
    """Return the scaling: whitened where held-out rows are predicted better so."""
    if options.scale != "auto":
        return recipe.scale
    if not recipe.noise_from_z:
        return Choice(
            "standard",
            "Each column is divided by its own standard deviation: the noise belongs to columns.",
        )
    if facts.conditioned:
        return Choice(
            "standard",
            "Each column is divided by its own standard deviation: given c, the correlations may "
            "differ.",
        )
    if facts.incomplete:
        return Choice(
            "standard",
            "Each column is divided by its own standard deviation: whitening mixes columns, and "
            "values are missing.",
        )
    if facts.whitens(recipe.latent_dim.value):
        return Choice(
            "whitened",
            (
                "A normal distribution with all correlations predicted held-out rows at least as "
                "well as pPCA did: z starts at the principal components, and the noise has "
                "the correlations that they leave."
            ),
        )
    return Choice(
        "standard",
        "Each column is divided by its own standard deviation. There are too few rows to tell all "
        "correlations.",
    )


def _clusters(options: Options, facts: Facts, held: int) -> Choice[bool]:
    """Return whether a mixture of factor analysers may be kept instead of the network."""
    asked = _asked_for(options)
    if held == 0 or facts.conditioned:
        return Choice(False, "No held-out rows could say so, or the rows have conditions.")
    if options.scale in ("global", None) or "model" in asked:
        return Choice(False, "Another model, or a number of latents, was asked for.")
    if "length" in asked:
        return Choice(False, "Training is as it was asked for.")
    return Choice(
        True,
        "Where rows lie in thin clusters, mixtures of factor analysers, found by EM and averaged, "
        "may predict better: they are kept unless the trained network is clearly ahead on held-out "
        "rows.",
    )


def _asked_for(options: Options) -> set[str]:
    """Return what was asked for, of "model" and "length" of training.

    Who says how many latents there are wants z, and a mixture's is linear.
    """
    return {
        _about(field)
        for field in dataclasses.fields(Options)
        if not _is_open(getattr(options, field.name), field.default)
    }


def _about(field: dataclasses.Field[Any]) -> str:
    """Return what an option is about: the model, the length of training, or neither."""
    name = field.name
    if name.startswith("max_") or name == "early_stopping":
        return "length"
    if name in ("scale", "objective_samples"):
        return ""
    if field.metadata["group"] in (MODEL, NOISE) or name.startswith(
        ("objective", "init", "input_noise")
    ):
        return "model"
    return ""


def _is_open(value: Any, default: Any) -> bool:
    """Return whether an option is at its default, or a table of options empty."""
    if isinstance(value, Mapping):
        return not value
    return type(value) is type(default) and bool(value == default)


def _maximised(recipe: Recipe, options: Options) -> Recipe:
    """Return the recipe with the objective of tables; options of one are those of the ELBO."""
    if options.objective != "auto" or options.objective_options or options.input_noise:
        return recipe
    why = "Four samples a row make a tighter bound, and tables are cheap."
    return recipe.but(objective=Choice("dreg", why), objective_samples=Choice(TABLE.samples, why))


def _trained(recipe: Recipe, options: Options, facts: Facts, held: int) -> Recipe:
    """Return the recipe with the budget of tables, and a second training where that helps."""
    rows = facts.rows - held
    timed = options.max_seconds is not None
    alone = held > 0 and facts.rows >= TABLE.many_rows
    again = held > 0 and options.early_stopping and not timed and not alone
    refit = Choice(
        True, "A second training, on all rows, for as long as was best on the held-out ones."
    )
    if again:
        recipe = recipe.but(
            held_out=Choice(
                held,
                "They say how long to train. They cost nothing: in the end they are trained on.",
            )
        )
    else:
        refit = Choice(False, _why_once(options, held, timed))
    steps = recipe.max_steps
    if options.max_epochs is None and not timed:
        factor = TABLE.longer if alone else 1
        count = round(factor * (TABLE.steps + TABLE.steps_per_row * rows))
        steps = Choice(
            count, "1,000, plus 0.1 per row; half as many again if the model is trained only once."
        )
    root = min(1.0, rows / TABLE.rows_of_rate) ** 0.5
    batch = Choice(min(TABLE.largest_batch, rows), "Small batches suit few rows.")
    rate = Choice(
        TABLE.learning_rate * root,
        "0.008, or less for fewer than 1,000 rows: in proportion to their square root.",
    )
    prior = recipe.prior
    if held > 0 and not timed and not facts.conditioned:
        prior = Choice(
            "judged",
            "A mixture is fitted to z after training, and kept if held-out log p(x) improves.",
        )
    return recipe.but(
        refit=refit,
        prior=prior,
        max_steps=steps,
        batch_size=batch,
        learning_rate=rate,
        decay=Choice(None, "The rate follows a cosine. A second training stops before its end."),
        average=Choice(
            TABLE.average, "The weight of the newest weights in a running mean, which is steadier."
        ),
        own_batch=True,
        own_rate=True,
    )


def _why_once(options: Options, held: int, timed: bool) -> str:
    """Say why there is no second training."""
    if held == 0:
        return "The first is on all rows already."
    if not options.early_stopping:
        return "Without early stopping nothing says how long it should be."
    if timed:
        return "The time limit is for the first."
    return "With so many rows, a tenth more of them adds nothing."
