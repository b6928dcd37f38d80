"""What helps against what: (cause) -> cures, the best first.

Several causes share a cure, and several cures share a condition, so the table is built from named
parts.
"""

from __future__ import annotations

__all__ = ["remedies"]

import functools
from collections.abc import Mapping
from types import MappingProxyType

from .cures import Cure


@functools.cache
def remedies() -> Mapping[str, tuple[Cure, ...]]:
    """Return the cures for each cause, by its name."""
    gaussian = {"likelihood": ("gaussian",)}
    fixed = {"variance": ("fixed",)}
    shared = {"variance": ("fixed", "learned")}
    # widths are options of these networks; stages of convolutions have channels
    dense = ("mlp", "residual", "custom")
    conv = ("conv",)
    # z of a mixture of factor analysers, whose decoder is quadratic, leaves its p(x) as it is
    several = {"latents": ("several",), "decoder": ("linear", *dense, *conv)}

    more_rows = Cure("more rows")
    decay = Cure("weight decay", {"weight_decay": None}, {"decoder": (*dense, *conv)})
    stop_early = Cure("early stopping", {"early_stopping": True})
    longer = Cure(
        "longer training",
        {"max_steps": None, "max_epochs": None},
        {"stopped": ("steps", "seconds", "callback")},
    )
    past_the_stop = Cure(
        "training past the early stop", {"early_stopping": False}, {"stopped": ("early",)}
    )
    at_ppca = Cure(
        "a start at pPCA",
        {"init": "ppca", "network": "residual"},
        gaussian,
        {"init": ("auto",), "network": conv},
    )
    learn = Cure("a learned beta^2", {"variance": "learned"}, fixed)
    in_closed_form = Cure("learn it in closed form", {"variance": "learned"})
    larger = Cure("a larger beta^2", {"variance": None}, fixed)
    fewer_latents = Cure("fewer latents", {"latent_dim": None}, several)
    more_latents = Cure("more latents", {"latent_dim": None})
    noisy_input = Cure(
        "noise on what the encoder sees in training",
        {"input_noise": None},
        {"input_noise": (0,), "objective": ("elbo",), "encoder": (*dense, *conv)},
    )
    narrower = (
        Cure("narrower layers", {"hidden": None}, {"decoder": dense}),
        Cure("narrower stages", {"channels": None}, {"decoder": conv}),
    )
    mixture = Cure("a prior fitted to z of the training rows", {"prior": "mixture"})
    uneven = Cure("noise that depends on z", {"variance": "heteroscedastic"}, gaussian)
    overfitting = (more_rows, stop_early, decay, *narrower, fewer_latents)

    return MappingProxyType(
        {
            "beta^2 too large": (Cure("lower beta^2", {"variance": None}), in_closed_form),
            "beta^2 too small": (Cure("raise beta^2", {"variance": None}), in_closed_form),
            "beta^2 not yet learned": (longer, past_the_stop, more_rows),
            "nothing to encode": (
                Cure(
                    "nothing: a latent model has nothing to add here, so compare with independent "
                    "noise"
                ),
            ),
            "z is ignored": (at_ppca, longer, past_the_stop, learn),
            "few active units": (
                Cure("nothing if the data are a curved sheet of few dimensions"),
                at_ppca,
                longer,
                past_the_stop,
            ),
            "overfitting": overfitting,
            "unlike the training rows": (*overfitting, Cure("rows like those trained on")),
            "weak encoder": (
                noisy_input,
                longer,
                past_the_stop,
                more_rows,
                Cure("a wider encoder", {"hidden": None}, {"encoder": dense}),
                Cure("a wider encoder", {"channels": None}, {"encoder": conv}),
                Cure("another encoder", {"encoder": "residual"}, instead={"encoder": conv}),
            ),
            "simple posterior": (
                Cure(
                    "a tighter bound",
                    {"objective": "iwae", "objective_samples": None},
                    instead={"objective": ("dreg", "miwae", "piwae", "ciwae")},
                ),
                fewer_latents,
            ),
            "prior mismatch": (mixture, larger, learn, fewer_latents, more_rows),
            "coverage": (
                Cure('what "noise level" advises'),
                Cure(
                    "noise of another shape where that is right",
                    {"variance": "per_feature"},
                    shared,
                ),
                uneven,
            ),
            "uneven noise": (
                Cure("a noise level for each feature", {"variance": "per_feature"}),
                uneven,
                Cure("for a table one scale per column", {"scale": "standard"}),
            ),
            "correlated residuals": (
                more_latents,
                Cure("a wider decoder", {"hidden": None}, {"decoder": dense}),
                Cure("a wider decoder", {"channels": None}, {"decoder": conv}),
                Cure("another decoder", {"decoder": "residual"}),
                longer,
                past_the_stop,
            ),
            "samples unlike the data": (
                Cure("a better decoder or a finer noise, as the other findings say"),
                Cure("samples without noise", {"noise": False}),
            ),
            "reconstructions unlike the data": (
                Cure("a better decoder or another noise, as the other findings say"),
                uneven,
                Cure(
                    "probabilities for whole numbers from 0 to 255",
                    {"likelihood": "discretized_gaussian"},
                    {"kind": ("images",)},
                ),
                more_latents,
                longer,
            ),
            "memorisation": (more_rows, decay, *narrower, larger),
            "worse than pPCA": (at_ppca, longer, past_the_stop, learn),
            "z explains little": (
                Cure("one scale per column", {"scale": "standard"}, {"kind": ("table",)}),
                Cure("the plain bound", {"objective": "elbo"}),
                Cure(
                    "another weight of the KL",
                    {"objective_options": None},
                    {"objective": ("beta_vae", "capacity", "free_bits")},
                ),
                Cure("a smaller beta^2", {"variance": None}, fixed),
                at_ppca,
                longer,
                past_the_stop,
            ),
            "rows trained on": (Cure("rows that were not trained on"),),
            "rare values": (
                mixture,
                more_latents,
                more_rows,
                Cure("a separate model for rare rows"),
            ),
        }
    )
