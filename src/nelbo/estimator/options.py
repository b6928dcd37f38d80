"""Checks of what a user passes, each with the cure in its message."""

from __future__ import annotations

__all__ = [
    "asked",
    "check",
    "check_names",
    "check_possible",
    "integer",
    "is_discretised",
    "names_of",
    "seed_from",
]

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data
from torch import nn

from .. import spec
from ..data import Schema, Values
from ..data.warned import listed
from ..fitted.state import plain
from . import latent


def check(estimator: Any) -> None:
    """Refuse options that are out of range, before any work is done.

    Raises:
        ValueError: An option is out of range.
        TypeError: An option has the wrong type.
    """
    if isinstance(estimator.latent_dim, str) and not latent.is_auto(estimator.latent_dim):
        raise TypeError(f'latent_dim must be an integer or "auto", got {estimator.latent_dim!r}.')
    if not latent.is_auto(estimator.latent_dim):
        integer("latent_dim", estimator.latent_dim)
    for name in ("max_epochs", "max_steps", "batch_size", "objective_samples", "score_samples_k"):
        if getattr(estimator, name) is not None:
            integer(name, getattr(estimator, name))
    for name in ("learning_rate", "max_seconds"):
        value = getattr(estimator, name)
        if value is not None and not (_is_number(value) and 0 < value < math.inf):
            raise ValueError(f"{name} must be a positive number, got {value!r}.")
    if not (_is_number(estimator.weight_decay) and 0 <= estimator.weight_decay < math.inf):
        raise ValueError(
            f"weight_decay must be a number of at least 0, got {estimator.weight_decay!r}."
        )
    fraction = estimator.validation_fraction
    if not (_is_number(fraction) and 0 <= fraction < 1):
        raise ValueError(
            f"validation_fraction must be in [0, 1), got {fraction!r}. 0 trains on every row, "
            "without early stopping."
        )
    _variance(estimator.variance)
    for name in ("network", "encoder", "decoder"):
        _network(name, getattr(estimator, name))
    _check_options(estimator)
    callbacks = estimator.callbacks
    if callbacks is not None and (
        not isinstance(callbacks, Sequence) or not all(map(callable, callbacks))
    ):
        raise TypeError(
            f"callbacks must be a sequence of callables such as [print], got {callbacks!r}."
        )
    for name in ("hidden", "decoder_hidden", "channels"):
        widths = getattr(estimator, name)
        if name != "channels" and widths is None:
            continue
        if not isinstance(widths, Sequence | np.ndarray) or any(
            not isinstance(w, numbers.Integral) or w < 1 for w in widths
        ):
            raise ValueError(
                f"{name} must be a sequence of positive integers such as (512, 512), got "
                f"{widths!r}."
            )


def _check_options(estimator: Any) -> None:
    """Refuse options that the parts they are for do not know; those of networks are theirs to
    check.
    """
    for kind, example in (*spec.OPTIONS, ("objective", '{"beta": 4}')):
        name = f"{kind}_options"
        given = getattr(estimator, name)
        if given is None:
            continue
        if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
            raise TypeError(f"{name} must be a dict such as {example}, got {given!r}.")
        if kind == "network":
            continue
        part = getattr(estimator, kind)
        if kind == "prior" and part == "auto":
            raise ValueError('prior_options are for a prior by name, such as prior="mixture".')
        spec.check_options(kind, "elbo" if part == "auto" else part, given)


def _network(name: str, network: object) -> None:
    if network is None and name != "network":
        return
    if isinstance(network, nn.Module) or not (isinstance(network, str) or callable(network)):
        raise TypeError(
            f"{name} must be a name such as 'residual' or a factory (in_shape, out_shape) -> "
            "module, "
            f"got {type(network).__name__}."
        )


