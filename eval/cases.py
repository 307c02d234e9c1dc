"""Evaluation cases: questions with gold spans in named sources, or none where the documents do not answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from index import Span
from index.errors import InputError


class CasesRejected(InputError):
    """A file of cases cannot be used."""

    codes: ClassVar[dict[str, str]] = {
        "cases_invalid": "See docs/evaluation.md for the form of a case.",
        "results_invalid": "Give two result files written by 'fundstelle eval run'.",
    }


@dataclass(frozen=True, slots=True)
class Gold:
    """A span that proves an answer, in the document named ``source``."""

    source: str
    span: Span


@dataclass(frozen=True, slots=True)
class Case:
    """A question; any one of ``gold`` is right evidence, an empty tuple means the documents do not answer it."""

    id: str
    language: str
    question: str
    gold: tuple[Gold, ...]

    @property
    def answerable(self) -> bool:
        """Whether the documents answer the question."""
        return bool(self.gold)


def read_cases(file: Path) -> list[Case]:
    """Read cases from JSON lines: ``{"id", "lang", "question", "evidence": [{"doc", "start", "end"}]}``.

    Raises:
        CasesRejected: if the file cannot be read or a line is not a case; ids must differ.
    """
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CasesRejected("cases_invalid", f"'{file}' cannot be read.") from error
    cases: list[Case] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                cases.append(_case(json.loads(line)))
            except (ValueError, KeyError, TypeError) as error:
                raise CasesRejected(
                    "cases_invalid", f"Line {number} of '{file}' is not a case: {error!r}."
                ) from error
    if not cases or len({case.id for case in cases}) != len(cases):
        raise CasesRejected("cases_invalid", f"'{file}' has no cases, or two with the same id.")
    return cases


def _case(entry: dict[str, Any]) -> Case:
    gold = tuple(Gold(str(item["doc"]), Span(int(item["start"]), int(item["end"]))) for item in entry["evidence"])
    if any(not 0 <= item.span.start < item.span.end for item in gold):
        raise ValueError("an evidence span is empty")
    return Case(str(entry["id"]), str(entry["lang"]), str(entry["question"]), gold)
