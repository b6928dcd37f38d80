"""Values as JSON holds them."""

from __future__ import annotations

__all__ = ["plain"]

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any


def plain(value: Any) -> Any:
    """Return a value as JSON types; numbers that are infinite or NaN are None.

    Dataclasses and mappings become dicts; sequences, arrays and tensors become lists; numbers of
    numpy become Python's. Everything else is returned as it is.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return None
    if dataclasses.is_dataclass(value):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(part) for part in value]
    return value
