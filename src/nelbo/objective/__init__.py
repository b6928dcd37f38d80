r"""Objectives: modules that map a batch to one number per example,
in nats, which training maximises.

.. math:: \log p(x) \ge E_q[\log p(x \mid z)] - KL(q(z \mid x) \| p(z)) =: ELBO(x)

The loss is ``-objective(x).mean()``. In ``eval()`` mode each of them but `Autoencoder` returns a
lower bound on log p(x), so that what is validated, chosen and reported is always one; what
``train()`` mode returns is what is maximised. Wrap the objective, not the model, in
``DistributedDataParallel`` or ``torch.compile``.

Bounds: `ELBO`, `IWAE`, `MIWAE`, `CIWAE`. The same bounds with another gradient for the encoder:
`STL`, `DReG`, `PIWAE`. The ELBO with another weight on its KL: `KLWarmUp`, `FreeBits`, `BetaVAE`,
`Capacity`. ``docs/objectives.md`` compares.
"""

from __future__ import annotations

from .base import Objective
from .elbo import ELBO, Autoencoder
from .gradient import PIWAE, STL, DReG
from .importance import CIWAE, IWAE, MIWAE
from .weighted import BetaVAE, Capacity, FreeBits, KLWarmUp

__all__ = [
    "CIWAE",
    "ELBO",
    "IWAE",
    "MIWAE",
    "PIWAE",
    "STL",
    "Autoencoder",
    "BetaVAE",
    "Capacity",
    "DReG",
    "FreeBits",
    "KLWarmUp",
    "Objective",
]
