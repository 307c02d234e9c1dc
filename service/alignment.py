"""Which words of a written sentence stand for which words of its evidence, in whatever language each is.

A word's vector is the mean of the states of its tokens in their context. In the embedded model "training" and
"schulen" are close, "Obama" and "Putin" are not, which is what all comparing of meaning here rests on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from index.encoder import Encoder, TokenStates
from index.projection import unit_rows
from index.sentences import split_sentences
from service.lexicon import WORD, Language, divide, fold, load_lexicon

SAME_WORD = 0.95
"""Similarity of two words of the same letters, whatever their contexts."""
SAME_STEM = 0.8
_STEM = 5
"""Words that begin with so many common letters, and differ by an ending only, have one stem."""
_ENDING = 4

_DIVIDER = re.compile(r"[;:,–—()!?…]|\s-\s")
_JOINTS = {
    code: frozenset(words.split())
    for code, words in {
        "en": "and but because that which who although while if when since until where",
        "de": "und aber sondern doch",
        "fr": "et mais parce qui que qu car si quand lorsque lorsqu où tandis",
        "es": "y e pero sino porque que cuando si donde mientras aunque",
        "it": "e ed ma perche che se quando dove mentre",
        "pt": "e mas porque que se quando onde enquanto",
        "nl": "en maar omdat dat die als toen terwijl",
        "ru": "и но а",
    }.items()
}
_NOMINAL = frozenset(
    fold(word)
    for word in (
        "the a an of in on at from with and or by for to der die das den dem des ein eine einen einem einer eines "
        "und oder in im an am auf aus bei mit von vom zu zum zur für le la les l un une des du de d et ou à au aux "
        "en dans el los las una unos unas del y e o con il lo gli i uno di della dello dei degli delle ed al alla a "
        "os as um uma do da dos das no na nos nas het een van op и в на с из от о"
    ).split()
)
"""Articles, prepositions and joints: words that a noun has around it."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word and its place in a text."""

    text: str
    start: int
    end: int
    key: str
    """Folded."""
    content: bool
    """Neither a function word nor a number in digits."""
    initial: bool
    """First of its sentence, where a capital says nothing."""

    @property
    def capital(self) -> bool:
        """Whether it begins with a capital letter."""
        return self.text[0].isupper()

    @property
    def acronym(self) -> bool:
        """Whether all its letters, two at least, are capitals."""
        return len(self.text) > 1 and self.text.isupper() and self.text.isalpha()


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """A text with its words, its clauses, and what the model made of the words; equal to itself only."""

    text: str
    language: Language
    words: tuple[Word, ...]
    clauses: tuple[range, ...]
    """Words between punctuation, as ranges of words."""
    parts: tuple[range, ...]
    """The same, divided at "and" and "but" as well, but not a name or a noun alone from what is said of it."""
    sentences: tuple[range, ...]
    vectors: NDArray[np.float32] | None
    """Unit vectors of the words, shape (words, dimension); ``None`` for a model without token states."""

    @property
    def keys(self) -> list[str]:
        """The folded words."""
        return [word.key for word in self.words]

    def clause_of(self, word: int) -> range:
        """Return the clause that has a word."""
        return next((clause for clause in self.clauses if word in clause), range(word, word + 1))


@dataclass(frozen=True, slots=True)
class Compared:
    """One text of the evidence beside the sentence: similarity of each of its words to each of the evidence's."""

    evidence: Text
    alike: NDArray[np.float32]


def read_texts(encoder: Encoder, texts: Sequence[tuple[str, str]]) -> list[Text]:
    """Return texts with what must be known to compare them.

    Args:
        encoder: the model whose token states say which words are alike.
        texts: each text with the code of its language, which must be one of the lexicon's.
    """
    languages = load_lexicon().languages
    divided = [divide(text) for text, _ in texts]
    cut = [split_sentences(text, code) for text, (_, code) in zip(divided, texts, strict=True)]
    states = iter(encoder.encode_passages([piece for pieces in cut for piece in pieces]).tokens if texts else ())
    read: list[Text] = []
    for text, pieces, (original, code) in zip(divided, cut, texts, strict=True):
        words = _words(text, languages[code])
        sentences = _sentence_ranges(words, pieces)
        joints = _JOINTS.get(code, frozenset())
        read.append(
            Text(
                text=original,
                language=languages[code],
                words=words,
                clauses=_ranges(text, words, sentences, frozenset()),
                parts=_with_fragments(
                    words, sentences, _ranges(text, words, sentences, joints), joints, code == "de"
                ),
                sentences=sentences,
                vectors=_vectors(words, pieces, [next(states, None) for _ in pieces]),
            )
        )
    return read


def similarities(sentence: Text, evidence: Text) -> NDArray[np.float32]:
    """Return how alike each word of ``sentence`` is to each of ``evidence``, shape (words, words)."""
    if sentence.vectors is None or evidence.vectors is None:
        found = np.zeros((len(sentence.words), len(evidence.words)), np.float32)
    else:
        found = sentence.vectors @ evidence.vectors.T
    for row, word in enumerate(sentence.words):
        for column, other in enumerate(evidence.words):
            if word.key == other.key:
                found[row, column] = max(found[row, column], SAME_WORD)
            elif same_stem(word.key, other.key):
                found[row, column] = max(found[row, column], SAME_STEM)
    return found


