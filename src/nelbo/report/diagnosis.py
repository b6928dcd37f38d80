"""A fitted model diagnosed in the units of its data."""

from __future__ import annotations

__all__ = ["examine"]

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..diagnose import Diagnosis, diagnose
from ..diagnose.cures import Spell, in_python
from ..diagnose.diagnosis import LEAST_ROWS
from ..estimator import VariationalAutoencoder, defaults, options
from ..estimator.linear import fit_linear, linear_log_prob
from .rows import choose


def examine(
    model: VariationalAutoencoder,
    rows: Any,
    train: Any | None = None,
    limit: int = 1000,
    seed: int = 0,
    spell: Spell = in_python,
    which: str | None = None,
) -> Diagnosis:
    """Diagnose a fitted model.

    Arguments:
        model: The model.
        rows: An array or data frame in data units, best of rows it has not seen. Where some of them
            are such that it was trained on, and some are not, the latter are looked at, and the
            former serve as ``train``.
        train: The rows it was fitted to, likewise, or None.
        limit: How many rows to look at.
        seed: Of everything drawn.
        spell: How the advice writes an option and its value.
        which: "held-out", "trained" or "all", to look at these; None is "held-out" where there are
            such rows.

    Raises:
        ValueError: Rows that do not fit or are too few, or there are none of those asked for.
    """
    rows = options.checked(model, rows)
    train = None if train is None else options.checked(model, train)
    x = options.rows(model, rows, "hash")
    known = None if train is None else options.rows(model, train, "hash")
    if known is not None and model.known_rows_ is not None:
        known = known[torch.from_numpy(_only_trained(model, train))]
    chosen = choose(model, rows, which, LEAST_ROWS)
    pca = model.baseline_
    if pca is None and train is not None:
        pca = fit_linear(model.schema_, model.model_, train)
    linear = None if pca is None else linear_log_prob(model.schema_, pca, rows)
    if not chosen.judged_as_new:
        known = None  # to hold these rows against
    elif known is None and chosen.seen is not None and chosen.trained:
        known = x[torch.from_numpy(chosen.seen)]
    mask = torch.from_numpy(chosen.mask)
    return diagnose(
        model.model_,
        x[mask],
        known,
        rows=limit,
        units=options.units(model.schema_),
        linear=None if linear is None else linear[mask],
        seen=None if chosen.seen is None else torch.from_numpy(chosen.seen)[mask],
        seed=seed,
        used=_used(model),
        spell=spell,
    )


def _only_trained(model: VariationalAutoencoder, train: Any) -> npt.NDArray[np.bool_]:
    """Return which rows of ``train`` the model was trained on."""
    seen = model.trained_on(train)
    if not seen.any():
        raise ValueError(
            "None of the training rows that were passed was trained on. Pass the rows of the fit, "
            "or none."
        )
    return seen


def _used(model: VariationalAutoencoder) -> dict[str, Any]:
    """Return the options in use that the torch model does not show."""
    return {
        "objective": defaults.objective_for(model, defaults.was_table(model))["objective"],
        "init": model.init,
        "early_stopping": bool(model.early_stopping and model.validation_fraction),
        "scale": _scale(model),
        "kind": model.schema_.kind,
        "stopped": model.history_.stopped or "steps",
    }


def _scale(model: VariationalAutoencoder) -> str:
    if model.schema_.mixing is not None:
        return "whitened"
    return "global" if model.schema_.scale.ndim == 0 else "standard"
