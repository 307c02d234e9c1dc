"""Cases in the forms in which they are published or written by hand; every form is recognised by what it holds.

Offsets are code points, and the documents that a dataset brings along are such that :mod:`index.load` gives back the
very same text once they are written to files: no byte order mark in front, line ends as they are.
"""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, unquote

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from eval.cases import Case, CasesRejected, Dataset, Gold
from index import Span
from index.language import detect_language

FORMS = (
    "These forms are read: JSON lines of cases, the form of xquad-dev, JSON of the SQuAD family (SQuAD, XQuAD, MLQA, "
    "GermanQuAD), and BEIR folders."
)
_BETWEEN_PARAGRAPHS = "\n\n"
_MAX_NAME_BYTES = 200  # of the 255 that a file's name may have; a number and the suffix follow
_SPLITS = ("test", "dev", "train")

Id = StrictStr | StrictInt


def _without_byte_order_mark(text: str) -> str:
    """Put the word joiner, which has the same meaning and length, where a mark in front would be lost on reading."""
    return text.replace("\ufeff", "\u2060")


Text = Annotated[StrictStr, AfterValidator(_without_byte_order_mark)]


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Evidence(_Form):
    doc: StrictStr
    start: Annotated[StrictInt, Field(ge=0)]
    end: StrictInt
    relevance: Annotated[StrictInt, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _is_not_empty(self) -> _Evidence:
        if self.end <= self.start:
            raise ValueError("the span is empty")
        return self


class _OwnLine(_Form):
    id: Id
    lang: StrictStr
    question: StrictStr
    evidence: list[_Evidence]
    group: StrictStr = ""


class _ParallelLine(_Form):
    """A question in many languages; every further key with an object is a corpus: language to place, or null."""

    model_config = ConfigDict(extra="allow")

    id: Id
    doc: StrictStr
    question: dict[str, StrictStr]

    @property
    def corpora(self) -> Mapping[str, Mapping[str, Any]]:
        return {key: value for key, value in (self.model_extra or {}).items() if isinstance(value, dict)}


class _Answer(_Form):
    text: Text
    answer_start: StrictInt


class _Question(_Form):
    id: Id
    question: StrictStr
    answers: list[_Answer]
    is_impossible: StrictBool | None = None


class _Paragraph(_Form):
    context: Text
    qas: list[_Question]


class _Article(_Form):
    title: StrictStr | None = None
    paragraphs: list[_Paragraph]


class _Squad(_Form):
    data: list[_Article]


class _BeirQuery(_Form):
    id: Id = Field(alias="_id")
    text: Text


class _BeirDocument(_BeirQuery):
    title: Text | None = None


_JSON: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)
_PLACE: TypeAdapter[tuple[int, int] | None] = TypeAdapter(tuple[StrictInt, StrictInt] | None)
_Line = TypeVar("_Line", bound=_Form)


@dataclass(frozen=True, slots=True)
class _Choice:
    """What is taken out of a dataset in several corpora and languages."""

    corpus: str
    documents: str
    questions: Sequence[str]


def read_dataset(
    path: Path, *, corpus: str = "full", documents: str = "de", questions: Sequence[str] = ("en",)
) -> Dataset:
    """Read a dataset of whichever form it is.

    - JSON lines of cases: ``{"id", "lang", "question", "evidence": [{"doc", "start", "end", "relevance"?}],
      "group"?}``.
    - The form of xquad-dev, its folder or its ``questions.jsonl``: ``{"id", "doc", "question": {LANG: TEXT},
      CORPUS: {LANG: [START, END] or null}}``. Ids become ``DOC/ID/LANG``. ``corpus``, ``documents`` (the language of
      the documents) and ``questions`` (those of the questions) choose; in the other forms there is nothing to choose.
    - The SQuAD family (Rajpurkar et al. 2016), one JSON object. Each article becomes one document, with a blank line
      between its paragraphs.
    - A BEIR folder (Thakur et al. 2021): ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/test.tsv``, or ``dev.tsv``,
      or ``train.tsv``. Relevance is judged of whole documents.

    Where a form does not say the language of the questions, it is detected on all of them together.

    Raises:
        CasesRejected: if the dataset cannot be read, has none of these forms, has no cases or two with the same id,
            lacks the corpus or a language, or has an answer that is not in its paragraph.
    """
    choice = _Choice(corpus, documents, questions)
    try:
        if path.is_dir():
            return _from_folder(path, choice)
        return _from_file(path, choice)
    except (OSError, ValueError) as error:  # not there, not readable, not UTF-8
        raise _rejected(f"'{path}' cannot be read: {error}.") from error


