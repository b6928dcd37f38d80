"""What a fitted model is on disk and in a pickle: plain values and arrays."""

from __future__ import annotations

__all__ = ["asked", "from_numpy", "load", "of_one_model", "options_of", "save", "to_numpy"]

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any

import numpy as np
import torch

from .. import checkpoint, spec
from ..baseline import ProbabilisticPCA
from ..data import Schema, TableSchema
from ..data.condition_schema import ConditionSchema
from ..data.known import KnownRows
from ..options import Options
from ..plain import plain
from ..recipe import Entries
from ..training import History, fields
from ..vae import VAE
from . import card
from .missing_given_z import MissingGivenZ
from .parts import Parts

BASELINE = "baseline."
"""What the names of the baseline's tensors begin with, which lie beside the weights."""
MISSING = "missing."
"""The same of which values are missing."""
ROWS = "rows."
"""The same of the rows that the model knows."""


def asked(options: Options) -> dict[str, Any]:
    """Return the options that belong to a model, as JSON holds them."""
    fields = [field for field in dataclasses.fields(options) if field.metadata["kept"]]
    return {field.name: _kept(getattr(options, field.name), field.default) for field in fields}


def _kept(value: Any, default: Any) -> Any:
    """Return an option as JSON holds it, or its default where a file cannot."""
    if callable(value):  # a factory in use is refused when the model is saved
        return default
    if isinstance(value, np.random.RandomState | np.random.Generator):
        return None
    if isinstance(value, TableSchema):
        return value.to_dict()
    if isinstance(value, PathLike):
        return os.fspath(value)
    return plain(value)


def options_of(asked: Mapping[str, Any]) -> Options:
    """Return the options that a model was asked for, and defaults for those not told."""
    names = {field.name for field in dataclasses.fields(Options)}
    return Options(**{name: value for name, value in asked.items() if name in names})


def save(
    model: Parts,
    path: str | PathLike[str],
    overwrite: bool,
    extra_text: Mapping[str, str] | None = None,
) -> None:
    """Write a fitted model to a folder."""
    config = {
        "spec": model.spec.to_dict(),
        "schema": model.schema.to_dict(),
        "params": dict(model.asked),
        "history": model.history.to_dict(),
        "recipe": dict(model.recipe),
        "fitted": {
            "seed": model.seed,
            "kept_start": model.kept_start,
            "n_iter": model.n_iter,
            "dtype": model.dtype,
            "feature_names_in": None if model.names is None else list(model.names),
        },
    }
    if model.condition is not None:
        config["condition"] = model.condition.to_dict()
    text = {"metrics.jsonl": model.history.to_jsonl(), "README.md": card.model_card(model)}
    text |= extra_text or {}
    tensors = {name: value.cpu() for name, value in model.vae.state_dict().items()}
    try:
        check_weights(model.spec, tensors)
    except ValueError as error:
        raise ValueError(
            f"The model cannot be saved: {error}. Fit it again, with a smaller learning_rate."
        ) from None
    if model.linear is not None:
        tensors |= {BASELINE + name: value for name, value in model.linear.to_tensors().items()}
    if model.missing_given_z is not None:
        tensors |= {MISSING + k: value for k, value in model.missing_given_z.to_tensors().items()}
    known = model.known
    if known is not None:
        tensors |= {
            ROWS + "keys": torch.from_numpy(known.keys.view(np.int64)),
            ROWS + "use": torch.from_numpy(known.use),
        }
        config["fitted"]["row_precision"] = known.precision
    checkpoint.write_folder(path, config, tensors, overwrite=overwrite, extra_text=text)


def load(path: str | PathLike[str]) -> dict[str, Any]:
    """Read what `save` wrote: the fields of a `Fitted`, by name."""
    config, weights = checkpoint.read_folder(path)
    linear, rows, missing = (_taken_out(weights, name) for name in (BASELINE, ROWS, MISSING))
    with of_one_model(path):
        model_spec = spec.Spec.from_dict(config["spec"])
        schema = Schema.from_dict(config["schema"])
        if schema.shape != model_spec.shape:
            raise ValueError(f"shape {model_spec.shape} of the model, {schema.shape} of the data")
        asked = {k: tuple(v) if isinstance(v, list) else v for k, v in config["params"].items()}
        found = {
            "spec": model_spec,
            "schema": schema,
            "asked": asked,
            "recipe": Entries(dict(config.get("recipe", {}))),  # models saved before there was one
            **_facts(config["fitted"], schema.n_features),
            "history": History.from_dict(config["history"]),
            "condition": _condition(config.get("condition"), model_spec),
        }
        check_weights(model_spec, weights)
        found["vae"] = restore(model_spec, weights)
        found["linear"] = _linear(linear) if linear else None
        found["missing_given_z"] = None
        if missing:
            found["missing_given_z"] = MissingGivenZ.from_tensors(
                missing, schema.n_features, model_spec.latent_dim
            )
        found["known"] = _known(rows, config["fitted"]["row_precision"]) if rows else None
    return found


