"""nelbo: variational autoencoders whose numbers can be trusted.

The nouns of the library, imported on first use, so that ``import nelbo`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import spin as _spin

_spin.shorten()  # before torch is imported, which reads it once

__version__ = "0.1.0"

_MODULES = (
    "checkpoint",
    "data",
    "detect",
    "diagnose",
    "distributions",
    "evaluate",
    "fitted",
    "likelihood",
    "linear",
    "networks",
    "objective",
    "posterior",
    "prior",
    "spec",
    "start",
    "synthesis",
    "training",
)
_NAMES = {
    "DataWarning": "data",
    "VAE": "vae",
    "Terms": "vae",
    "Fitted": "fitted",
    "VAEDetector": "estimator",
    "VAEImputer": "estimator",
    "VariationalAutoencoder": "estimator",
    "fit": "training",
    "History": "training",
}

__all__ = [
    "DataWarning",
    "VAE",
    "VAEImputer",
    "Fitted",
    "History",
    "Terms",
    "VAEDetector",
    "VariationalAutoencoder",
    "__version__",
    "fit",
    "initialize",
    *_MODULES,
]

if TYPE_CHECKING:
    from . import (
        checkpoint,
        data,
        detect,
        diagnose,
        distributions,
        evaluate,
        fitted,
        likelihood,
        linear,
        networks,
        objective,
        posterior,
        prior,
        spec,
        start,
        synthesis,
        training,
    )
    from . import start as initialize
    from .data import DataWarning
    from .estimator import VAEDetector, VAEImputer, VariationalAutoencoder
    from .fitted import Fitted
    from .training import History, fit
    from .vae import VAE, Terms


def __getattr__(name: str) -> Any:
    if name == "initialize":
        return importlib.import_module(f"{__name__}.start")
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _NAMES:
        value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
