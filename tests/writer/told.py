"""A text model inside the test that says what it is told, when it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from service.writer import Writer


class Endpoint:
    """A text model that says what it is told, one sentence at a time, and waits before each but the first."""

    model = "told"

    def __init__(self, sentences: Sequence[str]) -> None:
        self.sentences = sentences
        self.go = threading.Event()
        self.go.set()
        self.ended = threading.Event()

    def complete(self, messages: object) -> Iterator[str]:
        try:
            for number, sentence in enumerate(self.sentences):
                if number:
                    assert self.go.wait(10)
                yield sentence
        finally:
            self.ended.set()

    def close(self) -> None:
        """Nothing is open."""


def writer_for(endpoint: Endpoint, **more: Any) -> Writer:
    return Writer(endpoint, **more)  # type: ignore[arg-type]
