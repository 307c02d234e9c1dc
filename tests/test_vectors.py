from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator
from functools import cache

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from index.encoder import Vectors
from index.errors import DataDamaged
from index.recall import Nearest, Probes, least_effort
from index.vectors import IndexBuilder, Kind, VectorIndex, kind_for, sample_size

MANY, WIDTH = 30_000, 64


def unit(rows: int, dimension: int = 16, seed: int = 0) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)
    units: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units


@cache
def e5_like(rows: int = MANY, seed: int = 1) -> Vectors:
    """Vectors as e5 makes them: all in one cone (mean cosine of a pair .73), in themes of very unequal size."""
    random, shape = np.random.default_rng(seed), np.random.default_rng(99)
    common, themes = shape.standard_normal(WIDTH), shape.standard_normal((300, WIDTH))
    chosen = themes[np.minimum(random.zipf(1.3, rows) - 1, 299)] + random.standard_normal((rows, WIDTH)) * 0.9
    vectors = common / np.linalg.norm(common) * 2.16 + chosen / np.sqrt((chosen**2).mean() * WIDTH) * 1.31
    units: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return units


@cache
def index_of(kind: Kind) -> VectorIndex:
    return VectorIndex.build(e5_like(), WIDTH, kind=kind)


@pytest.fixture(params=list(Kind))
def index(request: pytest.FixtureRequest) -> VectorIndex:
    return index_of(request.param)


def written(index: VectorIndex) -> bytes:
    parts: list[bytes] = []
    index.write(parts.append)
    return b"".join(parts)


def by_hand(vectors: Vectors, query: Vectors, limit: int) -> list[tuple[int, float]]:
    pairs = enumerate((vectors @ query[0]).tolist())
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:limit]


@given(st.integers(1, 60), st.integers(1, 80), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_search_equals_brute_force_scores_included(rows: int, limit: int, seed: int) -> None:
    vectors, query = unit(rows, seed=seed), unit(1, seed=seed ^ 1)
    found, expected = VectorIndex.build(vectors, 16).search(query, limit), by_hand(vectors, query, limit)
    assert [position for position, _ in found] == [position for position, _ in expected]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-6)


@given(st.integers(1, 60), st.integers(1, 80), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_a_mask_equals_brute_force_over_what_it_allows(rows: int, limit: int, seed: int) -> None:
    vectors, query = unit(rows, seed=seed), unit(1, seed=seed ^ 1)
    allowed = np.random.default_rng(seed).random(rows) < 0.5
    found = VectorIndex.build(vectors, 16).search(query, limit, allowed)
    expected = [pair for pair in by_hand(vectors, query, rows) if allowed[pair[0]]][:limit]
    assert [position for position, _ in found] == [position for position, _ in expected]


def test_of_equally_near_vectors_the_first_are_found() -> None:
    copies = np.concatenate([unit(1), np.repeat(unit(1, seed=1), 200, axis=0), unit(300, seed=2)])
    for kind in Kind:
        found = VectorIndex.build(copies, 16, kind=kind).search(unit(1, seed=1), 10)
        assert [position for position, _ in found] == list(range(1, 11)), kind
    flat = faiss.IndexFlatIP(16)
    flat.add(copies)
    assert flat.search(unit(1, seed=1), 10)[1][0].tolist() != list(range(1, 11)), "FAISS itself would do now"


def test_asking_for_more_than_there_is_never_gives_minus_one(index: VectorIndex) -> None:
    assert sorted(position for position, _ in index.search(e5_like()[:1], 10**9)) == list(range(MANY))


def test_an_empty_index_finds_nothing_and_comes_back() -> None:
    for kind in (None, *Kind):
        empty = VectorIndex.build(np.empty((0, 0), np.float32), 16, kind=kind)
        assert VectorIndex.read(io.BytesIO(written(empty))).search(unit(1), 5) == []
        assert (len(empty), empty.dimension, empty.recall) == (0, 16, 1.0)


@pytest.mark.parametrize("share", [0.1, 0.001, 1 / MANY], ids=["a tenth", "a thousandth", "one"])
def test_only_allowed_positions_are_found_and_as_many_as_asked_for(index: VectorIndex, share: float) -> None:
    """Also where the allowed ones are far from the query, in lists that a search would not look into."""
    query, vectors = e5_like()[:1], e5_like()
    far = np.argsort(vectors @ query[0])[: round(MANY * share)]
    for chosen in (np.random.default_rng(3).choice(MANY, len(far), replace=False), far):
        allowed = np.zeros(MANY, bool)
        allowed[chosen] = True
        for limit in (10, len(chosen)):
            found = [position for position, _ in index.search(query, limit, allowed)]
            assert len(set(found)) == len(found) == min(limit, len(chosen))
            assert allowed[found].all()
        assert index.search(query, 0, allowed) == []
    assert index.search(query, 10, np.zeros(MANY, bool)) == []


def exact_neighbours(chunks: Iterable[Vectors], queries: Vectors, k: int) -> NDArray[np.int64]:
    """Return the positions of each query's nearest vectors, shape (queries, k)."""
    nearest = Nearest(queries, k)
    for chunk in chunks:
        nearest.watch(chunk)
    return nearest.positions[:, : nearest.seen]


def test_a_filtered_search_is_no_worse_than_one_without(index: VectorIndex) -> None:
    allowed = np.random.default_rng(4).random(MANY) < 0.01
    places = np.flatnonzero(allowed)
    queries = e5_like(100, seed=5)
    exact = places[exact_neighbours([e5_like()[places]], queries, 10)]
    found = [[position for position, _ in index.search(query[None], 10, allowed)] for query in queries]
    shares = [len({*row} & {*truth}) / 10 for row, truth in zip(found, exact.tolist(), strict=True)]
    assert np.mean(shares) >= 0.95


def test_a_mask_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="mask"):
        VectorIndex.build(unit(3), 16).search(unit(1), 1, np.ones(4, bool))


