"""The verdict on a fitted model in plain words, and the facts about it."""

from __future__ import annotations

__all__ = ["about", "options_of", "provenance_of", "recipe_of", "verdict_of"]

import hashlib
import json
import platform
import re
from collections import Counter
from typing import Any

import numpy as np
import torch

from ... import __version__, diagnose
from ...data.known import Use
from ...diagnose import Diagnosis
from ...options import Options
from ...report.portrait import Absent, Decision, Fact, Level, Tone, Verdict
from ..measure import Baseline, Density, Explained
from ..model import Model
from ..summary import Summary
from .rows import Rows


def verdict_of(
    model: Model, rows: Rows, summary: Summary | None, diagnosis: Diagnosis | Absent
) -> Verdict:
    """Say what a model is, how good it is, and whether it is healthy.

    Arguments:
        model: The model.
        rows: The rows it is judged by.
        summary: Its numbers on them; None without rows.
        diagnosis: What is wrong with it.
    """
    baseline = None
    if summary is not None:
        baseline = summary.baseline
    tone, headline, why = _health(diagnosis, baseline)
    sentences, levels, warnings = [], [], [rows.note] * bool(rows.note)
    if summary is None:
        sentences.append("How good it is on rows is not known: none were passed.")
    else:
        if summary.density is not None:
            levels = _levels(model, rows, summary.density, summary.baseline)
            sentences.append(_compared(rows, summary.density, summary.baseline))
        sentences.append(_explained(summary.explained, summary))
        warnings += summary.warnings
    return Verdict(
        tone, headline, _model(model), (*sentences, *why), tuple(levels), tuple(warnings)
    )


def _health(
    diagnosis: Diagnosis | Absent, baseline: Baseline | None
) -> tuple[Tone, str, list[str]]:
    """Return the verdict on a model's health, in a word, in a line, and why.

    What could be better is no fault: it is told in amber, and what is wrong in red. Nothing is said
    of health where that is not known, but how the model does beside the linear one is.
    """
    tone: Tone = "bad"
    if isinstance(diagnosis, Absent):
        tone, headline = _beside_linear(baseline)
        return tone, headline, [f"Whether it is healthy is not known: {diagnosis.why}"]
    count = Counter(finding.verdict for finding in diagnosis.findings)
    looked = f"{count.total() - count['skipped']} checks on {diagnosis.rows:,} rows"
    if not diagnosis.healthy:
        why = [f"It is not healthy: {diagnosis.leading}."]
        if not diagnosis.known and len(_causes(diagnosis)) == 1:
            tone = "open"
            why = [
                "Whether it is healthy on new rows is not known. Pass some that it has not seen."
            ]
        elif diagnosis.advice:
            why.append(f"What to change first: {diagnosis.advice.rstrip('.')}.")
        return tone, diagnosis.headline, why
    if not diagnosis.warnings:
        return "good", diagnosis.headline, [f"It is healthy: {looked} found nothing wrong."]
    names = ", ".join(finding.name for finding in diagnosis.warnings)
    why = [f"It is healthy: {looked} found no problem. What could be better: {names}."]
    first = next((f for f in diagnosis.warnings if f.advice), None)
    if first is not None:
        why.append(f"What may help first ({first.name}): {first.advice.rstrip('.')}.")
    return "fair", diagnosis.headline, why


def _causes(diagnosis: Diagnosis) -> set[str]:
    """Return the causes of all problems."""
    return {finding.cause for finding in diagnosis.findings if finding.cause}


def _beside_linear(baseline: Baseline | None) -> tuple[Tone, str]:
    """Return what is known of a model that was not examined: whether it beats exact pPCA."""
    if baseline is None:
        return "open", "Not examined"
    margin = 2 * (baseline.gain_error or 0.0)
    if baseline.gain + margin < -diagnose.Judge.below_ppca:
        return "bad", "Worse than exact pPCA"
    if baseline.gain > margin:
        return "open", "Better than exact pPCA; not examined further"
    return "open", "As good as exact pPCA; not examined further"


def _model(model: Model) -> str:
    """Say what a model is."""
    spec, schema = model.spec, model.schema
    shape = " × ".join(map(str, schema.data_shape))
    what = f"images of {shape} values"
    if schema.kind == "table":
        what = {1: "rows of 1 column"}.get(schema.n_features, f"rows of {shape} columns")
    size = {1: "1 latent dimension"}.get(spec.latent_dim, f"{spec.latent_dim} latent dimensions")
    given = ""
    if model.condition is not None:
        given = f", given {', '.join(model.condition.names)}"
    networks = f"{_network(spec.encoder)} encoder and {_network(spec.decoder)} decoder"
    if spec.encoder == spec.decoder:
        networks = f"{_network(spec.encoder)} networks"
    noise = model.vae.likelihood.noise()
    betas = {
        "learned": " with one β, which is learned",
        "fixed": " with β fixed",
        "per feature": " with a learned β for each feature",
        "from z": " with a β that z decides",
    }
    family = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", noise.family)
    about = f"{family} noise{betas.get(noise.kind, '')}"
    if ": " in family:
        about = f"a likelihood for each column ({family.partition(': ')[2]})"
    text = (
        f"A variational autoencoder of {what}{given}, with {size}: {networks}, {about}, "
        f"prior {_words(spec.prior)}, posterior {_words(spec.posterior)}."
    )
    trained = _counted(model)
    if trained is not None:
        epochs = {1: "1 epoch"}.get(model.n_iter, f"{model.n_iter:,} epochs")
        text += f" Fitted to {trained:,} rows in {epochs}"
        text += f" and {model.history.steps:,} steps."
    if model.kept_start:
        text += " Training did not beat its closed-form linear start, which was kept."
    return text


