"""What becomes of a citation: its receipt checked against documents that were moved, changed, deleted, restored."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from index import Library, Span, document_from_text
from index.backup import back_up, restore
from index.catalogue_file import FILE_NAME
from service.answer import AnswerPolicy, answer_question
from service.app import build_app
from service.cli import app
from service.receipts import Receipt, Status, Verdict, make_receipt, quote_hash, verify_receipt
from service.routes import AppState
from service.schemas import ask_response
from tests.tiny import TinyEncoder

TEXT = "The old bridge closes in October. Its repair costs four million euros. A ferry carries people across."
QUOTE = "Its repair costs four million euros."


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Library]:
    with Library(tmp_path / "data", TinyEncoder(), writable=True) as library:
        yield library


def put(library: Library, source: str = "bridge.txt", text: str = TEXT, collection: str = "default") -> str:
    (added,) = library.add([document_from_text(source, text)], collection)
    return added.document.id


def cite(library: Library, document_id: str, quote: str = QUOTE) -> Receipt:
    """Return the receipt of a quote of a stored document."""
    start = library.text(document_id).index(quote)
    span = Span(start, start + len(quote))
    return make_receipt(library.document(document_id), library.generation, span, quote)


def short(verdict: Verdict) -> tuple[str, str | None, str | None]:
    return verdict.status.value, verdict.document.source if verdict.document else None, verdict.quote


# ---- what becomes of documents -------------------------------------------------------------------------------


def test_an_answers_receipts_are_valid(desk: Library) -> None:
    put(desk)
    answer = answer_question(desk, "what does the repair cost?", policy=AnswerPolicy(min_confidence=0.0))
    assert answer.citations
    for citation in answer.citations:
        verdict = verify_receipt(desk, citation.receipt)
        assert (verdict.status, verdict.span, verdict.quote) == (Status.VALID, citation.span, citation.quote)
        assert citation.receipt.generation == answer.generation == 1


def test_a_quote_that_stands_further_down_now(desk: Library) -> None:
    document_id = put(desk)
    receipt = cite(desk, document_id)
    put(desk, text=f"A new first sentence. {TEXT}")
    verdict = verify_receipt(desk, receipt)
    assert short(verdict) == ("moved", "bridge.txt", QUOTE)
    assert verdict.span is not None
    assert verdict.span.of(desk.text(document_id)) == QUOTE
    put(desk, text=f"{TEXT} A new last sentence.")
    assert short(verify_receipt(desk, receipt)) == ("valid", "bridge.txt", QUOTE)


def test_a_document_of_another_name_with_the_same_content(desk: Library) -> None:
    document_id = put(desk)
    receipt = cite(desk, document_id)
    desk.delete(document_id)
    put(desk, "other.txt", "Something else.")
    put(desk, "renamed.txt")
    verdict = verify_receipt(desk, receipt)
    assert short(verdict) == ("moved", "renamed.txt", QUOTE)
    assert verdict.span == Span(receipt.start, receipt.end)


def test_a_document_that_does_not_say_it_any_more(desk: Library) -> None:
    document_id = put(desk)
    receipt = cite(desk, document_id)
    put(desk, text=TEXT.replace("four", "five"))
    verdict = verify_receipt(desk, receipt)
    assert short(verdict) == ("changed", "bridge.txt", None)
    assert verdict.span is None


def test_its_own_document_counts_even_if_another_still_says_it(desk: Library) -> None:
    receipt = cite(desk, put(desk))
    put(desk, "copy.txt")
    put(desk, text="The bridge is gone.")
    assert short(verify_receipt(desk, receipt)) == ("changed", "bridge.txt", None)


def test_a_document_that_is_gone(desk: Library) -> None:
    document_id = put(desk)
    receipt = cite(desk, document_id)
    desk.delete(document_id)
    put(desk, "other.txt", "Something else.")
    assert short(verify_receipt(desk, receipt)) == ("deleted", None, None)


def test_a_document_that_was_added_again_is_found_by_its_name(desk: Library) -> None:
    document_id = put(desk)
    receipt = cite(desk, document_id)
    desk.delete(document_id)
    put(desk, "aaa.txt")  # has the same content, and comes first
    again = put(desk)
    assert again != document_id
    verdict = verify_receipt(desk, receipt)
    assert short(verdict) == ("valid", "bridge.txt", QUOTE)
    assert verdict.document is not None
    assert verdict.document.id == again
    put(desk, text="The bridge is gone.")
    assert short(verify_receipt(desk, receipt)) == ("changed", "bridge.txt", None)


def test_a_document_that_was_added_again_is_found_among_many_of_its_content(desk: Library) -> None:
    desk.add([document_from_text(f"copy{number}.txt", TEXT) for number in range(120)])
    document = desk.find_source("copy5.txt")
    assert document is not None
    receipt = cite(desk, document.id)
    desk.delete(document.id)
    put(desk, "copy5.txt")
    assert short(verify_receipt(desk, receipt)) == ("valid", "copy5.txt", QUOTE)


def test_the_name_of_another_collection_is_another_document(desk: Library) -> None:
    document_id = put(desk)
    receipt = cite(desk, document_id)
    desk.delete(document_id)
    elsewhere = put(desk, collection="second")
    assert short(verify_receipt(desk, receipt)) == ("deleted", None, None), "its past says where it belonged"
    unknown = replace(receipt, document_id="0123456789abcdef")
    verdict = verify_receipt(desk, unknown)
    assert short(verdict) == ("valid", "bridge.txt", QUOTE), "null control: nothing is known of its past"
    assert verdict.document is not None
    assert verdict.document.id == elsewhere
    put(desk)
    found = verify_receipt(desk, receipt).document
    assert found is not None
    assert found.collection == "default"


def test_an_update_of_a_deleted_document_is_remembered(desk: Library) -> None:
    """Its past is its own, whatever it said last."""
    document_id = put(desk)
    receipt = cite(desk, document_id)
    put(desk, text="The bridge is gone.")
    desk.delete(document_id)
    assert short(verify_receipt(desk, receipt)) == ("deleted", None, None)
    put(desk, "elsewhere.txt")
    assert short(verify_receipt(desk, receipt)) == ("moved", "elsewhere.txt", QUOTE)


def test_receipts_hold_in_a_restored_folder(desk: Library, tmp_path: Path) -> None:
    receipt = cite(desk, put(desk))
    back_up(desk.folder, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    with Library(tmp_path / "restored", TinyEncoder(), writable=False) as restored:
        assert short(verify_receipt(restored, receipt)) == ("valid", "bridge.txt", QUOTE)


def test_receipts_hold_in_a_folder_that_was_made_anew(desk: Library, tmp_path: Path) -> None:
    """Nothing is known of the document's past there: it is found by its name, or its content, anywhere."""
    receipt = cite(desk, put(desk))
    with Library(tmp_path / "anew", TinyEncoder(), writable=True) as anew:
        assert short(verify_receipt(anew, receipt)) == ("deleted", None, None)
        first = put(anew, "bridge.txt", f"New. {TEXT}", "second")
        assert short(verify_receipt(anew, receipt)) == ("moved", "bridge.txt", QUOTE)
        put(anew, "bridge.txt", TEXT, "third")
        assert short(verify_receipt(anew, receipt)) == ("valid", "bridge.txt", QUOTE), "the same content is better"
        anew.delete(first)
        assert short(verify_receipt(anew, receipt)) == ("valid", "bridge.txt", QUOTE)