@pytest.mark.parametrize(
    "query",
    [unit(1, 8), np.zeros((1, 16), np.float32), np.full((1, 16), np.nan, np.float32), unit(2)],
    ids=["dimension", "zero", "nan", "two rows"],
)
def test_queries_faiss_would_answer_with_nonsense_are_errors(query: Vectors) -> None:
    with pytest.raises(DataDamaged):
        VectorIndex.build(unit(3), 16).search(query, 1)


@pytest.mark.parametrize(
    "vectors",
    [unit(3) * 2, unit(3, 8), np.full((3, 16), np.nan, np.float32), np.zeros((3, 16), np.float32), unit(4), unit(2)],
    ids=["length", "dimension", "nan", "zero", "too many", "too few"],
)
def test_what_must_not_be_indexed_is_refused(vectors: Vectors) -> None:
    for kind in Kind:
        builder = IndexBuilder(16, 3, unit(100), kind=kind)
        with pytest.raises(DataDamaged):
            builder.add(vectors)
            builder.finish()


def test_a_finished_index_cannot_be_added_to() -> None:
    builder = IndexBuilder(16, 3, unit(0))
    builder.add(unit(3))
    builder.finish()
    with pytest.raises(DataDamaged):
        builder.add(unit(1))


def test_kinds_follow_the_count() -> None:
    counts = (0, 50_000, 50_001, 600_000, 600_001)
    assert [kind_for(count) for count in counts] == [Kind.FLAT, Kind.FLAT, Kind.SQ8, Kind.SQ8, Kind.IVF]
    assert [sample_size(count) for count in counts[:2]] == [0, 0]
    with pytest.raises(ValueError, match="sample"):
        IndexBuilder(16, 10, unit(0), kind=Kind.SQ8)


def test_chunks_of_any_size_give_the_same_index() -> None:
    vectors = e5_like()
    for kind in Kind:
        builder = IndexBuilder(WIDTH, MANY, vectors[:5000], kind=kind)
        for start in range(0, MANY, 7001):
            builder.add(vectors[start : start + 7001])
        whole = IndexBuilder(WIDTH, MANY, vectors[:5000], kind=kind)
        whole.add(vectors)
        assert written(builder.finish()) == written(whole.finish())


