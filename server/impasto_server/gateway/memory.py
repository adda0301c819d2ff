"""Returns memory that this process no longer needs to the system."""

from __future__ import annotations

import ctypes

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8


def give_memory_back() -> None:
    """Has glibc return large blocks of memory to the system as soon as they are freed.

    By default, glibc keeps large blocks once the first has been freed: up to 32 MiB for each of its arenas.
    Does nothing without glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 64 * 1024)
        mallopt(_TRIM_THRESHOLD, 128 * 1024)
        mallopt(_ARENA_MAX, 2)
