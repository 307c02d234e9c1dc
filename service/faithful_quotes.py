"""Quotation marks of a sentence: what stands between them must stand in one text of the evidence, word for word."""

from __future__ import annotations

import re
from collections.abc import Sequence

from service.alignment import Text
from service.faithful_polarity import negations
from service.lexicon import folded_words

_OPENING = '"“„”«»‚‘‹›「『「'
_QUOTED = re.compile(
    r"„([^„“”\"]+)[“”\"]|“([^“”\"]+)[”\"]|”([^“”\"]+)[”\"]|«\s?([^«»]+?)\s?»|»([^«»]+)«|‹([^‹›]+)›|›([^‹›]+)‹"
    r"|\"([^\"]+)\"|‚([^‚‘’]+)[‘’](?!\w)|(?<!\w)‘([^‘’]+)’(?!\w)|(?<!\w)'([^']+)'(?!\w)|「([^「」]+)」|''([^']+)''"
)
_MARKS = re.compile(r"[\"“”„«»「」『』]")
_ELLIPSIS = re.compile(r"\[?(?:\.\.\.|…|\. \. \.)\]?|\[[^\]]*\]|\(\.\.\.\)")


def quoted(sentence: str) -> list[str]:
    """Return what stands between quotation marks of any kind."""
    return [next(group for group in match.groups() if group) for match in _QUOTED.finditer(sentence)]


def without_quotes(sentence: str) -> str:
    """Return a sentence without what it quotes."""
    return _QUOTED.sub(" ", sentence)


def quote_problem(sentence: str, evidence: Sequence[Text]) -> str | None:
    """Return ``"quote"`` if something is quoted that no single text of the evidence has word for word.

    An ellipsis may stand for words of the same text, in order, among which there is no negation.
    """
    rest = _QUOTED.sub(" ", sentence)
    if _MARKS.search(rest) or _ELLIPSIS.search(rest):
        return "quote"
    for quote in quoted(sentence):
        pieces = [folded_words(piece) for piece in _ELLIPSIS.split(quote)]
        pieces = [piece for piece in pieces if piece]
        if not pieces or not any(_has(text, pieces) for text in evidence):
            return "quote"
    return None


def _has(text: Text, pieces: Sequence[Sequence[str]]) -> bool:
    """Say whether the pieces stand in ``text`` in order, with nothing denied where words are left out."""
    keys = text.keys
    denied = {negation.at for negation in negations(text)} | {
        at for at, key in enumerate(keys) if key in text.language.negators
    }

    def find(piece: int, begin: int) -> bool:
        wanted = list(pieces[piece])
        for at in range(begin, len(keys) - len(wanted) + 1):
            if keys[at : at + len(wanted)] != wanted:
                continue
            if piece and any(begin <= place < at for place in denied):
                return False
            if piece + 1 == len(pieces) or find(piece + 1, at + len(wanted)):
                return True
        return False

    return find(0, 0)