def _condition(written: Any, model_spec: spec.Spec) -> ConditionSchema | None:
    """Restore what a model is conditioned on.

    Raises:
        ValueError: It is not what the networks read.
    """
    found = None if written is None else ConditionSchema.from_dict(written)
    width = 0 if found is None else found.width
    if width != model_spec.condition:
        raise ValueError(f"c of {model_spec.condition} values in the model, {width} in the data")
    return found


@contextlib.contextmanager
def of_one_model(path: str | PathLike[str]) -> Iterator[None]:
    """Tell in one line of files whose contents do not fit together."""
    try:
        yield
    except checkpoint.CheckpointError:
        raise
    except (
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        ValueError,
        ArithmeticError,
    ) as error:
        reason = str(error).splitlines()[0]
        raise checkpoint.CheckpointError(
            f"{path}: config.json and model.safetensors do not describe one model ({reason}). Fit "
            "and save it again."
        ) from error


def _facts(fitted: Any, features: int) -> dict[str, Any]:
    """Return what the fit found out.

    Raises:
        ValueError: A field is missing or odd.
    """
    if not isinstance(fitted, dict):
        raise ValueError("fitted holds no fields")
    fields.integer(fitted, "n_iter", 1)
    names = fields.section(fitted, "feature_names_in")
    if names is not None and (
        not isinstance(names, list)
        or len(names) != features
        or not all(isinstance(name, str) for name in names)
    ):
        raise ValueError(f"feature_names_in are no names of {features} columns")
    return {
        "seed": fields.integer(fitted, "seed", 0, 2**62),
        "kept_start": fields.flag(fitted, "kept_start"),
        "dtype": fields.word(fitted, "dtype", ("float32", "float64")),
        "names": None if names is None else tuple(names),
    }


def check_weights(model_spec: spec.Spec, weights: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights that are not a model's, before it takes any memory.

    Raises:
        ValueError: One is missing, unknown, of another shape or type, or not finite; the message
            names it.
    """
    fields.tensors_like(weights, spec.weights(model_spec))
    _check_finite(weights)


def _check_finite(tensors: Mapping[str, torch.Tensor]) -> None:
    for name, value in tensors.items():
        if not bool(value.isfinite().all()):
            raise ValueError(f"{name} holds values that are not finite")


def _linear(tensors: dict[str, torch.Tensor]) -> ProbabilisticPCA:
    """Restore the baseline.

    Raises:
        ValueError: The tensors do not belong together.
    """
    weight = tensors["weight"].double()
    features, shared = len(weight), tensors["variance"].ndim == 0
    one = weight.new_ones(())
    wanted = {
        "weight": weight,
        "bias": one.expand(features),
        "variance": one if shared else one.expand(features),
        "kept": torch.ones(len(tensors["kept"]), dtype=torch.bool),
    }
    if "slope" in tensors:
        values = len(tensors["centre"])
        wanted |= {"slope": one.expand(len(tensors["kept"]), values), "centre": one.expand(values)}
    fields.tensors_like(tensors, wanted)
    _check_finite(tensors)
    if (
        weight.ndim != 2
        or int(tensors["kept"].sum()) != features
        or bool((tensors["variance"] < 0).any())
    ):
        raise ValueError("weight, kept and variance of the baseline do not belong together")
    return ProbabilisticPCA.from_tensors(tensors)


def _known(tensors: dict[str, torch.Tensor], precision: Any) -> KnownRows:
    """Restore the rows that a model knows.

    Raises:
        ValueError: The tensors do not belong together.
    """
    keys, use = (np.array(tensors[name].numpy()) for name in ("keys", "use"))
    if keys.dtype != np.int64 or use.dtype != np.uint8 or keys.shape != use.shape or keys.ndim != 1:
        raise ValueError(
            f"the rows that it knows are {keys.dtype} {keys.shape} and {use.dtype} {use.shape}"
        )
    if precision not in ("float32", "float64"):
        raise ValueError(f"the rows that it knows have the precision {precision!r}")
    return KnownRows(keys.view(np.uint64), use, precision)


def _taken_out(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Take the tensors whose names begin with ``prefix`` out, and return them without it."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors.pop(name) for name in names}


def restore(model_spec: spec.Spec, weights: dict[str, torch.Tensor]) -> VAE:
    """Build a model and fill in its weights."""
    model = spec.build(model_spec, torch.Generator().manual_seed(0))
    model.load_state_dict(weights)
    return model.eval()


def to_numpy(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the torch model in the fields of a `Fitted` by numpy arrays."""
    values = dict(values)
    model, linear = values.pop("vae"), values.pop("linear")
    values["weights"] = {name: value.cpu().numpy() for name, value in model.state_dict().items()}
    if linear is not None:
        values["baseline"] = {name: value.numpy() for name, value in linear.to_tensors().items()}
    return values


def from_numpy(values: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `to_numpy`."""
    values = dict(values)
    weights, linear = values.pop("weights"), values.pop("baseline", None)
    values["vae"] = restore(values["spec"], _tensors(weights))
    values["linear"] = linear and ProbabilisticPCA.from_tensors(_tensors(linear))
    return values


def _tensors(arrays: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
