"""Fit the constants of ``index/projection.npz``: ``python -m eval.fit_projection ../shared/data/xquad-dev``.

Means of the embedded model's vectors and token states over questions, sentences and passages in as many languages as
there are, and the principal components of the states. Only these statistics are kept, no text. Run it again when the
model's weights change.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import index.projection
from index import Vectors, open_encoder
from index.chunk import cut
from index.language import detect_language
from index.load import decode
from index.openvino_encoder import OpenVinoEncoder
from index.projection import Projection

DIMENSION = 128
"""Components kept of a token's state."""

_Float32s = NDArray[np.float32]


@dataclass(slots=True)
class Asked:
    """One article's questions in one language."""

    below: _Float32s
    """Sum of the token states in the layer below the last, shape (hidden,)."""
    last: _Float32s
    tokens: int
    vectors: Vectors
    ids: Counter[int]


@dataclass(slots=True)
class Article:
    """What is observed of one article: its passages in every language, its questions in every language."""

    below: list[_Float32s] = field(default_factory=list)
    """Token states of passages in the layer below the last, each (tokens, hidden)."""
    last: list[_Float32s] = field(default_factory=list)
    passages: list[Vectors] = field(default_factory=list)
    sentences: list[Vectors] = field(default_factory=list)
    questions: dict[str, Asked] = field(default_factory=dict)


def observe(folder: Path, encoder: OpenVinoEncoder) -> dict[str, Article]:
    """Run the model over all texts of ``folder``, which has the form of xquad-dev; return what is seen by article."""
    seen: dict[str, Article] = {}
    for file in sorted((folder / "full").glob("*/*.txt")):
        text = decode(file.read_bytes())
        result = cut(text, detect_language(text))
        passages = [span.of(text) for span in result.passages]
        article = seen.setdefault(file.stem, Article())
        below, last, _ = encoder.raw_states(passages, questions=False)
        article.below.append(below)
        article.last.append(last)
        article.passages.append(encoder.encode_passages(passages).vectors)
        article.sentences.append(
            encoder.encode_sentences([span.of(text) for group in result.sentences for span in group])
        )
    texts: dict[tuple[str, str], list[str]] = {}
    for line in (folder / "questions.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        for language, question in entry["question"].items():
            texts.setdefault((entry["doc"], language), []).append(question)
    for (name, language), questions in texts.items():
        below, last, ids = encoder.raw_states(questions, questions=True)
        seen[name].questions[language] = Asked(
            below.sum(0),
            last.sum(0),
            len(below),
            np.stack([query.vector for query in encoder.encode_queries(questions)]),
            Counter(np.concatenate(ids).tolist()),
        )
    return seen


def fit(articles: Sequence[Article], folded: NDArray[np.int64], dimension: int = DIMENSION) -> Projection:
    """Return the constants; shapes are those of :class:`index.projection.Projection`.

    Args:
        articles: what was observed.
        folded: see :meth:`index.openvino_encoder.OpenVinoEncoder.folded_tokens`; "what" is as common as "What".
        dimension: components to keep of a token's state.
    """
    layers = [np.concatenate([part for a in articles for part in getattr(a, name)]) for name in ("below", "last")]
    passage_states = np.stack([rows.mean(0) for rows in layers])
    centred = [rows - mean for rows, mean in zip(layers, passage_states, strict=True)]
    joined = np.concatenate([rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in centred], axis=1)
    _, components = np.linalg.eigh(joined.T @ joined / len(joined))
    states: list[_Float32s] = []
    vectors: list[Vectors] = []
    highest: Counter[int] = Counter()
    questions = 0
    for language in sorted({language for article in articles for language in article.questions}):
        asked = [article.questions[language] for article in articles if language in article.questions]
        tokens = sum(each.tokens for each in asked)
        sums = np.stack([_total(each.below for each in asked), _total(each.last for each in asked)])
        states.append(sums / np.float32(tokens))
        vectors += [each.vectors for each in asked]
        counts: Counter[int] = Counter()
        for each in asked:
            for id_, count in each.ids.items():
                counts[int(folded[id_])] += count
        highest |= counts
        questions = max(questions, sum(len(each.vectors) for each in asked))
    often = np.zeros(len(folded), np.int64)
    for id_, count in highest.items():
        often[id_] = count
    often = often[folded]
    common = np.flatnonzero(often > 1)
    return Projection(
        question_states=np.mean(states, axis=0),
        passage_states=passage_states,
        question_vector=np.concatenate(vectors).mean(0),
        vectors=np.stack(
            [
                np.concatenate([part for article in articles for part in article.passages]).mean(0),
                np.concatenate([part for article in articles for part in article.sentences]).mean(0),
            ]
        ),
        basis=components[:, ::-1][:, :dimension],
        common_ids=common,
        common_counts=often[common],
        questions=np.array(questions, np.int64),
    )


def _total(rows: Iterable[_Float32s]) -> _Float32s:
    total: _Float32s = np.stack(list(rows)).sum(0)
    return total


def main() -> None:
    """Read texts, run the model, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the form of xquad-dev")
    arguments = parser.parse_args()
    encoder = open_encoder()
    if not isinstance(encoder, OpenVinoEncoder):
        raise SystemExit("the embedded model is not active")
    seen = observe(arguments.folder, encoder)
    constants = asdict(fit(list(seen.values()), encoder.folded_tokens()))
    target = Path(index.projection.__file__).parent / "projection.npz"
    np.savez_compressed(
        target,
        fingerprint=np.array(encoder.model_fingerprint),
        **{name: value.astype(np.float16) if value.dtype.kind == "f" else value for name, value in constants.items()},
    )
    print(f"{len(seen)} articles -> {target.name}")


if __name__ == "__main__":
    main()
