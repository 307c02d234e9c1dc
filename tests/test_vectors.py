from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.encoder import Vectors
from index.errors import DataDamaged
from index.vectors import VectorIndex


def unit(rows: int, dimension: int = 16, seed: int = 0) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)
    units: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units


@given(st.integers(1, 60), st.integers(1, 80), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_search_equals_brute_force_scores_included(rows: int, limit: int, seed: int) -> None:
    vectors, query = unit(rows, seed=seed), unit(1, seed=seed ^ 1)
    ids = np.random.default_rng(seed).choice(2**62, rows, replace=False).astype(np.int64)
    found = VectorIndex.build(ids, vectors, 16).search(query, limit)
    scores = vectors @ query[0]
    expected = sorted(zip(ids.tolist(), scores.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))[:limit]
    assert [id_ for id_, _ in found] == [id_ for id_, _ in expected]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-6)


def test_asking_for_more_than_there_is_never_gives_minus_one() -> None:
    index = VectorIndex.build(np.array([7], np.int64), unit(1), 16)
    assert [id_ for id_, _ in index.search(unit(1), 100)] == [7]
    assert VectorIndex.build(np.empty(0, np.int64), np.empty((0, 0), np.float32), 16).search(unit(1), 5) == []


def test_only_allowed_ids_are_found_and_all_of_them() -> None:
    index = VectorIndex.build(np.arange(1000), unit(1000), 16)
    allowed = list(range(0, 1000, 100))
    assert sorted(id_ for id_, _ in index.search(unit(1, seed=9), 10, allowed)) == allowed
    assert index.search(unit(1), 10, []) == []


@pytest.mark.parametrize(
    "query",
    [unit(1, 8), np.zeros((1, 16), np.float32), np.full((1, 16), np.nan, np.float32), unit(2)],
    ids=["dimension", "zero", "nan", "two rows"],
)
def test_queries_faiss_would_answer_with_nonsense_are_errors(query: Vectors) -> None:
    with pytest.raises(DataDamaged):
        VectorIndex.build(np.arange(3), unit(3), 16).search(query, 1)


@pytest.mark.parametrize(
    ("ids", "vectors"),
    [
        (np.array([1, 1, 2]), unit(3)),
        (np.array([-1, 0, 1]), unit(3)),
        (np.arange(2), unit(3)),
        (np.arange(3), unit(3) * 2),
    ],
    ids=["twice", "negative", "count", "length"],
)
def test_what_must_not_be_indexed_is_refused(
    ids: np.ndarray[tuple[int], np.dtype[np.int64]], vectors: Vectors
) -> None:
    with pytest.raises(DataDamaged):
        VectorIndex.build(ids, vectors, 16)


def test_bytes_and_back_gives_the_same_index() -> None:
    index = VectorIndex.build(np.arange(50), unit(50), 16)
    again = VectorIndex.from_bytes(index.to_bytes())
    assert again.search(unit(1, seed=3), 50) == index.search(unit(1, seed=3), 50)


def test_searching_from_many_threads_is_safe() -> None:
    index = VectorIndex.build(np.arange(2000), unit(2000), 16)
    expected = index.search(unit(1, seed=5), 10)
    wrong: list[object] = []

    def search() -> None:
        for _ in range(200):
            if index.search(unit(1, seed=5), 10) != expected:
                wrong.append(True)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
