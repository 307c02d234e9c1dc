"""Proper names of a sentence, and whether its evidence has them, in whatever language and script.

A name is the same if its letters are, after what scripts and spelling habits change (Путин, Poutine, Putin), or if a
list knows both (Deutschland, Germany). In German every noun has a capital, so there a word that is not in the
evidence must either look like a common noun and mean what a word of the evidence means, or it counts as a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from service.alignment import Text, Word, closest, common_letters, same_stem
from service.dictionary import is_ordinary
from service.faithful_numbers import is_number
from service.lexicon import fold, folded_words, load_lexicon, load_names

MEANS_THE_SAME = 0.72
"""Similarity from which on a capitalised word counts as the translation of another."""
ONE_NAME = 0.88
"""The same for two names: two towns in like places are alike to the model, too."""
PROBABLY_THE_SAME = 0.5
"""The same for an ordinary word that stands as a name would."""
IN_GERMAN = 0.42
"""The same for an ordinary German noun without an article, whose evidence is in another language."""
BEGINNING = 0.42
"""The same for an ordinary word that begins a sentence without an article."""
ORDINARY = 0.2
"""The same for an ordinary word that stands as only ordinary words do."""
_LETTERS_ALIKE = 0.5
"""Share of common letters from which on two like names may be one: Köln, Cologne."""
_TOUCHED = 0.5
_TAIL = 5
_CLAIM = 0.7
_CLAIM_MARGIN = 0.15

_LATIN = {
    letter: "" if latin == "-" else latin
    for script, letters in (
        (
            "абвгдеёжзийклмнопрстуфхцчшщъыьэюяіїєґ",
            "a b v g d e o j s i i k l m n o p r s t u f k c ç s s - i - e iu ia i i ie g",
        ),
        ("αβγδεζηθικλμνξοπρστυφχψως", "a v g d e s i t i k l m n ks o p r s t i f k ps o s"),
    )
    for letter, latin in zip(script, letters.split(), strict=True)
}
_HABITS = [
    (re.compile(pattern), letters)
    for pattern, letters in (
        (r"schtsch|shch|chtch|sjtsj", "s"),
        (r"tsch|tch|tsj|ch(?=[aeiouy])|ch$", "ç"),
        (r"sch|sh|sz|ch", "s"),
        (r"dsch|dzh|dj|zh", "j"),
        (r"kh|ck|qu|q", "k"),
        (r"ph", "f"),
        (r"th", "t"),
        (r"gu(?=[ei])", "g"),
        (r"ou|oe|ue", "u"),
        (r"ae", "a"),
        (r"w", "v"),
        (r"[yj]", "i"),
        (r"z|ts|tz", "s"),
        (r"x", "ks"),
        (r"c(?=[aou]|k|l|r|t)", "k"),
        (r"(?:ov|ev|iov|of|ef|iev)$", "ov"),
        (r"h", ""),
        (r"(.)\1+", r"\1"),
        (r"ii+", "i"),
        (r"(?<=..)e$", ""),
    )
]
_CASE_ENDINGS = ("", "s", "es", "n", "en", "e", "er", "ern", "ns", "a", "i")
_LATIN_ENDINGS = frozenset(_CASE_ENDINGS) - {"a", "i"}
_NOUN_ENDINGS = tuple(
    "ung ungen heit heiten keit keiten schaft schaften tion tionen tat taten nis nisse ismus tum ling linge chen "
    "lein erei enz anz ment mente ur uren ik age arbeit arbeiten zahl plan kosten zeit jahr tag woche stunde raum "
    "platz geld steuer preis vertrag gericht amt rat".split()
)
_DETERMINERS = frozenset(
    fold(word)
    for word in (
        "der die das den dem des ein eine einen einem einer eines kein keine keinen keinem keiner mein dein "
        "sein  seine seinen seinem seiner ihr ihre ihren ihrem ihrer unser unsere dieser diese dieses diesen "
        "diesem jeder  jede jedes jeden jener alle allen aller viele vielen viel mehr mehrere mehreren einige "
        "einigen wenige  wenigen beide beiden im am zum zur beim vom ins ans aufs etwa rund knapp über fast "
        "weitere weiteren andere anderen  zwei drei vier "
    ).split()
)


_COMPASS = re.compile(r"^(nord|sud|ost|west|zentral|mittel|ober|unter|gesamt)(?=[a-z]{4})")
"""What German puts before a name: "Nordirak" has the name Irak."""
_COMPASS_WORDS = {
    "nord": ("north", "nord", "nort", "noord", "север", "settentrion"),
    "sud": ("south", "sud", "sur", "sul", "zuid", "юж", "meridion"),
    "ost": ("east", "est", "orient", "leste", "oost", "восто"),
    "west": ("west", "ouest", "oest", "occident", "ocident", "ovest", "запад"),
    "zentral": ("centr", "zentr", "центр"),
    "mittel": ("centr", "middle", "mid", "moyen", "medi", "zentr", "средн", "центр"),
    "ober": ("upper", "haut", "alto", "alta", "super", "boven", "верх"),
    "unter": ("lower", "bas", "baj", "baix", "infer", "neder", "нижн"),
    "gesamt": ("whole", "all", "entire", "tout", "todo", "tutt"),
}
"""How other languages say it, by how their words begin: "Unterweser" is "Lower Weser"."""
_EVERY_WAY = tuple(way for ways in _COMPASS_WORDS.values() for way in ways)


@lru_cache(maxsize=20_000)
def romanised(word: str) -> str:
    """Return a folded word in Latin letters, without what spelling habits of languages change."""
    spelt = "".join(_LATIN.get(letter, letter) for letter in word)
    for pattern, letters in _HABITS:
        spelt = pattern.sub(letters, spelt)
    return spelt


def same_name(one: str, other: str) -> bool:
    """Say whether two folded words are one name by their letters, endings of cases aside."""
    if one == other:
        return True
    foreign = _is_latin(one) != _is_latin(other)
    first, second = romanised(one), romanised(other)
    if min(len(first), len(second)) < 3:  # so little is left of "Haase" that it would be "has"
        return first == second and len(one) > 1 and foreign
    if first == second:
        return True
    for longer, shorter in ((first, second), (second, first)):
        endings = _CASE_ENDINGS if foreign else _LATIN_ENDINGS
        if longer.startswith(shorter) and longer[len(shorter) :] in endings and len(shorter) > 3:
            return True
    return foreign and _skeletons_meet(first, second)


def _skeletons_meet(first: str, second: str) -> bool:
    """Compare consonants only: vowels are what transcriptions from another script differ in."""
    one, other = (re.sub(r"[aeiou]", "", each) for each in (first, second))
    begins = {first[0], second[0]}
    if len(begins) > 1 and not begins <= set("aeiou") and begins != {"f", "v"}:
        return False
    one, other = one.replace("v", "f"), other.replace("v", "f")
    shorter, longer = sorted((one, other), key=len)
    return len(shorter) >= 2 and longer.startswith(shorter) and len(longer) - len(shorter) <= 1


def _is_latin(word: str) -> bool:
    return word.isascii()


def unknown_names(sentence: Text, evidence: Text, alike: NDArray[np.float32], question: str) -> frozenset[int]:
    """Return which words of a sentence are names that neither its evidence nor, where that is safe, the question has.

    Args:
        sentence: what was written.
        evidence: one of the texts that it cites.
        alike: similarity of each of its words to each of the evidence's.
        question: its names may be used if the evidence leaves no name of its own unsaid.
    """
    said_places = entities(sentence)
    known = {key for keys in entities(evidence).values() for key in keys}
    known |= {load_names().stands_for[key] for key in known if key in load_names().stands_for}
    asked = folded_words(question)
    unknown: set[int] = set()
    for at, word in enumerate(sentence.words):
        keys = said_places.get(at, frozenset())
        if word.capital and _is_other_direction(sentence, at, evidence):
            unknown.add(at)
            continue
        if not _may_be_name(sentence, at, bool(keys)):
            continue
        if keys:
            if keys & known:
                continue
        elif _is_there(word, evidence, alike[at]) or _is_there_in_two_words(sentence, at, evidence):
            continue
        in_question = any(same_name(word.key, other) for other in asked)
        if in_question and _says_all_names(evidence, alike):
            continue
        if not keys and _is_common_noun(sentence, at, evidence, _unclaimed(sentence, at, evidence, alike)):
            continue
        unknown.add(at)
    return frozenset(unknown)


@lru_cache(maxsize=64)
def entities(text: Text) -> dict[int, frozenset[str]]:
    """Return which known names stand where: from each word of one to the keys it may have."""
    found: dict[int, set[str]] = {}
    keys = [_COMPASS.sub("", key) if text.language.code == "de" else key for key in text.keys]
    listed = load_names()
    for name, entries in listed.entries:
        for place in entries.places(keys):
            words = [text.words[at] for at in place]
            short = len(words) == 1 and len(words[0].text) <= 3
            if (name in listed.acronyms or short) and len(words) == 1 and not words[0].acronym:
                continue
            if not words[0].capital and not _is_adjective(words[0], text):
                continue
            usual = words[0].key in text.language.stop and not words[0].acronym
            if len(words) == 1 and usual and (words[0].initial or not words[0].capital):
                continue
            for at in place:
                found.setdefault(at, set()).add(name)
    return {at: frozenset(names) for at, names in found.items()}


def _is_adjective(word: Word, text: Text) -> bool:
    """Say whether a word in small letters may still be of a people: most languages write "deutsch", "français"."""
    return text.language.code != "en" and len(word.text) > 3


def _may_be_name(text: Text, at: int, listed: bool) -> bool:
    word = text.words[at]
    if listed:
        return True
    if not word.capital or not word.text[0].isalpha() or len(word.text) < 2:
        return False
    if word.acronym:
        return True
    language = text.language
    if word.key in language.stop or word.key in language.negators:
        return False
    calendar = (*language.months, *language.weekdays)
    if any(word.key in words for words, _ in calendar):
        return False
    return not is_number_word(text, at)


def is_number_word(text: Text, at: int) -> bool:
    """Say whether a word is a number or a unit, which are compared as numbers."""
    key = text.words[at].key
    return is_number(key, text.language.code) or any(key in words for _, words in load_lexicon().units)


def _is_part(word: Word, other: Word) -> bool:
    """Say whether a name is a part of a compound: "Gerber" of "Gerberbrücke"."""
    return len(word.key) >= 5 and other.key.startswith(word.key)


def _is_there(word: Word, evidence: Text, alike: NDArray[np.float32]) -> bool:
    """Say whether the evidence has a word by its letters: as a name, in a compound, or in another form."""
    stop = evidence.language.stop
    for other in evidence.words:
        if word.key == other.key or _is_part(word, other):
            return True
        if other.key not in stop and same_name(word.key, other.key):
            return True
    return _stem_is_there(word, evidence, alike)


def _is_there_in_two_words(sentence: Text, at: int, evidence: Text) -> bool:
    """Say whether a word is a compound of direction and name that the other text has in two words, or half of one."""
    if sentence.language.code == "de":
        return _is_two_words(sentence.words[at].key, evidence)
    return any(
        (key.startswith(ways) and _is_name_or_listed(sentence, near, name))
        or (sentence.words[near].key.startswith(ways) and same_name(key, name))
        for key, near, ways, name in _beside_compounds(sentence, at, evidence)
    )


def _is_other_direction(sentence: Text, at: int, evidence: Text) -> bool:
    """Say whether a word gives a name another direction than German evidence does: "Upper Weser", "Unterweser"."""
    return any(
        _is_name_or_listed(sentence, near, name) and not key.startswith(ways) and key.startswith(_EVERY_WAY)
        for key, near, ways, name in _beside_compounds(sentence, at, evidence)
    )


def _beside_compounds(sentence: Text, at: int, evidence: Text) -> Iterator[tuple[str, int, tuple[str, ...], str]]:
    """Yield a word's key, each neighbour, and what a German compound's direction and name are."""
    if sentence.language.code == "de" or evidence.language.code != "de":
        return
    found = [(match, word.key) for word in evidence.words if (match := _COMPASS.match(word.key))]
    for near in (at - 1, at + 1):
        if 0 <= near < len(sentence.words):
            for match, key in found:
                yield sentence.words[at].key, near, _COMPASS_WORDS[match[1]], key[match.end() :]


def _is_name_or_listed(text: Text, at: int, name: str) -> bool:
    listed = {key for key, words in load_names().entries if name in words}
    return same_name(text.words[at].key, name) or bool(entities(text).get(at, frozenset()) & listed)


def _is_two_words(key: str, evidence: Text) -> bool:
    match = _COMPASS.match(key)
    if not match:
        return False
    keys = evidence.keys
    for place, other in enumerate(keys):
        beside = keys[max(0, place - 1) : place] + keys[place + 1 : place + 2]
        if same_name(key[match.end() :], other) and any(each.startswith(_COMPASS_WORDS[match[1]]) for each in beside):
            return True
    return False


def _stem_is_there(word: Word, evidence: Text, alike: NDArray[np.float32]) -> bool:
    """Say whether a capitalised word is one of the evidence's common words in another form."""
    return any(
        same_stem(word.key, other.key) and (alike[column] >= PROBABLY_THE_SAME or word.key[:-2] in other.key)
        for column, other in enumerate(evidence.words)
    )


