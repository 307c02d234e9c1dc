"""A text model's answer becomes sentences with their citations, as it comes in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from index.sentences import split_sentences
from service.prompt import NO_ANSWER

MOST_SENTENCES = 8
"""More than that were not asked for; nothing is made of such an answer."""

_MARK = re.compile(r"\s*[\[【]\s*(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\s*[\]】]")
_AFTER_STOP = re.compile(r"([.!?…]+[\"”“»’)]*)((?:\s*[\[【]\s*\d{1,3}(?:\s*[,;]\s*\d{1,3})*\s*[\]】])+)")
_LIST = re.compile(r"^\s*(?:[-*•–]|#{1,6}|\d{1,2}[.)])\s+")
_EMPHASIS = re.compile(r"\*\*|__")
_ENDING = re.compile(r"[.!?…][\"”“»’)]*$")


@dataclass(frozen=True, slots=True)
class RawSentence:
    """One sentence as it was written, without its marks."""

    text: str
    cited: tuple[int, ...]

    @property
    def complete(self) -> bool:
        """Whether it ends as sentences do."""
        return _ENDING.search(self.text) is not None


class SentenceReader:
    """Cuts a stream of text into sentences, each with the marks that follow it.

    Args:
        language: ISO 639-1 code of the language expected, which decides about abbreviations.
    """

    def __init__(self, language: str) -> None:
        self._language = language
        self._buffer = ""
        self._thinking: bool | None = None

    def feed(self, piece: str) -> Iterator[RawSentence]:
        """Yield the sentences that have become complete."""
        self._buffer += piece
        if self._is_thinking():
            return
        *lines, self._buffer = self._buffer.split("\n")
        for line in lines:
            yield from self._sentences(line)
        pieces = self._cut(self._buffer)
        if len(pieces) > 1:
            self._buffer = pieces[-1]
            for each in pieces[:-1]:
                yield from _raw(each)

    def end(self) -> Iterator[RawSentence]:
        """Yield what is left."""
        rest, self._buffer = self._buffer, ""
        if not self._thinking:
            yield from self._sentences(rest)

    def _is_thinking(self) -> bool:
        """Leave out what a model thinks aloud before it answers."""
        if self._thinking is None:
            start = self._buffer.lstrip()
            if len(start) < len("<think>") and "<think>".startswith(start):
                return True  # cannot be told yet
            self._thinking = start.startswith("<think>")
        if self._thinking:
            _, end, rest = self._buffer.partition("</think>")
            if not end:
                return True
            self._thinking, self._buffer = False, rest
        return False

    def _sentences(self, line: str) -> Iterator[RawSentence]:
        for each in self._cut(line):
            yield from _raw(each)

    def _cut(self, line: str) -> list[str]:
        """Cut after sentences; marks go before the full stop, so that they stay with theirs."""
        if not line.strip():
            return [line]
        tidy = _AFTER_STOP.sub(lambda match: match[2] + match[1] + " ", _LIST.sub("", line))
        pieces: list[str] = []
        for piece in split_sentences(tidy, self._language):
            if pieces and not re.search(r"[^\W\d_]", _MARK.sub("", piece)):
                pieces[-1] += piece
            else:
                pieces.append(piece)
        return pieces


def _raw(piece: str) -> Iterator[RawSentence]:
    cited = tuple(
        dict.fromkeys(int(number) for match in _MARK.findall(piece) for number in re.split(r"\s*[,;]\s*", match))
    )
    text = " ".join(_EMPHASIS.sub("", _MARK.sub("", piece)).split())
    text = re.sub(r"\s+([.!?…,;:])", r"\1", text)
    if text:
        yield RawSentence(text, cited)


def says_no_answer(sentence: RawSentence) -> bool:
    """Say whether the model found no answer in the evidence."""
    return NO_ANSWER in sentence.text.replace("\\", "").replace(" ", "_").upper()
