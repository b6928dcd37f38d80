r"""Likelihoods :math:`p(x \mid z)`: heads that turn decoder features into a distribution over x.

The decoder's output is unbounded: no sigmoid or tanh stands between it and a Gaussian mean.
"""

from __future__ import annotations

from .base import VARIANCE_FLOOR as VARIANCE_FLOOR
from .base import Likelihood
from .base import likelihoods_in as likelihoods_in
from .bernoulli import Bernoulli
from .clustered import ClusteredGaussian
from .discretized import DiscretizedGaussian
from .gaussian import Gaussian
from .heteroscedastic import HeteroscedasticGaussian
from .noise import Noise as Noise
from .shared import SharedVariance as SharedVariance
from .student_t import StudentT

__all__ = [
    "Bernoulli",
    "ClusteredGaussian",
    "DiscretizedGaussian",
    "Gaussian",
    "HeteroscedasticGaussian",
    "Likelihood",
    "StudentT",
]
