"""The tokenizer of a SentencePiece unigram model, out of a small file that needs no preparation.

The library tokenizers puts the pieces of such a model, a quarter of a million, into a tree of hash maps: at every
start a second and 280 MB. Here they are in a MARISA trie of 0.8 MB that is used as it lies on the disk. What is
delicate is still done by the library, as ``tokenizer.json`` says: special tokens, normalisation, words, and where
each character came from. For that it is given a vocabulary of single characters. What is left is to divide each word
into the pieces with the highest sum of scores (Viterbi's algorithm; Kudo 2018). It is done in the library's order and
precision, so that ids and offsets are the library's, even where two divisions are equally good.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import marisa_trie
import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from tokenizers.models import BPE

from index.tokenizer import Tokens

FILE = "unigram.npz"
"""Lies beside ``tokenizer.json``. Its ending is none that counts for a model's fingerprint."""

_FORMAT = "unigram-1"
_SPACE = "\u2581"
_UNKNOWN_PENALTY = 10.0
"""An unknown character scores this much less than the worst piece."""

_NO_CHARACTER = "unknown"
"""Stands for every character that is in no piece; longer than a character, so that no text has it."""

_STAND_INS = [chr(code_point) for code_point in range(0xFDD0, 0xFDF0)]
"""Code points that are no characters; one stands for what is unknown, and one for each special token."""

_TEXTS_AT_ONCE = 64
"""A token for each character takes some hundred bytes for a moment."""
_WORDS_KEPT, _WORD_KEPT = 2**14, 32
"""How many words are remembered with their pieces, some megabytes, and how long such a word may be."""

_Pieces: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
"""The ids of a word's pieces, and how many characters each has."""


class UnigramTokenizer:
    """An :class:`index.tokenizer.TextTokenizer`, made of what :func:`write_unigram` wrote."""

    def __init__(self, stored: Mapping[str, NDArray[Any]]) -> None:
        self._library = Tokenizer.from_buffer(stored["characters"].tobytes())
        characters = self._library.get_vocab(with_added_tokens=False)
        self._library.model = BPE(characters, [], unk_token=_NO_CHARACTER, cache_capacity=0)
        special = stored["special"].tolist()
        unknown, *stand_ins = [one for one in _STAND_INS if one not in characters][: 1 + len(special)]
        self._characters = [*sorted(characters, key=characters.__getitem__), *stand_ins]
        self._characters[characters[_NO_CHARACTER]] = unknown
        self._special = {stand_in: ((id_,), (1,)) for stand_in, id_ in zip(stand_ins, special, strict=True)}
        apart = "".join(stand_ins)
        self._words = re.compile(f"[{apart}]|[^{apart}][^{apart}{_SPACE}]*")
        self._trie = marisa_trie.Trie()
        self._trie.frombytes(stored["trie"].tobytes())
        # Views hand out plain numbers twice as fast as arrays do.
        self._ids = stored["ids"].data
        self._scores = stored["scores"].data
        self._longest = int(stored["longest"])
        self._unknown = int(stored["unknown"])
        self._unknown_score = float(stored["scores"].min()) - _UNKNOWN_PENALTY
        self._remembered = lru_cache(_WORDS_KEPT)(self._divide)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """See :class:`index.tokenizer.TextTokenizer`."""
        return [self._tokens(encoding) for some in _some(texts) for encoding in self._library.encode_batch(some)]

    def count(self, texts: Sequence[str]) -> list[int]:
        """See :class:`index.tokenizer.TextTokenizer`."""
        return [
            sum(len(ids) for ids, _ in self._pieces(encoding))
            for some in _some(texts)
            for encoding in self._library.encode_batch_fast(some)
        ]

    def vocabulary(self) -> dict[str, int]:
        """See :class:`index.tokenizer.TextTokenizer`."""
        return {piece: self._ids[place] for piece, place in self._trie.items()}

    def _tokens(self, encoding: Encoding) -> Tokens:
        places = encoding.offsets
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        first = 0
        for some, lengths in self._pieces(encoding):
            ids += some
            for length in lengths:
                offsets.append((places[first][0], places[first + length - 1][1]))
                first += length
        return Tokens(ids, offsets)

    def _pieces(self, encoding: Encoding) -> list[_Pieces]:
        """Return the pieces of each word, in order; a special token is a word of its own."""
        text = "".join(map(self._characters.__getitem__, encoding.ids))
        special = self._special
        return [
            special[word]
            if word in special
            else self._remembered(word)
            if len(word) <= _WORD_KEPT
            else self._divide(word)
            for word in self._words.findall(text)
        ]

    def _divide(self, word: str) -> _Pieces:
        """Divide a word into the pieces with the highest sum of scores, the first found if several have it."""
        size, longest, scores = len(word), self._longest, self._scores
        prefixes = self._trie.iter_prefixes_with_ids
        best: list[float | None] = [0.0, *[None] * size]  # the highest sum up to each place
        begins, pieces = [0] * (size + 1), [-1] * (size + 1)  # the last piece up to there
        for start in range(size):
            # Never none: from the place before, a single character leads here, a piece or unknown.
            here = best[start] or 0.0
            single = False
            for piece, place in prefixes(word[start : start + longest]):
                end = start + len(piece)
                single = single or end == start + 1
                score, before = scores[place] + here, best[end]
                if before is None or score > before:
                    best[end], begins[end], pieces[end] = score, start, place
            if not single:
                score, before = self._unknown_score + here, best[start + 1]
                if before is None or score > before:
                    best[start + 1], begins[start + 1], pieces[start + 1] = score, start, -1
        ids: list[int] = []
        lengths: list[int] = []
        end = size
        while end:
            id_ = self._ids[pieces[end]] if pieces[end] >= 0 else self._unknown
            if ids and id_ == ids[-1] == self._unknown:  # what is unknown in a row is one token
                lengths[-1] += end - begins[end]
            else:
                ids.append(id_)
                lengths.append(end - begins[end])
            end = begins[end]
        return tuple(ids[::-1]), tuple(lengths[::-1])


