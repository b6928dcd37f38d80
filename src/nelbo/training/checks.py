"""What a run is given, checked before anything is done: each message names a cure."""

from __future__ import annotations

__all__ = ["check_batches", "check_objective", "check_rows"]

import torch
from torch import nn

from ..data.dataset import Batches
from ..data.rows import InMemory, Rows
from ..objective import Objective
from ..vae import UNCONDITIONAL, VAE, check_content


def check_objective(objective: object) -> None:
    """Refuse what is no objective, such as a model itself."""
    if not isinstance(objective, nn.Module) or not any(
        isinstance(part, Objective) for part in objective.modules()
    ):
        cure = "Pass nelbo.objective.ELBO(vae), or another of nelbo.objective."
        if not isinstance(objective, VAE):
            cure += " Your own is a subclass of nelbo.objective.Objective."
        kind = (
            f"the class {objective.__name__}"
            if isinstance(objective, type)
            else type(objective).__name__
        )
        raise TypeError(f"objective must be an objective, got {kind}. {cure}")
    if any(parameter.is_inference() for parameter in objective.parameters()):
        raise ValueError(
            "The model was made under torch.inference_mode(), so its weights can have no "
            "gradients. Make it outside."
        )


def check_rows(vae: VAE, rows: Rows, validation: Rows | None) -> None:
    """Refuse rows that a model cannot take, by name; of those not in memory look at the first."""
    x = rows.seen
    if not isinstance(rows, InMemory) and not x.dtype.is_floating_point and rows.step is None:
        raise TypeError(
            f"x must yield tensors of floats, got {x.dtype}. Let it yield floats, or give its rows "
            "a step that makes floats of a batch, such as nelbo.data.as_rows(x, step=lambda rows, "
            "generator: rows / 255)."
        )
    _check_kind(vae, rows)
    if rows.step is None:
        vae.check_rows("x", x[:1] if rows.checked else x)
        if vae.takes_missing and not rows.missing:
            check_content("x", x)
    else:
        if not rows.checked:
            check_content("x", x, rows.missing)
        made = rows.step(x[:1], torch.Generator(x.device).manual_seed(0))
        vae.check_rows("step(x)", made)
    if validation is not None and validation.step is None and not validation.checked:
        vae.check_rows("validation", validation.seen)


def _check_kind(vae: VAE, rows: Rows) -> None:
    """Refuse missing values and conditions that the model does not take, and a lack of these."""
    if rows.missing and not vae.takes_missing:
        raise ValueError(
            "Values of x may be missing, but the encoder cannot read such rows. Give the model an "
            "encoder nelbo.networks.Masked(network)."
        )
    c = rows.some(1).c
    if c is None and vae.takes_condition:
        raise ValueError(
            "The model is one of p(x|c), but there is no c. Pass nelbo.data.as_rows(x, c=c), or, "
            "where x yields its own (x, c), nelbo.data.as_rows(x, c=True)."
        )
    if c is not None and not vae.takes_condition:
        raise ValueError(UNCONDITIONAL)


def check_batches(rows: Batches, batch_size: int | None, limited: bool) -> None:
    """Refuse what batches that come in their own order leave no room for."""
    for name, value in (("batch_size", batch_size), ("index", rows.index)):
        if value is not None:
            raise ValueError(
                f"{name} cannot be chosen where x yields batches as they come. Leave it at None."
            )
    if not rows.known and not limited:
        raise ValueError(
            f"x is a {type(rows.source).__name__} of unknown length. Pass max_steps or max_seconds."
        )
