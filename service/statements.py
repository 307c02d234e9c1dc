"""From evidence to statements: what several documents say in the same words is said once, with all its sources.

Two quotes say the same only if they have the same words in the same order; spelling of umlauts and sharp s, case,
punctuation, hyphens at line ends and white space do not count. Anything else that differs, a figure, a sign, a name,
a "not", is a difference: where another document says nearly the same in other words, both are cited, and the reader
is told so.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from index import Hit
from service.evidence import Evidence, best_window, windows

SIMILAR = 0.5
"""From this share of common letter groups on, two different wordings are about the same."""

_FOLD = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
_SPELLINGS = re.compile("ae|oe|ue|ss")
_LINE_END = re.compile(r"(?<=\w)[-\u2010]\s*\n\s*(?=\w)|\u00ad")
_DASH = re.compile(r"[\u2010-\u2015\u2212]")
# What is named here does not count; whatever is not does: signs, marks, letters of any script. A dash before a digit
# may be a minus, so it counts, too.
_IGNORED = re.compile(r"""[\s.,;:!…„“”"'‚‘’«»‹›()\[\]{}*_#`~|•·]+|-(?!\d)""")
_SHINGLE = 5
_PROBES = 3


@dataclass
class Statement:
    """A quote, with the same words in other documents."""

    evidence: Evidence
    words: str
    """The quote as :func:`plain` gives it."""
    probes: tuple[str, ...]
    """Some of its longest words, of which a text that repeats it has at least one; empty if that cannot be told."""
    copies: list[Evidence] = field(default_factory=list)
    """One of each other document that has these words or a part of them, best first."""
    differs_from: Statement | None = None
    """A better statement of another document that says nearly the same, but not quite."""

    @cached_property
    def shingles(self) -> frozenset[str]:
        """All groups of neighbouring letters (Broder 1997), which works without spaces between words, too."""
        words = self.words
        return frozenset(words[start : start + _SHINGLE] for start in range(max(1, len(words) - _SHINGLE + 1)))


def plain(text: str) -> str:
    """Return the words of ``text`` with single spaces around each, without what does not change what they say."""
    joined = _LINE_END.sub("", unicodedata.normalize("NFKC", text))
    folded = unicodedata.normalize("NFC", joined.casefold()).translate(_FOLD)
    return f" {' '.join(_IGNORED.sub(' ', _DASH.sub('-', folded)).split())} "


def find_statements(hits: Sequence[Hit], top_k: int) -> tuple[list[Statement], list[Hit]]:
    """Draw statements from the first ``top_k`` hits that do not merely repeat a better one.

    Args:
        hits: best first, more than ``top_k`` so that copies further down are found.
        top_k: how many hits statements are drawn from.

    Returns:
        Statements by score, best first, and the hits without those that only repeat another.
    """
    found: list[Statement] = []
    distinct: list[Hit] = []
    for hit in hits:
        folded = hit.text.casefold()
        likely = [each for each in found if not each.probes or any(probe in folded for probe in each.probes)]
        text = plain(hit.text) if likely else ""
        repeated = [statement for statement in likely if statement.words in text]
        own: Evidence | None = None
        if repeated or len(found) < top_k:
            own = best_window(hit)
        words = plain(own.quote) if own else ""
        for statement in repeated:
            _add_copy(statement, hit)
        if any(statement.words == words for statement in repeated):
            continue
        distinct.append(hit)
        if own and len(found) < top_k:
            found.append(Statement(own, words, _probes(words)))
    found.sort(key=lambda statement: (-statement.evidence.score, statement.evidence.hit.rank))
    kept: list[Statement] = []
    for statement in found:
        longer = next((better for better in kept if statement.words in better.words), None)
        if longer:  # nothing that is not said already
            known = {item.hit.document.id for item in (longer.evidence, *longer.copies)}
            sources = (statement.evidence, *statement.copies)
            longer.copies += [item for item in sources if item.hit.document.id not in known]
            continue
        statement.differs_from = next((better for better in kept if _differ(better, statement)), None)
        kept.append(statement)
    return kept, distinct


def _probes(words: str) -> tuple[str, ...]:
    """Return the longest words that are spelt in one way only.

    To look for them costs a hundredth of comparing all words. Several, since one may be divided at the end of a line.
    """
    longest = sorted(set(words.split()), key=lambda word: (-len(word), word))
    return tuple(word for word in longest if not _SPELLINGS.search(word))[:_PROBES]


def _add_copy(statement: Statement, hit: Hit) -> None:
    """Add the shortest window of ``hit`` that has the statement's words, unless its document is there already."""
    known = {item.hit.document.id for item in (statement.evidence, *statement.copies)}
    if hit.document.id in known:
        return
    same = [window for window in windows(hit) if statement.words in plain(window.quote)]
    if same:
        statement.copies.append(min(same, key=lambda window: len(window.span)))


def _differ(better: Statement, other: Statement) -> bool:
    """Say whether two documents say nearly the same, but not in the same words."""
    if better.evidence.hit.document.id == other.evidence.hit.document.id:
        return False
    if better.words in other.words:
        return False
    both = len(better.shingles & other.shingles)
    return both >= SIMILAR * (len(better.shingles) + len(other.shingles) - both)
