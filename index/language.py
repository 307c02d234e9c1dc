"""Which language a text is in: py3langid, the only place that knows it."""

from __future__ import annotations

import threading

import py3langid

_loading = threading.Lock()
"""The library loads its model, a second's work, on first use, and in every thread that comes meanwhile."""

_SAMPLE = 4000  # characters; more does not change the answer and costs time


def detect_language(text: str, declared: str = "") -> str:
    """Return the ISO 639-1 code of the language ``text`` is most likely in, ``und`` if it has no letters.

    What a file declares is believed unless the text clearly speaks against it: templates declare much.
    """
    sample = text[:_SAMPLE]
    if not any(character.isalpha() for character in sample):
        return "und"
    with _loading:
        ranked: list[tuple[str, float]] = py3langid.rank(sample)
    best, score = ranked[0]
    said = declared.replace("_", "-").partition("-")[0].lower()
    likelihoods = dict(ranked)
    if said in likelihoods and score - likelihoods[said] < _CLEARLY:
        return said
    return best


_CLEARLY = 20.0
"""Difference of log-likelihoods: some two lines of text of another language."""
