"""All checks on one model, and the one sickness that explains most of what they find."""

from __future__ import annotations

__all__ = ["diagnose"]

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..data.units import Units
from ..evaluate import MEMORY, judged
from ..vae import VAE
from .calibration import calibration
from .comparison import SEARCHED, baseline, memorisation, prior_match
from .cures import Spell, in_python, used_by
from .explained import explained
from .finding import Diagnosis, Finding
from .gap import inference_gap
from .information import mutual_information, rate_distortion
from .latent import collapse
from .rare import RareValue, rare_values
from .standard_error import subsample
from .verdicts import (
    judge_baseline,
    judge_calibration,
    judge_collapse,
    judge_explained,
    judge_gap,
    judge_information,
    judge_memory,
    judge_noise,
    judge_prior,
    judge_rare,
    judge_rows,
    skipped,
)

ROWS = 1000
"""Rows looked at, unless told."""
GAP_ROWS = 128
"""Rows whose own q* is looked for: the standard error of a gap of a few nats is then a few
tenths.
"""
LEAST_ROWS = 20
"""Fewer rows have no standard errors to speak of."""


def diagnose(
    vae: VAE,
    x: Tensor,
    train: Tensor | None = None,
    *,
    rows: int = ROWS,
    units: Units | None = None,
    linear: Tensor | None = None,
    seen: Tensor | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    used: Mapping[str, Any] | None = None,
    spell: Spell = in_python,
) -> Diagnosis:
    """Find out what is wrong with a model.

    Causes come before their consequences: of several problems the leading one is the first in the
    order of the findings. A beta^2 that is far too small, for instance, makes every encoder look
    bad, and so is judged where z is at its best for each row.

    Arguments:
        vae: The model; it is left as it was.
        x: Rows of shape (n, *vae.shape), in model units, at least 20, best such that the model has
            not seen.
        train: Rows it was fitted to. Without them memorisation is not looked at, nor pPCA unless
            ``linear`` is given.
        rows: How many rows of x to look at; where there are more, they are drawn with the seed.
        units: Of the data; None are the model's own.
        linear: log p(x) of each row of x under exact pPCA, in the units of the data, where that is
            known; else it is found from ``train``, taken as they are.
        seen: Which rows of x the model was trained on, of shape (n,), where that is known: a model
            is not called healthy by such rows.
        seed: Of everything drawn. Equal calls give equal answers.
        memory: Bytes for intermediate results.
        used: Options in use that the model does not show, such as ``objective``: the advice leaves
            these out.
        spell: How the advice writes an option and its value; as in Python unless told.

    Raises:
        ValueError: Rows that do not fit or are too few, ``rows`` below 20, or a q(z|x) that is no
            diagonal normal.
    """
    for name, count in (("x", len(x)), ("rows", rows)):
        if count < LEAST_ROWS:
            raise ValueError(
                f"{name} must be at least {LEAST_ROWS} rows for standard errors, got {count}. Pass "
                "more."
            )
    many, total, x = subsample(x, SEARCHED, seed), len(x), subsample(x, rows, seed)
    linear = None if linear is None else subsample(linear, rows, seed)
    old = 0 if seen is None else int(subsample(seen, rows, seed).sum())
    if train is not None:
        with judged(vae, train):  # refuses what does not fit
            pass
        train = subsample(train, SEARCHED, seed)
    rare = rare_values(vae, many if train is None else train, units, seed)
    found = _findings(vae, x, train, linear, rare, old, units, seed, memory)
    known = {**used_by(vae), **(used or {})}
    findings = tuple(finding.advised(known, spell) for finding in found)
    leading = next((f.sickness for f in findings if f.verdict == "problem"), "")
    return Diagnosis(leading, findings, len(x), total, None if train is None else len(train), seed)


def _findings(
    vae: VAE,
    x: Tensor,
    train: Tensor | None,
    linear: Tensor | None,
    rare: tuple[RareValue, ...],
    old: int,
    units: Units | None,
    seed: int,
    memory: int,
) -> list[Finding]:
    """All findings, causes before consequences."""
    shown = vae.likelihood.noise()
    fixed = shown.normal and shown.kind == "fixed"
    few = subsample(x, GAP_ROWS, seed)
    gap = inference_gap(vae, few, units, seed, memory)
    noise = best = None
    if _is_gaussian(vae, x):
        noise = calibration(vae, x, None, units, seed, memory)
        best = calibration(vae, few, gap.q, units, seed, memory)
    rate = rate_distortion(vae, x, units=units, seed=seed, memory=memory)
    information = mutual_information(vae, x, seed=seed, memory=memory)
    amortisation, approximation = judge_gap(gap)
    says = judge_explained(explained(vae, x, train, units, memory))
    found = [judge_collapse(collapse(vae, x), noise, fixed)]
    if noise is None or best is None:
        found.append(
            skipped(
                "noise level",
                "p(x|z) is not Gaussian: there is no beta^2 to compare residuals with.",
            )
        )
    else:
        found.append(judge_noise(noise, best, fixed))
    theirs = None if linear is None else subsample(linear, GAP_ROWS, seed)
    beside = baseline(vae, few, train, gap.found.value, units, theirs)
    missing = "These rows were trained on themselves." if old else "No training rows were passed."
    if beside is not None:
        against = judge_baseline(beside)
    elif train is None:
        against = skipped("against pPCA", missing)
    else:
        against = skipped(
            "against pPCA", "pPCA is for Gaussian p(x|z) and rows of at most 4,096 values."
        )
    if train is None:
        found += [skipped("train against unseen", missing), against, amortisation, says]
    else:
        ahead, copies = judge_memory(memorisation(vae, x, train, units, seed, memory), x[0].numel())
        found += [ahead, against, amortisation, says, copies]
    found += [judge_prior(rate, information, prior_match(vae, x, seed))]
    found += [judge_rare(rare)] if rare else []
    found += [approximation]
    if noise is not None:
        found += judge_calibration(noise)
    found += [judge_rows(old, len(x))] if old else []
    return [*found, judge_information(rate, information)]


@torch.no_grad()
def _is_gaussian(vae: VAE, x: Tensor) -> bool:
    with judged(vae, x[:1]) as (model, rows):
        p = model.decode(model.encode(rows).mean)
        return model.likelihood.beta(p) is not None