def test_half_precision_finds_what_single_precision_finds(index: VectorIndex) -> None:
    halves = IndexBuilder(WIDTH, MANY, e5_like()[:: MANY // 20_000 + 1], kind=index.kind)
    halves.add(e5_like().astype(np.float16))
    again, agreed = halves.finish(), 0
    for query in e5_like(50, seed=6):
        ours, theirs = (dict(built.with_effort(10**6).search(query[None], 10)) for built in (again, index))
        agreed += len(ours.keys() & theirs.keys())
        for position in ours.keys() & theirs.keys():
            assert ours[position] == pytest.approx(theirs[position], abs=0.003)
    assert agreed >= 0.9 * 500


def test_flat_vectors_come_back_as_they_were(index: VectorIndex) -> None:
    if index.kind is Kind.FLAT:
        assert np.array_equal(index.vectors(), e5_like())
    else:
        with pytest.raises(ValueError, match="keep"):
            index.vectors()


def test_the_test_vectors_are_like_those_of_e5() -> None:
    sample = e5_like()[:2000]
    assert 0.70 < (sample @ sample.T)[np.triu_indices(2000, 1)].mean() < 0.76


def test_recall_holds_for_queries_never_seen(index: VectorIndex) -> None:
    queries = e5_like(200, seed=7)
    exact = exact_neighbours([e5_like()], queries, 10).tolist()
    assert index.recall is not None
    assert index.recall >= (0.93 if index.kind is Kind.SQ8 else 0.95)  # what 8 bits lose, no effort brings back
    assert index.measure_recall(queries, exact) == pytest.approx(index.recall, abs=0.03)
    if index.kind is Kind.IVF:
        assert index.with_effort(1).measure_recall(queries, exact) < 0.8, "any effort would have done"


def test_the_effort_is_the_smallest_that_meets_the_floor() -> None:
    high = index_of(Kind.IVF)
    low = VectorIndex.build(e5_like(), WIDTH, kind=Kind.IVF, min_recall=0.7)
    assert 1 <= low.effort < high.effort < high.lists
    assert low.recall is not None
    assert 0.7 <= low.recall < 0.95


def test_the_search_for_the_effort() -> None:
    for needed in (1, 2, 3, 16, 100, 641, 1000):
        effort, recall = least_effort(lambda effort, needed=needed: min(effort / needed, 1), 1000, 1.0)  # type: ignore[misc]
        assert needed <= effort <= needed * 17 / 16
        assert recall == 1
    assert least_effort(lambda effort: 0.9 * min(1.0, effort / 100), 1000, 0.95)[0] < 110  # out of reach for any


def test_probes_neither_find_themselves_nor_their_copies() -> None:
    """Were they to count, an index that finds nothing but copies would look good."""
    vectors = np.concatenate([np.repeat(e5_like()[:100], 20, axis=0), e5_like()[100:2100]])
    probes = Probes(vectors[:2000:20], 100)
    probes.watch(vectors[:3000])
    probes.watch(vectors[3000:])
    truth = exact_neighbours([vectors], vectors[:2000:20], 40)
    copies = {row.tobytes(): {int(n) for n in np.flatnonzero((vectors == row).all(1))} for row in vectors[:2000:20]}
    assert probes.recall(lambda queries, k: [sorted(copies[row.tobytes()]) for row in queries]) == 0
    order = {row.tobytes(): found for row, found in zip(vectors[:2000:20], truth.tolist(), strict=True)}
    assert probes.recall(lambda queries, k: [order[row.tobytes()] for row in queries]) == 1


def test_recall_of_copies_of_one_vector_is_not_a_matter_of_luck() -> None:
    for kind in (Kind.SQ8, Kind.IVF):
        assert VectorIndex.build(np.repeat(unit(1), 3000, axis=0), 16, kind=kind).recall == 1
        assert VectorIndex.build(np.repeat(unit(30), 90, axis=0), 16, kind=kind, min_recall=0.9).recall is not None


def test_exact_neighbours_are_exact_however_they_are_cut() -> None:
    vectors, queries = unit(2500), unit(20, seed=8)
    vectors[700:900] = vectors[0]
    expected = [[position for position, _ in by_hand(vectors, query[None], 30)] for query in queries]
    for size in (1, 29, 1000, 2500):
        cut = (vectors[start : start + size] for start in range(0, 2500, size))
        found = exact_neighbours(cut, queries, 30)
        assert (found == np.array(expected)).mean() > 0.99  # equal to within rounding
    assert exact_neighbours([vectors[:3]], queries, 30).shape == (20, 3)
    assert exact_neighbours([], queries, 30).shape == (20, 0)


def test_written_and_read_gives_the_same_index(index: VectorIndex) -> None:
    again = VectorIndex.read(io.BytesIO(written(index)))
    assert (again.kind, again.effort, len(again), again.dimension) == (index.kind, index.effort, MANY, WIDTH)
    for query in e5_like(20, seed=9):
        assert again.search(query[None], 50) == index.search(query[None], 50)
    assert again.recall == (1.0 if index.kind is Kind.FLAT else None)


def test_what_is_written_never_is_in_memory_twice(index: VectorIndex) -> None:
    sizes: list[int] = []
    index.write(lambda part: sizes.append(len(part)))
    assert max(sizes) <= 2**20 < sum(sizes)


@pytest.mark.parametrize("after", [0, 1, 1_500_000])
def test_a_full_disk_is_noticed(index: VectorIndex, after: int) -> None:
    room = [after]

    def write(part: bytes) -> None:
        room[0] -= len(part)
        if room[0] < 0:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        index.write(write)


@pytest.mark.parametrize("kind", list(Kind))
def test_damaged_bytes_are_an_error(kind: Kind) -> None:
    data = written(VectorIndex.build(e5_like()[:2000], WIDTH, kind=kind))
    strange: list[bytes] = []
    faiss.write_index(faiss.IndexFlatL2(16), faiss.PyCallbackIOWriter(strange.append))  # type: ignore[attr-defined]
    for bad in (b"", b"x", b"garbage" * 1000, *(data[: len(data) * part // 8] for part in range(8)), data[:-1]):
        with pytest.raises(DataDamaged):
            VectorIndex.read(io.BytesIO(bad))
    with pytest.raises(DataDamaged, match="unknown kind"):
        VectorIndex.read(io.BytesIO(b"".join(strange)))


def test_another_effort_shares_the_vectors_and_leaves_the_first_alone() -> None:
    index, query = index_of(Kind.IVF), e5_like(1, seed=10)
    before, effort = index.search(query, 10), index.effort
    most = index.with_effort(10**6)
    assert (most.effort, index.effort) == (most.lists, effort)
    assert most.search(query, 10)[0][1] >= before[0][1]
    assert index.search(query, 10) == before
    assert index_of(Kind.SQ8).with_effort(7).effort == 0
    assert index.with_recall(0.5).recall == 0.5


@pytest.fixture
def threads_seen() -> Iterator[list[int]]:
    """What a thread that only searches is allowed by FAISS, as seen while another one builds."""
    seen: list[int] = []
    stop = threading.Event()

    def search() -> None:
        while not stop.is_set():
            index_of(Kind.SQ8).search(e5_like()[:1], 10)
            seen.append(faiss.omp_get_max_threads())

    index_of(Kind.SQ8)
    thread = threading.Thread(target=search)
    thread.start()
    yield seen
    stop.set()
    thread.join()


def test_building_takes_no_threads_for_searches(threads_seen: list[int]) -> None:
    VectorIndex.build(e5_like(), WIDTH, kind=Kind.IVF)
    assert faiss.omp_get_max_threads() == 1
    assert len(threads_seen) > 10
    assert set(threads_seen) == {1}


def test_a_thread_that_never_searched_would_take_all_cores() -> None:
    """FAISS's setting is one of the thread that makes it: that of the import alone bound nobody else."""
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(faiss.omp_get_max_threads()))
    thread.start()
    thread.join()
    if (os.cpu_count() or 1) > 1 and "OMP_NUM_THREADS" not in os.environ:
        assert seen[0] > 1


def test_searching_from_many_threads_is_safe_while_another_builds(index: VectorIndex) -> None:
    expected = index.search(e5_like()[:1], 10)
    wrong: list[object] = []

    def search() -> None:
        for _ in range(100):
            if index.search(e5_like()[:1], 10) != expected:
                wrong.append(True)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    VectorIndex.build(e5_like(), WIDTH, kind=Kind.IVF)
    for thread in threads:
        thread.join()
    assert not wrong
