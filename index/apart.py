"""Long texts are cut in a process of their own: in this one they would keep Python from whoever asks a question.

Only who imports many documents or very long ones ever starts it. One text is cut at a time, at low priority. Nothing
depends on it: what it does not manage is cut here.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
from array import array
from itertools import pairwise

from index.chunk import PASSAGE_CHARACTERS, cut
from index.errors import DataDamaged, DocumentRejected
from index.records import Cut, Span
from index.sandbox import Limits, Sandbox

LONG = 20_000
"""Characters; a shorter text is cut in less time than it takes to send it."""

_LIMITS = Limits(cpu_seconds=60, cpu_seconds_a_mebibyte=30, most_cpu_seconds=600, memory=3 * 2**30)


def cut_apart(text: str, language: str, passage_characters: int = PASSAGE_CHARACTERS) -> Cut:
    """Divide ``text`` as :func:`index.chunk.cut` does."""
    if len(text) < LONG:
        return cut(text, language, passage_characters)
    try:
        return unpack(_process().ask("cut", pack_request(text, language, passage_characters)), len(text))
    except (DocumentRejected, DataDamaged):
        return cut(text, language, passage_characters)


def pack_request(text: str, language: str, passage_characters: int) -> bytes:
    """Return what is sent: a line of JSON, then the text."""
    return json.dumps([language, passage_characters]).encode() + b"\n" + text.encode("utf-8")


def load() -> None:
    """Import what is imported on first use; it takes half a second."""
    cut("A text.", "en")


def answer(request: bytes) -> bytes:
    """Do what is asked for by :func:`pack_request`; for the other process."""
    terms, _, text = request.partition(b"\n")
    language, passage_characters = json.loads(terms)
    return pack(cut(text.decode("utf-8"), language, passage_characters))


def pack(result: Cut) -> bytes:
    """Return a form that can be sent: 32 bits each, for each passage its number of sentences, its span and theirs."""
    numbers = array("I")
    for passage, sentences in zip(result.passages, result.sentences, strict=True):
        numbers.extend((len(sentences), passage.start, passage.end))
        for sentence in sentences:
            numbers.extend((sentence.start, sentence.end))
    return numbers.tobytes()


def unpack(data: bytes, characters: int) -> Cut:
    """Return what :func:`pack` was given.

    Raises:
        DataDamaged: if it cannot be how a text of so many characters is divided.
    """
    numbers = array("I")
    passages: list[Span] = []
    sentences: list[tuple[Span, ...]] = []
    try:
        numbers.frombytes(data)
        at = 0
        while at < len(numbers):
            first, last = at + 3, at + 3 + 2 * numbers[at]
            places = numbers[first:last]
            passages.append(Span(numbers[at + 1], numbers[at + 2]))
            sentences.append(tuple(Span(*places[each : each + 2]) for each in range(0, len(places), 2)))
            edges = (passages[-1].start, *places, passages[-1].end)
            if len(places) != last - first or any(before > after for before, after in pairwise(edges)):
                raise ValueError("order")
            at = last
        edges = (0, *(place for span in passages for place in (span.start, span.end)), characters)
        if not passages or any(before > after for before, after in pairwise(edges)):
            raise ValueError("order")
    except (ValueError, IndexError, TypeError) as error:
        raise DataDamaged("data_damaged", "A text was divided in an impossible way.") from error
    return Cut(tuple(passages), tuple(sentences))


_made: Sandbox | None = None
_making = threading.Lock()


def _start_anew() -> None:
    """In a forked child: the process is its parent's."""
    global _made, _making
    _made, _making = None, threading.Lock()


os.register_at_fork(after_in_child=_start_anew)


def _process() -> Sandbox:
    global _made  # noqa: PLW0603 - one process, whoever cuts
    with _making:
        if _made is None:
            _made = Sandbox(workers=1, limits=_LIMITS)
            atexit.register(_made.close)
        return _made
