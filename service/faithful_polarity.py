"""Whether a sentence denies what its evidence denies, and nothing else; the same for opposites, duty and doubt.

Negation belongs to the words around it. So what is compared is not whole texts but places: a negated part of the
evidence whose words the sentence repeats must be negated there as well, and the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from service.alignment import Compared, Text, closest
from service.lexicon import Sides, WordList, load_lexicon

_COUNTERPART = 0.55
"""Similarity from which on one word stands for another."""
_OPPOSED = 0.33
"""The same for words that mean the opposite: they stand in like places."""
_REPEATED = 0.6
"""Share of the words of a negated part that a sentence must have to repeat that part."""
_LEAST = 0.4
"""Mean similarity from which on some words are about a part of the evidence at all."""
_MARGIN = 0.06
"""Parts that fit so nearly as well as the best may be meant as well."""
_OPPOSED_WORD = 0.5
_UNMET = 0.55
"""A word with "not" in it makes up for a negation only if nothing on the other side means it."""
_ENOUGH = 2
_UNTIL = 9
"""Words from a negation to the "until" that belongs to it, at most."""
_FOCUS = 3
"""Words from a negation to what it denies first, at most."""
_NEAR = 4
"""Words on either side of a negation that say what is denied."""
_LACKING = {"de": ("los", "lose", "losen", "loser", "loses"), "en": ("less",), "nl": ("loos", "loze")}
"""Endings that say "without"."""
_REACH = 3
"""Words that "without" denies."""


@dataclass(frozen=True, slots=True)
class _Negation:
    at: int
    scope: range
    """The words it denies, as narrow as can be told."""
    wide: range


@lru_cache(maxsize=64)
def negations(text: Text) -> tuple[_Negation, ...]:
    """Return every negation of a text with the words it is about."""
    keys = text.keys
    neutral = {at for place in text.language.neutral.places(keys) for at in place}
    neutral |= set(_never_so(text))
    if text.language.code == "fr":
        neutral |= _only(keys)
    found: list[_Negation] = []
    for at, key in enumerate(keys):
        if at in neutral or key not in text.language.negators:
            continue
        clause = text.clause_of(at)
        part = next((each for each in text.parts if at in each), clause)
        wide = range(min(clause.start, part.start), max(clause.stop, part.stop))
        if key in text.language.without:
            part = wide = range(at, min(at + 1 + _REACH, wide.stop))
        found.append(_Negation(at, part, wide))
    return tuple(found)


def _not_until(text: Text) -> list[int]:
    """Return the negators of "nothing until June", which says when something begins rather than that it is not."""
    keys = text.keys
    found: list[int] = []
    for at, key in enumerate(keys):
        clause = text.clause_of(at)
        if key in text.language.negators and any(
            keys[after] in text.language.until for after in range(at + 1, min(at + _UNTIL, clause.stop))
        ):
            found.append(at)
    return found


def _says_late(text: Text) -> bool:
    """Say whether a text has "not until" or a word that means it, "erst"."""
    return bool(_not_until(text)) or any(key in text.language.late for key in text.keys)


def _says_until(text: Text) -> bool:
    """Say whether a text says until when something lasts."""
    return not _not_until(text) and any(key in text.language.until for key in text.keys)


_COMPARING = {
    "en": (("as", "so"), ("as",)),
    "de": (("so",), ("wie",)),
    "fr": (("aussi", "autant", "si"), ("que", "qu")),
    "es": (("tan", "tanto", "tanta", "tantos", "tantas"), ("como",)),
    "it": (("cosi", "tanto", "tanta", "tanti", "tante"), ("come",)),
    "pt": (("tao", "tanto", "tanta", "tantos", "tantas"), ("como",)),
    "nl": (("zo", "even"), ("als",)),
    "ru": (("так", "такой", "такая", "такие", "таких"), ("как",)),
}
"""The words of "as high as"."""
_NO_COMPARISON = frozenset("long soon far well lange bald weit gut longtemps bien pronto presto lang goed".split())
"""What makes a conjunction of it: "as long as"."""
_SINCE = frozenset("since seit depuis desde dal sinds с".split())
_UTMOST = {
    "en": re.compile(r"(?:.{2,}est|most|least|worst|record)$"),
    "de": re.compile(r"(?:.{2,}ste[nrsm]?|rekord.*|maximal)$"),
    "fr": re.compile(r"(?:plus|moins|record.*|maxim.*|minim.*|meilleur.*|pire)$"),
    "es": re.compile(r"(?:mas|menos|mayor|menor|mejor|peor|record|maxim.*|minim.*)$"),
    "it": re.compile(r"(?:piu|meno|maggior.*|minor.*|miglior.*|peggior.*|record|massim.*|minim.*)$"),
    "pt": re.compile(r"(?:mais|menos|maior|menor|melhor|pior|recorde.*|maxim.*|minim.*)$"),
    "nl": re.compile(r"(?:.{2,}ste?|record.*|meest.*)$"),
    "ru": re.compile(r"(?:сам(?:ый|ая|ое|ые|ого|ой|ым|ых).*|наи.*|рекорд.*|.{2,}ейш.*)$"),
}
"""Words of the highest degree."""


def _never_so(text: Text) -> list[int]:
    """Return the negators of "as high as never before", which is a highest degree and denies nothing."""
    return [at for at in _as_high_as(text) if at >= 0]


def _as_high_as(text: Text) -> list[int]:
    """Return where a comparison has its negator; -1 for one with a time that lacks it, which says nothing then."""
    keys = text.keys
    so, than = _COMPARING.get(text.language.code, ((), ()))
    found: list[int] = []
    for first, key in enumerate(keys):
        if key not in so:
            continue
        second = next((at for at in range(first + 1, min(first + 5, len(keys))) if keys[at] in than), None)
        if second is None or any(keys[at] in _NO_COMPARISON for at in range(first + 1, second)):
            continue
        clause = text.clause_of(first)
        after = [at for at in range(second + 1, min(second + 7, clause.stop)) if keys[at] in text.language.negators]
        dated = second + 1 < len(keys) and keys[second + 1] in _SINCE
        found += after or ([-1] if dated else [])
    return found


def _says_utmost(text: Text) -> bool:
    pattern = _UTMOST.get(text.language.code)
    return bool(_never_so(text)) or (pattern is not None and any(pattern.fullmatch(key) for key in text.keys))


def _only(keys: Sequence[str]) -> set[int]:
    """Return where French "ne ... que" means only."""
    found: set[int] = set()
    for at, key in enumerate(keys):
        if key in {"ne", "n"}:
            near = keys[at + 1 : at + 7]
            if ("que" in near or "qu" in near) and not {"pas", "jamais", "rien", "plus", "personne"} & set(near):
                found.add(at)
    return found


def polarity_problem(sentence: Text, compared: Sequence[Compared]) -> str | None:
    """Return ``"negation"``, ``"opposite"`` or ``"modality"`` if the sentence and its evidence disagree."""
    late = any(_says_late(each.evidence) for each in compared)
    said = tuple(each for each in negations(sentence) if not (late and each.at in _not_until(sentence)))
    if _turns_time_round(sentence, compared, late=late) or _turns_degree_round(sentence, compared):
        return "negation"
    if _drops_any(sentence, said, compared) or _adds_any(sentence, said, compared):
        return "negation"
    if _says_opposite(sentence, said, compared):
        return "opposite"
    return _modality_problem(sentence, compared)


def _drops_any(sentence: Text, said: Sequence[_Negation], compared: Sequence[Compared]) -> bool:
    return (
        any(_drops_negation(sentence, said, each, compared) for each in compared)
        or any(_drops_denial(sentence, said, each) for each in compared)
        or any(_is_about_denied(sentence, part, said, compared) for part in _plain_parts(sentence, said))
    )


def _adds_any(sentence: Text, said: Sequence[_Negation], compared: Sequence[Compared]) -> bool:
    texts = [each.evidence for each in compared]
    return not all(_is_same_phrase(sentence, each, texts) or _is_denied(sentence, each, compared) for each in said)


def _turns_time_round(sentence: Text, compared: Sequence[Compared], *, late: bool) -> bool:
    """Say whether the sentence says until when of what, in the evidence, only begins then."""
    return late and _says_until(sentence) and not any(_says_until(each.evidence) for each in compared)


def _turns_degree_round(sentence: Text, compared: Sequence[Compared]) -> bool:
    """Say whether "as high as never before" lost its "never", or is of what the evidence gives no highest degree."""
    compares = _as_high_as(sentence)
    return -1 in compares or (bool(compares) and not any(_says_utmost(each.evidence) for each in compared))


@dataclass(frozen=True, slots=True)
class _Fit:
    """How well a part of the evidence fits some words."""

    score: float
    denied: bool
    compared: Compared
    part: range


def _fits(words: Sequence[int], compared: Sequence[Compared]) -> list[_Fit]:
    """Return every part of the evidence with how well it fits ``words`` of the sentence, best first."""
    found: list[_Fit] = []
    for each in compared:
        denials = negations(each.evidence)
        denied = {at for negation in denials for at in negation.scope}
        narrow = [negation.scope for negation in denials if negation.scope == negation.wide]
        for part in {*each.evidence.parts, *narrow}:
            columns = _content(each.evidence, part)
            if columns:
                there = float(each.alike[np.ix_(list(words), list(part))].max(axis=1).mean())
                back = float(each.alike[np.ix_(list(words), columns)].max(axis=0).mean())
                score = (2 * there + back) / 3
                found.append(_Fit(score, bool(denied & set(part)) and _is_whole(part, denials), each, part))
    return sorted(found, key=lambda fit: -fit.score)


def _is_whole(part: range, denials: Sequence[_Negation]) -> bool:
    """Say whether a negation is about a whole part, not only about the words after "without"."""
    return any(set(negation.scope) >= set(part) or negation.scope == part for negation in denials)


def _plain_parts(sentence: Text, said: Sequence[_Negation]) -> Iterator[list[int]]:
    """Yield the content words of each part of the sentence that is not negated."""
    denied = {at for negation in said for at in negation.wide}
    parts = [part for part in sentence.parts if not denied & set(part)]
    for part in parts:
        words = _content(sentence, part)
        if len(words) >= _ENOUGH:
            yield words
    if not said:
        yield _content(sentence, range(len(sentence.words)))


def _is_about_denied(
    sentence: Text, words: Sequence[int], said: Sequence[_Negation], compared: Sequence[Compared]
) -> bool:
    """Say whether plain words fit a negated part of the evidence best, which the sentence negates nowhere."""
    fits = _fits(words, compared) if words else []
    if not fits or not fits[0].denied or fits[0].score < _LEAST:
        return False
    there = fits[0].compared.evidence
    if all(_is_same_phrase(there, each, [sentence]) for each in negations(there) if each.at in fits[0].part):
        return False
    plain = next((fit.score for fit in fits if not fit.denied), 0.0)
    if fits[0].score < plain + _MARGIN:
        return False
    for negation in said:
        others = _fits(_nearby(sentence, negation), compared)
        same = next(
            (fit.score for fit in others if fit.part == fits[0].part and fit.compared is fits[0].compared), 0.0
        )
        if others and same >= others[0].score - _MARGIN:
            return False
    return not _is_made_up_for(sentence, set(words), fits[0].compared, fits[0].part)


def _drops_negation(
    sentence: Text, said: Sequence[_Negation], compared: Compared, everything: Sequence[Compared]
) -> bool:
    """Say whether the sentence repeats a negated part of the evidence without its negation."""
    evidence, alike = compared.evidence, compared.alike
    begins = _not_until(evidence) if _says_late(sentence) else []
    for negation in negations(evidence):
        if negation.at in begins or _is_same_phrase(evidence, negation, [sentence]):
            continue
        for scope in {negation.scope, negation.wide}:
            content = _content(evidence, scope)
            met = [at for at in content if float(alike[:, at].max(initial=0)) >= _COUNTERPART]
            if not content or len(met) < _REPEATED * len(content):
                continue
            hosts = [int(alike[:, at].argmax()) for at in met]
            focus = [int(alike[:, at].argmax()) for at in _focus(evidence, negation) if at in met]
            if any(_is_near(sentence, each, hosts) or set(focus) & set(each.scope) for each in said):
                continue
            if _means_elsewhere(sentence, hosts, scope, compared, everything):
                continue
            if _is_made_up_for(sentence, set(hosts), compared, scope):
                continue
            return True
    return False


def _drops_denial(sentence: Text, said: Sequence[_Negation], compared: Compared) -> bool:
    """Say whether the sentence repeats what the evidence denies by a word such as "stop" or "refuse", without it."""
    evidence, alike = compared.evidence, compared.alike
    rows = _content(sentence, range(len(sentence.words)))
    for part in evidence.parts:
        for at in part:
            if not _lacks(evidence, at) or float(alike[rows, at].max(initial=0)) >= _OPPOSED_WORD:
                continue
            content = [other for other in _content(evidence, part) if other != at]
            met = [other for other in content if float(alike[:, other].max(initial=0)) >= _COUNTERPART]
            if len(content) < _ENOUGH or len(met) < _REPEATED * len(content):
                continue
            hosts = {int(alike[:, other].argmax()) for other in met}
            clauses = {word for host in hosts for word in sentence.clause_of(host)}
            if any(set(each.wide) & clauses for each in said):
                continue
            if any(
                _lacks(sentence, word) or sentence.words[word].key in sentence.language.ceasing for word in clauses
            ):
                continue
            if not _is_made_up_for(sentence, hosts, compared, part):
                return True
    return False


def _means_elsewhere(
    sentence: Text, hosts: Sequence[int], scope: range, compared: Compared, everything: Sequence[Compared]
) -> bool:
    """Say whether the sentence's part with these words fits another part of the evidence, not negated, better."""
    parts = {part for host in hosts for part in sentence.parts if host in part}
    words = [at for part in parts for at in _content(sentence, part)]
    fits = _fits(words, everything) if words else []
    if not fits or fits[0].denied:
        return False
    own = max((fit.score for fit in fits if fit.compared is compared and set(fit.part) & set(scope)), default=0.0)
    return fits[0].score > own + _MARGIN


