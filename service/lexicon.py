"""Words that written answers are checked with: function words, negation, numbers, opposites, names of places.

The lists are data (``lexicon.toml``, ``names.toml``); this module reads them once and folds words so that spelling,
case and accents do not count. A language without lists cannot be checked.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeAlias

_LEXICON = Path(__file__).parent / "lexicon.toml"
_NAMES = Path(__file__).parent / "names.toml"

_WORDS_KEPT = 50_000
"""Words whose folded form is remembered; those of the lists are some ten thousand, the others come from outside."""

WORD = re.compile(r"[^\W_]+")
"""Letters and digits; an apostrophe or a hyphen divides."""

_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ß": "ss"}
)


@lru_cache(maxsize=_WORDS_KEPT)
def fold(word: str) -> str:
    """Return ``word`` without case, accents and ligatures; ``ß`` is ``ss``, ``ä`` is ``a``."""
    parts = unicodedata.normalize("NFKD", word.casefold())
    return "".join(part for part in parts if not unicodedata.combining(part)).translate(_LETTERS)


def folded_words(text: str) -> list[str]:
    """Return the folded words of ``text`` in order; English "n't" is a word of its own."""
    return [fold(match) for match in WORD.findall(divide(text))]


_NOT = re.compile(r"n['’]t\b", re.IGNORECASE)


def divide(text: str) -> str:
    """Divide contracted negation from its verb, keeping the length: "don't" becomes "do nt"."""
    return _NOT.sub(" nt", text)


class WordList:
    """Folded words, beginnings of words (``*``), and phrases, to look for in a text's words."""

    def __init__(self, entries: Iterable[str]) -> None:
        words: set[str] = set()
        beginnings: set[str] = set()
        phrases: list[tuple[str, ...]] = []
        for entry in entries:
            parts = tuple(fold(part) for part in re.split(r"[\s_]+", entry.strip()) if part)
            if len(parts) > 1:
                phrases.append(parts)
            elif parts and parts[0].endswith("*"):
                beginnings.add(parts[0][:-1])
            elif parts:
                words.add(parts[0])
        self.words = frozenset(words)
        self.beginnings = tuple(sorted(beginnings))
        self.phrases = tuple(phrases)

    def __contains__(self, word: str) -> bool:
        return word in self.words or (bool(self.beginnings) and word.startswith(self.beginnings))

    def places(self, words: Sequence[str]) -> list[range]:
        """Return where ``words`` (folded) have an entry, each as the range of its words."""
        found = [range(at, at + 1) for at, word in enumerate(words) if word in self]
        present = set(words)
        for phrase in self.phrases:
            if phrase[0] not in present and not phrase[0].endswith("*"):
                continue
            for at in range(len(words) - len(phrase) + 1):
                if all(_meets(word, part) for word, part in zip(words[at:], phrase, strict=False)):
                    found.append(range(at, at + len(phrase)))
        return found


def _meets(word: str, part: str) -> bool:
    return word.startswith(part[:-1]) if part.endswith("*") else word == part


@dataclass(frozen=True, slots=True)
class Language:
    """What must be known of a language to check sentences in it."""

    code: str
    name: str
    comma: bool
    """Whether decimals are written with a comma."""
    stop: WordList
    negators: WordList
    neutral: WordList
    doubts: WordList
    """What makes a statement a mere possibility."""
    likely: WordList
    """What may stand for a doubt in another language, without being as much of one."""
    denials: WordList
    """Words that say "not" without saying it: "refuse", "unverändert"."""
    ceasing: WordList
    """Words that may stand for a denial such as "stop" in another language, without being one."""
    until: WordList
    late: WordList
    """Words that say of a time that nothing is before it, as "not until" does."""
    without: WordList
    """Negators that deny only the words after them."""
    duties: WordList
    choices: WordList
    over: WordList
    under: WordList
    agent: WordList
    to: WordList
    passive: WordList
    months: tuple[tuple[WordList, int], ...]
    weekdays: tuple[tuple[WordList, int], ...]
    """Monday is 1."""
    numbers: Mapping[str, str]
    """The raw table of number words, read by :mod:`service.faithful_numbers`."""


