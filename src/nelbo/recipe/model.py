"""From a recipe to the schema of the data and the configuration of the model."""

from __future__ import annotations

__all__ = ["floor_of", "schema_of", "spec_of"]

from typing import Any

import numpy as np

from .. import spec
from ..data import Schema, Values
from ..options import Options
from ..plain import plain
from .recipe import Recipe


def schema_of(recipe: Recipe, options: Options, values: Values) -> Schema:
    """Choose shape and scaling; zeros and ones are left as they are.

    Raises:
        ValueError: Zeros and ones would not stay as they are, or an option is unknown.
    """
    discrete = _is_discretised(options)
    scale: Any = recipe.scale.value
    if _takes(options) != "binary":
        return Schema.infer(
            values,
            scale=scale,
            dequantize=options.dequantize,
            discrete=discrete,
            # With one scale for all, beta^2 I is in data units, and a column that never varies has
            # a density under it.
            leave_out=not discrete and options.scale not in ("global", None),
            latent_dim=recipe.latent_dim.value,
        )
    if options.scale not in ("auto", None) or options.dequantize not in ("auto", False):
        raise ValueError(
            "likelihood='bernoulli' needs zeros and ones as they are, got "
            f"scale={options.scale!r} and dequantize={options.dequantize!r}. Leave both at 'auto'."
        )
    return Schema.infer(values, scale=None, dequantize=False)


def floor_of(recipe: Recipe, options: Options, schema: Schema, values: Values) -> float:
    """Return the smallest variance that may be learned, in model units.

    It is relative to the data, also where these are not scaled.
    """
    floor = recipe.least_variance.value
    if options.scale is not None or _takes(options) == "binary":
        return floor
    spread = Schema.infer(values, scale="global", dequantize=schema.dequantize).scale
    return float(floor * spread**2)


def spec_of(
    recipe: Recipe, options: Options, schema: Schema, floor: float, condition: int = 0
) -> spec.Spec:
    """Return the configuration of the model, in model units.

    Arguments:
        recipe: What was decided.
        options: What was asked for.
        schema: The schema of the data.
        floor: The smallest variance that may be learned.
        condition: The number of values of c.
    """
    variance: Any = recipe.variance.value
    if not isinstance(variance, str):
        variance = _scaled(float(variance), schema)
    grid = {}
    if schema.discrete:
        grid = dict(zip(("low", "width"), map(_numbers, schema.grid), strict=True))
    prior = recipe.prior.value
    if prior in ("judged", "fitted mixture"):
        prior = "standard_normal"
    given: dict[str, Any] = {
        f"{kind}_options": dict(sorted(plain(getattr(options, f"{kind}_options") or {}).items()))
        for kind, _ in spec.OPTIONS
    }
    return spec.Spec(
        shape=schema.shape,
        latent_dim=recipe.latent_dim.value,
        encoder=recipe.encoder.value,
        decoder=recipe.decoder.value,
        hidden=recipe.hidden.value.encoder,
        decoder_hidden=recipe.hidden.value.decoder,
        channels=tuple(int(w) for w in options.channels),
        activation=options.activation,
        likelihood=options.likelihood,
        variance=variance,
        prior=prior,
        posterior=options.posterior,
        floor=floor,
        condition=condition,
        **given,
        **grid,
    )


def _takes(options: Options) -> str:
    """Return which values the likelihood takes: "real", "bytes" or "binary"."""
    found: str = spec.resolve("likelihood", options.likelihood).takes
    return found


def _is_discretised(options: Options) -> bool:
    """Return whether p(x|z) is to be a probability of 8-bit data as they are.

    Raises:
        ValueError: The likelihood is unknown, or noise is to be added to data that are taken as
            they are.
    """
    if _takes(options) != "bytes":
        return False
    if options.dequantize not in ("auto", False):
        raise ValueError(
            f"likelihood={options.likelihood!r} is the probability of 8-bit data as they are, got "
            f"dequantize={options.dequantize!r}. Leave it at 'auto', or use likelihood='gaussian'."
        )
    return True


def _scaled(variance: float, schema: Schema, smallest: float = 1e-30) -> Any:
    """Return a fixed beta^2 in model units.

    Arguments:
        variance: In data units.
        schema: The schema of the data.
        smallest: In model units; float32 holds its inverse, and the square of a far residual.

    Raises:
        ValueError: It is beyond what can be computed with.
    """
    scaled = schema.variance_to_model(variance)
    if not ((scaled > smallest) & (scaled < 1 / smallest)).all():
        raise ValueError(
            f"variance={variance!r} is beyond all proportion to the data, whose scale goes from "
            f"{schema.scale.min():g} to {schema.scale.max():g}. It is in squared units of the "
            "data: pass one near the variance of what the model should leave unexplained, or "
            "variance='learned'."
        )
    return _numbers(scaled)


def _numbers(values: np.ndarray) -> Any:
    """Return one number, or a tuple with one for each feature: what JSON holds."""
    return float(values) if values.ndim == 0 else tuple(values.ravel().tolist())
