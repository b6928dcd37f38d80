"""How long a thread that waits for another one keeps its core busy:
briefly, unless the user has said otherwise.

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


def _rounds(intel: int = 30_000, others: int = 1_000) -> int:
    """Return how many rounds of the loop a waiting thread is to make on this processor.

    Arguments:
        intel: Rounds on Intel's, where one is a pause of 140 cycles. Rented machines take so long
            to wake a core that with 1,000 rounds (50 microseconds) two threads were slower than
            one; 30,000 are 1.3 milliseconds, where 300,000 are the default.
        others: Rounds on all others: on AMD EPYC they cost nothing alone.
    """
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            head = file.read(200)
    except OSError:
        return others
    if "GenuineIntel" in head:
        return intel
    return others


SHORT = {"GOMP_SPINCOUNT": str(_rounds()), "KMP_BLOCKTIME": "1"}
"""Rounds of the loop (GNU's library, that of torch's packages for Linux),
and milliseconds (LLVM's and Intel's)."""
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
    """Return who decided:
    "nelbo", "user", or "torch", which was imported first and waits as it does by default.
    """
    return _decided