def _variance(variance: object) -> None:
    words = ("auto", "learned", "per_feature", "heteroscedastic")
    if isinstance(variance, str) and variance in words:
        return
    if not (_is_number(variance) and 0 < variance < math.inf):  # type: ignore[operator]
        raise ValueError(
            f"variance is beta^2 and must be a positive number or one of {', '.join(words)}, got "
            f"{variance!r}."
        )


def integer(name: str, value: object) -> None:
    """Refuse what is not a positive integer.

    Raises:
        TypeError: It is no integer.
        ValueError: It is less than 1.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    if int(value) < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def names_of(X: Any) -> npt.NDArray[Any] | None:
    """Return the column names of X as scikit-learn keeps them, or None.

    Raises:
        TypeError: Some names are strings and some are not.
    """
    if isinstance(X, Values):
        return None if X.columns is None else np.array(X.columns, dtype=object)
    probe = BaseEstimator()
    if hasattr(X, "columns"):
        validate_data(probe, X, skip_check_array=True)
    return getattr(probe, "feature_names_in_", None)


def check_possible(schema: Schema, values: Values) -> None:
    """Refuse to go on training with a column that was left out of the model but now has another
    value.

    Raises:
        ValueError: There is one (it is named).
    """
    found = schema.impossible_values(values) if schema.left_out else {}
    if found:
        raise ValueError(
            f"warm_start=True goes on from a model that leaves {listed(list(found))} out, as all "
            "rows had one value "
            "there, but now some have another. Fit anew with warm_start=False."
        )


def is_discretised(estimator: Any) -> bool:
    """Return whether p(x|z) is to be a probability of 8-bit data as they are.

    Raises:
        ValueError: The likelihood is unknown, or noise is to be added to data that are taken as
            they are.
    """
    if spec.resolve("likelihood", estimator.likelihood).takes != "bytes":
        return False
    if estimator.dequantize not in ("auto", False):
        raise ValueError(
            f"likelihood={estimator.likelihood!r} is the probability of 8-bit data as they are, "
            "got "
            f"dequantize={estimator.dequantize!r}. Leave it at 'auto', or use "
            "likelihood='gaussian'."
        )
    return True


def seed_from(random_state: Any) -> int:
    """Turn a random_state into a seed; None draws one from the system, leaving numpy's global state
    alone.

    Raises:
        ValueError: It is neither an integer, a RandomState, a Generator nor None.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> 2)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**62))
    if isinstance(random_state, numbers.Integral):
        if not 0 <= int(random_state) < 2**62:
            raise ValueError(f"random_state must be between 0 and 2**62, got {random_state}.")
        return int(random_state)
    if not isinstance(random_state, np.random.RandomState):
        raise ValueError(
            "random_state must be an integer, a RandomState, a Generator or None, got "
            f"{random_state!r}."
        )
    return int(random_state.randint(2**31 - 1))


def check_names(estimator: Any, X: Any, fitted: Sequence[str] | None, width: int) -> None:
    """Let scikit-learn compare the names of a data frame's columns with those fitted.

    Raises:
        ValueError: They differ.
    """
    if isinstance(X, Values):
        return  # their names are compared with those of the schema
    if fitted is not None and hasattr(X, "columns"):
        got = [str(name).strip() for name in X.columns]
        if got == [name.strip() for name in fitted]:
            return  # some programs keep blanks around names, some do not
    if hasattr(X, "columns") or (fitted is not None and getattr(X, "shape", ())[1:] == (width,)):
        validate_data(estimator, X, reset=False, skip_check_array=True)


NOT_SAVED = ("callbacks", "progress", "checkpoint_dir", "warm_start", "device")
"""Constructor arguments that belong to one process, not to a model."""


def asked(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the constructor arguments that belong to a model, as JSON holds them."""
    found = {name: plain(value) for name, value in params.items() if name not in NOT_SAVED}
    for name, left_open in (("network", "auto"), ("encoder", None), ("decoder", None)):
        if callable(found[name]):  # a factory in use is refused when the model is saved
            found[name] = left_open
    return found
