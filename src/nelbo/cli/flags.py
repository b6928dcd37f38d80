"""Options that several commands share."""

from __future__ import annotations

__all__ = ["Flag", "Json", "check_seed"]

from typing import Annotated

from cyclopts import Parameter

Flag = Annotated[bool, Parameter(negative=())]
"""A switch without its opposite."""
Json = Annotated[bool, Parameter(name="--json", negative=())]


def check_seed(seed: int) -> None:
    """Refuse, before a model or data are read, what no stream of random numbers takes.

    Raises:
        ValueError: The seed is out of range.
    """
    if not 0 <= seed < 2**62:
        raise ValueError(f"--seed must be at least 0 and below 2**62, got {seed}.")
