"""Constants fitted once for the embedded model: what all its vectors have in common is taken away.

The vectors of this model, and the states of its tokens even more, share a strong common direction, so that nonsense
has a cosine of .76. Taking away the mean, of questions from questions and of passages from passages, makes the
differences count, and most of the advantage that a question's own language has goes with it.

Late interaction (Khattab & Zaharia 2020) compares each token of a question with each token of a passage. The last
layer and the one below it together work better than either; a principal component basis brings 2 x 384 numbers down
to a storable few. The constants are fitted by ``python -m eval.fit_projection`` and belong to one model, named
by its fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FILE = Path(__file__).parent / "projection.npz"


@dataclass(frozen=True, slots=True)
class Projection:
    """Means to take away and a basis to project on, for a model of ``hidden`` dimensions."""

    question_states: NDArray[np.float32]
    """Mean token states of questions in the layer below the last and in the last: shape (2, hidden)."""
    passage_states: NDArray[np.float32]
    """The same of passages."""
    question_vector: NDArray[np.float32]
    """Mean vector of questions: shape (hidden,)."""
    vectors: NDArray[np.float32]
    """Mean vectors of passages and of sentences: shape (2, hidden)."""
    basis: NDArray[np.float32]
    """Shape (2 * hidden, token dimension)."""
    common_ids: NDArray[np.int64]
    """Tokens that occur in more than one of ``questions`` questions in some language, ascending: shape (common,)."""
    common_counts: NDArray[np.int64]
    """How often, in the language where it is most: shape (common,)."""
    questions: NDArray[np.int64]
    """Shape ()."""

    @property
    def digest(self) -> str:
        """Hex SHA-256 of all constants."""
        return sha256(b"".join(getattr(self, field.name).tobytes() for field in fields(self))).hexdigest()

    @property
    def dimension(self) -> int:
        """Length of a projected state."""
        return int(self.basis.shape[1])

    def project(
        self, below: NDArray[np.float32], last: NDArray[np.float32], means: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Project token states of two layers, each (tokens, hidden), to unit rows (tokens, dimension).

        ``means`` are :attr:`question_states` or :attr:`passage_states`.
        """
        return unit_rows(np.concatenate([centred(below, means[0]), centred(last, means[1])], axis=1) @ self.basis)

    def centre_question(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take what questions have in common from a question's vector, shape (hidden,); unit length again."""
        alone: NDArray[np.float32] = centred(vector[None, :], self.question_vector)[0]
        return alone

    def weigh(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Weigh a question's tokens by how rare they are in questions, "did" little, "porcupine" much.

        Args:
            ids: shape (tokens,).

        Returns:
            Inverse document frequencies, normalised to sum to 1; shape (tokens,).
        """
        places = np.minimum(np.searchsorted(self.common_ids, ids), len(self.common_ids) - 1)
        counts = np.where(self.common_ids[places] == ids, self.common_counts[places], 0)
        weights = 0.02 + np.log((self.questions + 2) / (counts + 2))
        shares: NDArray[np.float32] = (weights / max(weights.sum(), 1e-9)).astype(np.float32)
        return shares


def load_projection(fingerprint: str) -> Projection | None:
    """Return the constants fitted for this model; ``None`` if there are none, and plain vectors are used."""
    if not _FILE.is_file():
        return None
    with np.load(_FILE, allow_pickle=False) as stored:
        if str(stored["fingerprint"]) != fingerprint:
            return None
        values = {field.name: stored[field.name] for field in fields(Projection)}
        return Projection(
            **{
                name: value.astype(np.float32) if value.dtype == np.float16 else value
                for name, value in values.items()
            }
        )


def centred(vectors: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take ``mean``, shape (dimension,), away from each vector, shape (n, dimension); unit length again."""
    return unit_rows(vectors - mean)


def centred_cosines(
    vectors: NDArray[np.float32], mean: NDArray[np.float32], query: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return ``centred(vectors, mean) @ query`` for unit vectors, shape (n,), without making the centred vectors."""
    if not len(vectors):
        return np.empty(0, np.float32)
    along_query, along_mean = (vectors @ np.stack([query, mean], axis=1)).T
    squares = 1 - 2 * along_mean + float(mean @ mean)
    cosines: NDArray[np.float32] = (along_query - float(mean @ query)) / np.sqrt(np.maximum(squares, 1e-18))
    return cosines


def unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows with unit length; a row of nothing stays one."""
    unit: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return unit