def _focus(text: Text, negation: _Negation) -> list[int]:
    """Return the words that a negation denies first: the nearest on either side that says something."""
    near = [at for at in _content(text, negation.wide) if 0 < abs(at - negation.at) <= _FOCUS]
    before = [at for at in near if at < negation.at][-1:]
    return before + [at for at in near if at > negation.at][:1]


def _is_near(sentence: Text, negation: _Negation, words: Sequence[int]) -> bool:
    """Say whether a negation of the sentence is about at least half of some words, or about the word next to it."""
    inside = sum(word in negation.wide for word in words)
    return 2 * inside >= len(words)


def _is_denied(sentence: Text, negation: _Negation, compared: Sequence[Compared]) -> bool:
    """Say whether the evidence denies what a negation of the sentence is about."""
    if _is_double(sentence, negation) and not any(
        _is_double(each.evidence, other) for each in compared for other in negations(each.evidence)
    ):
        return False
    part = next((part for part in sentence.parts if negation.at in part), negation.wide)
    choices = (_nearby(sentence, negation), _content(sentence, negation.wide), _content(sentence, part))
    return any(words and _fits_denied(sentence, words, negation, compared) for words in choices)


def _is_double(text: Text, negation: _Negation) -> bool:
    """Say whether a negation is about a word that denies as well: "not forbidden"."""
    return any(_lacks(text, at) for at in _focus(text, negation))


