"""The libraries that take a second or two to import, imported in one go."""

from __future__ import annotations

__all__ = ["load"]

import gc
import sys


def load() -> None:
    """Import torch, scikit-learn and the estimator.

    They make a million objects that stay. Python would look through all of them for garbage again
    and again, which takes a tenth of the time of the imports; here it looks at none, now or later.
    """
    if "nelbo.estimator" in sys.modules:
        return
    collecting = gc.isenabled()
    gc.disable()
    try:
        from .. import estimator  # noqa: F401
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