def _says_all_names(evidence: Text, alike: NDArray[np.float32]) -> bool:
    """Say whether the evidence has no name that the sentence leaves out, which the question's could stand for."""
    for at in closest(evidence, alike):
        word = evidence.words[at]
        if word.initial and not entities(evidence).get(at):
            continue
        if _may_be_name(evidence, at, False) and float(alike[:, at].max()) < _TOUCHED:
            return False
    return True


def _is_common_noun(  # noqa: PLR0911 - one reason after the other
    sentence: Text, at: int, evidence: Text, alike: NDArray[np.float32]
) -> bool:
    """Say whether a capitalised word is no name but the translation of a word of the evidence."""
    word = sentence.words[at]
    if word.acronym or not len(alike):
        return False
    if _stands_for_another(sentence, at, evidence, alike):
        return False
    best = int(alike.argmax())
    similarity = float(alike[best])
    listed = entities(evidence).get(best)
    if listed:  # then the list would know its translation, but for a part of it: "Central" in "Zentralafrika"
        beside = (entities(sentence).get(near, frozenset()) for near in (at - 1, at + 1))
        return any(listed & keys for keys in beside)
    if _is_surely_name(evidence, best):
        like = (
            SequenceMatcher(None, romanised(word.key), romanised(evidence.words[best].key)).ratio() >= _LETTERS_ALIKE
        )
        return similarity >= ONE_NAME and like and sentence.language.code != evidence.language.code
    german = sentence.language.code == "de"
    if german and evidence.language.code == "de" and _is_other_compound(word.key, evidence.words[best].key):
        return False
    if similarity >= MEANS_THE_SAME:
        return True
    if not is_ordinary(word.text, sentence.language.code):
        return False
    if _beside_capital(sentence, at) and not (german and _is_title(sentence, at)):
        return similarity >= (ORDINARY if _is_joined(evidence, best) else PROBABLY_THE_SAME)
    if german and _looks_common(sentence, at):
        return similarity >= ORDINARY
    if not german and word.initial:  # a name, or else a plural: a noun in the singular has an article
        if word.key.endswith("s"):
            return similarity >= ORDINARY
        return similarity >= BEGINNING and sentence.language.code != evidence.language.code
    foreign = german and evidence.language.code != "de"
    return similarity >= (IN_GERMAN if foreign else PROBABLY_THE_SAME)


