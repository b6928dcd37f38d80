"""Options that several commands share."""

from __future__ import annotations

__all__ = ["Flag", "Json"]

from typing import Annotated

from cyclopts import Parameter

Flag = Annotated[bool, Parameter(negative=())]
"""A switch without its opposite."""
Json = Annotated[bool, Parameter(name="--json", negative=())]
