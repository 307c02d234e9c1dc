"""Memory that was used for a while, given back to the system."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return what is free inside the process to the system, where the C library can (glibc).

    Reading a large folder takes, for a moment, tens of megabytes that would otherwise stay with the process.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
