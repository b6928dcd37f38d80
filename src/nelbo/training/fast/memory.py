"""What a step gives back is what the next one asks for."""

from __future__ import annotations

__all__ = ["keep_freed_memory"]

import torch


def keep_freed_memory(taught: int = 31 * 2**20) -> None:
    """Let the C library keep some of what a step frees, instead of handing it back to the system.

    The system clears every page that it gives out again, which takes longer than the arithmetic on
    it: a tenth of a step of 512 images. glibc sets its thresholds by the largest block it has seen
    freed (mallopt(3)): after one of nearly 32 MiB, whose pages nobody touches, it keeps up to twice
    that. Where a user has set these thresholds (``MALLOC_TRIM_THRESHOLD_``) they stay, and other C
    libraries take no notice.

    Arguments:
        taught: Bytes of that block; glibc learns from blocks of up to 32 MiB.
    """
    torch.empty(taught, dtype=torch.uint8)