def _network(network: object) -> str:
    """Return the name of a network."""
    if isinstance(network, str):
        return {"mlp": "MLP", "conv": "convolutional"}.get(network, _words(network))
    return "custom"


def _words(name: str) -> str:
    """Return a name as words."""
    return name.replace("_", " ")


def _counted(model: Model) -> int | None:
    """Return how many rows a model was fitted to; None where that is not known."""
    if model.known is None:
        return None
    return int((model.known.use != Use.HELD_OUT).sum())


def _levels(model: Model, rows: Rows, density: Density, baseline: Baseline | None) -> list[Level]:
    """Return log p(x) of the model, of exact pPCA, and their difference."""
    note = density.how
    if density.bits_per_dimension is not None:
        note = f"{density.bits_per_dimension:.4f} bits per dimension; {note}"
    name = "this model"
    found = [Level(name, density.mean, density.standard_error, note)]
    if baseline is not None:
        name = "exact pPCA"
        if model.condition is not None:
            name = "pPCA given c"
        linear = baseline.density
        found.append(Level(name, linear.mean, linear.standard_error, "exact"))
        found.append(
            Level("difference, row by row", baseline.gain, baseline.gain_error, baseline.verdict)
        )
    return found


def _compared(rows: Rows, density: Density, baseline: Baseline | None) -> str:
    """Say what log p(x) is, beside exact pPCA's."""
    value = _with_error(f"{density.mean:,.1f}", density.standard_error)
    text = f"log p(x) is {value} nats per row over {rows.some(density.rows)}"
    if baseline is None:
        return f"{text}. There is no pPCA to compare with, as p(x) is no Gaussian density."
    side = "above"
    if baseline.gain < 0:
        side = "below"
    gain = _with_error(f"{abs(baseline.gain):,.1f}", baseline.gain_error)
    text += f", {gain} nats {side} that of exact probabilistic PCA of the same latent size"
    if baseline.verdict:
        text += f": {baseline.verdict}"
    return f"{text}."


def _with_error(value: str, error: float | None) -> str:
    """Return a number with its standard error, where it has one."""
    if error is not None:
        value = f"{value} ± {error:,.1f}"
    return value.replace("-", "−")


def _explained(found: Explained, summary: Summary) -> str:
    """Say how much z explains, and how many of its dimensions say anything."""
    active = f"{summary.active_units} of {summary.latent_dim} latent dimensions are active."
    if found.share is None:
        return active
    text = f"z explains {round(100 * found.share)} % of the variance"
    if found.pca is not None:
        text += f" (as many principal components: {100 * found.pca:.0f} %)"
    return f"{text}; {active}"


def about(model: Model) -> tuple[str, list[tuple[str, str]]]:
    """Return what a model is, in sentences, and the facts about where it comes from."""
    return _model(model), [(fact.name, fact.value) for fact in provenance_of(model, "")]


def recipe_of(model: Model) -> tuple[Decision, ...]:
    """Return what was decided, and why."""
    return tuple(Decision(*row) for row in model.recipe.rows())


def options_of(model: Model) -> tuple[Fact, ...]:
    """Return what was asked for: options that are not at their default."""
    usual = vars(Options())
    return tuple(
        Fact(name, json.dumps(value, ensure_ascii=False))
        for name, value in model.asked.items()
        if name in usual and _plain(value) != _plain(usual[name])
    )


def _plain(value: Any) -> Any:
    """Return a value with lists for tuples, as JSON has it."""
    if isinstance(value, tuple):
        return [*value]
    return value


def provenance_of(model: Model, title: str) -> tuple[Fact, ...]:
    """Return where a model comes from: data, fingerprint, seed, size, versions."""
    facts = []
    if title:
        facts.append(("data", title))
    facts.append(("one row", f"{' × '.join(map(str, model.schema.data_shape))}, {model.dtype}"))
    known = model.known
    if known is not None:
        count = Counter(Use(use).name for use in known.use.tolist())
        kinds = {"TRAINED": "trained on", "VALIDATED": "for validation", "HELD_OUT": "held out"}
        told = ", ".join(f"{count[use]:,} {what}" for use, what in kinds.items() if count[use])
        facts.append(("rows", told))
        facts.append(("fingerprint of the rows fitted", fingerprint(model)))
    parameters = sum(weight.numel() for weight in model.vae.parameters())
    history = model.history
    versions = f"{torch.__version__}, {np.__version__}, {platform.python_version()}"
    facts += [
        ("parameters", f"{parameters:,}"),
        ("seed", f"{model.seed}"),
        ("weights of step", f"{history.best_step:,} of {history.steps:,}"),
        ("training took", f"{history.records[-1].seconds:.1f} s"),
        ("nelbo", __version__),
        ("torch, numpy, Python", versions),
    ]
    return tuple(Fact(*fact) for fact in facts)


def fingerprint(model: Model) -> str:
    """Return 16 hexadecimal digits that are the same for the same rows, in whatever order."""
    if model.known is None:
        return "unknown"
    keys = np.sort(model.known.keys[model.known.use != Use.HELD_OUT])
    return hashlib.sha256(keys.astype("<u8").tobytes()).hexdigest()[:16]
