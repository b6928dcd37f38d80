"""Everything that is decided before training starts, with the reason for each decision."""

from __future__ import annotations

__all__ = ["Recipe", "Widths", "or_asked"]

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

from ..options import NetworkFactory, Options
from ..plain import plain
from .choice import ASKED, Choice, Entries, Entry

Value = TypeVar("Value")


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

    Attributes:
        data: The kind of the data: "table", "images" or "plain".
        latent_dim: Number of latent dimensions.
        encoder, decoder: Names of networks, or factories.
        hidden: Widths of dense hidden layers.
        likelihood, posterior: Names of p(x|z) and q(z|x).
        variance: "learned", "per_feature", "heteroscedastic", or a fixed beta^2 in data units.
        least_variance: The smallest variance that may be learned, relative to the scaled data.
        prior: The name of p(z); "fitted mixture", which is fitted after training with N(0, I); or
            "judged": that where held-out log p(x) gains by it.
        scale: "global", "standard", "whitened" or None; "auto" stands for one scale, or one for
            each channel where these differ much.
        start: "ppca" (factor analysis for noise per feature), "principal axes" (the normal with
            every correlation), "random" or "last fit".
        objective, objective_samples: What is maximised, and draws of z per row in it.
        held_out: Rows held out to stop early and to keep the best weights.
        max_epochs, max_steps, max_seconds: Limits of training; None is none.
        batch_size: Rows in a step.
        learning_rate: The peak rate.
        decay: Share of the run, at its end, over which the rate falls; None is a cosine.
        average: Weight of the newest weights in a running mean; 0 is none.
        jitter: Whether training rows get normal noise, which shrinks to nothing.
        refit: Whether the model is trained a second time, on all rows.
        score_samples: Importance samples per row of `score_samples`.
        own_batch: Whether the batch has this size from the first step; else it is smaller at first.
        own_rate: Whether the rate stays as it is; else it is halved where the bound falls far.
    """

    data: Choice[str]
    latent_dim: Choice[int]
    encoder: Choice[str | NetworkFactory]
    decoder: Choice[str | NetworkFactory]
    hidden: Choice[Widths]
    likelihood: Choice[str]
    variance: Choice[str | float]
    least_variance: Choice[float]
    prior: Choice[str]
    posterior: Choice[str]
    scale: Choice[str | None]
    start: Choice[str]
    objective: Choice[str]
    objective_samples: Choice[int]
    held_out: Choice[int]
    max_epochs: Choice[int | None]
    max_steps: Choice[int | None]
    max_seconds: Choice[float | None]
    batch_size: Choice[int]
    learning_rate: Choice[float]
    decay: Choice[float | None]
    average: Choice[float]
    jitter: Choice[bool]
    refit: Choice[bool]
    score_samples: Choice[int]
    own_batch: bool
    own_rate: bool

    def but(self, **choices: Any) -> Recipe:
        """Return the same recipe but for some decisions."""
        return dataclasses.replace(self, **choices)

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
        return {
            "max_epochs": self.max_epochs.value,
            "max_steps": self.max_steps.value,
            "batch_size": self.batch_size.value if self.own_batch else None,
            "learning_rate": self.learning_rate.value if self.own_rate else None,
            "decay": self.decay.value,
            "average": self.average.value,
        }

    def entries(self) -> Entries:
        """Return the decisions by name, as JSON holds them."""
        found: dict[str, Entry] = {}
        for field in dataclasses.fields(self):
            choice = getattr(self, field.name)
            if isinstance(choice, Choice):
                found[field.name] = {"value": _json(choice.value), "reason": choice.reason}
        return Entries(found)


def or_asked(
    options: Options, name: str, otherwise: Choice[Value], left_open: object = None
) -> Choice[Value]:
    """Return what was asked for under this name, or, where it was left open, another choice."""
    value = plain(getattr(options, name))
    if value is left_open or (isinstance(value, str) and value == left_open):
        return otherwise
    return Choice(value, ASKED)


def _json(value: Any) -> Any:
    if isinstance(value, Widths):
        return value.to_json()
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return value
