"""A generation: everything a search needs of one state of the catalogue, in memory. Never changed once made.

It consists of layers: first the base, built over everything and kept on disk, then small ones with what was added
since. Passages that died stay where they are, masked; a search is told to pass them over. A change makes the next
generation out of this one: another mask here, a small layer there; what did not change is shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from index.catalogue import Catalogue
from index.encoder import Vectors
from index.errors import DataDamaged
from index.segment import Segment, build_segment, merge_segments, read_segment, segment_of
from index.stored import Change, ModelRow, PassageRows
from index.vectors import FLAT_LIMIT, Kind, VectorIndex

SMALL = 5_000
"""Passages up to this many, above the newest base, are read into a small layer; more are worth a new base."""

_ERASED = -1


@dataclass(frozen=True)
class Layer:
    """A segment, and which of its passages belong to the generation."""

    segment: Segment
    versions: NDArray[np.int64]
    """The version each passage belongs to; -1 once it is erased. Shape (n,)."""
    alive: NDArray[np.bool_]
    """Shape (n,)."""
    base: bool = False

    @cached_property
    def living(self) -> int:
        """How many passages belong to the generation."""
        return int(np.count_nonzero(self.alive))

    @cached_property
    def _living_sentences(self) -> NDArray[np.bool_]:
        return self.alive[self.segment.owners]

    def masks(self, allowed: NDArray[np.int64] | None) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
        """Return which passages and which sentences a search may find; ``None`` where that is all of them."""
        if allowed is None:
            return (None, None) if self.living == len(self.alive) else (self.alive, self._living_sentences)
        mask = self.alive & among(self.versions, allowed)
        return mask, mask[self.segment.owners]

    def without(self, dead: NDArray[np.int64]) -> Layer:
        """Return the layer without some passages, given by their ids, ascending."""
        gone = among(self.segment.ids, dead) & self.alive
        return replace(self, alive=self.alive & ~gone) if gone.any() else self


@dataclass(frozen=True)
class Generation:
    """One state of the documents, ready to be searched."""

    number: int
    model: ModelRow
    layers: tuple[Layer, ...]

    @property
    def living(self) -> int:
        """How many passages there are."""
        return sum(layer.living for layer in self.layers)

    @property
    def newest_id(self) -> int:
        """The highest id of any passage indexed here; 0 if there is none."""
        return max((int(layer.segment.ids[-1]) for layer in self.layers if len(layer.segment)), default=0)

    @property
    def outside(self) -> int:
        """How many passages are in layers beside the base."""
        return sum(len(layer.alive) for layer in self.layers if not layer.base)

    def nearest_passages(
        self, query: Vectors, limit: int, allowed: NDArray[np.int64] | None
    ) -> list[tuple[int, float]]:
        """Return ids and cosines of the passages nearest to a question, best first.

        Args:
            query: shape (1, dimension), unit length.
            limit: how many at most.
            allowed: versions to search among, ascending; all if ``None``.
        """
        return self._nearest(query, limit, allowed, sentences=False)

    def passages_of_nearest_sentences(
        self, query: Vectors, limit: int, allowed: NDArray[np.int64] | None
    ) -> list[tuple[int, float]]:
        """Return the passages of the nearest sentences, with the sentences' cosines; a passage may come again."""
        return self._nearest(query, limit, allowed, sentences=True)

    def _nearest(
        self, query: Vectors, limit: int, allowed: NDArray[np.int64] | None, *, sentences: bool
    ) -> list[tuple[int, float]]:
        found: list[tuple[int, float]] = []
        for layer in self.layers:
            mask = layer.masks(allowed)[sentences]
            index = layer.segment.sentences if sentences else layer.segment.passages
            for position, score in index.search(query, limit, mask):
                place = int(layer.segment.owners[position]) if sentences else position
                found.append((int(layer.segment.ids[place]), score))
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:limit]

    def passages_of(self, versions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids of the living passages of some versions (ascending)."""
        parts = [layer.segment.ids[layer.alive & among(layer.versions, versions)] for layer in self.layers]
        return np.concatenate([_NONE, *parts])

    def indexes(self) -> dict[str, list[VectorIndex]]:
        """Return the vector indexes, by what they are over."""
        return {
            "passages": [layer.segment.passages for layer in self.layers],
            "sentences": [layer.segment.sentences for layer in self.layers],
        }

    def advanced(self, change: Change) -> Generation:
        """Return the generation that a change makes of this one."""
        dead = np.array(sorted(id_ for each in change.died for id_ in each.passages), np.int64)
        layers = [layer.without(dead) for layer in self.layers] if len(dead) else list(self.layers)
        if change.born:
            segment = segment_of(change.born, self.model.dimension)
            versions = np.repeat(
                np.array([each.version for each in change.born], np.int64),
                [len(each.passages) for each in change.born],
            )
            layers.append(Layer(segment, versions, np.ones(len(segment), np.bool_)))
        return Generation(change.number, self.model, tuple(_merged(layers)))

    def with_base(self, segment: Segment) -> Generation:
        """Return this generation with its base searched in another way; ``segment`` has the same passages."""
        return replace(self, layers=(replace(self.layers[0], segment=segment), *self.layers[1:]))


def assemble(
    catalogue: Catalogue, model: ModelRow, number: int, segments: Sequence[Segment], min_recall: float
) -> Generation:
    """Put a generation together from segments that were built earlier and what the catalogue has beyond them.

    Args:
        catalogue: the truth; its rows decide what is alive at ``number``.
        model: whose passages.
        number: the state wanted.
        segments: in ascending order of their ids, the base first; none to build everything anew.
        min_recall: for a base, if one must be built.

    Raises:
        DataDamaged: if the catalogue is damaged.
    """
    standing = catalogue.passage_rows(model)
    newest = max((int(segment.ids[-1]) for segment in segments if len(segment)), default=0)
    new = int(np.count_nonzero(standing.ids > newest))
    built = list(segments)
    if new > SMALL and new > len(standing.ids) // 10:
        whole = build_segment(catalogue, model, min_recall, quick=True)
        built = [] if whole is None else [whole]
    elif new:
        small = read_segment(catalogue, model, newest)
        built += [small] if small is not None else []
    layers = [layer_of(segment, standing, number, base=place == 0) for place, segment in enumerate(built)]
    if sum(int(np.count_nonzero(layer.versions != _ERASED)) for layer in layers) != len(standing.ids):
        raise DataDamaged("data_damaged", "The index lacks passages of the catalogue.")
    return Generation(number, model, tuple(_merged(layers)))


def layer_of(segment: Segment, standing: PassageRows, number: int, *, base: bool) -> Layer:
    """Mask a segment for the generation ``number``."""
    places = np.searchsorted(standing.ids, segment.ids)
    places = np.minimum(places, max(len(standing.ids) - 1, 0))
    if not len(standing.ids):
        return Layer(segment, np.full(len(segment), _ERASED, np.int64), np.zeros(len(segment), np.bool_), base)
    known = (standing.ids[places] == segment.ids) & (standing.marks[places] == segment.marks)
    versions = np.where(known, standing.versions[places], _ERASED)
    return Layer(segment, versions, known & standing.alive(number)[places], base)


def among(values: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say of each value whether it is among ``wanted``, which is ascending."""
    if not len(wanted):
        return np.zeros(len(values), np.bool_)
    places = np.minimum(np.searchsorted(wanted, values), len(wanted) - 1)
    found: NDArray[np.bool_] = wanted[places] == values
    return found


_NONE = np.empty(0, np.int64)


def _merged(layers: list[Layer]) -> list[Layer]:
    """Merge the last layers while they are of like size, so that n changes leave about log n of them."""
    while len(layers) > 1 and _mergeable(layers[-2], layers[-1]):
        one, other = layers[-2], layers[-1]
        layers[-2:] = [
            Layer(
                merge_segments(one.segment, other.segment),
                np.concatenate([one.versions, other.versions]),
                np.concatenate([one.alive, other.alive]),
            )
        ]
    return layers


def _mergeable(one: Layer, other: Layer) -> bool:
    both = (one.segment, other.segment)
    return (
        not one.base
        and len(one.segment) <= 2 * len(other.segment)
        and all(index.kind is Kind.FLAT for segment in both for index in (segment.passages, segment.sentences))
        and sum(len(segment.sentences) for segment in both) <= FLAT_LIMIT
    )
