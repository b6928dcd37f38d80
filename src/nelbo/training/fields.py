"""Fields of a state that was read from a file: each is what it should be, or is refused by name."""

from __future__ import annotations

__all__ = ["StateError", "flag", "integer", "number", "record", "section", "tensors_like", "word"]

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor

Fields = TypeVar("Fields")


class StateError(ValueError):
    """A state of training that no run was ever in."""


def section(fields: Mapping[str, Any], name: str) -> Any:
    """Return a field.

    Raises:
        StateError: There is none.
    """
    if name not in fields:
        raise StateError(f"it lacks the field {name!r}")
    return fields[name]


def integer(fields: Mapping[str, Any], name: str, least: int = 0, most: int | None = None) -> int:
    """Return a field that holds a whole number within bounds.

    Raises:
        StateError: It holds something else.
    """
    value = section(fields, name)
    if most is None:
        most = 2**53  # whole numbers up to here are floats, too
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise StateError(
            f"{name} is {_shown(value)}, expected a whole number from {least} to {most}"
        )
    return value


def number(
    fields: Mapping[str, Any], name: str, low: float = -math.inf, high: float = math.inf
) -> float:
    """Return a field that holds a finite number within bounds.

    Raises:
        StateError: It holds something else.
    """
    value = section(fields, name)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not _finite(value)
        or not low <= value <= high
    ):
        raise StateError(
            f"{name} is {_shown(value)}, expected a finite number from {low:g} to {high:g}"
        )
    return value


def flag(fields: Mapping[str, Any], name: str) -> bool:
    """Return a field that holds true or false.

    Raises:
        StateError: It holds something else.
    """
    value = section(fields, name)
    if not isinstance(value, bool):
        raise StateError(f"{name} is {_shown(value)}, expected true or false")
    return value


def word(fields: Mapping[str, Any], name: str, words: Sequence[str]) -> str:
    """Return a field that holds one of some words.

    Raises:
        StateError: It holds something else.
    """
    value = section(fields, name)
    if not isinstance(value, str) or value not in words:
        raise StateError(
            f"{name} is {_shown(value)}, expected one of {', '.join(map(repr, words))}"
        )
    return value


def record(cls: type[Fields], fields: Any, name: str) -> Fields:
    """Return a dataclass of plain numbers, words and flags from its fields.

    Numbers may be "nan", "inf" or "-inf". Fields that have a default may be missing.

    Raises:
        StateError: A field is missing, unknown or of another type.
    """
    if not isinstance(fields, Mapping):
        raise StateError(f"{name} is {_shown(fields)}, expected its fields by name")
    known = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := [key for key in fields if key not in known]:
        raise StateError(f"{name} has the unknown field {unknown[0]!r}")
    found: dict[str, Any] = {}
    for key, field in known.items():
        if key in fields or field.default is dataclasses.MISSING:
            found[key] = _typed(section(fields, key), str(field.type), f"{name}: {key}")
    return cls(**found)


def spelt_out(value: Any) -> Any:
    """Return a number that is not finite as "nan", "inf" or "-inf", all else as it is."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def tensors_like(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Refuse tensors that differ from others in name, shape or type.

    Raises:
        StateError: They do; the message names the first.
    """
    for name in wanted:
        if name not in found:
            raise StateError(f"it lacks the tensor {name!r}")
    for name, tensor in found.items():
        if name not in wanted:
            raise StateError(f"it has the unknown tensor {name!r}")
        other = wanted[name]
        if tensor.shape != other.shape or tensor.dtype != other.dtype:
            raise StateError(
                f"{name} is {tuple(tensor.shape)} of {tensor.dtype}, expected {tuple(other.shape)} "
                f"of {other.dtype}"
            )


def _typed(value: Any, kind: str, name: str) -> Any:
    """Return a field of a dataclass, if it has the type that the class says."""
    optional = kind.endswith(" | None")
    base = kind.removesuffix(" | None")
    if value is None and optional:
        return None
    if base == "float" and value in ("nan", "inf", "-inf"):
        return float(value)
    types: Any = {"int": int, "float": (int, float), "str": str, "bool": bool}.get(base, object)
    if not isinstance(value, types) or (isinstance(value, bool) and base in ("int", "float")):
        raise StateError(f"{name} is {_shown(value)}, expected {kind}")
    return value


def _finite(value: float) -> bool:
    """Return whether a number is finite as a float."""
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _shown(value: Any) -> str:
    """Return a value as a message shows it, cut short where it is long."""
    text = repr(value)
    if len(text) > 60:
        text = f"{text[:57]}..."
    return text
