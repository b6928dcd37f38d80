"""A table whose columns are of different kinds <-> one array of numbers, NaN where one is missing.

`TableSchema.infer` finds out what each column of a data frame is, and says why; `encode` makes
numbers of a frame, `decode` a frame of numbers.
"""

from __future__ import annotations

from nelbo.data.table.column import Column, Constant, LeftOut
from nelbo.data.table.levels import Levels
from nelbo.data.table.numbers import Numbers
from nelbo.data.table.rules import Rules
from nelbo.data.table.schema import TableSchema

__all__ = ["Column", "Constant", "LeftOut", "Levels", "Numbers", "Rules", "TableSchema"]
