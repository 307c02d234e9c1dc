"""Which language a text is in: py3langid, the only place that knows it."""

from __future__ import annotations

import threading

import py3langid

from index.errors import StorageUnavailable

_loading = threading.Lock()
"""The library loads its model, a second's work, on first use, and in every thread that comes meanwhile."""

_SAMPLE = 4000  # characters; more does not change the answer and costs time


def detect_language(text: str, declared: str = "") -> str:
    """Return the ISO 639-1 code of the language ``text`` is most likely in, ``und`` if it has no letters.

    What a file declares is believed unless the text clearly speaks against it: templates declare much.

    Raises:
        StorageUnavailable: if the folder for temporary files has no room for the library's 65 MiB the first time.
    """
    sample = text[:_SAMPLE]
    if not any(character.isalpha() for character in sample):
        return "und"
    with _loading:
        try:
            ranked: list[tuple[str, float]] = py3langid.rank(sample)
        except OSError as error:
            why = f"The language detector cannot be unpacked into the folder for temporary files: {error}."
            raise StorageUnavailable("storage_full", why) from error
    best, score = ranked[0]
    said = declared.replace("_", "-").partition("-")[0].lower()
    likelihoods = dict(ranked)
    if said in likelihoods and score - likelihoods[said] < _CLEARLY:
        return said
    return best


_CLEARLY = 20.0
"""Difference of log-likelihoods: some two lines of text of another language."""
