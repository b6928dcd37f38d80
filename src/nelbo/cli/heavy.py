"""The libraries that take a second or two to import, imported in one go."""

from __future__ import annotations

__all__ = ["load"]

import gc
import importlib
import sys


def load(name: str = "estimator") -> None:
    """Import torch and one of nelbo's packages.

    They make a million objects that stay. Python would look through all of them for garbage again
    and again, which takes a tenth of the time of the imports; here it looks at none, now or later.

    Arguments:
        name: The package; by default the estimator, which imports scikit-learn as well.
    """
    if f"nelbo.{name}" in sys.modules:
        return
    collecting = gc.isenabled()
    gc.disable()
    try:
        importlib.import_module(f"nelbo.{name}")
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
