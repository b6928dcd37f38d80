"""Names of classes as people write them in options and files."""

from __future__ import annotations

__all__ = ["snake"]

import re


def snake(name: str) -> str:
    """Turn DiagonalNormal into diagonal_normal, MLP into mlp and KLWarmUp into kl_warm_up."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z]{2})(?=[A-Z][a-z])", "_", name).lower()
