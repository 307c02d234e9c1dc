"""What is known of the indexes: their recall, measured against exact search, and where operators see it.

The limits are patched, so that a few hundred vectors are indexed as a few million would be.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from typer.testing import CliRunner

from index import Library, Options, RawDocument, Vectors, document_from_text
from index.state import IndexState
from index.upkeep import Upkeep
from index.vectors import Kind
from service.app import build_app
from service.cli import app
from service.metrics import EXPOSITION_TYPE, exposition
from service.routes import AppState
from tests import full_disk
from tests.tiny import TinyEncoder

Open = Callable[..., Library]
_DRAW = random.Random(7)
WORDS = [f"{first}a{second}o" for first in "bcdfghjklmnprstvwz" for second in "bcdfghjklmnprstvwz"]
QUESTIONS = [" ".join(_DRAW.sample(WORDS, 3)) for _ in range(40)]


def documents() -> list[RawDocument]:
    """Return documents of one passage and four sentences each: 150 passages, 600 sentences."""
    draw = random.Random(1)
    return [
        document_from_text(
            f"{number}.txt", " ".join(f"{' '.join(draw.sample(WORDS, 6)).capitalize()}." for _ in range(4))
        )
        for number in range(150)
    ]


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The passages are kept with 8 bits a number, the sentences in lists."""
    monkeypatch.setattr("index.vectors.FLAT_LIMIT", 100)
    monkeypatch.setattr("index.vectors.SQ8_LIMIT", 300)


@pytest.fixture
def coarse(tmp_path: Path) -> Iterator[Open]:
    """Open a folder of coarse indexes; it is closed at the end, or when it is opened again."""
    with ExitStack() as stack:

        def make(*, writable: bool = True, **options: object) -> Library:
            stack.close()
            settings = Options(**options)  # type: ignore[arg-type]
            library = stack.enter_context(
                Library(tmp_path / "data", TinyEncoder(), writable=writable, options=settings)
            )
            if writable and not library.counts().documents:
                library.add(documents())
                library.compact()
            return library

        yield make


def ask(library: Library) -> None:
    for question in QUESTIONS:
        library.search(question, 5)


def stored_vectors(library: Library) -> tuple[Vectors, Vectors]:
    """Return the vectors of all passages and sentences, straight from the catalogue."""
    model = library.catalogue.active_model()
    assert model is not None
    with library.catalogue.vectors(model) as reader:
        chunks = list(reader.chunks())
    return (
        np.concatenate([chunk.vectors for chunk in chunks]).astype(np.float32),
        np.concatenate([chunk.sentence_vectors for chunk in chunks]).astype(np.float32),
    )


def true_recall(library: Library, *, sentences: bool) -> float:
    """Measure by hand what the base finds of the ten true neighbours of each question."""
    vectors = stored_vectors(library)[sentences]
    queries = np.stack([query.vector for query in library.encoder.encode_queries(QUESTIONS)])
    with library.view() as view:
        index = view.state.indexes()["sentences" if sentences else "passages"][0]
        found = [{place for place, _ in index.search(query[None, :], 10)} for query in queries]
    exact = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :10]
    return float(np.mean([len(places & set(row.tolist())) / 10 for places, row in zip(found, exact, strict=True)]))


# ---- measuring -----------------------------------------------------------------------------------------------


def test_the_kind_suits_the_number(coarse: Open) -> None:
    library = coarse()
    state = library.index_state()
    assert (state.passages.kind, state.passages.vectors, state.passages.effort) == (Kind.SQ8, 150, 0)
    assert (state.sentences.kind, state.sentences.vectors) == (Kind.IVF, 600)
    assert 1 <= state.sentences.effort < 600
    assert library.problems() == []


