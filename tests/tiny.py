"""A tiny encoder that means something: words hash to directions, so texts that share words are close.

It has token states too, so the whole pipeline runs on it: two-stage ranking, windows, citations.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from index.encoder import EncodedPassages, EncodedQuery, EncoderInfo, TokenStates, Vectors
from index.openvino_encoder import quantise

DIMENSION = 64
_WORD = re.compile(r"\w+")


@lru_cache(4096)
def direction(word: str) -> NDArray[np.float32]:
    seed = int.from_bytes(blake2b(word.casefold().encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
    vector = np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
    unit: NDArray[np.float32] = vector / np.linalg.norm(vector)
    return unit


class TinyEncoder:
    def __init__(self, name: str = "tiny", max_tokens: int = 10_000) -> None:
        self.info = EncoderInfo(name, f"fingerprint-of-{name}", DIMENSION, max_tokens, DIMENSION, "hash")
        self.texts_encoded = 0

    @property
    def centre(self) -> None:
        return None

    def encode_queries(self, texts: Sequence[str]) -> list[EncodedQuery]:
        queries = []
        for text in texts:
            words = _WORD.findall(text)
            tokens = np.stack([direction(word) for word in words]) if words else np.empty((0, 0), np.float32)
            vector = self._vector(text)
            weights = np.full(len(words), 1 / max(len(words), 1), np.float32)
            queries.append(EncodedQuery(vector, vector, tokens, weights))
        return queries

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        self.texts_encoded += len(texts)
        return EncodedPassages(self._vectors(texts), tuple(self._states(text) for text in texts))

    def encode_sentences(self, texts: Sequence[str]) -> Vectors:
        return self._vectors(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(_WORD.findall(text)) for text in texts]

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._vector(text) for text in texts]) if texts else np.empty((0, DIMENSION), np.float32)

    def _vector(self, text: str) -> NDArray[np.float32]:
        total = np.zeros(DIMENSION, np.float32)
        for word in _WORD.findall(text):
            total += direction(word)
        total[0] += 1e-3  # a text without words still has a direction
        unit: NDArray[np.float32] = total / np.linalg.norm(total)
        return unit

    def _states(self, text: str) -> TokenStates:
        words = list(_WORD.finditer(text))
        if not words:
            return TokenStates(np.empty((0, DIMENSION), np.int8), np.empty(0, np.uint16))
        units = np.stack([direction(word.group()) for word in words])
        return TokenStates(quantise(units), np.array([word.start() for word in words], np.uint16))
