r"""Priors :math:`p(z)`: where the generative story starts."""

from __future__ import annotations

from .base import Prior
from .flow import Flow
from .hierarchical import Hierarchical
from .mixture import Mixture
from .standard_normal import StandardNormal
from .vamp import Vamp

__all__ = ["Flow", "Hierarchical", "Mixture", "Prior", "StandardNormal", "Vamp"]
