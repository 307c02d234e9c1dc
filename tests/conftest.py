"""Fixtures: real parts on small data; the tiny encoder where meaning does not matter, the model where it does."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from index import Encoder, Library, document_from_text, find_files, open_encoder, read_file
from index.load import FoundFile
from tests.tiny import TinyEncoder

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"

TEXTS = {
    "bridge.txt": "The old bridge closes in October. Its repair costs four million euros.\n\n"
    "A ferry carries people across. It leaves every twenty minutes.",
    "hospital.txt": "The hospital opens a new ward. Twelve nurses were hired in spring.\n\n"
    "Births now happen in the next town.",
    "harvest.txt": "Hops were flooded in June. Nineteen hectares are lost. Farmers expect no profit this year.",
}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Where two processes test (``-n 2``), what is marked ``alone`` waits until the other rests, and that for it.

    Two locks of files: the inner one is shared by all tests but those. Who wants it goes through the outer one, so
    that a test that waits to be alone is next.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return (yield)
    folder = Path(tempfile.gettempdir())
    kind = fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH
    with (folder / f"tests-{run}.gate").open("w") as gate, (folder / f"tests-{run}.lock").open("w") as lock:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(lock, kind)
        fcntl.flock(gate, fcntl.LOCK_UN)
        return (yield)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine reaches a test, except where the converted model is kept."""
    for name in list(os.environ):
        if name.startswith("FUNDSTELLE_") and name != "FUNDSTELLE_MODELS_DIR":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """What a command set up for its log ends with its test: the stream it wrote to is closed then."""
    root = logging.getLogger()
    before = root.handlers[:]
    yield
    root.handlers[:] = before


@pytest.fixture(scope="session")
def e5() -> Encoder:
    """The embedded model; converted once per machine."""
    models = os.environ.get("FUNDSTELLE_MODELS_DIR")
    return open_encoder(models=Path(models) if models else None)


@pytest.fixture
def tiny() -> TinyEncoder:
    return TinyEncoder()


@pytest.fixture
def open_library(tmp_path: Path, tiny: TinyEncoder) -> Iterator[Callable[..., Library]]:
    """Open libraries in the test's folder; they are closed at its end."""
    opened: list[Library] = []

    def make(name: str = "data", *, writable: bool = True, encoder: Encoder = tiny) -> Library:
        library = Library(tmp_path / name, encoder, writable=writable)
        opened.append(library)
        return library

    yield make
    for library in opened:
        library.close()


@pytest.fixture
def library(open_library: Callable[..., Library]) -> Library:
    """Three small documents on the tiny encoder."""
    made = open_library()
    made.add([document_from_text(source, text) for source, text in TEXTS.items()])
    return made


@pytest.fixture(scope="session")
def sample_library(e5: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """The sample articles on the embedded model; read only, please."""
    with Library(tmp_path_factory.mktemp("sample") / "data", e5, writable=True) as made:
        made.add([read_file(file) for file in find_files([ROOT / "sample"]) if isinstance(file, FoundFile)])
        yield made


@pytest.fixture(scope="session")
def seeds_library(e5: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """The two newspaper articles beside the project."""
    if not (SHARED / "seeds").is_dir():
        pytest.skip("../shared/seeds is missing")
    with Library(tmp_path_factory.mktemp("seeds") / "data", e5, writable=True) as made:
        made.add([read_file(file) for file in find_files([SHARED / "seeds"]) if isinstance(file, FoundFile)])
        yield made