def test_a_folder_without_an_index_is_opened_quickly_and_put_in_shape_later(
    coarse: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists take long to train: until there is time for it, 8 bits a number do."""
    monkeypatch.setattr("index.generation.SMALL", 10)
    library = coarse()
    ids = [hit.passage.id for hit in library.search(QUESTIONS[0], 5).hits]
    library.close()
    shutil.rmtree(library.folder / "index")
    library = coarse()
    assert (library.index_state().sentences.kind, library.index_state().saved) == (Kind.SQ8, False)
    assert [hit.passage.id for hit in library.search(QUESTIONS[0], 5).hits] == ids
    assert library.worth_compacting()
    assert library.compact()
    assert (library.index_state().sentences.kind, library.index_state().saved) == (Kind.IVF, True)
    assert library.problems() == []


def test_recall_is_measured_on_real_questions(coarse: Open) -> None:
    library = coarse()
    ask(library)
    assert library.questions_asked == len(QUESTIONS)
    library.measure_recall()
    state = library.index_state()
    assert state.passages.recall == pytest.approx(true_recall(library, sentences=False))
    assert state.sentences.recall == pytest.approx(true_recall(library, sentences=True))
    assert (state.sentences.recall or 0) >= 0.95


def test_an_index_that_finds_too_little_is_searched_harder(coarse: Open) -> None:
    library = coarse(min_recall=0.0)
    assert library.index_state().sentences.effort == 1
    ask(library)
    library.measure_recall()
    poor = library.index_state().sentences
    assert poor.effort == 1, "null control: nothing is wanted, nothing is done"
    assert poor.recall == pytest.approx(true_recall(library, sentences=True))
    assert (poor.recall or 1) < 0.7
    library = coarse(min_recall=0.9)
    assert library.index_state().sentences.effort == 1, "as it was saved"
    ask(library)
    library.measure_recall()
    good = library.index_state().sentences
    assert good.effort > 1
    assert good.recall is not None
    assert good.recall >= 0.9
    assert good.recall == pytest.approx(true_recall(library, sentences=True))
    assert library.index_state().saved, "the base on disk is the same, only searched in another way"
    assert not library.worth_compacting()
    assert library.problems() == []


def test_without_questions_nothing_is_measured(coarse: Open) -> None:
    library = coarse()
    before = library.index_state()
    library.measure_recall()
    assert library.index_state() == before


def test_exact_search_needs_no_measuring(coarse: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.vectors.FLAT_LIMIT", 1000)
    monkeypatch.setattr("index.vectors.SQ8_LIMIT", 10_000)
    library = coarse()
    ask(library)
    library.measure_recall()
    state = library.index_state()
    assert {state.passages.kind, state.sentences.kind} == {Kind.FLAT}
    assert (state.passages.recall, state.sentences.recall, state.sentences.effort) == (1.0, 1.0, 0)


def test_what_was_deleted_does_not_count_against_the_index(coarse: Open) -> None:
    """The erased are passed over by each search, so they cannot cost a search anything."""
    library = coarse()
    ask(library)
    library.measure_recall()
    before = library.index_state().sentences
    assert before.recall is not None
    library.delete_where({"source": [f"{number}.txt" for number in range(14)]})
    assert not library.worth_compacting()
    library.measure_recall()
    after = library.index_state()
    assert after.sentences.recall is not None
    assert after.sentences.recall >= before.recall - 0.02
    assert after.sentences.effort == before.effort
    assert after.passages.recall is not None
    assert after.passages.recall >= 0.99, "150 vectors of 8 bits find nearly everything"


def test_what_came_later_does_not_disturb_the_measuring(coarse: Open) -> None:
    library = coarse()
    for number in range(10):
        library.add([document_from_text(f"new{number}.txt", f"{QUESTIONS[number].capitalize()}.")])
    ask(library)
    library.measure_recall()
    assert library.index_state().passages.recall == pytest.approx(1.0, abs=0.02)
    assert "new0.txt" in [hit.document.source for hit in library.search(QUESTIONS[0], 5).hits]


class Kept:
    """Stands for a library: so many questions were asked of it."""

    def __init__(self) -> None:
        self.questions_asked = 0
        self.measured = 0
        self.generation = 0
        self.counted = 0
        self.worth_it = False
        self.succeeds = True

    def worth_compacting(self, least: int = 0) -> bool:
        self.counted += 1
        return self.worth_it

    def compact(self) -> bool:
        assert self.worth_it
        return self.succeeds

    def measure_recall(self) -> None:
        self.measured += 1


def test_recall_is_looked_at_every_thousand_questions() -> None:
    kept = Kept()
    upkeep = Upkeep(kept)
    for asked, measured in ((0, 0), (999, 0), (1000, 1), (1999, 1), (2000, 2), (2000, 2)):
        kept.questions_asked = asked
        upkeep._look()
        assert kept.measured == measured, asked


def test_what_changed_is_counted_once_for_each_change() -> None:
    kept = Kept()
    upkeep = Upkeep(kept)
    for generation, worth_it, succeeds, counted in (
        (0, False, True, 1), (0, True, True, 1), (1, True, False, 2), (1, True, False, 3), (1, True, True, 4),
        (1, True, True, 4), (2, False, True, 5),
    ):  # fmt: skip
        kept.generation, kept.worth_it, kept.succeeds = generation, worth_it, succeeds
        upkeep._look()
        assert kept.counted == counted, (generation, worth_it, succeeds)


def test_memory_is_given_back_once_after_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr("index.upkeep.give_back", lambda: given.append(1))
    kept = Kept()
    upkeep = Upkeep(kept)
    for generation, times in ((1, 0), (2, 0), (2, 1), (2, 1), (3, 1), (3, 2), (3, 2)):
        kept.generation = generation
        upkeep._look()
        assert len(given) == times, generation


@pytest.mark.parametrize(("by", "times"), [(9, 2), (7, 0)])
def test_memory_is_given_back_though_nothing_changed(monkeypatch: pytest.MonkeyPatch, by: int, times: int) -> None:
    """Files that are refused change nothing; the little that a process breathes, the null control, is left alone."""
    given, held = [], [100]
    monkeypatch.setattr("index.upkeep.give_back", lambda: given.append(1))
    monkeypatch.setattr("index.upkeep.held", lambda: held[0] * 2**20)
    upkeep = Upkeep(Kept())
    upkeep._look()
    upkeep._look()
    given.clear()
    for now in (100, 100 + by, 100 + by, 100, 100 + by, 100 + by):
        held[0] = now
        upkeep._look()
    assert len(given) == times


# ---- where it is shown ---------------------------------------------------------------------------------------


def figures(text: str) -> dict[str, float]:
    """Return what a monitoring system reads of the index, by name and labels."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        if family.type != "gauge" or family.name.startswith("fundstelle_work_"):  # of what is asked of it
            continue
        assert family.documentation.endswith(".") or "1 while" in family.documentation
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name.removeprefix('fundstelle_')}{{{labels}}}"] = sample.value
    return found


