"""A fitted model in numbers, all in the units of the data, with a JSON twin."""

from __future__ import annotations

__all__ = ["Summary", "measure", "summarise"]

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from .. import diagnose, evaluate
from ..plain import plain
from .choice import RowCounts
from .measure import (
    Baseline,
    Density,
    Explained,
    Noise,
    baseline,
    density,
    explained,
    noise,
)
from .model import Model


@dataclass(frozen=True)
class Summary:
    """A fit in numbers; `to_dict` is its JSON twin.

    Attributes:
        shape: The shape of one row, as the user holds it.
        training_rows: The number of rows that were passed for training, those that served for
            validation included.
        rows: What was done with which rows.
        density: log p(x) of held-out rows; None without any.
        baseline: Exact pPCA; None without held-out rows, or where the likelihood is not a density.
        noise: The noise beta.
        latent_dim: Size of the latent space.
        active_units: How many latent dimensions carry information.
        explained: Share of the variance that z explains.
        epochs, steps, seconds: The length of training.
        stopped: Why training ended: "steps", "seconds", "early" or "callback".
        kept_start: Whether the closed-form start was kept.
        warnings: What a user should know, in plain words.
        recipe: What was decided about the data, and why, as the estimator's ``recipe_``.
    """

    shape: tuple[int, ...]
    training_rows: int
    rows: RowCounts
    density: Density | None
    baseline: Baseline | None
    noise: Noise
    latent_dim: int
    active_units: int
    explained: Explained
    epochs: int
    steps: int
    seconds: float
    stopped: str
    kept_start: bool
    warnings: tuple[str, ...]
    recipe: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        found: dict[str, Any] = plain(self)
        return found


def summarise(
    model: Model,
    train: Any,
    held_out: Any,
    samples: int = 200,
    notes: tuple[str, ...] = (),
) -> Summary:
    """Measure a fitted model.

    Arguments:
        model: The model.
        train: The rows it was fitted to, in data units.
        held_out: Rows it has never seen, or None.
        samples: Importance samples for each held-out row.
        notes: Warnings of the fit, put before those of the measurement.
    """
    return measure(model, train, held_out, samples, notes)[0]


def measure(
    model: Model,
    train: Any,
    held_out: Any,
    samples: int = 200,
    notes: tuple[str, ...] = (),
) -> tuple[Summary, evaluate.Scores | None]:
    """Measure a fitted model as `summarise` does; return log p(x) of each held-out row, too."""
    train, dtype = model.values(train), torch.float32
    if train.dtype == np.float64:
        dtype = torch.float64
    x = evaluate.Examples(
        model.schema.to_model(train, noise="hash", dtype=dtype), model.conditions_of(train)
    )
    vae = evaluate.in_precision(model.vae, dtype)
    judged, linear, found = None, None, None
    if held_out is not None:
        held_out = model.values(held_out)
        # the quick method; `nelbo evaluate` takes its time
        found = model.log_likelihood(held_out, model.plain_method(held_out), samples)
        judged = density(found, model.schema)
    share = explained(model, x, held_out)
    counts = model.counts(held_out)
    if held_out is not None and found is not None:
        linear = baseline(model, held_out, found, train)
    summary = Summary(
        shape=model.schema.data_shape,
        training_rows=len(train),
        rows=counts,
        density=judged,
        baseline=linear,
        noise=noise(model, x),
        latent_dim=vae.latent_dim,
        active_units=diagnose.active_units(vae, x.x.to(model.device), c=x.c).count,
        explained=share,
        epochs=model.n_iter,
        steps=model.history.steps,
        seconds=model.history.records[-1].seconds,
        stopped=model.history.stopped,
        kept_start=model.kept_start,
        warnings=(*notes, *counts.warnings(), *_warnings(model, judged, share)),
        recipe=dict(model.recipe),
    )
    return summary, found


def _warnings(model: Model, judged: Density | None, share: Explained) -> list[str]:
    """Return what is worth a warning, the most important first."""
    said = []
    if model.kept_start:
        said.append(
            "Training was not significantly better than its closed-form linear start on the "
            "validation rows, so that start was kept: this model is linear. More rows, or longer "
            "training, may change that."
        )
    if share.little and share.share is not None and share.pca is not None:
        said.append(
            f"z explains only {100 * share.share:.0f} % of the variance, where as many principal "
            f"components explain {100 * share.pca:.0f} %: embeddings and reconstructions say less "
            "than PCA's."
        )
    if judged is not None:
        said += judged.warnings()
    return said
