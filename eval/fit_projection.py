"""Fit the constants of ``index/projection.npz``.

    python -m eval.fit_projection --questions ../shared/data/xquad-dev/questions.jsonl \\
        ../shared/data/xquad-dev/full/*/*.txt

Means of the embedded model's vectors and token states over questions, sentences and passages in as many languages as
there are, and the principal components of the states. Only these statistics are kept, no text. Run it again when the
model's weights change.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import index.projection
from index import open_encoder
from index.chunk import cut
from index.language import detect_language
from index.load import decode
from index.openvino_encoder import OpenVinoEncoder
from index.projection import Projection


def fit(
    encoder: OpenVinoEncoder,
    questions: dict[str, list[str]],
    passages: list[str],
    sentences: list[str],
    dimension: int,
) -> Projection:
    """Return the constants for ``encoder``; shapes are those of :class:`index.projection.Projection`.

    Args:
        encoder: the embedded model.
        questions: by language, as many in each.
        passages, sentences: of documents in several languages.
        dimension: components to keep of a token's state.
    """
    below, last, _ = encoder.raw_states(passages, questions=False)
    passage_states = np.stack([below.mean(0), last.mean(0)])
    centred = [rows - mean for rows, mean in zip((below, last), passage_states, strict=True)]
    joined = np.concatenate([rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in centred], axis=1)
    _, components = np.linalg.eigh(joined.T @ joined / len(joined))
    states: list[NDArray[np.float32]] = []
    vectors: list[NDArray[np.float32]] = []
    highest: Counter[int] = Counter()
    for texts in questions.values():
        first, second, ids = encoder.raw_states(texts, questions=True)
        states.append(np.stack([first.mean(0), second.mean(0)]))
        vectors += [query.vector for query in encoder.encode_queries(texts)]
        highest |= Counter(np.concatenate(ids).tolist())
    common = sorted((token, count) for token, count in highest.items() if count > 1)
    return Projection(
        question_states=np.mean(states, axis=0),
        passage_states=passage_states,
        question_vector=np.mean(vectors, axis=0),
        vectors=np.stack(
            [encoder.encode_passages(passages).vectors.mean(0), encoder.encode_sentences(sentences).mean(0)]
        ),
        basis=components[:, ::-1][:, :dimension],
        common_ids=np.array([token for token, _ in common], np.int64),
        common_counts=np.array([count for _, count in common], np.int64),
        questions=np.array(max(map(len, questions.values())), np.int64),
    )


def main() -> None:
    """Read texts, run the model, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", type=Path, help="documents, in several languages")
    parser.add_argument("--questions", type=Path, required=True, help='JSON lines with {"question": {LANG: TEXT}}')
    parser.add_argument("--dimension", type=int, default=128)
    arguments = parser.parse_args()
    encoder = open_encoder()
    if not isinstance(encoder, OpenVinoEncoder):
        raise SystemExit("the embedded model is not active")
    questions: dict[str, list[str]] = {}
    for line in arguments.questions.read_text("utf-8").splitlines():
        for language, text in json.loads(line)["question"].items():
            questions.setdefault(language, []).append(text)
    passages: list[str] = []
    sentences: list[str] = []
    for file in arguments.texts:
        text = decode(file.read_bytes())
        result = cut(text, detect_language(text))
        passages += [span.of(text) for span in result.passages]
        sentences += [span.of(text) for group in result.sentences for span in group]
    constants = asdict(fit(encoder, questions, passages, sentences, arguments.dimension))
    target = Path(index.projection.__file__).parent / "projection.npz"
    np.savez_compressed(
        target,
        fingerprint=np.array(encoder.model_fingerprint),
        **{name: value.astype(np.float16) if value.dtype.kind == "f" else value for name, value in constants.items()},
    )
    print(
        f"{len(passages)} passages, {len(sentences)} sentences, {len(questions)} question languages -> {target.name}"
    )


if __name__ == "__main__":
    main()
