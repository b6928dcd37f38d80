r"""Priors :math:`p(z)`: where the generative story starts."""

from __future__ import annotations

from .base import Prior
from .mixture import Mixture
from .standard_normal import StandardNormal

__all__ = ["Mixture", "Prior", "StandardNormal"]