def _fits_denied(sentence: Text, words: Sequence[int], negation: _Negation, compared: Sequence[Compared]) -> bool:
    fits = _fits(words, compared)
    denied = next((fit for fit in fits if fit.denied), None)
    if denied and denied.score >= max(_LEAST, fits[0].score - _MARGIN):
        return True
    best = fits[0]  # a "free of charge" in another part denies nothing of this one
    return _is_made_up_for(sentence, set(negation.wide), best.compared, best.part, from_evidence=True)


def _nearby(sentence: Text, negation: _Negation) -> list[int]:
    """Return the words that say what a negation denies: those around it, or all of the sentence if there are none."""
    near = range(max(negation.wide.start, negation.at - _NEAR), min(negation.wide.stop, negation.at + _NEAR + 1))
    return (
        _content(sentence, near)
        or _content(sentence, negation.wide)
        or _content(sentence, range(len(sentence.words)))
    )


def _is_made_up_for(
    sentence: Text, hosts: set[int], compared: Compared, scope: range, *, from_evidence: bool = False
) -> bool:
    """Say whether an opposite, or a word with "not" in it, makes up for a negation that only one side has."""
    evidence, alike = compared.evidence, compared.alike
    clauses = {at for host in hosts for at in sentence.clause_of(host)}
    here = [sentence.words[at].key for at in sorted(clauses)]
    there = [evidence.words[at].key for at in scope]
    for opposite in load_lexicon().opposites:
        mine, theirs = _sides(opposite.sides, sentence, here), _sides(opposite.sides, evidence, there)
        if len(mine) == 1 and len(theirs) == 1 and mine != theirs:
            return True
    if from_evidence:
        rows = _content(sentence, range(len(sentence.words)))
        return any(_lacks(evidence, at) and float(alike[rows, at].max(initial=0)) < _UNMET for at in scope)
    return any(_lacks(sentence, at) and float(alike[at].max()) < _UNMET for at in clauses)


