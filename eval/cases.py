"""Evaluation cases: questions with gold spans in named sources, or none where the documents do not answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from index import Span
from index.errors import InputError


class CasesRejected(InputError):
    """A file of cases, or of results, cannot be used."""

    codes: ClassVar[dict[str, str]] = {
        "cases_invalid": "See docs/evaluation.md for the forms of cases that are read.",
        "results_invalid": "Give two result files written by 'fundstelle eval run'.",
        "extra_missing": "Install the packages of evaluation: pip install 'fundstelle[eval]'.",
    }


@dataclass(frozen=True, slots=True)
class Gold:
    """A span that proves an answer, in the document named ``source``; a higher ``relevance`` is better."""

    source: str
    span: Span
    relevance: int = 1


@dataclass(frozen=True, slots=True)
class Case:
    """A question; any one of ``gold`` is right evidence, an empty tuple means the documents do not answer it."""

    id: str
    language: str
    question: str
    gold: tuple[Gold, ...]
    group: str = ""
    """Cases of one group, such as the questions on one article, vary together; intervals resample whole groups."""

    @property
    def answerable(self) -> bool:
        """Whether the documents answer the question."""
        return bool(self.gold)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Cases that belong together, and the documents they are about if the dataset brings them along."""

    name: str
    cases: tuple[Case, ...]
    documents: Mapping[str, str] = field(default_factory=dict)
    """Text by source; empty where the documents are files of their own."""
    whole_documents: bool = False
    """Whether relevance is judged of whole documents: of several passages of one only the first counts."""