def expected_figures(library: Library) -> dict[str, float | None]:
    state, counts = library.index_state(), library.counts()
    return {
        "generation{}": library.generation,
        "documents{}": counts.documents,
        "passages{}": counts.passages,
        "index_layers{}": state.layers,
        "index_unsettled_passages{}": state.unsettled,
        "read_only{}": 0,
        "index_vectors{index=passages,kind=sq8}": state.passages.vectors,
        "index_vectors{index=sentences,kind=ivf-sq8}": state.sentences.vectors,
        "index_recall{index=passages}": state.passages.recall,
        "index_recall{index=sentences}": state.sentences.recall,
        "index_effort{index=passages}": 0,
        "index_effort{index=sentences}": state.sentences.effort,
    }


def test_monitoring_sees_everything(coarse: Open) -> None:
    library = coarse()
    ask(library)
    library.measure_recall()
    library.add([document_from_text("new.txt", "Something new.")])
    library.delete_where({"source": "0.txt"})
    with TestClient(build_app(AppState(library)), base_url="http://localhost") as client:
        response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert response.headers["content-type"] == EXPOSITION_TYPE
    assert figures(response.text) == pytest.approx(expected_figures(library))
    assert figures(response.text)["index_unsettled_passages{}"] == 2


def test_monitoring_sees_that_nothing_can_be_written(coarse: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = full_disk.install(monkeypatch)
    library = coarse()
    assert figures(exposition(library).decode())["read_only{}"] == 0
    disk.full = True
    with pytest.raises(Exception, match="disk is full"):
        library.delete_where({"source": "0.txt"})
    assert figures(exposition(library).decode())["read_only{}"] == 1
    assert figures(exposition(library).decode())["documents{}"] == 150


def test_an_empty_library_has_figures(tmp_path: Path) -> None:
    with Library(tmp_path / "empty", TinyEncoder(), writable=True) as library:
        found = figures(exposition(library).decode())
        assert (found["documents{}"], found["index_layers{}"], found["index_recall{index=passages}"]) == (0, 0, 1)


def test_info_shows_the_indexes(coarse: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    library = coarse()
    ask(library)
    library.measure_recall()
    library.close()
    state = coarse(writable=False).index_state()
    monkeypatch.setattr("index.open_encoder", lambda *_: TinyEncoder())
    data = str(library.folder)
    shown = json.loads(CliRunner().invoke(app, ["info", "--data", data, "--json"], catch_exceptions=False).stdout)
    assert shown["index"] == json.loads(json.dumps(shown["index"]))
    assert IndexState(**shown["index"]).generation == state.generation
    assert shown["index"]["sentences"] == {
        "kind": "ivf-sq8",
        "vectors": 600,
        "recall": state.sentences.recall,
        "effort": state.sentences.effort,
    }
    assert shown["index"]["saved"] is True
    assert (shown["generation"], shown["oldest_generation"]) == (1, 0)
    assert "ivf-sq8" in CliRunner().invoke(app, ["info", "--data", data], catch_exceptions=False).stdout