def _lacks(text: Text, at: int) -> bool:
    """Say whether a word has a "not" in it: "refuse", "unverändert", "kostenlos"."""
    key = text.words[at].key
    ending = key.endswith(_LACKING.get(text.language.code, ("\0",))) and len(key) > 5
    return ending or at in _denials(text)


@lru_cache(maxsize=64)
def _denials(text: Text) -> frozenset[int]:
    return frozenset(at for place in text.language.denials.places(text.keys) for at in place)


def _sides(sides: Sides, text: Text, keys: Sequence[str]) -> set[int]:
    """Return which sides of an opposite some words have; a phrase counts for itself, not for the words in it."""
    pair = sides.get(text.language.code)
    if pair is None:
        return set()
    places = [(side, place) for side in (0, 1) for place in pair[side].places(keys)]
    phrases = [place for _, place in places if len(place) > 1]
    return {side for side, place in places if not any(place != other and place.start in other for other in phrases)}


def _is_same_phrase(text: Text, negation: _Negation, others: Sequence[Text]) -> bool:
    """Say whether a negation belongs to a phrase such as "without notice" that another text says in its own words."""
    for opposite in load_lexicon().opposites:
        pair = opposite.sides.get(text.language.code)
        if pair is None:
            continue
        for side in (0, 1):
            if not any(len(place) > 1 and negation.at in place for place in pair[side].places(text.keys)):
                continue
            if any(_sides(opposite.sides, other, other.keys) == {side} for other in others):
                return True
    return False


