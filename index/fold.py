"""What a text is searched as: without the marks of typesetting, each letter with its place in the text as stored.

Soft hyphens and other invisible marks go, a word divided at the end of a line is one word, no-break spaces are
spaces, ligatures and letters with separate accents are the letters they stand for. The stored text, and so every
quote, keeps all of them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_INVISIBLE = "\u00ad\u200b\u2060\ufeff"
_SPACES = "\u00a0\u2000-\u200a\u202f\u205f"
_FOLDABLE = re.compile(
    rf"(?P<gone>[{_INVISIBLE}]+(?:\r\n|[\r\n])?)"
    rf"|(?P<divided>(?<=\w)[-\u2010](?:\r\n|[\r\n])[ \t{_SPACES}]*(?=(?P<next>\w+)))"
    rf"|(?P<space>[{_SPACES}])"
    rf"|(?P<letters>[\ufb00-\ufb06][\u0300-\u036f]{{0,30}}|[^\W\d_][\u0300-\u036f]{{1,30}})"
)
_WORTH_LOOKING = re.compile(rf"[{_INVISIBLE}{_SPACES}\ufb00-\ufb06\u0300-\u036f]|[-\u2010][\r\n]")
"""Every text that has something to fold has one of these, and most have none: one look is much quicker than four."""
_CONJUNCTIONS = frozenset("und oder bzw sowie and or et ou y o e en of og och i a или и".split())
"""After these the hyphen stands for a part of a word: "Vor- und Nachteile"."""


@dataclass(frozen=True, slots=True)
class Folded:
    """A text as it is searched; ``places`` has for each of its code points where it stands in the stored text."""

    text: str
    places: NDArray[np.uint32] | None
    """``None`` if nothing was folded: then every place is its own."""

    def stored(self, starts: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Return places in the stored text for places in this one."""
        if self.places is None or not len(starts):
            return starts
        return self.places[np.minimum(starts, len(self.places) - 1)].astype(np.uint16)


def fold(text: str) -> Folded:
    """Return ``text`` as it is searched."""
    if not _WORTH_LOOKING.search(text):
        return Folded(text, None)
    pieces: list[str] = []
    places: list[int] = []
    done = 0
    for match in _FOLDABLE.finditer(text):
        instead = _instead(match)
        if match.lastgroup == "letters" and instead == match.group():
            continue
        pieces += [text[done : match.start()], instead]
        places += range(done, match.start())
        places += [match.start()] * len(instead)
        done = match.end()
    if not done:
        return Folded(text, None)
    pieces.append(text[done:])
    places += range(done, len(text))
    return Folded("".join(pieces), np.array(places, np.uint32))


def _instead(match: re.Match[str]) -> str:
    if match["divided"]:
        following = match["next"]
        if following.casefold() in _CONJUNCTIONS:
            return "- "
        return "" if following[0].islower() else "-"
    if match["space"]:
        return " "
    letters = match["letters"]
    return unicodedata.normalize("NFKC" if letters[0] >= "\ufb00" else "NFC", letters) if letters else ""
