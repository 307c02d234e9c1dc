"""Fit the constants of ``index/projection.npz``: ``python -m eval.fit_projection TEXT... [--dimension 128]``.

Means and principal components of the embedded model's token states over passages of the given texts, in as many
languages as there are. Only these statistics are kept, no text. Run it again when the model's weights change.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import index.projection
from index import open_encoder
from index.chunk import cut
from index.language import detect_language
from index.load import decode
from index.openvino_encoder import OpenVinoEncoder


def fit(below: NDArray[np.float32], last: NDArray[np.float32], dimension: int) -> dict[str, NDArray[np.float32]]:
    """Return means (2, hidden), basis (2 * hidden, dimension) and an indifferent weight head (2 * hidden + 1,)."""
    means = np.stack([below.mean(0), last.mean(0)])
    centred = [rows - mean for rows, mean in zip((below, last), means, strict=True)]
    joined = np.concatenate([rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in centred], axis=1)
    _, vectors = np.linalg.eigh(joined.T @ joined / len(joined))
    basis = vectors[:, ::-1][:, :dimension]
    return {"means": means, "basis": basis, "head": np.zeros(basis.shape[0] + 1, np.float32)}


def main() -> None:
    """Read texts, run the model, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--dimension", type=int, default=128)
    arguments = parser.parse_args()
    encoder = open_encoder(progress=lambda line: print(line, file=sys.stderr))
    if not isinstance(encoder, OpenVinoEncoder):
        raise SystemExit("the embedded model is not active")
    passages: list[str] = []
    for file in arguments.texts:
        text = decode(file.read_bytes())
        passages += [span.of(text) for span in cut(text, detect_language(text)).passages]
    below, last = encoder.raw_states(passages)
    constants = fit(below, last, arguments.dimension)
    target = Path(index.projection.__file__).parent / "projection.npz"
    np.savez_compressed(
        target,
        fingerprint=np.array(encoder.info.fingerprint),
        **{name: value.astype(np.float16) for name, value in constants.items()},
    )
    print(f"{len(passages)} passages, {len(last)} tokens -> {target.name}, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