def _says_opposite(sentence: Text, said: Sequence[_Negation], compared: Sequence[Compared]) -> bool:
    """Say whether a word of the sentence stands for its opposite in the evidence, and both or neither is negated."""
    denied_here = {at for each in said for at in each.wide}
    for opposite in load_lexicon().opposites:
        mine = opposite.sides.get(sentence.language.code)
        if mine is None:
            continue
        for side in (0, 1):
            for place in mine[side].places(sentence.keys):
                at = place.start
                if _has_side(mine[1 - side], sentence, at) or _side_is_there(opposite.sides, side, at, compared):
                    continue
                best = _best_fit(sentence, at, compared)
                if any(
                    _is_counterpart(each, at, column)
                    or (best is not None and best.compared is each and column in best.part)
                    for each in compared
                    for column in _opposed(opposite.sides, each, side, negated=at in denied_here)
                ):
                    return True
    return False


def _best_fit(sentence: Text, at: int, compared: Sequence[Compared]) -> _Fit | None:
    """Return the part of the evidence that fits the part of the sentence with a word best."""
    part = next((part for part in sentence.parts if at in part), None)
    words = _content(sentence, part) if part is not None else []
    fits = _fits(words, compared) if words else []
    return fits[0] if fits and fits[0].score >= _LEAST else None


