"""Charts as SVG: each function takes values of a portrait and returns one drawing."""

from __future__ import annotations

from .columns import draw_correlations, draw_marginal, draw_missing, draw_pair, draw_points
from .curves import draw_bound, draw_noise_level, draw_parts
from .latent import draw_changes, draw_usage
from .residuals import (
    draw_by_feature,
    draw_distances,
    draw_log_p,
    draw_pit,
    draw_reliability,
)

__all__ = [
    "draw_bound",
    "draw_by_feature",
    "draw_changes",
    "draw_correlations",
    "draw_distances",
    "draw_log_p",
    "draw_marginal",
    "draw_missing",
    "draw_noise_level",
    "draw_pair",
    "draw_parts",
    "draw_pit",
    "draw_points",
    "draw_reliability",
    "draw_usage",
]
