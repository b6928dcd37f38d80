r"""Likelihoods :math:`p(x \mid z)`: heads that turn decoder features into a distribution over x.

The decoder's output is unbounded: no sigmoid or tanh stands between it and a Gaussian mean.
"""

from __future__ import annotations

from .base import VARIANCE_FLOOR as VARIANCE_FLOOR
from .base import Likelihood
from .base import likelihoods_in as likelihoods_in
from .bernoulli import Bernoulli
from .categorical import Categorical
from .clustered import ClusteredGaussian
from .columns import Columns
from .counts import NegativeBinomial as NegativeBinomial
from .counts import Poisson as Poisson
from .discretized import DiscretizedGaussian
from .gaussian import Gaussian
from .heteroscedastic import HeteroscedasticGaussian
from .hurdle import HurdleLogNormal as HurdleLogNormal
from .log_normal import LogNormal as LogNormal
from .noise import Noise as Noise
from .ordinal import Ordinal
from .self_masking import SelfMasking as SelfMasking
from .shared import SharedVariance as SharedVariance
from .spike_and_slab import SpikeAndSlab as SpikeAndSlab
from .student_t import StudentT

__all__ = [
    "Bernoulli",
    "Categorical",
    "ClusteredGaussian",
    "Columns",
    "DiscretizedGaussian",
    "Gaussian",
    "HeteroscedasticGaussian",
    "Likelihood",
    "Ordinal",
    "StudentT",
]
