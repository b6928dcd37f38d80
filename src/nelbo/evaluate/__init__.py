r"""How good a model is: log p(x) and its bounds, in nats per example, at full precision.

.. math:: \log p(x) = \log \int p(x \mid z) \, p(z) \, dz

by importance sampling (`importance`), annealed importance sampling (`annealing`), on a grid
(`quadrature`) or in closed form (`exact`), and trapped from both sides on simulated data
(`bidirectional`). The noise behind every estimate is a function of (seed, the row's content): a row
gets the same number whatever stands beside it, in whatever order and in chunks of whatever size.
"""

from __future__ import annotations

from .annealing import Settings
from .bidirectional import Bracket
from .estimate import bidirectional, elbo, log_likelihood, methods, plain_method
from .exact import affine_decoder
from .importance import pareto_shape
from .ready import MEMORY, in_precision
from .result import UNRELIABLE, Cost, LogLikelihood, Scores

__all__ = [
    "MEMORY",
    "UNRELIABLE",
    "Bracket",
    "Cost",
    "LogLikelihood",
    "Scores",
    "Settings",
    "affine_decoder",
    "bidirectional",
    "elbo",
    "in_precision",
    "log_likelihood",
    "methods",
    "pareto_shape",
    "plain_method",
]
