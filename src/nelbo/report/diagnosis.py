"""A fitted model diagnosed in the units of its data."""

from __future__ import annotations

__all__ = ["examine"]

from typing import Any

from ..diagnose import Diagnosis, diagnose
from ..diagnose.cures import Spell, in_python
from ..estimator import VariationalAutoencoder, defaults, options
from ..estimator.linear import fit_linear, linear_log_prob


def examine(
    model: VariationalAutoencoder,
    rows: Any,
    train: Any | None = None,
    limit: int = 1000,
    seed: int = 0,
    spell: Spell = in_python,
) -> Diagnosis:
    """Diagnose a fitted model.

    Arguments:
        model: The model.
        rows: An array or data frame in data units, best of rows it has not seen.
        train: The rows it was fitted to, likewise, or None.
        limit: How many rows to look at.
        seed: Of everything drawn.
        spell: How the advice writes an option and its value.

    Raises:
        ValueError: Rows that do not fit or are too few.
    """
    x = options.rows(model, rows, "hash")
    known = None if train is None else options.rows(model, train, "hash")
    pca = model.baseline_
    if pca is None and train is not None:
        pca = fit_linear(model.schema_, model.model_, train)
    linear = None if pca is None else linear_log_prob(model.schema_, pca, rows)
    units = options.units(model.schema_)
    return diagnose(
        model.model_, x, known, rows=limit, units=units, linear=linear, seed=seed, used=_used(model), spell=spell
    )


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
