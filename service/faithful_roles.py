"""Who did what to whom: whether a sentence exchanges two names that its evidence has in the opposite roles.

Only what grammar shows on the surface is looked at: which name comes first, prepositions, passive voice. Two names of
one sentence are exchanged if one is the doer here and the other one there. Nouns that are no names are not compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from service.alignment import Compared, Text
from service.faithful_names import entities, is_number_word, name_words, same_name

DOER, OTHER, UNCLEAR = "doer", "other", "unclear"
_FEWEST = 2
"""Words that are looked for in the evidence, at least."""
_BETTER = 0.06
"""So much better a sentence with other names must fit: of 324 faithful answers, 3 are lost to it."""


def exchanges_names(sentence: Text, compared: Sequence[Compared]) -> bool:
    """Say whether two names of the sentence have each other's role in the evidence."""
    if _doubles_name(sentence, [each.evidence for each in compared]):
        return True
    names = [at for at in _heads(sentence, name_words(sentence)) if not _is_attribute(sentence, at)]
    for each in compared:
        pairs = _counterparts(sentence, names, each.evidence) + _same_words(sentence, names, each.evidence)
        for (first, their_first), (second, their_second) in combinations(pairs, 2):
            if their_first == their_second or not _same_part(each.evidence, their_first, their_second):
                continue
            if not _same_part(sentence, first, second):
                continue
            here = roles(sentence, first, second)
            there = roles(each.evidence, their_first, their_second)
            if {here, there} == {(DOER, OTHER), (OTHER, DOER)}:
                return True
    return False


def takes_place_of(sentence: Text, compared: Sequence[Compared]) -> bool:
    """Say whether a name is said to do what a sentence of the evidence says of others, while its own says less of it.

    What a part of the sentence says besides names is looked for in the sentences of the evidence: in those that have
    the name, and in those that have other names only.
    """
    names = set(name_words(sentence))
    for at in sorted(names):
        part = next((part for part in sentence.parts if at in part), sentence.clause_of(at))
        words = [each for each in part if each not in names and _says_something(sentence, each)]
        if len(words) < _FEWEST:
            continue
        own = other = 0.0
        for each in compared:
            theirs = set(name_words(each.evidence))
            for there in each.evidence.sentences:
                columns = [place for place in there if place not in theirs and each.evidence.words[place].content]
                if not columns:
                    continue
                fit = float(each.alike[np.ix_(words, columns)].max(axis=1).mean())
                if any(_is_same(sentence, at, each.evidence, place) for place in there):
                    own = max(own, fit)
                elif theirs & set(there):
                    other = max(other, fit)
        if own and other > own + _BETTER:
            return True
    return False


def _says_something(text: Text, at: int) -> bool:
    return text.words[at].content and not is_number_word(text, at)


def _is_same(sentence: Text, at: int, evidence: Text, place: int) -> bool:
    known = entities(sentence).get(at, frozenset()) & entities(evidence).get(place, frozenset())
    return bool(known) or same_name(sentence.words[at].key, evidence.words[place].key)


def _heads(text: Text, names: Sequence[int]) -> list[int]:
    """Return the first word of each run of neighbouring names."""
    return [at for at in names if at - 1 not in names or _apart(text, at)]


def _apart(text: Text, at: int) -> bool:
    return bool(text.text[text.words[at - 1].end : text.words[at].start].strip(" -"))


def _counterparts(sentence: Text, names: Sequence[int], evidence: Text) -> list[tuple[int, int]]:
    known, others = entities(sentence), entities(evidence)
    found: list[tuple[int, int]] = []
    for at in names:
        run = [at]
        while (
            run[-1] + 1 < len(sentence.words)
            and sentence.words[run[-1] + 1].capital
            and not _apart(sentence, run[-1] + 1)
        ):
            run.append(run[-1] + 1)
        places = [
            place
            for place, word in enumerate(evidence.words)
            for mine in run
            if same_name(sentence.words[mine].key, word.key)
            or known.get(mine, frozenset()) & others.get(place, frozenset())
        ]
        places = [place for place in places if not _is_attribute(evidence, place)]
        if places:
            found.append((at, min(places)))
    return found