Sides: TypeAlias = Mapping[str, tuple[WordList, WordList]]
"""Both sides of an opposite, by language."""


@dataclass(frozen=True, slots=True)
class Opposite:
    """Two sides that deny each other, by language."""

    name: str
    sides: Sides


@dataclass(frozen=True, slots=True)
class Lexicon:
    """All lists."""

    languages: Mapping[str, Language]
    units: tuple[tuple[str, WordList], ...]
    opposites: tuple[Opposite, ...]


@cache
def load_lexicon() -> Lexicon:
    """Return the shipped lists."""
    stored = tomllib.loads(_LEXICON.read_text("utf-8"))
    languages = {code: _language(code, table, stored["numbers"][code]) for code, table in stored["language"].items()}
    opposites = tuple(
        Opposite(name, {code: _sides(line) for code, line in lines.items()})
        for name, lines in stored["opposites"].items()
    )
    units = tuple((name, WordList(line.split())) for name, line in stored["units"].items())
    return Lexicon(languages, units, opposites)


@dataclass(frozen=True, slots=True)
class KnownNames:
    """Names that languages write differently; ``stands_for`` leads from a capital to its country."""

    entries: tuple[tuple[str, WordList], ...]
    acronyms: frozenset[str]
    """Keys of entries whose short forms count only in capitals."""
    stands_for: Mapping[str, str]


@cache
def load_names() -> KnownNames:
    """Return the shipped names."""
    stored = tomllib.loads(_NAMES.read_text("utf-8"))
    places, organisations = stored["places"], stored["organisations"]
    entries = tuple((key, WordList(line.split())) for key, line in {**places, **organisations}.items())
    return KnownNames(entries, frozenset(organisations), stored["capitals"])


def count_function_words(words: Sequence[str]) -> dict[str, int]:
    """Return how many of some folded words are function words, by language."""
    return {code: sum(word in language.stop for word in words) for code, language in load_lexicon().languages.items()}


def language_of(text: str, usual: str) -> str:
    """Return the code of the checked language whose function words ``text`` has most of; ``usual`` on a tie of none.

    Args:
        text: a sentence or more; a language detector is less sure of so little text than its function words are.
        usual: what to say if no function word is known, and to prefer among equals.
    """
    counts = count_function_words(folded_words(text))
    best = max(counts.values(), default=0)
    if not best or counts.get(usual, -1) == best:
        return usual
    return next(code for code, count in counts.items() if count == best)


def _language(code: str, table: Mapping[str, Any], numbers: Mapping[str, str]) -> Language:
    lists = {
        name: WordList(_entries(table[name])) for name in ("neutral", "doubts", "duties", "choices", "over", "under")
    }
    words = {
        name: WordList(table[name].split())
        for name in (
            "stop",
            "negators",
            "agent",
            "to",
            "passive",
            "likely",
            "denials",
            "ceasing",
            "until",
            "late",
            "without",
        )
    }
    months = _numbered(table["months"], table["month_numbers"])
    names = table["weekdays"].split()
    days = _numbered(table["weekdays"], table.get("weekday_numbers", " ".join(map(str, range(1, len(names) + 1)))))
    return Language(
        code=code, name=table["name"], comma=table["comma"], months=months, weekdays=days, numbers=numbers,
        **lists, **words,
    )  # fmt: skip


def _entries(text: str) -> list[str]:
    return text.split("|")


def _numbered(words: str, numbers: str) -> tuple[tuple[WordList, int], ...]:
    return tuple((WordList([word]), int(number)) for word, number in zip(words.split(), numbers.split(), strict=True))


def _sides(line: str) -> tuple[WordList, WordList]:
    first, _, second = line.partition(" / ")
    return WordList(first.split()), WordList(second.split())
