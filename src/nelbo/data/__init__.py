"""data -> x, and back:  x = shift + scale * t,  log p(x) = log p(t) - sum(log scale).

`load` reads files into arrays, `Values` refuses what is not a finite number, and `Schema`
remembers what the model needs to know about them (shape, layout, scaling, dequantisation), so that
every number a user sees is in data units (the Jacobian of the scaling is never forgotten).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nelbo.data.dataset import as_rows
from nelbo.data.rows import Rows
from nelbo.data.schema import Schema
from nelbo.data.steps.dequantise import to_uint8
from nelbo.data.table import TableSchema
from nelbo.data.values import Values, validate_array
from nelbo.data.warned import DataWarning

if TYPE_CHECKING:
    from nelbo.data.read.load import Source, load

__all__ = [
    "DataWarning",
    "Rows",
    "Schema",
    "Source",
    "TableSchema",
    "Values",
    "as_rows",
    "load",
    "to_uint8",
    "validate_array",
]


def __getattr__(name: str) -> Any:
    """Import the readers of files on first use: who has tensors needs none of them."""
    if name not in ("Source", "load"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nelbo.data.read import load as reading

    return getattr(reading, name)
