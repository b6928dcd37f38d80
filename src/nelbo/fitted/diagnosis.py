"""What a diagnosis is told about a fitted model beside its VAE."""

from __future__ import annotations

__all__ = ["refuse_unknown", "used"]

from typing import Any

import numpy as np
import numpy.typing as npt

from .parts import Parts


def used(model: Parts) -> dict[str, Any]:
    """Return the options of a fit, and what came of those that were left open."""
    options = model.options
    return {
        **vars(options),
        "objective": model.objective,
        "early_stopping": bool(options.early_stopping and options.validation_fraction),
        "scale": model.schema.scaling,
        "kind": model.schema.kind,
        "stopped": model.history.stopped or "steps",
    }


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
