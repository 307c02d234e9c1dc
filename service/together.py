"""Questions that come at the same time go through the embedding model together.

Reading the weights from memory costs as much for one short question as for several. So whoever finds the model busy
waits, and the next pass takes all who wait.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from index import View
from index.encoder import EncodedPassages, EncodedQuery, Encoder, EncoderInfo, Vectors

MOST = 16
"""Questions in one pass."""


@dataclass(eq=False)
class _Item:
    encoder: Encoder
    text: str
    done: threading.Event = field(default_factory=threading.Event)
    result: list[EncodedQuery] = field(default_factory=list)
    error: Exception | None = None


class Together:
    """Embeds questions of many threads in few passes."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: list[_Item] = []
        self.passes = 0
        self.questions = 0

    def encode(self, encoder: Encoder, text: str) -> EncodedQuery:
        """Embed one question, together with whatever else waits for the same encoder.

        Raises:
            Exception: whatever the encoder raises for these questions.
        """
        item = _Item(encoder, text)
        with self._lock:
            self._waiting.append(item)
        while not item.done.is_set():
            with self._turn:
                if not item.done.is_set():
                    self._pass()
        if item.error is not None:
            raise item.error
        return item.result[0]

    def _pass(self) -> None:
        """Embed the first who wait; whoever has the turn does it for all of them."""
        with self._lock:
            encoder = self._waiting[0].encoder
            batch = [item for item in self._waiting if item.encoder is encoder][: self._most]
            self._waiting = [item for item in self._waiting if item not in batch]
            self.passes += 1
            self.questions += len(batch)
        try:
            for item, result in zip(batch, encoder.encode_queries([item.text for item in batch]), strict=True):
                item.result.append(result)
        except Exception as error:  # each of them has to learn of it
            for item in batch:
                item.error = error
        finally:
            for item in batch:
                item.done.set()


class SharedEncoder:
    """An encoder whose questions go together with those of others; what it holds meanwhile is given to others.

    Args:
        encoder: does the work.
        together: joins the questions.
        gate: held by whoever calls, given back while the model is waited for.
    """

    def __init__(self, encoder: Encoder, together: Together, gate: threading.Semaphore) -> None:
        self._encoder = encoder
        self._together = together
        self._gate = gate

    @property
    def info(self) -> EncoderInfo:
        """See :class:`index.encoder.Encoder`."""
        return self._encoder.info

    @property
    def centre(self) -> Vectors | None:
        """See :class:`index.encoder.Encoder`."""
        return self._encoder.centre

    def encode_queries(self, texts: Sequence[str]) -> list[EncodedQuery]:
        """See :class:`index.encoder.Encoder`."""
        self._gate.release()
        try:
            return [self._together.encode(self._encoder, text) for text in texts]
        finally:
            self._gate.acquire()

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        """See :class:`index.encoder.Encoder`."""
        return self._encoder.encode_passages(texts)

    def encode_sentences(self, texts: Sequence[str]) -> Vectors:
        """See :class:`index.encoder.Encoder`."""
        return self._encoder.encode_sentences(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See :class:`index.encoder.Encoder`."""
        return self._encoder.count_tokens(texts)


@dataclass(frozen=True)
class Computing:
    """What answering computes with, shared by all who ask."""

    gate: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(2))
    """Held while computing: latency is set by how many questions run at once, not by how many wait."""
    together: Together = field(default_factory=Together)

    @contextmanager
    def on(self, view: View) -> Iterator[View]:
        """Lend a view to compute with, once there is room for it."""
        with self.gate:
            yield replace(view, encoder=SharedEncoder(view.encoder, self.together, self.gate))
