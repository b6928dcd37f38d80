"""Turns a finding into advice: options that exist and are not in use already.

Options are those of `nelbo.VariationalAutoencoder`; the shell spells the same ones as flags. Which
cures there are for which cause is data, in `remedies`.
"""

from __future__ import annotations

__all__ = ["Cure", "Spell", "advise", "in_python", "used_by"]

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..likelihood import Likelihood
from ..networks.paths import name_of
from ..vae import VAE

Spell = Callable[[str, Any], str]
"""From an option and its value, None for no particular one, to how a user writes it."""


@dataclass(frozen=True)
class Cure:
    """One thing to change.

    Attributes:
        text: What to do, in words; may be empty where the options say all.
        options: Option -> value, None for no particular value. Those in use are left out of the
            advice; where a cure names values and all of them are in use, it is left out as a whole.
        where: Options of the model, with the values of which one must be in use for the cure to be
            possible.
        instead: Option -> other values in use that make the option needless, besides its own.
    """

    text: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    where: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    instead: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def told(self, used: Mapping[str, Any], spell: Spell) -> str:
        """Return the cure in words, or nothing where it is not open to a model with these options.

        Arguments:
            used: Options in use; what is not in it is not known.
            spell: How options are written.
        """
        for name, values in self.where.items():
            if name in used and used[name] not in values:
                return ""
        missing = {
            name: value for name, value in self.options.items() if not self._in_use(name, used)
        }
        if self.options and not missing:
            return ""
        listed = ", ".join(spell(name, value) for name, value in missing.items())
        if self.text and listed:
            return f"{self.text} ({listed})"
        return self.text or listed

    def _in_use(self, name: str, used: Mapping[str, Any]) -> bool:
        """Return whether a model has this option's value already, or one that is as good."""
        value = self.options[name]
        if value is None or name not in used:
            return False
        return used[name] in (value, *self.instead.get(name, ()))


def in_python(option: str, value: Any) -> str:
    """Return an option as it is written in a call."""
    if value is None:
        return option
    if isinstance(value, str):
        return f'{option}="{value}"'
    return f"{option}={value}"


def advise(cures: Iterable[Cure], used: Mapping[str, Any], spell: Spell = in_python) -> str:
    """Return the cures that are open, as one text: "this, that, or something else".

    Arguments:
        cures: The best first.
        used: Options in use, as `used_by` returns them; what is not in it is not known.
        spell: How options are written.
    """
    told = [text for text in (cure.told(used, spell) for cure in cures) if text]
    if len(told) < 2:
        return "".join(told)
    return f"{', '.join(told[:-1])}, or {told[-1]}"


def used_by(vae: VAE) -> dict[str, Any]:
    """Return the options that a model shows by itself, and ``latents``, "one" or "several"."""
    used = {
        "latents": "several",
        "prior": vae.prior.name,
        "encoder": name_of(vae.encoder),
        "decoder": name_of(vae.decoder),
    }
    if vae.latent_dim == 1:
        used["latents"] = "one"
    if used["encoder"] == used["decoder"]:
        used["network"] = used["encoder"]
    return used | _noise_of(vae.likelihood)


def _noise_of(head: Likelihood) -> dict[str, str]:
    """Return the options of the noise that a head has."""
    noise = head.noise()
    name = type(head).__name__
    if noise.normal:
        name = "gaussian"
    return {"variance": noise.option, "likelihood": name}
