"""Whether the columns of a table are of different kinds, and what is said of them beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nelbo.data.read.frames import check_unique, columns_of, narwhals_of
from nelbo.data.table import toml
from nelbo.data.table.schema import TableSchema

__all__ = ["is_mixed", "schema_for"]


def is_mixed(X: Any) -> bool:
    """Return whether any column of a data frame holds text, categories, dates or booleans."""
    labels = columns_of(X)
    if labels is None or hasattr(X, "collect"):
        return False
    check_unique(labels, "X")
    return any(_is_other(series) for series in narwhals_of(X, "X").iter_columns())


def _is_other(series: Any) -> bool:
    """Return whether a column holds something else than numbers."""
    kind = type(series.dtype).__name__
    if kind in ("String", "Categorical", "Enum", "Boolean", "Date", "Datetime", "Duration"):
        return True
    if kind != "Object":
        return False
    cells = series.to_numpy().tolist()
    return any(isinstance(cell, str | bool) or hasattr(cell, "isoformat") for cell in cells)


def schema_for(X: Any, schema: Any) -> TableSchema | None:
    """Return what the columns of a data frame are; None where all are to be numbers.

    Arguments:
        X: The rows of a fit.
        schema: "auto", which looks for columns that are no numbers; "infer"; a `TableSchema`; a
            dict, or the path of a TOML file, that says what some or all columns are.

    Raises:
        ValueError: The schema does not fit X.
        TypeError: X is no data frame, where a schema was given; or the schema is none.
    """
    if isinstance(schema, TableSchema):
        return schema
    if schema == "auto":
        return TableSchema.infer(X) if is_mixed(X) else None
    if schema == "infer":
        return TableSchema.infer(X)
    if isinstance(schema, Mapping):
        return TableSchema.infer(X, given=schema)
    if isinstance(schema, str | Path):
        return TableSchema.infer(X, given=toml.read(schema))
    raise TypeError(
        "schema must be 'auto', 'infer', a TableSchema, a dict such as "
        f"{{'age': 'poisson'}}, or the path of a TOML file, got {schema!r}."
    )
