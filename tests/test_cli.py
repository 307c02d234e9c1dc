"""The command line as people use it: real processes, the real model, exit codes and streams."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

COMMAND = [sys.executable, "-m", "service"]


def run(*arguments: str, code: int = 0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, cwd=cwd or ROOT, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, e5: object) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "data"
    done = run("index", "sample", "--data", str(folder))
    assert re.search(r"^16 added, 0 updated, 0 unchanged, 0 left out\.$", done.stdout, re.MULTILINE)
    return folder


def test_indexing_again_changes_nothing(data: Path) -> None:
    assert "0 added, 0 updated, 16 unchanged" in run("index", "sample", "--data", str(data)).stdout


def test_the_missions_question(data: Path) -> None:
    done = run("ask", "what did Germany offer France?", "--data", str(data))
    assert "deutschland-frankreich-hilfe.txt" in done.stdout
    assert "Peschmerga" in done.stdout or "Mali" in done.stdout
    assert "[1]" in done.stdout


def test_json_is_the_http_body(data: Path) -> None:
    from service.schemas import AskResponse, SearchResponse

    asked = AskResponse.model_validate_json(
        run("ask", "Why is the bridge closed?", "--data", str(data), "--json").stdout
    )
    assert asked.question == "Why is the bridge closed?"
    found = SearchResponse.model_validate_json(
        run("search", "Brücke", "--data", str(data), "--top-k", "3", "--json").stdout
    )
    assert len(found.passages) == 3


def test_search_verify_info_and_model_path(data: Path) -> None:
    assert run("search", "bridge", "--data", str(data), "--top-k", "2").stdout.startswith("1. 0.")
    assert "all in order" in run("verify", "--data", str(data)).stdout
    info = json.loads(run("info", "--data", str(data), "--json").stdout)
    assert info["documents"] == 16
    assert info["settings"]["data"] == str(data)
    assert 0 < info["settings"]["min_confidence"] < 1, "the measured default is shown as it is in force"
    assert "16" in run("info", "--data", str(data)).stdout
    assert (Path(run("model", "path").stdout.strip()) / "modules.json").is_file()


def test_verify_says_what_is_wrong(data: Path, tmp_path: Path) -> None:
    import shutil
    import sqlite3

    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    connection = sqlite3.connect(copy / "fundstelle.db")
    connection.execute("UPDATE texts SET text = substr(text, 2) WHERE version = 1")
    connection.commit()
    connection.close()
    done = run("verify", "--data", str(copy), code=1)
    assert "its text is not the one that was stored" in done.stderr


def test_evaluation(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    done = run("eval", "run", "eval/data/sample.jsonl", "--data", str(data), "--out", str(out))
    assert re.search(r"citation validity +1\.000 +1\.000 to 1\.000$", done.stdout, re.MULTILINE)
    assert "BM25" in done.stdout
    (file,) = out.glob("*.json")
    assert len(json.loads(file.read_text())["records"]) == 40
    assert "citation validity" in file.with_suffix(".html").read_text("utf-8")
    assert "40 cases" in run("eval", "compare", str(file), str(file)).stdout


def test_a_dataset_brings_its_documents(tmp_path: Path) -> None:
    """Convert, index, ask: the answer's words are found where the dataset says they are."""
    context = "Der Markt beginnt um sieben Uhr. Am Brunnen verkauft die Imkerin Honig aus drei Dörfern."
    answer = {"text": "sieben Uhr", "answer_start": context.index("sieben Uhr")}
    asked = [
        {"id": "1", "question": "Wann beginnt der Markt?", "answers": [answer]},
        {"id": "2", "question": "Wer war Kaiser?", "answers": [], "is_impossible": True},
    ]
    squad = tmp_path / "squad.json"
    content = {"data": [{"title": "Markt", "paragraphs": [{"context": context, "qas": asked}]}]}
    squad.write_text(json.dumps(content), "utf-8")
    out, data = str(tmp_path / "out"), str(tmp_path / "data")
    assert "1 documents" in run("eval", "convert", str(squad), "--out", out).stdout
    run("index", f"{out}/documents", "--data", data)
    for cases in (str(squad), f"{out}/cases.jsonl"):
        done = run("eval", "run", cases, "--data", data, "--out", str(tmp_path / "results"), "--no-baselines")
        assert re.search(r"quote hit@1 +1\.000", done.stdout), done.stdout
        assert "BM25" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("info", "--data", "absent"), "data_folder_missing"),
        (("ask", "", "--data", "DATA"), "question_empty"),
        (("ask", "a" * 10_000, "--data", "DATA"), "question_too_long"),
        (("index", "absent", "--data", "DATA"), "nothing_readable"),
        (("ask", "x", "--data", "DATA", "--model", "no/such"), "model_unavailable"),
        (("eval", "run", "README.md", "--data", "DATA"), "cases_invalid"),
        (("eval", "compare", "README.md", "README.md"), "results_invalid"),
    ],
)
def test_a_named_failure_is_one_line_and_exit_1(data: Path, arguments: tuple[str, ...], expected: str) -> None:
    done = run(*(str(data) if argument == "DATA" else argument for argument in arguments), code=1)
    lines = [line for line in done.stderr.splitlines() if "hub" not in line or expected in line]
    assert lines[-1].startswith(f"fundstelle: {expected}: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [("ask",), ("frobnicate",), ("ask", "x", "--top-k", "0"), ("info",)])
def test_wrong_usage_is_exit_2(arguments: tuple[str, ...]) -> None:
    run(*arguments, code=2)


def test_a_folder_with_nothing_readable_says_which_and_why(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / "empty.txt").touch()
    (folder / "binary.txt").write_bytes(b"\0\1\2")
    done = run("index", str(folder), "--data", str(tmp_path / "data"), code=1)
    for name, code in (
        ("picture.png", "document_format"),
        ("empty.txt", "document_empty"),
        ("binary.txt", "document_binary"),
    ):
        assert re.search(f"left out: {code}: .*{name}", done.stderr) or name in done.stderr
    assert "fundstelle: nothing_readable:" in done.stderr


def test_one_bad_file_stops_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "good.txt").write_text("The tower was built in 1420.")
    (folder / "bad.txt").write_bytes(b"\0")
    with (folder / "huge.txt").open("wb") as stream:
        stream.truncate(200 * 2**20)
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing else")
    (folder / "page.html").write_text("<h1>The tower</h1><p>It was built in 1420.")
    report = tmp_path / "report.jsonl"
    for outcome in ("added", "unchanged"):
        done = run("index", str(folder), "--data", str(tmp_path / "data"), "--report", str(report))
        assert f"2 {outcome}" in done.stdout
        assert "3 left out." in done.stdout
        assert "document_too_large" in done.stderr
        fates = {line["source"]: line for line in map(json.loads, report.read_text().splitlines())}
        assert {source: fate["status"] for source, fate in fates.items()} == {
            "bad.txt": "rejected", "broken.pdf": "rejected", "huge.txt": "rejected",
            "good.txt": outcome, "page.html": outcome,
        }  # fmt: skip
        assert fates["broken.pdf"]["code"] == "document_damaged"
        assert "not a PDF" in fates["broken.pdf"]["message"]
    unwritable = run("index", str(folder), "--data", str(tmp_path / "data"), "--report", str(tmp_path), code=2)
    assert "--report" in unwritable.stderr