def open_unigram(folder: Path) -> UnigramTokenizer | None:
    """Return the tokenizer of the model in ``folder`` out of its small form; ``None`` if there is none that fits."""
    stored = _read(folder)
    return None if stored is None else UnigramTokenizer(stored)


def fits(folder: Path) -> bool:
    """Say whether the small form is there, whole, and made of the ``tokenizer.json`` beside it."""
    return _read(folder) is not None


def _read(folder: Path) -> dict[str, NDArray[Any]] | None:
    try:
        with (folder / "tokenizer.json").open("rb") as stream:
            source = hashlib.file_digest(stream, "sha256").hexdigest()
        with (folder / FILE).open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            parts = {name: stored[name] for name in stored.files}  # each is compared with its checksum
    except (OSError, EOFError, ValueError, zipfile.BadZipFile):
        return None
    return parts if parts.get("format") == _FORMAT and parts.get("source") == source else None


def write_unigram(folder: Path) -> None:
    """Write the small form of the unigram tokenizer in ``folder``; it appears whole or not at all.

    Raises:
        ValueError: if the tokenizer there is of a kind that cannot be taken apart like this.
        OSError: if the folder cannot be written to.
    """
    descriptor, scratch = tempfile.mkstemp(prefix=f".{FILE}-", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            source = (folder / "tokenizer.json").read_bytes()
            # As the library has read it: it reads a score to within a bit, and that bit can decide between divisions.
            parts = _take_apart(json.loads(Tokenizer.from_buffer(source).to_str()))
            parts |= {"format": np.array(_FORMAT), "source": np.array(hashlib.sha256(source).hexdigest())}
            np.savez(stream, allow_pickle=False, **parts)
            stream.flush()
            os.fsync(stream.fileno())
        Path(scratch).chmod(0o644)
        Path(scratch).replace(folder / FILE)
    finally:
        Path(scratch).unlink(missing_ok=True)


def _take_apart(settings: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Divide a tokenizer, as ``tokenizer.json`` describes it, into what is done by character and what by word."""
    model, words = settings["model"], settings["pre_tokenizer"] or {}
    if model["type"] != "Unigram" or model.get("byte_fallback") or model["unk_id"] is None:
        raise ValueError("not a unigram model, or one that falls back on bytes")
    if words.get("type") != "Metaspace" or not words["split"] or words["replacement"] != _SPACE:
        raise ValueError("words are not made as SentencePiece makes them")
    numbers = {piece: id_ for id_, (piece, _) in enumerate(model["vocab"])}
    added = settings["added_tokens"]
    if any(_SPACE in piece[1:] for piece in numbers) or any(token["content"] not in numbers for token in added):
        raise ValueError("a piece goes beyond a word, or a token is none of the pieces")
    trie = marisa_trie.Trie(list(numbers))
    order = [numbers[trie.restore_key(place)] for place in range(len(trie))]
    characters = sorted(set(chain.from_iterable(numbers)))
    settings["model"] = {
        "type": "BPE",
        "unk_token": _NO_CHARACTER,
        "vocab": {character: id_ for id_, character in enumerate([_NO_CHARACTER, *characters])},
        "merges": [],
    }
    renumbered = {token["content"]: 1 + len(characters) + place for place, token in enumerate(added)}
    for token in added:
        token["id"] = renumbered[token["content"]]
    for token in (settings["post_processor"] or {}).get("special_tokens", {}).values():
        token["ids"] = [renumbered[name] for name in token["tokens"]]
    return {
        "characters": np.frombuffer(json.dumps(settings).encode(), np.uint8),
        "special": np.array([numbers[token["content"]] for token in added]),
        "trie": np.frombuffer(trie.tobytes(), np.uint8),
        "ids": np.array(order, np.int32),
        "scores": np.array([model["vocab"][id_][1] for id_ in order]),
        "longest": np.array(max(map(len, numbers))),
        "unknown": np.array(model["unk_id"]),
    }


def _some(texts: Sequence[str]) -> list[list[str]]:
    return [list(texts[first : first + _TEXTS_AT_ONCE]) for first in range(0, len(texts), _TEXTS_AT_ONCE)]
