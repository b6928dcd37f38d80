"""Pickles of earlier versions, and the state of training that a saved model makes superfluous."""

from __future__ import annotations

__all__ = ["brought_up", "forget"]

import contextlib
import dataclasses
from os import PathLike
from typing import Any

import numpy as np
import torch

from .. import checkpoint
from ..baseline import ProbabilisticPCA
from ..fitted import Fitted
from ..fitted.state import asked, restore
from ..options import Options
from ..recipe import Entries


def forget(folder: str | PathLike[str] | None, fingerprint: str | None) -> None:
    """Clear the state of the training whose model has just been saved."""
    if folder is None or fingerprint is None:
        return
    # The model is safe, and what may be wrong with that folder (another fit has it, say) is none of
    # its business.
    with contextlib.suppress(checkpoint.CheckpointError, checkpoint.CheckpointWriteError):
        checkpoint.Folder(folder, fingerprint).clear()


def brought_up(values: dict[str, Any]) -> dict[str, Any]:
    """Return the state of an estimator that an earlier version pickled as it is today.

    Options that there were not have their defaults. What was fitted once lay in attributes of the
    estimator.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(Options)}
    values = {**defaults, **values}
    if "_weights" not in values:
        return values
    weights, linear = values.pop("_weights"), values.pop("_baseline", None)
    fields = {name: values.pop(f"{name}_", None) for name in OLD}
    for name in ("n_iter_", "n_features_in_"):
        values.pop(name, None)
    names = values.pop("feature_names_in_", None)
    values["fitted_"] = Fitted(
        vae=restore(fields["spec"], _tensors(weights)),
        known=fields.pop("known_rows"),
        names=None if names is None else tuple(map(str, names)),
        linear=None if linear is None else ProbabilisticPCA.from_tensors(_tensors(linear)),
        recipe=Entries(fields.pop("recipe") or {}),
        asked=asked(Options(**{name: values[name] for name in defaults})),
        **fields,
    )
    return values


OLD = ("spec", "schema", "recipe", "history", "seed", "kept_start", "dtype", "known_rows")
"""Attributes of an estimator, less their underscore, that are fields of `Fitted`."""


def _tensors(arrays: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