def test_help_has_an_example_for_every_command() -> None:
    for command in (
        "index",
        "ask",
        "search",
        "serve",
        "verify",
        "info",
        "model path",
        "eval run",
        "eval compare",
        "eval convert",
    ):
        help_text = " ".join(run(*command.split(), "--help").stdout.split())
        assert f"Example: fundstelle {command}" in help_text, command


@pytest.fixture
def server(data: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [*COMMAND, "serve", "--data", str(data), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr is not None
    address = ""
    for line in process.stderr:
        if match := re.search(r"http://127\.0\.0\.1:\d+", line):
            address = match.group()
            break
    yield address, process
    process.terminate()
    process.wait(10)
    process.stderr.close()


def test_the_service_answers_holds_its_folder_and_stops_on_sigterm(
    server: tuple[str, subprocess.Popen[str]], data: Path
) -> None:
    address, process = server
    assert address, "the service did not start"
    with urllib.request.urlopen(f"{address}/readyz") as response:
        assert json.load(response) == {"status": "ready"}
    body = json.dumps({"question": "what did Germany offer France?"}).encode()
    request = urllib.request.Request(f"{address}/v1/ask", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as response:
        answer = json.load(response)
    for citation in answer["citations"]:
        with urllib.request.urlopen(f"{address}/v1/documents/{citation['document_id']}/text") as response:
            text = response.read().decode("utf-8")
        assert text[citation["start"] : citation["end"]] == citation["quote"]
    assert "data_folder_in_use" in run("index", "sample", "--data", str(data), code=1).stderr
    assert "data_folder_in_use" in run("ask", "x", "--data", str(data), code=1).stderr
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    process.wait(10)
    assert time.monotonic() - started < 10
    run("verify", "--data", str(data))
