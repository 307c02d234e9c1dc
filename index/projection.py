"""Token states made small: two layers of a model, centred, joined and projected, fitted once for the embedded model.

Late interaction (Khattab & Zaharia 2020) compares each token of a question with each token of a passage. With the raw
states of this model that works only after the mean state is taken away, since all states share a strong common
direction; the last layer and the one below it together work better than either. A principal component basis
brings 2 x 384 numbers down to a storable few, and a linear head says how much a question's token matters ("did" little,
"porcupine" much). The constants are fitted by ``python -m eval.fit_projection`` and belong to one model, named by its
fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FILE = Path(__file__).parent / "projection.npz"


@dataclass(frozen=True, slots=True)
class Projection:
    """Means of both layers, shape (2, hidden); a basis, (2 * hidden, token dimension); a weight head."""

    means: NDArray[np.float32]
    basis: NDArray[np.float32]
    head: NDArray[np.float32]
    """Shape (2 * hidden + 1,): a direction and, last, an offset."""

    @property
    def dimension(self) -> int:
        """Length of a projected state."""
        return int(self.basis.shape[1])

    def apply(
        self, below: NDArray[np.float32], last: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Project token states of the last two layers, each (tokens, hidden).

        Returns:
            Unit rows, shape (tokens, dimension), and positive weights, shape (tokens,).
        """
        joined = np.concatenate([_unit(below - self.means[0]), _unit(last - self.means[1])], axis=1)
        weights = np.logaddexp(0, joined @ self.head[:-1] + self.head[-1])
        return _unit(joined @ self.basis), weights


def load_projection(fingerprint: str) -> Projection | None:
    """Return the projection fitted for this model; ``None`` if there is none, and token states are not used."""
    if not _FILE.is_file():
        return None
    with np.load(_FILE, allow_pickle=False) as stored:
        if str(stored["fingerprint"]) != fingerprint:
            return None
        return Projection(*(stored[name].astype(np.float32) for name in ("means", "basis", "head")))


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return unit
