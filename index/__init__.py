"""Fundstelle's library: documents in, hits with exact offsets out. It knows nothing of HTTP.

The public surface is what is named here; a test keeps it exact. Names are imported when they are first used, so that
the processes that only read files (:mod:`index.sandbox_worker`) do not load FAISS and its like.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from index.encoder import EMBEDDED_MODEL, AbsentEncoder, Encoder, EncoderInfo, Vectors, model_path, open_encoder
    from index.errors import FundstelleError
    from index.filters import Filters
    from index.library import Added, Library, Options, stored_model
    from index.load import FoundFile, Rejection, document_from_bytes, document_from_text, find_files, read_file
    from index.records import Document, Hit, Passage, RawDocument, SearchResult, Sentence, Span
    from index.search import Ranking
    from index.stored import DEFAULT_COLLECTION, Counts
    from index.view import Documents, View

__all__ = [
    "DEFAULT_COLLECTION",
    "EMBEDDED_MODEL",
    "AbsentEncoder",
    "Added",
    "Counts",
    "Document",
    "Documents",
    "Encoder",
    "EncoderInfo",
    "Filters",
    "FoundFile",
    "FundstelleError",
    "Hit",
    "Library",
    "Options",
    "Passage",
    "Ranking",
    "RawDocument",
    "Rejection",
    "SearchResult",
    "Sentence",
    "Span",
    "Vectors",
    "View",
    "document_from_bytes",
    "document_from_text",
    "find_files",
    "model_path",
    "open_encoder",
    "read_file",
    "stored_model",
]

_HOMES = {
    "index.encoder": (
        "EMBEDDED_MODEL",
        "AbsentEncoder",
        "Encoder",
        "EncoderInfo",
        "Vectors",
        "model_path",
        "open_encoder",
    ),
    "index.errors": ("FundstelleError",),
    "index.filters": ("Filters",),
    "index.library": (
        "Added",
        "Library",
        "Options",
        "stored_model",
    ),
    "index.load": (
        "FoundFile",
        "Rejection",
        "document_from_bytes",
        "document_from_text",
        "find_files",
        "read_file",
    ),
    "index.records": (
        "Document",
        "Hit",
        "Passage",
        "RawDocument",
        "SearchResult",
        "Sentence",
        "Span",
    ),
    "index.search": ("Ranking",),
    "index.stored": (
        "DEFAULT_COLLECTION",
        "Counts",
    ),
    "index.view": (
        "Documents",
        "View",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
