"""Everything that is decided before training starts, with the reason for each decision."""

from __future__ import annotations

__all__ = ["Recipe", "Widths", "default_or_asked"]

import dataclasses
from dataclasses import dataclass
from typing import Any

from ..options import NetworkFactory, Options
from ..plain import plain
from ..training.settings import Settings
from .choice import ASKED, Choice, Entries, Entry


@dataclass(frozen=True)
class Widths:
    """Widths of the dense hidden layers.

    Attributes:
        encoder: Those of the encoder.
        decoder: Those of the decoder, where they are its own; None takes the encoder's.
    """

    encoder: tuple[int, ...]
    decoder: tuple[int, ...] | None = None

    def to_json(self) -> dict[str, list[int]]:
        """Return both as JSON holds them."""
        decoder = self.encoder if self.decoder is None else self.decoder
        return {"encoder": list(self.encoder), "decoder": list(decoder)}


@dataclass(frozen=True)
class Recipe:
    """What a fit will do; frozen, and with nothing left on "auto".

    What bears the name of an option is what that option asks for, or what a rule decided where it
    was left open.
    """

    data: Choice[str]
    """The kind of the data: "table", "images" or "plain"."""
    latent_dim: Choice[int]
    """Number of latent dimensions."""
    encoder: Choice[str | NetworkFactory]
    """Name of a network, or a factory."""
    decoder: Choice[str | NetworkFactory]
    """The same."""
    hidden: Choice[Widths]
    """Widths of dense hidden layers."""
    likelihood: Choice[str]
    """Name of p(x|z)."""
    variance: Choice[str | float]
    """"learned", "per_feature", "heteroscedastic", or a fixed beta^2 in data units."""
    least_variance: Choice[float]
    """The smallest variance that may be learned, relative to the scaled data."""
    prior: Choice[str]
    """Name of p(z); "fitted mixture", which is fitted after training with N(0, I); or "judged" or
    "fitted flow": that, or a flow as well, where held-out log p(x) gains by it."""
    posterior: Choice[str]
    """Name of q(z|x)."""
    scale: Choice[str | None]
    """"global", "standard", "whitened" or None; "auto" stands for one scale, or one for each
    channel where these differ much."""
    start: Choice[str]
    """"ppca" (factor analysis for noise per feature), "principal axes" (the normal with every
    correlation), "random" or "last fit"."""
    objective: Choice[str]
    """What is maximised."""
    objective_samples: Choice[int]
    """Draws of z per row in it."""
    input_noise: Choice[float]
    """Standard deviation of the noise on what the encoder sees in training, in model units."""
    held_out: Choice[int]
    """Rows held out to stop early and to keep the best weights."""
    early_stopping: Choice[bool]
    """Whether they do so; else the last weights are kept."""
    max_epochs: Choice[int | None]
    """The largest number of passes over the rows; None is no limit, here and in the next two."""
    max_steps: Choice[int | None]
    max_seconds: Choice[float | None]
    batch_size: Choice[int]
    """Rows in a step."""
    learning_rate: Choice[float]
    """The peak rate."""
    decay: Choice[float | None]
    """Share of the run, at its end, over which the rate falls; None is a cosine."""
    weight_decay: Choice[float]
    """The weight decay of AdamW, which acts on all weights."""
    average: Choice[float]
    """Weight of the newest weights in a running mean; 0 is none."""
    jitter: Choice[bool]
    """Whether training rows get normal noise, which shrinks to nothing."""
    refit: Choice[bool]
    """Whether the model is trained a second time, on all rows."""
    clusters: Choice[bool]
    """Whether an average of mixtures of factor analysers takes the place of a network that does
    not clearly beat it."""
    score_samples: Choice[int]
    """Importance samples per row of `score_samples`."""
    own_batch: bool = False
    """Whether the batch has this size from the first step; else it is smaller at first."""
    own_rate: bool = False
    """Whether the rate stays as it is; else it is halved where the bound falls far."""
    masked: bool = False
    """Whether the encoder reads a mask, as values are missing."""
    conditioned: bool = False
    """Whether the model is one of p(x|c): a mixture is then learned with the rest of it."""

    @classmethod
    def of(cls, options: Options, **choices: Any) -> Recipe:
        """Return the recipe of some decisions, and of the options about which there are none."""
        names = {field.name for field in dataclasses.fields(cls)} - choices.keys()
        for field in dataclasses.fields(options):
            if field.name in names:
                value = getattr(options, field.name)
                choices[field.name] = Choice(value, default_or_asked(value, field.default))
        return cls(**choices).as_asked(options)

    def but(self, **choices: Any) -> Recipe:
        """Return the same recipe but for some decisions."""
        return dataclasses.replace(self, **choices)

    def as_asked(self, options: Options) -> Recipe:
        """Return the same recipe but for what was asked for: each option replaces just itself."""
        choices: dict[str, Any] = {"hidden": self._widths(options)}
        for field in dataclasses.fields(options):
            value = getattr(options, field.name)
            may_be_open = field.default in ("auto", None) and field.name not in choices
            if may_be_open and hasattr(self, field.name) and not _is_open(value, field.default):
                choices[field.name] = Choice(value if callable(value) else plain(value), ASKED)
        return self.but(**choices | self._fitted_prior(options))

    def _fitted_prior(self, options: Options) -> dict[str, Any]:
        """Return the choice of a prior that is to be fitted after training; none where it is not.

        Raises:
            ValueError: A flow is to be, in a model of p(x|c).
        """
        given = plain(options.prior_options or {})
        if options.prior == "mixture" and not given and not self.conditioned:
            why = "As asked: fitted to z of the training rows after training."
            return {"prior": Choice("fitted mixture", why)}
        if options.prior != "flow" or given.get("learned", True) is not False:
            return {}
        if self.conditioned:
            raise ValueError(
                "prior_options={'learned': False} fits a flow after training, which is for models "
                "without conditions. Leave it out: the flow is then trained with the model."
            )
        why = "As asked: fitted after training, and kept if held-out log p(x) improves."
        return {"prior": Choice("fitted flow", why)}

    def _widths(self, options: Options) -> Choice[Widths]:
        """Return the widths asked for; those of the decoder are an option of their own."""
        found, reason = self.hidden.value, self.hidden.reason
        if options.hidden is not None:
            found, reason = Widths(tuple(int(w) for w in options.hidden)), ASKED
        if options.decoder_hidden is not None:
            found = Widths(found.encoder, tuple(int(w) for w in options.decoder_hidden))
        return Choice(found, reason)

    @property
    def fits_prior(self) -> bool:
        """Whether p(z) is fitted after training with N(0, I)."""
        return self.prior.value in ("judged", "fitted mixture", "fitted flow")

    @property
    def noise_from_z(self) -> bool:
        """Whether the noise of each row is read from its z."""
        return (
            self.likelihood.value == "heteroscedastic_gaussian"
            or self.variance.value == "heteroscedastic"
        )

    @property
    def budget(self) -> dict[str, Any]:
        """The arguments of `nelbo.fit` that say how long and how fast to train."""
        names = [field.name for field in dataclasses.fields(Settings) if hasattr(self, field.name)]
        found: dict[str, Any] = {name: getattr(self, name).value for name in names}
        if not self.own_batch:
            found["batch_size"] = None
        if not self.own_rate:
            found["learning_rate"] = None
        return found

    def entries(self) -> Entries:
        """Return the decisions by name, as JSON holds them."""
        found: dict[str, Entry] = {}
        for field in dataclasses.fields(self):
            choice = getattr(self, field.name)
            if isinstance(choice, Choice):
                found[field.name] = {"value": _json(choice.value), "reason": choice.reason}
        return Entries(found)


def default_or_asked(value: object, default: object) -> str:
    """Return why a value is what it is, where no rule decides."""
    return "The default for all data." if value == default else ASKED


def _is_open(value: Any, default: object) -> bool:
    """Return whether an option leaves its decision to the recipe."""
    return value is default or (isinstance(value, str) and value == default)


def _json(value: Any) -> Any:
    if isinstance(value, Widths):
        return value.to_json()
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return value
