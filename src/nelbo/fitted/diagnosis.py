"""What a diagnosis is told about a fitted model beside its VAE."""

from __future__ import annotations

__all__ = ["picked", "readable", "refuse_unknown", "used"]

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..data import Values
from ..data.warned import warn
from ..vae import VAE
from .parts import Parts


def used(model: Parts) -> dict[str, Any]:
    """Return the options of a fit, and what came of those that were left open."""
    options = model.options
    return {
        **vars(options),
        "objective": model.objective,
        "input_noise": model.recipe.get("input_noise", {"value": 0})["value"],
        "early_stopping": bool(options.early_stopping and options.validation_fraction),
        "scale": model.schema.scaling,
        "kind": model.schema.kind,
        "stopped": model.history.stopped or "steps",
    }


def readable(vae: VAE, values: Values, least: int) -> Values:
    """Return the rows that the networks of a model can read: of one that was fitted to complete
    rows those that lack no value, which is told.

    Arguments:
        vae: The model.
        values: The rows.
        least: So many are needed.

    Raises:
        ValueError: There are too few.
    """
    if vae.takes_missing or not values.incomplete:
        return values
    gone = values.lacking
    whole = int((~gone).sum())
    if whole < least:
        raise ValueError(
            "The model was fitted to complete rows, so that only such can be looked at, but "
            f"{whole} of {len(values):,} rows lack no value; {least} are needed. Pass more, or fit "
            "to rows in which values are missing."
        )
    warn(
        f"{int(gone.sum()):,} of {len(values):,} rows lack values and are left out: the model was "
        "fitted to complete rows."
    )
    return values[~gone]


def picked(known: npt.NDArray[Any] | None, mask: Tensor) -> Tensor | None:
    """Return what is known of the rows of a mask; None where nothing is."""
    if known is None:
        return None
    return torch.from_numpy(known)[mask]


def refuse_unknown(seen: npt.NDArray[np.bool_]) -> None:
    """Refuse training rows none of which the model was trained on.

    Raises:
        ValueError: There is none.
    """
    if not seen.any():
        raise ValueError(
            "None of the training rows that were passed was trained on. Pass the rows of the fit, "
            "or none."
        )
