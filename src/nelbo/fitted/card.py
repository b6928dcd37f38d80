"""The model card that lies beside every saved model."""

from __future__ import annotations

__all__ = ["model_card"]


from collections.abc import Mapping
from typing import Any

from .parts import Parts


def model_card(model: Parts) -> str:
    """Return a short text about a model: what it is, what it was fitted on, how well it did."""
    spec, schema, history = model.spec, model.schema, model.history
    facts: dict[str, object] = {
        "data": f"{schema.kind}, {schema.n_features} values per example, shape {schema.data_shape}",
        "latent dimensions": spec.latent_dim,
        "encoder, decoder": f"{_name(spec.encoder)}, {_name(spec.decoder)}",
        "prior": _with_options(spec.prior, spec.prior_options),
        "posterior": _with_options(spec.posterior, spec.posterior_options),
        "likelihood": _noise(model),
        "trained": (
            f"{model.n_iter} epochs; ended by: {history.stopped}; weights of step "
            f"{history.best_step}"
        ),
    }
    if model.condition is not None:
        facts["conditioned on"] = model.condition
    bounds = [r.validation for r in history.records if r.validation is not None]
    if model.kept_start:
        facts["note"] = (
            "training did not significantly beat the closed-form linear model, which was kept"
        )
    elif bounds:
        facts["best validation bound"] = f"{max(bounds):.3f} nats per example"
    table = "\n".join(f"| {key} | {value} |" for key, value in facts.items())
    return f"""# A variational autoencoder, saved by nelbo

```python
from nelbo import VariationalAutoencoder
model = VariationalAutoencoder.load("this folder")
```

| | |
| --- | --- |
{table}

`config.json` holds the model's configuration, `model.safetensors` its weights, `metrics.jsonl` one
record per validation (nats per example, in the units of the data), and `manifest.json` the
checksums of all of them. Loading runs no code from this folder.
"""


def _name(network: object) -> str:
    return network if isinstance(network, str) else "custom"


def _with_options(name: str, options: Mapping[str, Any]) -> str:
    """Return the name of a part, and its options where it has some."""
    listed = ", ".join(f"{option}={value}" for option, value in options.items())
    return f"{name} ({listed})" if listed else name


def _noise(model: Parts) -> str:
    noise = model.vae.likelihood.noise()
    if noise.variance is None:
        return noise.family
    name, kind = noise.family, "fixed" if noise.kind == "fixed" else "learned"
    variance = model.noise
    if isinstance(variance, float):
        return f"{name}, {kind} beta = {variance**0.5:.6g} (data units)"
    return (
        f"{name}, {kind} beta per feature, {variance.min() ** 0.5:.4g} to "
        f"{variance.max() ** 0.5:.4g} (data units)"
    )
