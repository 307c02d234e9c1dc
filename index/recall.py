"""How well an index finds: the true neighbours by comparing with everything, and what share of them was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from index.encoder import Vectors

NEIGHBOURS = 10
"""Recall is measured among that many."""
BLOCK = 8192
"""How many vectors are compared at a time, to keep what that takes small."""

_SEED = 1234
_MOST_TWINS = 100
"""A probe with more copies of itself in the index says nothing about recall."""
_TWIN = 1e-5
_TIE = 1e-6
_LOST_AT_MOST = 0.01


class Nearest:
    """The exact nearest neighbours of some queries among rows that pass by."""

    def __init__(self, queries: Vectors, k: int) -> None:
        self._queries = np.asarray(queries, np.float32)
        self.scores = np.full((len(queries), k), -np.inf, np.float32)
        self.positions = np.full((len(queries), k), -1, np.int64)
        self.seen = 0

    def watch(self, rows: Vectors, scores: NDArray[np.float32] | None = None) -> None:
        """Compare with the next rows; ``scores`` if they are known, or known better."""
        scores = self._queries @ rows.T if scores is None else scores
        k = self.scores.shape[1]
        floor = self.scores[:, -1]
        if len(rows) > k and not np.isfinite(floor).all():  # spare the sort below most of the first rows
            floor = np.maximum(floor, np.nextafter(np.partition(scores, -k, axis=1)[:, -k], np.float32(-np.inf)))
        query, column = np.nonzero(scores > floor[:, None])
        query = np.concatenate([np.repeat(np.arange(len(scores)), k), query])
        merged = np.concatenate([self.scores.ravel(), scores[query[len(query) - len(column) :], column]])
        positions = np.concatenate([self.positions.ravel(), column + self.seen])
        order = np.lexsort((positions, -merged, query))
        counts = np.bincount(query, minlength=len(scores))
        best = order[(np.cumsum(counts) - counts)[:, None] + np.arange(k)]
        self.scores, self.positions = merged[best], positions[best]
        self.seen += len(rows)


class Probes:
    """Vectors of the index itself, asked for their neighbours to see how many of them the index finds.

    A probe finds itself and its copies without any art, so they count neither as wanted nor as found.
    """

    def __init__(self, sample: Vectors, count: int) -> None:
        rows = np.random.default_rng(_SEED).choice(len(sample), min(count, len(sample)), replace=False)
        self._queries = sample[rows]
        self._nearest = Nearest(self._queries, 3 * NEIGHBOURS)
        self._kept = Nearest(self._queries, NEIGHBOURS)
        self._own = np.einsum("ij,ij->i", self._queries, self._queries) - _TWIN
        self._twins: list[set[int]] = [set() for _ in rows]

    def watch(self, rows: Vectors, kept: Vectors | None = None) -> None:
        """Compare with the next rows, and with what the index keeps of them if a search compares with all of that."""
        scores = self._queries @ rows.T
        twins = np.nonzero(scores >= self._own[:, None])
        for probe, column in zip(*(side.tolist() for side in twins), strict=True):
            if len(self._twins[probe]) <= _MOST_TWINS:
                self._twins[probe].add(column + self._nearest.seen)
        scores[twins] = -np.inf
        self._nearest.watch(rows, scores)
        if kept is not None:
            scores = self._queries @ kept.T
            scores[twins] = -np.inf
            self._kept.watch(kept, scores)

    def recall_of_kept(self) -> float:
        """Return the mean share of the true neighbours that comparing with all that is kept finds."""
        return self._recall(self._kept.positions.tolist())

    def recall(self, search: Callable[[Vectors, int], list[list[int]]]) -> float:
        """Return the mean share of the true neighbours that ``search(queries, k)`` finds."""
        return self._recall(search(self._queries, NEIGHBOURS + _MOST_TWINS))

    def _recall(self, found: list[list[int]]) -> float:
        """Of equally near neighbours any will do."""
        return mean_share([(self._others(probe, row), *self._wanted(probe)) for probe, row in enumerate(found)])

    def _others(self, probe: int, found: list[int]) -> list[int]:
        return [position for position in found if position not in self._twins[probe]][:NEIGHBOURS]

    def _wanted(self, probe: int) -> tuple[set[int], int]:
        """Return what may be found, and how many of it can be."""
        scores = self._nearest.scores[probe]
        count = min(NEIGHBOURS, int(np.isfinite(scores).sum()))
        if not count or len(self._twins[probe]) > _MOST_TWINS:
            return set(), 0
        return set(self._nearest.positions[probe][scores >= scores[count - 1] - _TIE].tolist()), count


def mean_share(rows: Iterable[tuple[Sequence[int], set[int], int]]) -> float:
    """Average, over what was found, what was to be found, and how many of it at most; 1.0 over nothing."""
    shares = [min(len(truth.intersection(found)), most) / most for found, truth, most in rows if most]
    return float(np.mean(shares)) if shares else 1.0


def least_effort(measure: Callable[[int], float], most: int, floor: float) -> tuple[int, float]:
    """Return the smallest effort, to within a sixteenth, whose recall reaches the floor, and that recall.

    Where 8 bits a number are too coarse for the floor even with every list, no effort mends that; the one that
    loses next to nothing more is taken.
    """
    low, high = 0, 1
    while (recall := measure(high)) < floor and high < most:
        low, high = high, min(2 * high, most)
    if recall < floor:
        low, floor = 0, recall - _LOST_AT_MOST
    while high - low > max(1, high // 16):
        middle = (low + high) // 2
        if (found := measure(middle)) >= floor:
            high, recall = middle, found
        else:
            low = middle
    return high, recall
