"""A model's tokens, and where each lies in the text: what a tokenizer is, and the one that reads any model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one text, special tokens included."""

    ids: list[int]
    offsets: list[tuple[int, int]]
    """Which code points of the text each token stands for, start and end; empty for a token that was added."""


class TextTokenizer(Protocol):
    """Texts to tokens; safe to use from several threads."""

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenize each text, whole: nothing is cut off, nothing filled up."""
        ...

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has."""
        ...

    def vocabulary(self) -> dict[str, int]:
        """Return every token with its id."""
        ...


class LibraryTokenizer:
    """A :class:`TextTokenizer` of any kind that a ``tokenizer.json`` can describe, run by the library tokenizers."""

    def __init__(self, file: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """See :class:`TextTokenizer`."""
        return [Tokens(encoding.ids, encoding.offsets) for encoding in self._tokenizer.encode_batch(list(texts))]

    def count(self, texts: Sequence[str]) -> list[int]:
        """See :class:`TextTokenizer`."""
        return [len(encoding) for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def vocabulary(self) -> dict[str, int]:
        """See :class:`TextTokenizer`."""
        return self._tokenizer.get_vocab()
