"""Whole numbers that a user passes."""

from __future__ import annotations

__all__ = ["integer"]

import numbers


def integer(name: str, value: object, least: int = 1, advice: str = "") -> int:
    """Return a whole number, once it is one that can be.

    Arguments:
        name: What it is called.
        value: What was passed.
        least: The smallest that can be.
        advice: What to do instead of passing a smaller one, as a sentence.

    Raises:
        TypeError: It is no integer.
        ValueError: It is less than ``least``.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    if int(value) < least:
        raise ValueError(f"{name} must be at least {least}, got {value}. {advice}".rstrip())
    return int(value)
