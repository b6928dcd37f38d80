"""The scikit-learn way in."""

from __future__ import annotations

from .estimator import VariationalAutoencoder

__all__ = ["VariationalAutoencoder"]
