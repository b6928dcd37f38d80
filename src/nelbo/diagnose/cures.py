"""What to change, as options that exist and are not in use already: (finding) -> advice.

Options are those of `nelbo.VariationalAutoencoder`; the shell spells the same ones as flags.
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
AS_GOOD: Mapping[tuple[str, Any], frozenset[Any]] = {
    ("network", "residual"): frozenset({"conv"}),
    ("encoder", "residual"): frozenset({"conv"}),
    ("init", "ppca"): frozenset({"auto"}),
    ("objective", "iwae"): frozenset({"dreg", "miwae", "piwae", "ciwae"}),
}
"""What makes an option needless besides its own value."""


@dataclass(frozen=True)
class Cure:
    """One thing to change.

    Attributes:
        text: What to do, in words; may be empty where the options say all.
        options: Option -> value, None for no particular value. Those in use are left out of the
            advice; where a cure names values and all of them are in use, it is left out as a whole.
        where: Options of the model, with the values of which one must be in use for the cure to be
            possible.
    """

    text: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    where: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


def in_python(option: str, value: Any) -> str:
    """Return an option as it is written in a call."""
    if value is None:
        return option
    return f'{option}="{value}"' if isinstance(value, str) else f"{option}={value}"


def advise(cures: Iterable[Cure], used: Mapping[str, Any], spell: Spell = in_python) -> str:
    """Return the cures that are open, as one text: "this, that, or something else".

    Arguments:
        cures: The best first.
        used: Options in use, as `used_by` returns them; what is not in it is not known.
        spell: How options are written.
    """
    told = []
    for cure in cures:
        options = {
            name: value for name, value in cure.options.items() if not _in_use(name, value, used)
        }
        possible = all(used[name] in values for name, values in cure.where.items() if name in used)
        if not possible or (cure.options and not options):
            continue
        listed = ", ".join(spell(name, value) for name, value in options.items())
        told.append(f"{cure.text} ({listed})" if cure.text and listed else cure.text or listed)
    if len(told) < 2:
        return "".join(told)
    return f"{', '.join(told[:-1])}, or {told[-1]}"


def used_by(vae: VAE) -> dict[str, Any]:
    """Return the options that a model shows by itself, and what else decides which cures are
    possible.

    Beside options these are ``latents``, "one" or "several", and ``stopped``, why training ended,
    "steps" if unknown.
    """
    used: dict[str, Any] = {
        "latents": "one" if vae.latent_dim == 1 else "several",
        "stopped": "steps",
    }
    used["prior"] = vae.prior.name
    for name, part in (("encoder", vae.encoder), ("decoder", vae.decoder)):
        used[name] = name_of(part)
    if used["encoder"] == used["decoder"]:
        used["network"] = used["encoder"]
    return used | _noise_of(vae.likelihood)


def _noise_of(head: Likelihood) -> dict[str, Any]:
    noise = head.noise()
    name = "gaussian" if noise.normal else type(head).__name__
    return {"variance": noise.option, "likelihood": name}


def _in_use(name: str, value: Any, used: Mapping[str, Any]) -> bool:
    if value is None or name not in used:
        return False
    return used[name] == value or used[name] in AS_GOOD.get((name, value), ())


SEVERAL = {"latents": ("several",)}
GAUSSIAN = {"likelihood": ("gaussian",)}
FIXED = {"variance": ("fixed",)}
SHARED = {"variance": ("fixed", "learned")}
DENSE = ("mlp", "residual", "custom")
CONV = ("conv",)

NONE: tuple[Cure, ...] = ()
MORE_ROWS = Cure("more rows")
DECAY = Cure("weight decay", {"weight_decay": None})
STOP_EARLY = Cure("early stopping", {"early_stopping": True})
LONGER = Cure(
    "longer training",
    {"max_steps": None, "max_epochs": None},
    {"stopped": ("steps", "seconds", "callback")},
)
PAST_THE_STOP = Cure(
    "training past the early stop", {"early_stopping": False}, {"stopped": ("early",)}
)
AT_PPCA = Cure("a start at pPCA", {"init": "ppca", "network": "residual"}, GAUSSIAN)
LEARN = Cure("a learned beta^2", {"variance": "learned"}, FIXED)
FEWER_LATENTS = Cure("fewer latents", {"latent_dim": None}, SEVERAL)
NARROWER = (
    Cure("narrower layers", {"hidden": None}, {"decoder": DENSE}),
    Cure("narrower stages", {"channels": None}, {"decoder": CONV}),
)

BETA_LARGE = (
    Cure("lower beta^2", {"variance": None}),
    Cure("learn it by its closed form", {"variance": "learned"}),
)
BETA_SMALL = (
    Cure("raise beta^2", {"variance": None}),
    Cure("learn it by its closed form", {"variance": "learned"}),
)
BETA_BEHIND = (LONGER, PAST_THE_STOP, MORE_ROWS)
NOTHING_TO_ENCODE = (
    Cure("nothing: a latent model has nothing to add here, so compare with independent noise"),
)
IGNORED = (AT_PPCA, LONGER, PAST_THE_STOP, LEARN)
FEW_ACTIVE = (
    Cure("nothing if the data are a curved sheet of few dimensions"),
    AT_PPCA,
    LONGER,
    PAST_THE_STOP,
)
OVERFITTED = (MORE_ROWS, STOP_EARLY, DECAY, *NARROWER, FEWER_LATENTS)
UNLIKE_TRAINING = (*OVERFITTED, Cure("rows like those trained on"))
ENCODER = (
    LONGER,
    PAST_THE_STOP,
    Cure("a wider encoder", {"hidden": None}, {"encoder": DENSE}),
    Cure("a wider encoder", {"channels": None}, {"encoder": CONV}),
    Cure("another encoder", {"encoder": "residual"}),
)
APPROXIMATION = (
    Cure("a tighter bound", {"objective": "iwae", "objective_samples": None}),
    FEWER_LATENTS,
)
MIXTURE = Cure("a prior fitted to z of the training rows", {"prior": "mixture"})
PRIOR = (
    MIXTURE,
    Cure("a larger beta^2", {"variance": None}, FIXED),
    LEARN,
    FEWER_LATENTS,
    MORE_ROWS,
)
COVERAGE = (
    Cure('what "noise level" says'),
    Cure("noise of another shape where that is right", {"variance": "per_feature"}, SHARED),
    Cure("noise that depends on z", {"variance": "heteroscedastic"}, GAUSSIAN),
)
UNEVEN = (
    Cure("noise of its own for each feature", {"variance": "per_feature"}),
    Cure("noise that depends on z", {"variance": "heteroscedastic"}, GAUSSIAN),
    Cure("for a table one scale per column", {"scale": "standard"}),
)
TIED = (
    Cure("more latents", {"latent_dim": None}),
    Cure("a wider decoder", {"hidden": None}, {"decoder": DENSE}),
    Cure("a wider decoder", {"channels": None}, {"decoder": CONV}),
    Cure("another decoder", {"decoder": "residual"}),
    LONGER,
    PAST_THE_STOP,
)
UNLIKE_DATA = (
    Cure("a better decoder or a finer noise, as the other findings say"),
    Cure("samples without noise", {"noise": False}),
)
COPIES = (MORE_ROWS, DECAY, *NARROWER, Cure("a larger beta^2", {"variance": None}, FIXED))
BELOW_PPCA = (AT_PPCA, LONGER, PAST_THE_STOP, LEARN)
EXPLAINED = (
    Cure("one scale per column", {"scale": "standard"}, {"kind": ("table",)}),
    Cure("the plain bound", {"objective": "elbo"}),
    Cure(
        "another weight of the KL",
        {"objective_options": None},
        {"objective": ("beta_vae", "capacity", "free_bits")},
    ),
    Cure("a smaller beta^2", {"variance": None}, FIXED),
    AT_PPCA,
    LONGER,
    PAST_THE_STOP,
)
HELD_OUT = (Cure("rows that were not trained on"),)
RARE = (
    MIXTURE,
    Cure("more latents", {"latent_dim": None}),
    MORE_ROWS,
    Cure("a model of its own for rare rows"),
)
