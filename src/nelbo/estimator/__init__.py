"""The scikit-learn way in."""

from __future__ import annotations

from .detector import VAEDetector
from .estimator import VariationalAutoencoder

__all__ = ["VAEDetector", "VariationalAutoencoder"]
