"""Fundstelle's library: documents in, hits with exact offsets out. It knows nothing of HTTP.

The public surface is what is named here; a test keeps it exact.
"""

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
