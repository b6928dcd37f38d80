"""What each option may be, checked before any work is done.

That follows from its type, or from the limits that `nelbo.options` declares; names of parts are
resolved where they are built.
"""

from __future__ import annotations

__all__ = ["check", "seed_from"]

import dataclasses
import math
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from .. import spec
from ..data import TableSchema
from ..integers import integer
from ..options import Options

Constraint = Callable[[str, Any], object]
"""Is called with an option's name and value; raises ValueError or TypeError."""


def check(options: Options) -> None:
    """Refuse options that are out of range.

    Raises:
        ValueError: An option is out of range.
        TypeError: An option has the wrong type.
    """
    fields = {field.name: field for field in dataclasses.fields(options)}
    for name, field in fields.items():
        constraint_of(field)(name, getattr(options, name))
    for name, value in (options.network_options or {}).items():
        if name in fields:  # such as widths, which are options of their own, too
            constraint_of(fields[name])(f"network_options[{name!r}]", value)
    spec.check_variance(options.likelihood, options.variance)
    for name in fields:
        kind = name.removesuffix("_options")
        if kind not in (name, "network"):  # networks check theirs
            _options_known(kind, getattr(options, kind), getattr(options, name))


def constraint_of(field: dataclasses.Field[Any]) -> Constraint:
    """Return what an option may be: by its limits, where it has some, or else by its type."""
    kind, optional = str(field.type), str(field.type).removesuffix(" | None")
    constraints: dict[str, Constraint] = {
        "share": _share,
        "noise": _variance,
        "scaling": _scale,
        "missing": _missing,
        "missingness": _missingness,
        "schema": _schema,
        "unknown": _unknown,
        "int | Literal['auto']": _latent_dim,
        "int": integer,
        "float": _at_least_zero,
        "float | None": _optional(_positive),
        "zero or more": _optional(_at_least_zero),
        "str | NetworkFactory": _network,
        "Sequence[int]": _widths,
        "Sequence[str | int]": _condition,
        "Sequence[Callable[[Any], object]]": _callbacks,
        "Mapping[str, Any]": _mapping(_example(field)),
    }
    wanted = field.metadata["limits"] or kind.replace('"', "'")
    if wanted in constraints:
        return constraints[wanted]
    return _optional(constraints.get(optional, _anything))


def _anything(name: str, value: Any) -> None:
    """Leave an option to where it is used."""


def _example(field: dataclasses.Field[Any]) -> str:
    """Return the dict that the text of an option shows as an example."""
    found = re.search(r"\{.*\}", field.metadata["text"])
    return "" if found is None else found[0]


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _optional(constraint: Constraint) -> Constraint:
    """Return a constraint that None passes."""

    def check(name: str, value: Any) -> None:
        if value is not None:
            constraint(name, value)

    return check


def _latent_dim(name: str, value: Any) -> None:
    if isinstance(value, str):
        if value != "auto":
            raise TypeError(f'{name} must be an integer or "auto", got {value!r}.')
        return
    integer(name, value)


def _positive(name: str, value: Any) -> None:
    if not (_is_number(value) and 0 < value < math.inf):
        raise ValueError(f"{name} must be a positive number, got {value!r}.")


def _at_least_zero(name: str, value: Any) -> None:
    if not (_is_number(value) and 0 <= value < math.inf):
        raise ValueError(f"{name} must be a number of at least 0, got {value!r}.")


def _share(name: str, value: Any) -> None:
    if not (_is_number(value) and 0 <= value < 1):
        raise ValueError(
            f"{name} must be in [0, 1), got {value!r}. 0 trains on every row, without early "
            "stopping."
        )


def _variance(name: str, value: Any) -> None:
    words = ("auto", "learned", "per_feature", "heteroscedastic")
    if isinstance(value, str) and value in words:
        return
    if not (_is_number(value) and 0 < value < math.inf):
        raise ValueError(
            f"{name} is beta^2 and must be a positive number or one of {', '.join(words)}, got "
            f"{value!r}."
        )


def _scale(name: str, value: Any) -> None:
    words = ("auto", "global", "standard", "whitened")
    if value is not None and not (isinstance(value, str) and value in words):
        told = ", ".join(map(repr, words))
        raise ValueError(
            f"{name} must be {told} or None, got {value!r}. Leave it at 'auto' if in doubt."
        )


def _missing(name: str, value: Any) -> None:
    if value not in ("auto", "refuse"):
        raise ValueError(f"{name} must be 'auto' or 'refuse', got {value!r}.")


def _missingness(name: str, value: Any) -> None:
    if value not in ("ignorable", "self_masking"):
        raise ValueError(f"{name} must be 'ignorable' or 'self_masking', got {value!r}.")


def _schema(name: str, value: Any) -> None:
    if not isinstance(value, str | Path | Mapping | TableSchema):
        raise TypeError(
            f"{name} must be 'auto', 'infer', a TableSchema, a dict such as {{'age': 'poisson'}}, "
            f"or the path of a TOML file, got {value!r}."
        )


def _unknown(name: str, value: Any) -> None:
    if value not in ("error", "missing"):
        raise ValueError(f"{name} must be 'error' or 'missing', got {value!r}.")


def _network(name: str, value: Any) -> None:
    if isinstance(value, nn.Module) or not (isinstance(value, str) or callable(value)):
        raise TypeError(
            f"{name} must be a name such as 'residual' or a factory (in_shape, out_shape) -> "
            f"module, got {type(value).__name__}."
        )


def _widths(name: str, value: Any) -> None:
    if not isinstance(value, Sequence | np.ndarray) or any(
        not isinstance(width, numbers.Integral) or width < 1 for width in value
    ):
        raise ValueError(
            f"{name} must be a sequence of positive integers such as (512, 512), got {value!r}."
        )


def _condition(name: str, value: Any) -> None:
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    if not listed or not all(isinstance(one, str | numbers.Integral) for one in value):
        raise TypeError(
            f'{name} must be a list of names or places of columns, such as ["label"] or [0], got '
            f"{value!r}."
        )
    if not value or len(set(value)) < len(value):
        raise ValueError(f"{name} must name at least one column, and each once, got {value!r}.")


def _mapping(example: str) -> Constraint:
    """Return the constraint of options of a part."""

    def check(name: str, value: Any) -> None:
        if not (isinstance(value, Mapping) and all(isinstance(key, str) for key in value)):
            raise TypeError(f"{name} must be a dict such as {example}, got {value!r}.")
        for key, number in value.items():
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"{name}[{key!r}] must be finite, got {number!r}.")

    return check


def _options_known(kind: str, part: str, given: Mapping[str, Any] | None) -> None:
    """Refuse options that the part they are for does not know."""
    if kind == "objective" and part == "auto":
        part = "elbo"
    if not given and kind != "objective":
        return
    if part == "auto":
        raise ValueError('prior_options are for a prior by name, such as prior="mixture".')
    spec.check_options(kind, part, given or {})


def _callbacks(name: str, value: Any) -> None:
    if not isinstance(value, Sequence) or not all(map(callable, value)):
        raise TypeError(f"{name} must be a sequence of callables such as [print], got {value!r}.")


def seed_from(random_state: Any) -> int:
    """Turn a random_state into a seed; None draws one from the system.

    The global state of numpy is left alone.

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
