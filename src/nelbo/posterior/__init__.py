r"""Posteriors :math:`q(z \mid x)`: heads that turn encoder features into a distribution over z."""

from __future__ import annotations

from .base import SMALLEST_STD as SMALLEST_STD
from .base import Posterior
from .diagonal_normal import DiagonalNormal
from .flow import Flow
from .full_normal import FullNormal
from .hierarchical import Hierarchical

__all__ = ["DiagonalNormal", "Flow", "FullNormal", "Hierarchical", "Posterior"]
