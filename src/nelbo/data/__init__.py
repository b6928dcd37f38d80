"""data -> x, and back:  x = shift + scale * t,  log p(x) = log p(t) - sum(log scale).

`load` reads files into arrays, `Values` refuses what is not a finite number, and `Schema`
remembers what the model needs to know about them (shape, layout, scaling, dequantisation), so that
every number a user sees is in data units (the Jacobian of the scaling is never forgotten).
"""

from __future__ import annotations

from nelbo.data.dequantize import to_uint8
from nelbo.data.load import Source, load
from nelbo.data.schema import Schema
from nelbo.data.validate import Values, validate_array
from nelbo.data.warned import DataWarning

__all__ = ["DataWarning", "Schema", "Source", "Values", "load", "to_uint8", "validate_array"]
