"""What ``torch.distributions`` lacks: closed forms in few kernels, seeded by an explicit generator.

No constant is ever dropped: every log-density and log-probability is in nats.
"""

from __future__ import annotations

from .bernoulli import Bernoulli
from .by_column import ByColumn
from .categorical import Categorical
from .discretized import DiscretizedNormal
from .drawing import closed_form_kl, draw, random_bytes
from .factorised import Factorised, Incomplete, given_observed, of_observed, slopes_of_observed
from .from_noise import FromNoise
from .gated import GatedNormals
from .given import GivenNormals
from .hurdle import HurdleLogNormal
from .layered import Layered, check_width, fewest_of, layers_of
from .log_normal import LogNormal
from .logistics import fit_logistics
from .mixed import MixedNormal, mixed
from .mixture import DiagonalMixture, NormalMixture
from .negative_binomial import NegativeBinomial
from .normal import LOG_2PI, DiagonalNormal, Normal01, is_independent_normal
from .ordinal import Ordinal
from .poisson import Poisson
from .positive import softplus_inverse
from .self_masked import SelfMasked
from .spike_and_slab import SpikeAndSlab
from .transported import Transported

__all__ = [
    "LOG_2PI",
    "Bernoulli",
    "ByColumn",
    "Categorical",
    "DiagonalMixture",
    "DiagonalNormal",
    "DiscretizedNormal",
    "Factorised",
    "FromNoise",
    "GatedNormals",
    "GivenNormals",
    "HurdleLogNormal",
    "Incomplete",
    "Layered",
    "LogNormal",
    "MixedNormal",
    "NegativeBinomial",
    "Normal01",
    "NormalMixture",
    "Ordinal",
    "Poisson",
    "SelfMasked",
    "SpikeAndSlab",
    "Transported",
    "check_width",
    "closed_form_kl",
    "draw",
    "fewest_of",
    "fit_logistics",
    "given_observed",
    "is_independent_normal",
    "layers_of",
    "mixed",
    "of_observed",
    "random_bytes",
    "slopes_of_observed",
    "softplus_inverse",
]
