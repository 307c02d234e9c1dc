"""No language buries another: what is measured there, and what happens without."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from index import Library, document_from_text
from index.background import SAMPLE, Background, Backgrounds, chances
from index.encoder import EncodedQuery
from index.projection import centred, centred_cosines
from index.stored import StoredPassage


def query(library: Library, text: str) -> EncodedQuery:
    (encoded,) = library.encoder.encode_queries([text])
    return encoded


def drawn(library: Library) -> dict[str, Background]:
    with library.view() as view:
        return view.backgrounds.of(view.state, "default")


def test_a_background_scores_like_search_does(library: Library) -> None:
    """The sample's scores are those search gives the same passages, so means and spreads are comparable."""
    (background,) = drawn(library).values()
    text = "when does the bridge close?"
    found = sorted(background.scores(query(library, text), 0.25))
    expected = sorted(hit.score - hit.language_shift for hit in library.search(text, 10).hits)
    assert found == pytest.approx(expected, abs=1e-5)


def test_chance_is_by_language_and_leans_on_the_average_where_little_is_known(
    open_library: Callable[..., Library],
) -> None:
    library = open_library()
    english = [f"The number of the old bridge over the river is {n}." for n in range(40)]
    german = ["Die Katze schläft auf dem alten Sofa und träumt von den vielen Mäusen."]
    library.add([document_from_text(f"en{n}.txt", text) for n, text in enumerate(english)])
    library.add([document_from_text(f"de{n}.txt", text) for n, text in enumerate(german)])
    backgrounds = drawn(library)
    assert set(backgrounds) == {"en", "de"}
    found, common = chances(backgrounds, query(library, "the old bridge over the river"), 0.25)
    assert found["en"].mean > common.mean > found["de"].mean
    own = float(backgrounds["de"].scores(query(library, "the old bridge over the river"), 0.25).mean())
    assert abs(found["de"].mean - common.mean) < abs(own - common.mean)


def test_one_language_is_not_shifted(library: Library) -> None:
    assert {hit.language_shift for hit in library.search("bridge", 10).hits} == {0.0}


def test_a_sample_lasts_while_its_passages_do(open_library: Callable[..., Library]) -> None:
    library = open_library()
    library.add([document_from_text(f"{n}.txt", f"The number of the old bridge is {n}.") for n in range(200)])
    before = drawn(library)["en"]
    assert before.size == SAMPLE
    added = [
        library.add([document_from_text(f"more{n}.txt", f"The harbour has {n} cranes.")])[0].document.id
        for n in range(5)
    ]
    for document_id in added:
        library.delete(document_id)
    assert drawn(library)["en"].scores(query(library, "bridge"), 0.25) == pytest.approx(
        before.scores(query(library, "bridge"), 0.25)
    )


def test_german_evidence_is_not_buried_by_english_neighbours(
    sample_library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its null control: without backgrounds an English question sinks at least one German answer."""
    questions = {
        "What did Germany offer France?": "deutschland-frankreich-hilfe.txt",
        "How much will the repair of the bridge in Tessenbrück cost?": "bruecke-sperrung.txt",
        "What does the tenant of the library pay?": "mietvertrag-stadtbuecherei.md",
        "How many hectares of hops were flooded?": "hochwasser-hopfen.txt",
    }

    def ranks() -> list[int]:
        return [
            next(hit.rank for hit in sample_library.search(text, 20).hits if hit.document.source == source)
            for text, source in questions.items()
        ]

    levelled = ranks()
    monkeypatch.setattr(Backgrounds, "of", lambda *_: {})
    raw = ranks()
    assert sum(levelled) < sum(raw)
    assert max(levelled) <= 5


def test_centring_takes_the_common_part_away() -> None:
    rows = np.array([[1.0, 1.0], [1.0, -1.0]], np.float32)
    assert centred(rows, np.array([1.0, 0.0], np.float32)).tolist() == [[0.0, 1.0], [0.0, -1.0]]


def test_an_empty_background_has_no_scores() -> None:
    nothing: list[StoredPassage] = []
    background = Background(nothing, {}, None)
    assert background.size == 0
    nowhere = np.zeros(2, np.float32)
    asked = EncodedQuery(nowhere, nowhere, np.zeros((0, 0), np.float32), np.zeros(0, np.float32))
    assert background.scores(asked, 0.25).size == 0


def test_centred_cosines_are_those_of_centred_vectors() -> None:
    random = np.random.default_rng(7)
    vectors = random.standard_normal((40, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    mean, query = vectors[:9].mean(0), vectors[11]
    assert centred_cosines(vectors, mean, query) == pytest.approx(centred(vectors, mean) @ query, abs=1e-5)
    assert centred_cosines(vectors[:0], mean, query).shape == (0,)
    assert np.abs(centred_cosines(vectors, mean, query) - vectors @ query).max() > 0.01, "null control"


def test_single_passages_of_several_languages_keep_their_order(open_library: Callable[..., Library]) -> None:
    """One passage has no spread; scores must not all become the same."""
    library = open_library()
    library.add([document_from_text("en.txt", "The old bridge over the river is closed for repairs this winter.")])
    library.add([document_from_text("de.txt", "Die Katze schläft auf dem alten Sofa und träumt von den Mäusen.")])
    assert {document.language for document in library.documents(10)[0]} == {"en", "de"}
    assert library.search("bridge repairs", 2).hits[0].document.source == "en.txt"
    assert library.search("Katze Sofa", 2).hits[0].document.source == "de.txt"


def sizes(library: Library) -> dict[str, int]:
    return {language: background.size for language, background in drawn(library).items()}


@pytest.mark.parametrize("in_all", [20, 1000])
def test_all_languages_together_have_a_sample_of_bounded_size(
    library: Library, monkeypatch: pytest.MonkeyPatch, in_all: int
) -> None:
    """Who has few passages keeps them all, whoever has many gives way; with room enough, the null control, nobody."""
    monkeypatch.setattr("index.background.IN_ALL", in_all)
    passages = "\n\n".join(f"The ferry number {number} carries people. " * 25 for number in range(30))
    library.add(
        [document_from_text("many.txt", passages), document_from_text("wenige.txt", "Die Brücke ist zu. " * 9)]
    )
    found = sizes(library)
    assert sum(found.values()) <= in_all
    assert (found["en"] <= 19) is (in_all == 20)
    assert found["de"] == 1


@pytest.mark.parametrize(("room", "kept"), [(0, 1), (2**30, 3)])
def test_backgrounds_of_other_collections_are_kept_while_there_is_room(
    library: Library, monkeypatch: pytest.MonkeyPatch, room: int, kept: int
) -> None:
    monkeypatch.setattr("index.background._KEPT_BYTES", room)
    for name in ("one", "two"):
        library.add([document_from_text("a.txt", "The ferry carries people across.")], name)
    with library.view() as view:
        for name in ("default", "one", "two"):
            assert view.backgrounds.of(view.state, name)
        assert len(view.backgrounds._drawn) == kept


def test_a_language_that_is_gone_leaves_no_background(library: Library) -> None:
    (added,) = library.add([document_from_text("b.txt", "Die Brücke über die Elbe ist gesperrt. " * 9)])
    assert drawn(library).keys() == {"en", "de"}
    with library.view() as view:
        assert len(view.backgrounds._drawn) == 2
    library.delete(added.document.id)
    assert drawn(library).keys() == {"en"}
    with library.view() as view:
        assert len(view.backgrounds._drawn) == 1
