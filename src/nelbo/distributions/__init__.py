"""What ``torch.distributions`` lacks: closed forms in few kernels, seeded by an explicit generator.

No constant is ever dropped: every log-density and log-probability is in nats.
"""

from __future__ import annotations

from .bernoulli import Bernoulli
from .discretized import DiscretizedNormal
from .drawing import closed_form_kl, draw, random_bytes
from .factorised import Factorised, of_observed
from .from_noise import FromNoise
from .gated import GatedNormals
from .layered import Layered, check_width, fewest_of, layers_of
from .mixture import NormalMixture
from .normal import LOG_2PI, DiagonalNormal, Normal01, is_independent_normal
from .positive import softplus_inverse

__all__ = [
    "LOG_2PI",
    "Bernoulli",
    "DiagonalNormal",
    "DiscretizedNormal",
    "Layered",
    "Factorised",
    "FromNoise",
    "GatedNormals",
    "Normal01",
    "NormalMixture",
    "check_width",
    "closed_form_kl",
    "draw",
    "fewest_of",
    "is_independent_normal",
    "layers_of",
    "of_observed",
    "random_bytes",
    "softplus_inverse",
]
