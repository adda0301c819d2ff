"""How this process deals with memory that it needs no more."""

from __future__ import annotations

import ctypes

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8


def give_memory_back() -> None:
    """From now on, large pieces of memory go back to the system as soon as they are free.

    Left alone, glibc learns from the first large piece that is freed to keep such pieces, up to 32 MiB each
    and for each of its arenas. Does nothing where there is no glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 64 * 1024)
        mallopt(_TRIM_THRESHOLD, 128 * 1024)
        mallopt(_ARENA_MAX, 2)