@pytest.mark.parametrize(
    "change",
    [
        {"quote_sha256": quote_hash("Its repair costs five million euros.")},
        {"quote_sha256": "0" * 64},
        {"start": 33},
        {"end": 69},
        {"start": 10**6, "end": 10**6 + 20},
        {"start": 0, "end": 2**31 - 1},
    ],
)
def test_a_receipt_that_was_tampered_with(desk: Library, change: dict[str, object]) -> None:
    receipt = cite(desk, put(desk))
    verdict = verify_receipt(desk, replace(receipt, **change))  # type: ignore[arg-type]
    assert short(verdict) == ("changed", "bridge.txt", None)


def test_a_shifted_receipt_is_corrected(desk: Library) -> None:
    receipt = cite(desk, put(desk))
    shifted = replace(receipt, start=receipt.start + 3, end=receipt.end + 3)
    verdict = verify_receipt(desk, shifted)
    assert short(verdict) == ("moved", "bridge.txt", QUOTE)
    assert verdict.span == Span(receipt.start, receipt.end)


@pytest.mark.parametrize(("start", "end"), [(10, 5), (2**31 - 1, 0), (7, 7), (0, 0)])
def test_a_receipt_of_nothing_proves_nothing(desk: Library, start: int, end: int) -> None:
    receipt = replace(cite(desk, put(desk)), start=start, end=end)
    for forged in (receipt, replace(receipt, quote_sha256=quote_hash(""))):
        assert short(verify_receipt(desk, forged)) == ("changed", "bridge.txt", None)