def _doubles_name(sentence: Text, evidence: Sequence[Text]) -> bool:
    """Say whether a part of the sentence has one name in two places, as no evidence has: one took another's place."""
    names = set(name_words(sentence))
    for part in sentence.parts:
        counts = Counter(sentence.words[at].key for at in part if at in names)
        for key, count in counts.items():
            if count > 1 and all(text.keys.count(key) < count for text in evidence):
                return True
    return False


def _same_words(sentence: Text, names: Sequence[int], evidence: Text) -> list[tuple[int, int]]:
    """Return words that both have, where both are in one language whose order of words says who does what."""
    code = sentence.language.code
    if code != evidence.language.code or code not in _ORDERED:
        return []
    places = {word.key: at for at, word in enumerate(evidence.words) if word.content}
    return [
        (at, places[word.key])
        for at, word in enumerate(sentence.words)
        if word.content and at not in names and word.key in places and _has_article(sentence, at)
    ]


def _has_article(text: Text, at: int) -> bool:
    return at > 0 and text.words[at - 1].key in _ARTICLES and not _apart(text, at)


_ORDERED = frozenset({"en", "fr", "es", "it", "pt", "nl"})
_ARTICLES = frozenset("the a an le la l un une el los las una il lo gli uno o os as um uma de het een".split())


def _is_attribute(text: Text, at: int) -> bool:
    """Say whether a name is an adjective: "Kurdish fighters", "kurdischen", "français"."""
    word = text.words[at]
    if not word.capital:
        return True
    if text.language.code != "en" or not word.key.endswith(_ADJECTIVES):
        return False
    following = text.words[at + 1] if at + 1 < len(text.words) else None
    return following is not None and following.content


_ADJECTIVES = ("ish", "ese", "ian", "ican", "german", "french", "dutch", "swiss", "greek", "czech", "european")


def _same_part(text: Text, one: int, other: int) -> bool:
    return any(one in part and other in part for part in text.parts)


def roles(text: Text, one: int, other: int) -> tuple[str, str]:
    """Return the roles of two names of a sentence, each of doer, other or unclear."""
    sentence = next(part for part in text.sentences if one in part)
    keys = text.keys
    if other not in sentence:
        return UNCLEAR, UNCLEAR
    between = range(min(one, other) + 1, max(one, other))
    passive = any(keys[at] in text.language.passive for at in sentence)
    first, second = min(one, other), max(one, other)
    if not between or not any(text.words[at].content or keys[at] in text.language.stop for at in between):
        return UNCLEAR, UNCLEAR
    marks = {at: _mark(text, at) for at in (first, second)}
    if all(
        keys[at] in {"and", "und", "et", "y", "e", "en", "и", "with", "mit", "avec", "con", "com", "met", "с"}
        for at in between
    ):
        return UNCLEAR, UNCLEAR
    by_place: dict[int, str]
    if passive and marks[second] == "agent" and not marks[first]:
        by_place = {first: OTHER, second: DOER}
    elif (passive and marks[first] == "agent") or (not marks[first] and marks[second] in {"", "to"}):
        by_place = {first: DOER, second: OTHER}
    else:
        return UNCLEAR, UNCLEAR
    return by_place[one], by_place[other]


def _mark(text: Text, at: int) -> str:
    """Return what the words before a name say of its role: "agent", "to", another preposition, or nothing."""
    for before in range(at - 1, max(-1, at - 4), -1):
        word = text.words[before]
        if text.text[word.end : text.words[before + 1].start].strip(" '’"):
            return ""
        if word.key in text.language.agent:
            return "agent"
        if word.key in text.language.to:
            return "to"
        if word.key in _PREPOSITIONS.get(text.language.code, frozenset()):
            return "preposition"
        if word.content and not word.capital and word.key not in text.language.stop:
            return ""
    return ""


_PREPOSITIONS = {
    code: frozenset(words.split())
    for code, words in {
        "en": "of in on at from with against about near between under over through into towards like as than and",
        "de": "in im aus mit gegen uber bei beim nach seit um auf unter zwischen hinter neben wegen laut wie als und",
        "fr": "de du des d en dans avec contre sur chez entre sous vers comme que et",
        "es": "de del en con contra sobre entre hacia desde como que y",
        "it": "di del della dell in nel nella con contro su sul tra fra come che e",
        "pt": "de do da dos das em no na com contra sobre entre como que e",
        "nl": "van in met tegen over bij uit op onder tussen naar als dan en",
        "ru": "в на с из от о об при против между над под как чем и",
    }.items()
}