def write_documents(dataset: Dataset, folder: Path) -> int:
    """Write the texts that ``dataset`` brings along as UTF-8 files into ``folder``; return how many there are.

    Raises:
        CasesRejected: if it brings none, or one whose name is not that of a visible file in ``folder``.
    """
    if not dataset.documents:
        raise _rejected(f"'{dataset.name}' brings no documents along; index its files.")
    for source in dataset.documents:
        if Path(source).name != source or source[:1] in ("", "."):  # hidden files are passed over
            raise _rejected(f"'{source}' of '{dataset.name}' is not the name of a file in a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    for source, text in dataset.documents.items():
        with (folder / source).open("w", encoding="utf-8", newline="") as file:  # or offsets move at line ends
            file.write(text)
    return len(dataset.documents)


def write_cases(dataset: Dataset, file: Path) -> None:
    """Write ``dataset`` as JSON lines of cases, with the words of the evidence if it brings the documents along.

    Raises:
        CasesRejected: if relevance is judged of whole documents, which these lines cannot say.
    """
    if dataset.whole_documents:
        raise _rejected(f"'{dataset.name}' judges whole documents; lines of cases cannot say so.")
    with file.open("w", encoding="utf-8", newline="\n") as lines:
        for case in dataset.cases:
            entry: dict[str, Any] = {"id": case.id, "lang": case.language, "question": case.question}
            entry |= {"group": case.group} if case.group else {}
            entry["evidence"] = [_evidence(gold, dataset.documents) for gold in case.gold]
            lines.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _evidence(gold: Gold, documents: Mapping[str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"doc": gold.source, "start": gold.span.start, "end": gold.span.end}
    if gold.relevance != 1:
        entry["relevance"] = gold.relevance
    if gold.source in documents:
        entry["text"] = gold.span.of(documents[gold.source])
    return entry


def _from_folder(folder: Path, choice: _Choice) -> Dataset:
    if (folder / "corpus.jsonl").is_file():
        return _beir(folder)
    if (folder / "questions.jsonl").is_file():
        return _parallel(folder / "questions.jsonl", choice)
    raise _rejected(f"'{folder}' has neither corpus.jsonl nor questions.jsonl. {FORMS}")


def _from_file(file: Path, choice: _Choice) -> Dataset:
    text = file.read_bytes().decode("utf-8-sig")
    match _beginning(text):
        case {"data": _}:
            return _squad(file, text)
        case {"doc": _, "question": dict()}:
            return _parallel(file, choice)
        case {"evidence": _}:
            return _own(file)
    try:
        return _own(file)  # to say what is wrong with its first line
    except CasesRejected as error:
        raise _rejected(f"{error.message} {FORMS}") from error


def _beginning(text: str) -> object:
    """Return the JSON that ``text`` is, or that its first line is; ``None`` if neither."""
    for candidate in (text, text.lstrip().partition("\n")[0]):
        try:
            return _JSON.validate_json(candidate)
        except ValidationError:
            continue
    return None


def _own(file: Path) -> Dataset:
    cases = [
        Case(
            str(line.id),
            line.lang,
            line.question,
            tuple(Gold(item.doc, Span(item.start, item.end), item.relevance) for item in line.evidence),
            line.group,
        )
        for _, line in _lines(file, _OwnLine, "a case")
    ]
    return Dataset(file.stem, _checked(file, cases))


def _parallel(file: Path, choice: _Choice) -> Dataset:
    cases: list[Case] = []
    for number, line in _lines(file, _ParallelLine, "a question in several languages"):
        where = f"Line {number} of '{file}'"
        places = _chosen(where, "corpus", choice.corpus, line.corpora)
        place = _chosen(where, "document language", choice.documents, places)
        try:
            span = _PLACE.validate_python(place)
        except ValidationError as error:
            raise _rejected(f"{where}: the place in '{choice.corpus}' is wrong: {_reason(error)}.") from error
        if span and not 0 <= span[0] < span[1]:
            raise _rejected(f"{where}: the span in '{choice.corpus}' is empty.")
        gold = (Gold(f"{line.doc}.txt", Span(*span)),) if span else ()
        for language in choice.questions:
            question = _chosen(where, "question language", language, line.question)
            cases.append(Case(f"{line.doc}/{line.id}/{language}", language, question, gold, line.doc))
    stem = file.resolve().parent.name if file.name == "questions.jsonl" else file.stem
    name = f"{stem} {choice.corpus} {'+'.join(choice.questions)}-{choice.documents}"
    return Dataset(name, _checked(file, cases))


_Chosen = TypeVar("_Chosen")


def _chosen(where: str, what: str, name: str, there: Mapping[str, _Chosen]) -> _Chosen:
    if name not in there:
        raise _rejected(f"{where} has no {what} '{name}'; there is: {', '.join(sorted(there)) or 'none'}.")
    return there[name]


def _squad(file: Path, text: str) -> Dataset:
    try:
        articles = _Squad.model_validate_json(text).data
    except ValidationError as error:
        raise _rejected(f"'{file}' is not of the SQuAD family: {_reason(error)}.") from error
    language = detect_language(
        "\n".join(asked.question for article in articles for part in article.paragraphs for asked in part.qas)
    )
    sources, documents, cases = _Sources(), dict[str, str](), list[Case]()
    for number, article in enumerate(articles, start=1):
        group = sources.take(_slug(article.title or "") or f"{number:04}")
        source = f"{group}.txt"
        offsets = _offsets(article)
        for paragraph in article.paragraphs:
            offset = offsets[paragraph.context]
            for asked in paragraph.qas:
                spans = [_locate(file, asked, paragraph.context, answer) for answer in _answers(file, asked)]
                gold = dict.fromkeys(Gold(source, Span(offset + span.start, offset + span.end)) for span in spans)
                cases.append(Case(str(asked.id), language, asked.question, tuple(gold), group))
        _keep(documents, source, _BETWEEN_PARAGRAPHS.join(offsets))
    return Dataset(file.stem, _checked(file, cases), documents)


def _offsets(article: _Article) -> dict[str, int]:
    """Return where each context starts; one that stands there several times, as in MLQA, is there once."""
    offsets: dict[str, int] = {}
    length = 0
    for paragraph in article.paragraphs:
        if paragraph.context not in offsets:
            offsets[paragraph.context] = length
            length += len(paragraph.context) + len(_BETWEEN_PARAGRAPHS)
    return offsets


def _answers(file: Path, asked: _Question) -> list[_Answer]:
    if asked.is_impossible:  # what stands there is plausible at most
        return []
    if asked.is_impossible is False and not asked.answers:
        raise _rejected(f"Question '{asked.id}' of '{file}' is said to have an answer, but none is given.")
    return asked.answers


def _locate(file: Path, asked: _Question, context: str, answer: _Answer) -> Span:
    """Return where the answer is in ``context``: where it says, or where its words occur nearest to that.

    Some translations were aligned in other units, or before their spaces were cleaned, and are a few places off.
    """
    near = max(answer.answer_start, 0)
    found = {context.rfind(answer.text, 0, near + len(answer.text)), context.find(answer.text, near)} - {-1}
    if not answer.text or not found:
        raise _rejected(f"Question '{asked.id}' of '{file}': an answer is not in its paragraph.")
    start = min(sorted(found), key=lambda place: abs(place - answer.answer_start))
    return Span(start, start + len(answer.text))


def _beir(folder: Path) -> Dataset:
    sources, documents = _Sources(), dict[str, str]()
    source_of: dict[str, str] = {}
    for number, entry in _lines(folder / "corpus.jsonl", _BeirDocument, "a document"):
        id_ = str(entry.id)
        if id_ in source_of:
            raise _rejected(f"Line {number} of '{folder / 'corpus.jsonl'}': there is a document '{id_}' already.")
        source_of[id_] = f"{sources.take(_reversible(id_))}.txt"
        text = _BETWEEN_PARAGRAPHS.join(part for part in (entry.title, entry.text) if part)
        _keep(documents, source_of[id_], text)
    judged = _judged(folder)
    for id_ in dict.fromkeys(id_ for relevances in judged.values() for id_ in relevances):
        if id_ not in source_of:
            source_of[id_] = f"{sources.take(_reversible(id_))}.txt"
    whole = {source: Span(0, len(text)) for source, text in documents.items()}
    queries = [query for _, query in _lines(folder / "queries.jsonl", _BeirQuery, "a query")]
    asked = {str(query.id): query.text for query in queries if str(query.id) in judged}
    if unknown := judged.keys() - asked.keys():
        raise _rejected(f"'{folder}' judges documents for the query '{min(unknown)}', which it does not have.")
    if len(queries) != len({str(query.id) for query in queries}):
        raise _rejected(f"'{folder / 'queries.jsonl'}' has two queries with the same id.")
    language = detect_language("\n".join(asked.values()))
    cases = []
    for id_, question in asked.items():
        relevant = [(source_of[document], relevance) for document, relevance in judged[id_].items()]
        # What is judged but has no text is never indexed, and so a miss.
        gold = tuple(Gold(source, whole.get(source, Span(0, 1)), relevance) for source, relevance in relevant)
        cases.append(Case(id_, language, question, gold))
    return Dataset(folder.resolve().name, _checked(folder, cases), documents, whole_documents=True)


def _judged(folder: Path) -> dict[str, dict[str, int]]:
    """Return the relevance above 0 by query and document; of two judgements on one document the last is taken."""
    files = [file for split in _SPLITS if (file := folder / "qrels" / f"{split}.tsv").is_file()]
    if not files:
        raise _rejected(f"'{folder}' has no qrels/test.tsv, qrels/dev.tsv or qrels/train.tsv.")
    scores: dict[str, dict[str, int]] = {}
    with files[0].open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.reader(lines, delimiter="\t")
        try:
            for row in rows:
                if row and not (rows.line_num == 1 and _is_header(row)):
                    query, document, score = row
                    scores.setdefault(query, {})[document] = int(score)
        except (csv.Error, ValueError) as error:
            message = f"Line {rows.line_num} of '{files[0]}' is not query, document and whole score: {error}."
            raise _rejected(message) from error
    relevant = {
        query: {document: score for document, score in judged.items() if score > 0}
        for query, judged in scores.items()
    }
    return {query: documents for query, documents in relevant.items() if documents}


def _is_header(row: list[str]) -> bool:
    return len(row) == 3 and not row[2].strip().removeprefix("-").isdecimal()


class _Sources:
    """Gives out the names of files, each once, also where capitals do not count."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}

    def take(self, wanted: str) -> str:
        """Return ``wanted``, cut if it is too long, with a number behind it if it is taken."""
        base = wanted.encode("utf-8")[:_MAX_NAME_BYTES].decode("utf-8", errors="ignore")
        name, number = base, self._last.get(base, 1)
        while name.casefold() in self._taken:
            number += 1
            name = f"{base}-{number}"
        self._last[base] = number
        self._taken.add(name.casefold())
        return name


def _slug(title: str) -> str:
    """Return letters, digits and marks of ``title``, of any script; hyphens for whatever was between them."""
    kept = (
        character if character in "._-" or unicodedata.category(character)[0] in "LMN" else " "
        for character in unicodedata.normalize("NFC", unquote(title))
    )
    return re.sub(r"[ -]+", "-", "".join(kept)).strip("-._")


def _reversible(id_: str) -> str:
    """Return ``id_`` as a file's name from which :func:`urllib.parse.unquote` gives it back."""
    quoted = quote(id_, safe="")
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted or "%"  # a leading dot would hide the file


def _keep(documents: dict[str, str], source: str, text: str) -> None:
    """Keep ``text`` unless it has no letter or digit: the index refuses it, so gold in it is a miss."""
    if any(character.isalnum() for character in text):
        documents[source] = text


def _lines(file: Path, form: type[_Line], what: str) -> Iterator[tuple[int, _Line]]:
    """Yield number and content of each line; only a line feed ends one, others may stand inside a string."""
    with file.open(encoding="utf-8-sig", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    content = form.model_validate_json(line)
                except ValidationError as error:
                    message = f"Line {number} of '{file}' is not {what}: {_reason(error)}."
                    raise _rejected(message) from error
                yield number, content


def _checked(path: Path, cases: list[Case]) -> tuple[Case, ...]:
    if not cases:
        raise _rejected(f"'{path}' has no cases.")
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise _rejected(f"'{path}' has two cases with the id '{case.id}'.")
        seen.add(case.id)
    return tuple(cases)


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


def _rejected(message: str) -> CasesRejected:
    return CasesRejected("cases_invalid", message)
