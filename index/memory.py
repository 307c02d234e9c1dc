"""Memory that was used for a while, given back to the system. What only glibc can do is left undone elsewhere."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of <malloc.h>
_ARENAS = 2
_LARGE = 256 * 2**10
"""Bytes; what is larger is asked of the system by itself, and goes back whole when it is not needed any more."""

THRIFT = {
    "MALLOC_ARENA_MAX": str(_ARENAS),
    "MALLOC_MMAP_THRESHOLD_": str(_LARGE),
    "MALLOC_TRIM_THRESHOLD_": str(_LARGE),
}
"""Environment of a program of ours that is started: the same as :func:`be_thrifty`, from its first line on."""


def be_thrifty() -> None:
    """Have this process keep little of what it does not use any more; call it before threads are started.

    By itself the C library lets each thread have a heap of its own, and once an array of many megabytes was freed
    it puts all that are no larger into those heaps. One small thing that lasts then keeps many megabytes, in each
    of them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((_ARENA_MAX, _ARENAS), (_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, _LARGE)):
            mallopt(option, value)


def give_back() -> None:
    """Return what is free inside the process to the system.

    Reading a large folder takes, for a moment, tens of megabytes that would otherwise stay with the process.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def held() -> int:
    """Return the bytes that this process holds and that are mapped from no file; 0 where nobody can tell."""
    try:
        resident, shared = map(int, Path("/proc/self/statm").read_text("ascii").split()[1:3])
    except OSError:
        return 0
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")
