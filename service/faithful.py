"""Whether a written sentence says what the evidence it cites says: every check, for one sentence at a time.

A sentence passes only if no check objects. What cannot be checked, a language without word lists for example, counts
as an objection.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from index.encoder import Encoder
from index.language import detect_language
from service.alignment import Compared, Text, read_texts, similarities
from service.faithful_names import unknown_names
from service.faithful_numbers import Figures, missing_figures, read_figures
from service.faithful_polarity import polarity_problem
from service.faithful_quotes import quote_problem, without_quotes
from service.faithful_roles import exchanges_names, takes_place_of
from service.faithful_support import Limits, is_misplaced, load_limits, measure_support
from service.lexicon import count_function_words, folded_words, language_of, load_lexicon

CHECKS = (
    "uncited",
    "citation",
    "form",
    "language",
    "quote",
    "number",
    "date",
    "name",
    "negation",
    "opposite",
    "modality",
    "roles",
    "support",
)
"""Every objection a sentence can meet, by its stable code."""

_FORM = re.compile(
    r"https?:|www\.|\bjavascript:|\bdata:|!\[|\]\(|\]\[|\[\w*\]:|</?[a-zA-Z!][^>]*>|&#?\w+;|[`{}|\\]|<|>|\[|\]|\w@\w"
    r"|[\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ue000-\uf8ff\ufff0-\uffff]"
    r"|[\U000e0000-\U000e007f]"
)
"""What an answer of plain sentences has no use for: links, images, markup, characters that hide."""
LONGEST = 600


@dataclass(frozen=True, slots=True)
class EvidenceText:
    """A citation's quote as the checks see it."""

    text: str
    language: str
    """Of its document."""


class Faithfulness:
    """Checks sentences against the evidence of one answer.

    Args:
        encoder: the model whose token states say which words are alike.
        question: as it was asked.
        evidence: the quotes by their numbers.
        searched: what they were found with, if that is more than the question; its words count as the question's.
        checks: which of ``CHECKS`` may object; all but in tests that show what each is good for.
        limits: thresholds of support.
    """

    def __init__(
        self,
        encoder: Encoder,
        question: str,
        evidence: Mapping[int, EvidenceText],
        *,
        searched: str = "",
        checks: Sequence[str] = CHECKS,
        limits: Limits | None = None,
    ) -> None:
        self._encoder = encoder
        self._question = searched or question
        self._checks = frozenset(checks)
        self._limits = limits or load_limits()
        self._languages = load_lexicon().languages
        detected = detect_language(question)
        self._asked_in = _language(question, detected)
        self._is_sure = detected == self._asked_in
        self.numbers = frozenset(evidence)
        readable = {
            number: (item.text, code)
            for number, item in evidence.items()
            if (code := _language(item.text, item.language)) is not None
        }
        texts = read_texts(encoder, list(readable.values()))
        self._texts: dict[int, Text] = dict(zip(readable, texts, strict=True))
        self._figures: dict[int, Figures] = {
            number: read_figures(text.text, text.language) for number, text in self._texts.items()
        }

    @property
    def language(self) -> str:
        """Code of the question's language; English if it cannot be told."""
        return self._asked_in or "en"

    @property
    def language_name(self) -> str:
        """English name of the question's language, empty if there are no word lists for it."""
        return self._languages[self._asked_in].name if self._asked_in else ""

    def objection(self, sentence: str, cited: Sequence[int]) -> str | None:
        """Return the code of the first check that objects to ``sentence``; ``None`` if it may be shown.

        Args:
            sentence: one sentence without its marks.
            cited: the numbers of its marks.
        """
        quick = [code for code in _marks(cited, self.numbers) if code in self._checks]
        found = quick or self.objections(sentence, cited)
        return found[0] if found else None

    def objections(self, sentence: str, cited: Sequence[int]) -> tuple[str, ...]:
        """Return the codes of all checks that object, as far as they can be told side by side.

        A sentence whose marks lead nowhere is compared with all of the evidence, to see what else is wrong with it.
        """
        found = _marks(cited, self.numbers)
        if _FORM.search(sentence) or len(sentence) > LONGEST or not folded_words(sentence):
            found.append("form")
        valid = [number for number in dict.fromkeys(cited) if number in self.numbers] or sorted(self.numbers)
        numbers = [number for number in valid if number in self._texts]
        own = without_quotes(sentence)
        code = _language(own if len(folded_words(own)) > 1 else sentence, self._asked_in or "en")
        foreign = code is None or self._is_foreign(own, code)
        if foreign or len(numbers) < len(valid):
            found.append("language")
        if numbers and code is not None:
            (text,) = read_texts(self._encoder, [(sentence, code)])
            found += self._compare(text, numbers)
        else:
            found.append("support")
        return tuple(each for each in dict.fromkeys(found) if each in self._checks)

    def _compare(self, text: Text, numbers: Sequence[int]) -> list[str]:
        evidence = [self._texts[number] for number in numbers]
        figures = [self._figures[number] for number in numbers]
        compared = [Compared(each, similarities(text, each)) for each in evidence]
        said = read_figures(text.text, text.language)
        found: list[str] = []
        if quote_problem(text.text, evidence):
            found.append("quote")
        found += dict.fromkeys(missing_figures(said, figures))
        if is_misplaced(text, said, compared, figures):
            found.append("number")
        unknown = [unknown_names(text, each.evidence, each.alike, self._question) for each in compared]
        if frozenset.intersection(*unknown):
            found.append("name")
        polarity = polarity_problem(text, compared)
        if polarity:
            found.append(polarity)
        if exchanges_names(text, compared) or takes_place_of(text, compared):
            found.append("roles")
        if not measure_support(text, compared).is_enough(self._limits):
            found.append("support")
        return found

    def _is_foreign(self, sentence: str, code: str) -> bool:
        """Say whether a sentence is plainly in another language than the question."""
        if self._asked_in is None or code == self._asked_in or not self._is_sure:
            return False
        words = folded_words(sentence)
        own = sum(word in self._languages[code].stop for word in words)
        asked = sum(word in self._languages[self._asked_in].stop for word in words)
        return own >= asked + 2 or (own > asked and detect_language(sentence) == code)


def _marks(cited: Sequence[int], numbers: Collection[int]) -> list[str]:
    if not cited:
        return ["uncited"]
    return ["citation"] if any(number not in numbers for number in cited) else []


def _language(text: str, usual: str) -> str | None:
    """Return the code of the language of ``text``; ``None`` if there are no word lists for it."""
    languages = load_lexicon().languages
    words = [word for word in folded_words(text) if not word.isdigit()]
    counts = count_function_words(words)
    most = max(counts.values())
    detected = detect_language(text)
    for code in (usual, detected):
        if counts.get(code, -1) >= max(1, most - (code == detected)):
            return code
    if detected in languages:
        return language_of(text, detected)
    return language_of(text, usual) if most * 4 >= max(1, len(words)) else None