def _has_side(words: WordList, text: Text, at: int) -> bool:
    clause = text.clause_of(at)
    return bool(words.places([text.words[each].key for each in clause]))


def _side_is_there(sides: Sides, side: int, at: int, compared: Sequence[Compared]) -> bool:
    for each in compared:
        pair = sides.get(each.evidence.language.code)
        if pair is None:
            continue
        if any(float(each.alike[at, place.start]) >= _COUNTERPART for place in pair[side].places(each.evidence.keys)):
            return True
    return False


def _opposed(sides: Sides, compared: Compared, side: int, *, negated: bool) -> Iterator[int]:
    """Yield the words of the other side that are negated, or not, as the sentence's word is."""
    evidence = compared.evidence
    pair = sides.get(evidence.language.code)
    denied = {at for each in negations(evidence) for at in each.scope}
    for place in pair[1 - side].places(evidence.keys) if pair else ():
        at = place.start
        itself = evidence.words[at].key in evidence.language.negators
        if itself or (at in denied) == negated:
            yield at


def _is_counterpart(compared: Compared, at: int, column: int) -> bool:
    return float(compared.alike[at, column]) >= _OPPOSED


def _modality_problem(sentence: Text, compared: Sequence[Compared]) -> str | None:
    """Compare duty with choice, and doubt with none, in the sentences of the evidence that are closest."""
    keys = sentence.keys
    language = sentence.language
    duty, choice = bool(language.duties.places(keys)), bool(language.choices.places(keys))
    hedged = bool(language.doubts.places(keys) or language.choices.places(keys) or language.likely.places(keys))
    for each in compared:
        best = closest(each.evidence, each.alike)
        there = [each.evidence.words[at].key for at in best]
        words = each.evidence.language
        their_duty, their_choice = bool(words.duties.places(there)), bool(words.choices.places(there))
        if (duty and not choice and their_choice and not their_duty) or (
            choice and not duty and their_duty and not their_choice
        ):
            return "modality"
        if words.doubts.places(there) and not hedged and _covers_doubt(each, best):
            return "modality"
    return None


def _covers_doubt(compared: Compared, scope: range) -> bool:
    """Say whether the sentence repeats the clause in which the evidence doubts."""
    evidence = compared.evidence
    for place in evidence.language.doubts.places(evidence.keys):
        if place.start not in scope:
            continue
        content = _content(evidence, evidence.clause_of(place.start))
        met = sum(float(compared.alike[:, at].max(initial=0)) >= _COUNTERPART for at in content)
        if content and met >= _REPEATED * len(content):
            return True
    return False


def _content(text: Text, scope: range) -> list[int]:
    return [at for at in scope if text.words[at].content or text.words[at].text.isdigit()]
