"""Pieces of a text merged into chunks: langchain-text-splitters, the only place that knows it.

The library brings half of LangChain along. It is imported when the first document is cut; answering needs none of it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from langchain_text_splitters import TextSplitter

# It warns of every piece that is longer than a chunk: a hostile document would write the log full.
logging.getLogger("langchain_text_splitters").setLevel(logging.ERROR)


class Merger(TextSplitter):
    """Merges pieces into chunks of at most ``size`` characters without dropping any."""

    def __init__(self, size: int) -> None:
        super().__init__(chunk_size=size, chunk_overlap=0, strip_whitespace=False)

    def split_text(self, text: str) -> list[str]:
        """Return ``text`` as the one chunk it is; the library asks for this method."""
        return self.merge([text])

    def merge(self, pieces: Sequence[str]) -> list[str]:
        """Join pieces that follow one another, as many as fit; one that is longer stays alone."""
        return self._merge_splits(pieces, "")