def closest(evidence: Text, alike: NDArray[np.float32]) -> range:
    """Return the sentence of the evidence whose words the written sentence meets best.

    Args:
        evidence: one text of it.
        alike: as :func:`similarities` gives it.
    """

    def met(part: range) -> float:
        return float(alike[:, part.start : part.stop].max(axis=1).mean()) if len(alike) else 0.0

    return max(evidence.sentences, key=met)


def common_letters(one: Iterable[str], other: Iterable[str]) -> int:
    """Return with how many letters in common two words begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def same_stem(one: str, other: str) -> bool:
    """Say whether two words differ by an ending only."""
    common = common_letters(one, other)
    return common >= _STEM and max(len(one), len(other)) - common <= _ENDING


def _words(text: str, language: Language) -> tuple[Word, ...]:
    found: list[Word] = []
    for match in WORD.finditer(text):
        key = fold(match.group())
        before = text[: match.start()].rstrip(" \"'“”„«»‚‘’(")
        initial = not before or before[-1] in ".!?:…"
        acronym = len(match.group()) > 1 and match.group().isupper()
        content = (
            not match.group().isdigit() and (key not in language.stop or acronym) and key not in language.negators
        )
        found.append(Word(match.group(), match.start(), match.end(), key, content and len(key) > 1, initial))
    return tuple(found)


def _vectors(
    words: Sequence[Word], pieces: Sequence[str], states: Sequence[TokenStates | None]
) -> NDArray[np.float32] | None:
    """Return a unit vector for each word; each sentence was read on its own, so that others do not blur it."""
    rows: list[NDArray[np.float32]] = []
    offset = 0
    for piece, state in zip(pieces, states, strict=True):
        inside = [word for word in words if offset <= word.start < offset + len(piece)]
        if state is None or not state.codes.size:
            rows += [np.empty(0, np.float32)] * len(inside)
        else:
            units = unit_rows(state.codes.astype(np.float32))
            starts = state.starts.astype(np.int64)
            for word in inside:
                first, last = np.searchsorted(starts, [word.start - offset, word.end - offset]).tolist()
                if first == last:  # within a token that began before
                    first, last = max(0, first - 1), max(1, first)
                rows.append(units[first:last].mean(axis=0))
        offset += len(piece)
    if not rows or not all(row.size for row in rows):
        return None
    return unit_rows(np.stack(rows))


def _ranges(
    text: str, words: Sequence[Word], sentences: Sequence[range], joints: frozenset[str]
) -> tuple[range, ...]:
    """Return the runs of words that neither the end of a sentence nor punctuation nor one of ``joints`` divides."""
    begins = {sentence.start for sentence in sentences}
    found: list[range] = []
    start = 0
    for at in range(1, len(words) + 1):
        if at == len(words) or at in begins or words[at].key in joints or _is_divided(text, words[at - 1], words[at]):
            found.append(range(start, at))
            start = at
    return tuple(each for each in found if len(each))


def _with_fragments(
    words: Sequence[Word], sentences: Sequence[range], parts: Sequence[range], joints: frozenset[str], german: bool
) -> tuple[range, ...]:
    """Return the parts with those that say nothing on their own joined to a neighbour in the same sentence.

    "The minister, Ana Queiroz, does not plan it" says one thing, and so does "not insured are fences and plants".
    """
    found: list[range] = []
    for sentence in sentences:
        own = [part for part in parts if part.start in sentence]
        at = 0
        while len(own) > 1 and at < len(own):
            if not _is_fragment([words[each] for each in own[at]], german):
                at += 1
                continue
            backwards = at > 0 and (words[own[at].start].key in joints or at + 1 == len(own))
            first = at - 1 if backwards else at
            if first + 1 == len(own):
                break
            own[first : first + 2] = [range(own[first].start, own[first + 1].stop)]
            at = first
        found += own
    return tuple(found)


def _is_fragment(words: Sequence[Word], german: bool) -> bool:
    """Say whether words are nothing but a name or a noun, with articles and prepositions."""
    small = 0
    for at, word in enumerate(words):
        if not word.content:
            if word.key not in _NOMINAL:
                return False
        elif not word.capital:
            small += 1
            if german or at == 0 or words[at - 1].key not in _NOMINAL:
                return False
    return small <= 1


def _is_divided(text: str, word: Word, following: Word) -> bool:
    between = text[word.end : following.start]
    if len(between) == 1 and word.text.isdigit() and following.text.isdigit():
        return False  # inside a number
    return _DIVIDER.search(between) is not None


def _sentence_ranges(words: Sequence[Word], pieces: Sequence[str]) -> tuple[range, ...]:
    found: list[range] = []
    offset = start = 0
    for piece in pieces:
        offset += len(piece)
        end = start
        while end < len(words) and words[end].start < offset:
            end += 1
        if end > start:
            found.append(range(start, end))
        start = end
    return tuple(found) or (range(len(words)),)
