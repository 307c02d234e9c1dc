"""Parallel questions over parallel articles, in the form of ``../shared/data/xquad-dev`` (XQuAD, CC BY-SA 4.0).

    questions.jsonl   {"id", "doc", "question": {LANG: TEXT}, "full": {LANG: [start, end]}, "gapped": {...}}
    full/LANG/DOC.txt, gapped/LANG/DOC.txt

``gapped`` leaves two of five paragraphs out of each article, so some questions lose their answer while the article
around it stays: the hard kind of unanswerable.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from eval.cases import Case, CasesRejected, Gold
from index import Span


def read_xquad(folder: Path, corpus: str, document_language: str, question_languages: Sequence[str]) -> list[Case]:
    """Return a case for each question and question language, with gold in ``corpus/document_language``.

    Ids are ``DOC/QUESTION/LANG``, so that cases of one article share a prefix.

    Raises:
        CasesRejected: if the folder is not of this form.
    """
    cases: list[Case] = []
    try:
        for line in (folder / "questions.jsonl").read_text("utf-8").splitlines():
            entry = json.loads(line)
            span = entry[corpus][document_language]
            gold = (Gold(f"{entry['doc']}.txt", Span(*span)),) if span else ()
            cases += [
                Case(f"{entry['doc']}/{entry['id']}/{language}", language, entry["question"][language], gold)
                for language in question_languages
            ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CasesRejected("cases_invalid", f"'{folder}' does not have the form of xquad-dev: {error!r}.") from error
    return cases


def article(case: Case) -> str:
    """Return the article a case of :func:`read_xquad` belongs to."""
    return case.id.partition("/")[0]