@pytest.mark.parametrize(("start", "end"), [(10, 5), (7, 7)])
def test_a_receipt_of_nothing_over_http(desk: Library, start: int, end: int) -> None:
    receipt = replace(cite(desk, put(desk)), start=start, end=end, quote_sha256=quote_hash(""))
    with TestClient(build_app(AppState(desk)), base_url="http://localhost", raise_server_exceptions=False) as client:
        response = client.post("/v1/citations/verify", json=asdict(receipt))
    assert response.status_code in {200, 422}, response.text
    assert response.json().get("status") in {None, "changed"}


# ---- on the command line -------------------------------------------------------------------------------------


@pytest.fixture
def verify(desk: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], Result]:
    """Run ``fundstelle verify --receipts`` on some lines."""
    monkeypatch.setattr("index.open_encoder", lambda *_: TinyEncoder())

    def run(lines: list[str]) -> Result:
        desk.close()
        file = tmp_path / "receipts.jsonl"
        file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        return CliRunner().invoke(app, ["verify", "--data", str(desk.folder), "--receipts", str(file)])

    return run


def as_line(receipt: Receipt) -> str:
    return json.dumps(asdict(receipt))


Verify = Callable[[list[str]], Result]


def test_answers_and_receipts_that_hold(desk: Library, verify: Verify) -> None:
    document_id = put(desk)
    answer = answer_question(desk, "what does the repair cost?", policy=AnswerPolicy(min_confidence=0.0))
    receipt = cite(desk, document_id)
    put(desk, text=f"New. {TEXT}")
    done = verify([ask_response(answer).model_dump_json(), "", as_line(receipt)])
    assert done.exit_code == 0, done.output
    assert "all in order" in done.stdout


def test_receipts_that_do_not_hold_are_named_with_their_line(desk: Library, verify: Verify) -> None:
    changed, deleted = put(desk), put(desk, "gone.txt", "The ferry is new. It costs nothing.")
    answer = answer_question(desk, "what does the repair cost?", policy=AnswerPolicy(min_confidence=0.0))
    gone = cite(desk, deleted, "It costs nothing.")
    put(desk, text=TEXT.replace("four", "five").replace("closes", "opens"))
    desk.delete(deleted)
    kept = cite(desk, changed, "A ferry carries people across.")
    done = verify([as_line(kept), ask_response(answer).model_dump_json(), as_line(gone)])
    assert done.exit_code == 1
    assert "receipt 2: bridge.txt" in done.stderr
    assert "is changed" in done.stderr
    assert re.search(r"receipt 3: gone\.txt 18:35 is deleted", done.stderr)
    assert "receipt 1" not in done.stderr
    assert "all in order" not in done.stdout


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "7", '"text"', "null", "{}", '{"citations": 3}', '{"citations": [{}]}', "[" * 5000, '{"start": -1}'],
)
def test_a_line_that_is_no_receipt(desk: Library, verify: Verify, line: str) -> None:
    receipt = cite(desk, put(desk))
    done = verify([as_line(receipt), line])
    assert done.exit_code == 1
    assert "fundstelle: receipts_invalid: Line 2 of" in done.stderr
    assert "Traceback" not in done.output


def test_a_file_of_receipts_that_is_not_there(desk: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.open_encoder", lambda *_: TinyEncoder())
    put(desk)
    desk.close()
    for file in (tmp_path / "absent", tmp_path):
        done = CliRunner().invoke(app, ["verify", "--data", str(desk.folder), "--receipts", str(file)])
        assert done.exit_code == 1
        assert "fundstelle: receipts_invalid:" in done.stderr


def test_damage_and_receipts_are_both_reported(desk: Library, verify: Verify) -> None:
    receipt = cite(desk, put(desk))
    put(desk, "other.txt", "Something else.")
    desk.delete(receipt.document_id)
    desk.compact(force=True)
    desk.close()
    connection = sqlite3.connect(desk.folder / FILE_NAME)
    connection.execute("UPDATE contents SET text = 'Something more.'")
    connection.commit()
    connection.close()
    done = verify([as_line(receipt)])
    assert done.exit_code == 1
    assert "damaged rows in contents" in done.stderr
    assert "is deleted" in done.stderr
