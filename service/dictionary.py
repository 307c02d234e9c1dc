"""Which words are ordinary ones, by simplemma's dictionaries, the only place that knows it.

A capital at the beginning of a sentence, or of any noun in German, says nothing; whether a dictionary has the word
does. A dictionary takes a second or a few to open, and is opened when it is first needed.
"""

from __future__ import annotations

import threading
from functools import lru_cache

import simplemma

_opening = threading.Lock()
_SHORTEST = 4
"""Letters of a part of a compound."""


def open_dictionaries(languages: tuple[str, ...]) -> None:
    """Open the dictionaries of some languages, so that nobody has to wait for them later."""
    for language in languages:
        is_ordinary("-", language)


@lru_cache(maxsize=20_000)
def is_ordinary(word: str, language: str) -> bool:
    """Say whether a dictionary has ``word`` as something else than a name.

    Args:
        word: as it is written, with its capital.
        language: one that the lexicon has.
    """
    small = word[:1].lower() + word[1:]
    with _opening:
        if language in {"de", "nl"} and _is_compound(word, language):
            return True
        if language == "de":
            return _is_known(word, "de") or _is_known(small, "de")
        if not _is_known(small, language):
            return False
        return simplemma.lemmatize(small, lang=language, low_memory=True)[:1].islower()


def _is_known(word: str, language: str) -> bool:
    return simplemma.is_known(word, lang=language, low_memory=True)


def _is_compound(word: str, language: str) -> bool:
    """Say whether a word is two known ones written together, as German and Dutch make them."""
    for at in range(_SHORTEST, len(word) - _SHORTEST):
        tail = word[at:]
        if not _is_known(tail.capitalize() if language == "de" else tail, language):
            continue
        head = word[:at]
        heads = {head, head.lower(), head.lower() + "en", head.lower() + "e", head + "e"}
        if head.endswith("s"):
            heads |= {head[:-1], head[:-1].lower()}
        if any(_is_known(each, language) for each in heads):
            return True
    return False
