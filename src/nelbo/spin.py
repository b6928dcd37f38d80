"""How long a thread that waits for another one keeps its core busy: briefly, unless the user has
said otherwise.

Threads of OpenMP, by which torch shares out its products, wait in a loop, for milliseconds, before
they sleep. Alone on a machine that saves a little. Beside other processes the loop takes the core
from just the thread that is waited for, and a fit takes several times as long
(``docs/performance.md``). The libraries read their settings from the environment when they are
loaded, so this has to come before ``import torch``.
"""

from __future__ import annotations

__all__ = ["SHORT", "USERS", "in_force", "shorten"]

import os
import sys

SHORT = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
"""Rounds of the loop (GNU's library, that of torch's packages for Linux), and milliseconds (LLVM's
and Intel's).
"""
USERS = ("OMP_WAIT_POLICY", *SHORT)
"""Whoever has set one of these has decided."""

_decided = "nelbo"


def shorten() -> None:
    """Ask for short waiting, unless the user has decided or torch has been imported already.

    The environment is the only way to ask, so processes that this one starts inherit the settings.
    """
    global _decided  # noqa: PLW0603 (asked once, told by `nelbo doctor`)
    found = {name: os.environ[name] for name in USERS if name in os.environ}
    if found == SHORT:  # inherited from a process that imported nelbo
        return
    if found:
        _decided = "user"
    elif "torch" in sys.modules:
        _decided = "torch"
    else:
        os.environ.update(SHORT)


def in_force() -> str:
    """Return who decided: "nelbo", "user", or "torch", which was imported first and waits as it
    does by default.
    """
    return _decided
