"""The scikit-learn way in."""

from __future__ import annotations

from .detector import VAEDetector
from .estimator import VariationalAutoencoder
from .imputer import VAEImputer

__all__ = ["VAEDetector", "VAEImputer", "VariationalAutoencoder"]