def _is_other_compound(one: str, other: str) -> bool:
    """Say whether two compounds end alike and begin differently: "Marktbrücke" is not the "Gerberbrücke"."""
    common = common_letters(reversed(one), reversed(other))
    return common >= _TAIL and common < min(len(one), len(other))


def _unclaimed(sentence: Text, at: int, evidence: Text, alike: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a word's similarities without words of the evidence that stand for another word.

    Those are words that another one is much more alike to, and names that the sentence says in another place.
    """
    others = np.delete(alike, at, axis=0)
    best = others.max(axis=0, initial=0)
    claimed = (best >= _CLAIM) & (best > alike[at] + _CLAIM_MARGIN)
    said = {word.key for place, word in enumerate(sentence.words) if place != at and word.capital}
    for place, word in enumerate(evidence.words):
        is_said = word.capital and word.key in said and _is_surely_name(evidence, place)
        if is_said or (sentence.language.code == "de" and word.key in evidence.language.stop):
            claimed[place] = True
    return np.where(claimed, 0, alike[at])


def _beside_capital(text: Text, at: int, *, before: bool = False) -> bool:
    """Say whether a word stands beside (``before``: behind) another one with a capital, as parts of a name do."""
    for near in (at - 1,) if before else (at - 1, at + 1):
        if not 0 <= near < len(text.words):
            continue
        word, first, second = text.words[near], text.words[min(near, at)], text.words[max(near, at)]
        if not word.capital or word.key in text.language.stop or is_number_word(text, near):
            continue
        if not text.text[first.end : second.start].strip():
            return True
    return False


def _stands_for_another(sentence: Text, at: int, evidence: Text, alike: NDArray[np.float32]) -> bool:
    """Say whether the evidence has another name beside the same neighbour: "Marlow Street" for "Baker Street"."""
    said = {word.key for word in sentence.words if word.capital}
    for side in (-1, 1):
        near = at + side
        if not 0 <= near < len(sentence.words) or not sentence.words[near].capital:
            continue
        for place, word in enumerate(evidence.words):
            there = place - side
            if word.key != sentence.words[near].key or not 0 <= there < len(evidence.words):
                continue
            between = evidence.text[
                min(word.end, evidence.words[there].end) : max(word.start, evidence.words[there].start)
            ]
            other = evidence.words[there]
            if between.strip(" -") or other.key in said or not _is_part_of_name(evidence, there):
                continue
            if alike[there] < IN_GERMAN or not is_ordinary(other.text, evidence.language.code):
                return True
    return False


def _is_part_of_name(text: Text, at: int) -> bool:
    """Say whether a capitalised word beside a name is one, too, and no ordinary noun of a German text."""
    word = text.words[at]
    if not word.capital or word.initial or word.key in text.language.stop:
        return False
    return text.language.code != "de" or not is_ordinary(word.text, "de")


def _is_title(text: Text, at: int) -> bool:
    """Say whether a German noun stands between an article and a name: "der Stellwerker Ulf Perschke"."""
    return at > 0 and text.words[at - 1].key in _DETERMINERS and not _beside_capital(text, at, before=True)


def _is_joined(text: Text, at: int) -> bool:
    """Say whether a hyphen joins an ordinary word to a name: "Lerchenau-Stiftung"."""
    before = text.text[: text.words[at].start]
    return before.endswith("-") and is_ordinary(text.words[at].text, text.language.code)


def _is_surely_name(text: Text, at: int) -> bool:
    """Say whether a word of the evidence is a name without doubt."""
    word = text.words[at]
    if not _may_be_name(text, at, bool(entities(text).get(at))):
        return False
    if word.acronym or entities(text).get(at) or not is_ordinary(word.text, text.language.code):
        return True
    if text.language.code == "de" or word.initial or not _beside_capital(text, at, before=True):
        return False
    return not entities(text).get(at - 1)  # "Lisbon Treaty" is a treaty, "Dana Stone" is no stone


def _looks_common(sentence: Text, at: int) -> bool:
    """Say whether a German noun has a determiner or an adjective before it, or an ending that names do not have."""
    word = sentence.words[at]
    if word.key.endswith(_NOUN_ENDINGS):
        return True
    for before in range(at - 1, max(-1, at - 4), -1):
        near = sentence.words[before]
        if near.key in _DETERMINERS or near.text.isdigit() or is_number_word(sentence, before):
            return True
        if near.capital or sentence.text[near.end : sentence.words[before + 1].start].strip():
            return False
        if near.key.endswith(("en", "er", "es", "em", "e")) and near.key not in sentence.language.stop:
            return True
    return False


def name_words(text: Text, others: Sequence[int] = ()) -> list[int]:
    """Return the words that are names without doubt: known ones, and capitals that only names have."""
    known = entities(text)
    found: list[int] = []
    for at, word in enumerate(text.words):
        if at in known or at in others:
            found.append(at)
        elif not _may_be_name(text, at, False):
            continue
        elif text.language.code == "de":
            beside = [near for near in (at - 1, at + 1) if 0 <= near < len(text.words)]
            if any(
                text.words[near].capital
                and text.words[near].key not in text.language.stop
                and not text.text[
                    min(word.end, text.words[near].end) : max(word.start, text.words[near].start)
                ].strip()
                for near in beside
            ):
                found.append(at)
        elif not word.initial or not is_ordinary(word.text, text.language.code):
            found.append(at)
    return found
