"""What a fitted estimator is on disk and in a pickle: plain values and arrays."""

from __future__ import annotations

__all__ = ["from_numpy", "load", "save", "to_numpy"]

import contextlib
import numbers
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
import torch

from .. import checkpoint, spec
from ..baseline import ProbabilisticPCA
from ..data import Schema
from ..data.known import KnownRows
from ..training import History, fields
from ..vae import VAE
from . import card, options

NOT_SAVED = ("callbacks", "progress", "checkpoint_dir", "warm_start", "device")
"""Constructor arguments that belong to one process, not to a model."""
BASELINE = "baseline."
"""What the names of the baseline's tensors begin with, which lie beside the weights."""
ROWS = "rows."
"""The same of the rows that the model knows."""


def save(
    estimator: Any,
    path: str | PathLike[str],
    overwrite: bool,
    extra_text: Mapping[str, str] | None = None,
) -> None:
    """Write a fitted estimator to a folder."""
    params = {
        k: _plain(v) for k, v in estimator.get_params(deep=False).items() if k not in NOT_SAVED
    }
    for name in ("network", "encoder", "decoder"):
        if callable(params[name]):
            # spec.to_dict() below refuses factories in use
            params[name] = None if name != "network" else "auto"
    config = {
        "spec": estimator.spec_.to_dict(),
        "schema": estimator.schema_.to_dict(),
        "params": params,
        "history": estimator.history_.to_dict(),
        "recipe": estimator.recipe_,
        "fitted": {
            "seed": estimator.seed_,
            "kept_start": estimator.kept_start_,
            "n_iter": estimator.n_iter_,
            "dtype": estimator.dtype_,
            "feature_names_in": _names(estimator),
        },
    }
    text = {"metrics.jsonl": estimator.history_.to_jsonl(), "README.md": card.model_card(estimator)}
    text |= extra_text or {}
    tensors = {name: value.cpu() for name, value in estimator.model_.state_dict().items()}
    try:
        check_weights(estimator.spec_, tensors)
    except ValueError as error:
        raise ValueError(
            f"The model cannot be saved: {error}. Fit it again, with a smaller learning_rate."
        ) from None
    if estimator.baseline_ is not None:
        tensors |= {
            BASELINE + name: value for name, value in estimator.baseline_.to_tensors().items()
        }
    known = estimator.known_rows_
    if known is not None:
        tensors |= {
            ROWS + "keys": torch.from_numpy(known.keys.view(np.int64)),
            ROWS + "use": torch.from_numpy(known.use),
        }
        config["fitted"]["row_precision"] = known.precision
    checkpoint.write_folder(path, config, tensors, overwrite=overwrite, extra_text=text)
    _forget(estimator)


def _forget(estimator: Any) -> None:
    """Clear the state of the training whose model has just been saved."""
    found = getattr(estimator, "_fingerprint", None)
    if estimator.checkpoint_dir is None or found is None:
        return
    # The model is safe, and what may be wrong with that folder (another fit has it, say) is none of
    # its business.
    with contextlib.suppress(checkpoint.CheckpointError, checkpoint.CheckpointWriteError):
        checkpoint.Folder(estimator.checkpoint_dir, found).clear()


def load(cls: Any, path: str | PathLike[str]) -> Any:
    """Read what `save` wrote."""
    config, weights = checkpoint.read_folder(path)
    linear, rows = _taken_out(weights, BASELINE), _taken_out(weights, ROWS)
    try:
        params = {k: tuple(v) if isinstance(v, list) else v for k, v in config["params"].items()}
        estimator = cls(**params)
        estimator.spec_ = spec.Spec.from_dict(config["spec"])
        estimator.schema_ = Schema.from_dict(config["schema"])
        if estimator.schema_.shape != estimator.spec_.shape:
            raise ValueError(
                f"shape {estimator.spec_.shape} of the model, {estimator.schema_.shape} of the data"
            )
        estimator.recipe_ = dict(config.get("recipe", {}))  # models saved before there was one
        _take_fitted(estimator, config["fitted"])
        options.check(estimator)
        estimator.history_ = History.from_dict(config["history"])
        check_weights(estimator.spec_, weights)
        estimator.model_ = restore(estimator.spec_, weights)
        estimator.baseline_ = _linear(linear) if linear else None
        estimator.known_rows_ = _known(rows, config["fitted"]["row_precision"]) if rows else None
    except (
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        ValueError,
        ArithmeticError,
    ) as error:
        if isinstance(error, checkpoint.CheckpointError):
            raise
        reason = str(error).splitlines()[0]
        raise checkpoint.CheckpointError(
            f"{path}: config.json and model.safetensors do not describe one model ({reason}). Fit "
            "and save it again."
        ) from error
    return estimator


def _take_fitted(estimator: Any, fitted: Any) -> None:
    """Take what fit found out.

    Raises:
        ValueError: A field is missing or odd.
    """
    if not isinstance(fitted, dict):
        raise ValueError("fitted holds no fields")
    estimator.seed_ = fields.integer(fitted, "seed", 0, 2**62)
    estimator.kept_start_ = fields.flag(fitted, "kept_start")
    estimator.n_iter_ = fields.integer(fitted, "n_iter", 1)
    estimator.dtype_ = fields.word(fitted, "dtype", ("float32", "float64"))
    estimator.n_features_in_ = estimator.schema_.n_features
    names = fields.section(fitted, "feature_names_in")
    if names is None:
        return
    if (
        not isinstance(names, list)
        or len(names) != estimator.n_features_in_
        or not all(isinstance(name, str) for name in names)
    ):
        raise ValueError(f"feature_names_in are no names of {estimator.n_features_in_} columns")
    estimator.feature_names_in_ = np.array(names, dtype=object)


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


def to_numpy(values: dict[str, Any]) -> dict[str, Any]:
    """Replace the torch model in an estimator's state by numpy arrays."""
    values = dict(values)
    model = values.pop("model_", None)
    if model is not None:
        values["_weights"] = {
            name: value.cpu().numpy() for name, value in model.state_dict().items()
        }
    linear = values.pop("baseline_", None)
    if linear is not None:
        values["_baseline"] = {name: value.numpy() for name, value in linear.to_tensors().items()}
    return values


def from_numpy(values: dict[str, Any]) -> dict[str, Any]:
    """Undo `to_numpy`."""
    values = dict(values)
    weights = values.pop("_weights", None)
    if weights is not None:
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}
        values["model_"] = restore(values["spec_"], tensors)
        linear = values.pop("_baseline", None)
        found = (
            None
            if linear is None
            else {name: torch.from_numpy(np.array(value)) for name, value in linear.items()}
        )
        values["baseline_"] = None if found is None else ProbabilisticPCA.from_tensors(found)
        values.setdefault("known_rows_", None)  # pickled before rows were remembered
    return values


def _plain(value: Any) -> Any:
    """Turn numpy numbers and sequences into what JSON holds; a RandomState has no place in a
    file.
    """
    if isinstance(value, np.random.RandomState | np.random.Generator):
        return None
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, numbers.Number | str | bool) or value is None or callable(value):
        return value
    return [_plain(v) for v in value]


def _names(estimator: Any) -> list[str] | None:
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]
