"""From a recipe to the schema of the data and the configuration of the model."""

from __future__ import annotations

__all__ = ["floor_of", "schema_of", "spec_of"]

import dataclasses
from collections.abc import Mapping, Sequence
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
    if values.table is not None:
        return Schema.infer(values)
    discrete = _is_discretised(options)
    scale: Any = recipe.scale.value
    if _takes(options) in ("real", "bytes"):
        return Schema.infer(
            values,
            scale=scale,
            dequantize=options.dequantize,
            discrete=discrete,
            # With one scale for all, beta^2 I is in data units, and a column that never varies has
            # a density under it.
            leave_out=not discrete and options.scale not in ("global", None),
            latent_dim=recipe.latent_dim.value,
            robust=_bears_outliers(options),
        )
    if options.scale not in ("auto", None) or options.dequantize not in ("auto", False):
        what = {"binary": "zeros and ones"}.get(_takes(options), "values")
        raise ValueError(
            f"likelihood={options.likelihood!r} needs {what} as they are, got "
            f"scale={options.scale!r} and dequantize={options.dequantize!r}. Leave both at 'auto'."
        )
    return Schema.infer(values, scale=None, dequantize=False)


def floor_of(recipe: Recipe, options: Options, schema: Schema, values: Values) -> float:
    """Return the smallest variance that may be learned, in model units.

    It is relative to the data, also where these are not scaled.
    """
    floor = recipe.least_variance.value
    if options.scale is not None or _takes(options) not in ("real", "bytes"):
        return floor
    robust = _bears_outliers(options)
    spread = Schema.infer(values, scale="global", dequantize=schema.dequantize, robust=robust).scale
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
    own: dict[str, Any] = {"shape": schema.shape, "floor": floor, "condition": condition}
    own["masked"] = recipe.masked
    own["missingness"] = "ignorable"
    if recipe.masked:  # of complete rows nothing is missing
        own["missingness"] = options.missingness
    if own["missingness"] != "ignorable" and "gaussian" not in options.likelihood:
        raise ValueError(
            f"missingness={options.missingness!r} is for normal noise, got "
            f"likelihood={options.likelihood!r}. Use likelihood='gaussian'."
        )
    if schema.table is not None:
        own["likelihood_options"] = {"columns": schema.table.kinds}
    if schema.discrete:
        own |= dict(zip(("low", "width"), map(_numbers, schema.grid), strict=True))
    names = [field.name for field in dataclasses.fields(spec.Spec) if field.name not in own]
    asked = {name: _held(getattr(options, name, None)) for name in names}
    asked = {name: value for name, value in asked.items() if value is not None}
    decided = {name: getattr(recipe, name).value for name in names if hasattr(recipe, name)}
    found = spec.Spec(**{**asked, **decided, **own})
    if recipe.fits_prior:
        found = dataclasses.replace(found, prior="standard_normal", prior_options={})
    return dataclasses.replace(
        found,
        hidden=recipe.hidden.value.encoder,
        decoder_hidden=recipe.hidden.value.decoder,
        variance=_in_model_units(recipe, schema),
    )


def _held(value: Any) -> Any:
    """Return an option as the configuration of a model holds it."""
    if isinstance(value, Mapping):
        return dict(sorted(plain(value).items()))
    if isinstance(value, np.ndarray) or (
        isinstance(value, Sequence) and not isinstance(value, str)
    ):
        return tuple(int(width) for width in value)
    return value


def _in_model_units(recipe: Recipe, schema: Schema) -> Any:
    """Return the noise of the model: a word, or a fixed beta^2."""
    if isinstance(recipe.variance.value, str):
        return spec.variance_of(recipe.likelihood.value, recipe.variance.value)
    return _scaled(float(recipe.variance.value), schema)


def _takes(options: Options) -> str:
    """Return which values the likelihood takes."""
    found: str = spec.resolve("likelihood", options.likelihood).takes
    return found


def _bears_outliers(options: Options) -> bool:
    """Return whether outliers hardly count under the likelihood."""
    found: bool = spec.resolve("likelihood", options.likelihood).bears_outliers
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
