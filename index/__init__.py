"""Fundstelle's library: documents in, hits with exact offsets out. It knows nothing of HTTP.

The public surface is what is named here; a test keeps it exact.
"""

from index.catalogue import DEFAULT_COLLECTION, Counts, Filters
from index.encoder import EMBEDDED_MODEL, Encoder, EncoderInfo, Vectors, model_path, open_encoder
from index.errors import FundstelleError
from index.library import Added, Library
from index.load import FoundFile, Rejection, document_from_bytes, document_from_text, find_files, read_file
from index.records import Document, Hit, Passage, RawDocument, SearchResult, Sentence, Span

__all__ = [
    "DEFAULT_COLLECTION",
    "EMBEDDED_MODEL",
    "Added",
    "Counts",
    "Document",
    "Encoder",
    "EncoderInfo",
    "Filters",
    "FoundFile",
    "FundstelleError",
    "Hit",
    "Library",
    "Passage",
    "RawDocument",
    "Rejection",
    "SearchResult",
    "Sentence",
    "Span",
    "Vectors",
    "document_from_bytes",
    "document_from_text",
    "find_files",
    "model_path",
    "open_encoder",
    "read_file",
]
