"""Which language a text is in: py3langid, the only place that knows it."""

from __future__ import annotations

import threading

import py3langid

_loading = threading.Lock()
"""The library loads its model, a second's work, on first use, and in every thread that comes meanwhile."""

_SAMPLE = 4000  # characters; more does not change the answer and costs time


def detect_language(text: str) -> str:
    """Return the ISO 639-1 code of the language ``text`` is most likely in, ``und`` if it has no letters."""
    sample = text[:_SAMPLE]
    if not any(character.isalpha() for character in sample):
        return "und"
    with _loading:
        code: str = py3langid.classify(sample)[0]
    return code
