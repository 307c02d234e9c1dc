"""The examples of docs/programs.md run as they stand, against a running service with the embedded model."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from playwright.sync_api import Error as PageError

from index import Encoder, Library
from service.app import build_app
from service.client import Fundstelle
from service.client_exchange import CODES
from service.routes import AppState
from tests.browser.chromium import CHROMIUM, chromium, serving
from tests.conftest import ROOT
from tests.test_docs import fences, first_column, read, run_block, sections

pytestmark = pytest.mark.slow
SHOWN = "http://127.0.0.1:8000"
PROVED = "proved: The bridge over the Tess closes on 5 October for eleven months."


@pytest.fixture(scope="module")
def library(e5: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    with Library(tmp_path_factory.mktemp("programs") / "data", e5, writable=True) as made:
        yield made


@pytest.fixture(scope="module")
def address(library: Library) -> Iterator[str]:
    """The service as it is by default, with its own decision whether the documents answer."""
    with serving(build_app(AppState(library))) as where:
        yield where


def example(section: str, language: str, address: str) -> str:
    """Return the blocks of a section as one program."""
    blocks = fences(sections(read("docs/programs.md"))[section], language)
    assert blocks and any(SHOWN in block for block in blocks)
    return "\n".join(blocks).replace(SHOWN, address)


def run_python(code: str, folder: Path) -> str:
    (folder / "example.py").write_text(code, "utf-8")
    done = subprocess.run(
        [sys.executable, "example.py"],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_node(code: str, folder: Path) -> str:
    (folder / "example.mjs").write_text(code, "utf-8")
    done = subprocess.run(
        ["node", "example.mjs"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_page(code: str, address: str, browser: Browser) -> str:
    """Run JavaScript in a page of the service's own origin; return what it writes to the console."""
    said: list[str] = []
    page = browser.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.goto(f"{address}/")
    try:
        page.evaluate(f"async () => {{ {code} }}")
    except PageError as error:
        raise AssertionError(f"{said} {error}") from error
    finally:
        page.close()
    return "\n".join(said)


def left(address: str) -> list[str]:
    with Fundstelle(address) as service:
        return [document.collection for document in service.documents()]


def forget(address: str) -> None:
    """Remove what an example that failed has left."""
    with Fundstelle(address) as service:
        for document in list(service.documents()):
            service.delete(document.id)


UTF_16 = (
    'points.slice(citation.start, citation.end).join("")',
    "points.join('').slice(citation.start, citation.end)",
)
WRONG: dict[str, list[tuple[str, str, str]]] = {
    "curl": [
        ('["start"]:', '["start"] + 1:', "AssertionError"),
        ("/v1/search", "/v1/serach", PROVED),
        ('"valid"', '"moved"', PROVED),
        ("event: done", "event: doen", "every twenty minutes"),
    ],
    "Python": [
        ("service.check(citation)", "not service.check(citation)", "AssertionError"),
        ('status == "valid"', 'status == "moved"', "AssertionError"),
        ("if_match=tag", "if_match=None", "document_not_found"),
    ],
    "Python without packages": [
        ('["start"] :', '["start"] + 1 :', "AssertionError"),
        ('"/v1/search"', '"/v1/serach"', "There is nothing at this address."),
    ],
    "With OpenAI's client": [
        ('["start"] :', '["start"] + 1 :', "AssertionError"),
        ('model="fundstelle/openai"', 'model="none"', "There is no model of this name."),
    ],
    "JavaScript": [
        (*UTF_16, "not proved"),
        ('"/v1/search"', '"/v1/serach"', "route_not_found"),
        ('name === "done"', 'name === "doen"', "the stream ended early"),
    ],
}
"""Null controls by section: what is written instead of what, and what the example then fails with."""


@dataclass(frozen=True)
class Place:
    """Where examples run."""

    address: str
    folder: Path
    browser: Callable[[], Browser]

    def run(self, section: str, wrong: tuple[str, str] | None = None) -> str:
        """Run a section's example, with something else in the place of something; return what it writes."""
        language = {"curl": "sh", "JavaScript": "js"}.get(section, "python")
        code = example(section, language, self.address)
        if wrong is not None:
            assert wrong[0] in code, "the null control changes nothing"
            code = code.replace(*wrong)
        if language == "sh":
            return run_block(code, self.folder)
        if language == "js":
            return run_page(code, self.address, self.browser())
        return run_python(code, self.folder)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def place(address: str, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    return Place(address, tmp_path, lambda: request.getfixturevalue("browser"))


NEEDED: dict[str, Any] = {
    "curl": pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed"),
    "JavaScript": pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed"),
}
SECTIONS = [pytest.param(section, marks=NEEDED.get(section, ())) for section in WRONG]


@pytest.mark.parametrize("section", SECTIONS)
def test_an_example_runs_proves_its_quote_and_leaves_nothing(section: str, place: Place) -> None:
    assert PROVED in place.run(section)
    assert left(place.address) == []


@pytest.mark.parametrize("section", SECTIONS)
def test_a_broken_example_fails(section: str, place: Place) -> None:
    for before, after, said in WRONG[section]:
        with pytest.raises(AssertionError) as failed:
            place.run(section, (before, after))
        assert said in str(failed.value), f"{after}: {failed.value}"
        forget(place.address)


@pytest.mark.skipif(not shutil.which("node"), reason="Node is not installed")
def test_the_javascript_runs_in_node_as_well(address: str, tmp_path: Path) -> None:
    code = example("JavaScript", "js", address)
    assert PROVED in run_node(code, tmp_path)
    with pytest.raises(AssertionError, match="not proved"):
        run_node(code.replace(*UTF_16), tmp_path)
    forget(address)


def test_every_section_is_run() -> None:
    assert set(sections(read("docs/programs.md"))) == set(WRONG)


def test_the_codes_of_the_client_are_documented() -> None:
    assert first_column(read("docs/programs.md"), "client code") == set(CODES)
    names = first_column(read("docs/programs.md"), "error")
    assert names == {"Refused", "NotFound", "NotReached", "NotUnderstood"}
