"""The service as :mod:`tests.hostile.uploads` serves it: as it is, on a tiny model, or with one guarantee broken.

    python -m tests.hostile.served [--tiny] [--tight] [--break CONTROL] serve ...

``--tiny`` takes a model of a few lines instead of the real one, ``--tight`` gives files less time. Everything else is
what ``python -m service`` runs. The null controls: ``crash`` (a refusal becomes a fault), ``hoard`` (the service
keeps what it is sent), ``litter`` (writes outside), ``leave`` (leaves processes), ``crowd`` (reads in the service
itself, holding what questions need), ``misquote`` (documents say something else than what is quoted), ``free`` (no
limits).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import index
from index import sandbox
from index.encoder import EncodedQuery, Vectors
from index.errors import DocumentRejected
from index.precedence import Precedence
from index.records import RawDocument
from index.sandbox import Limits
from index.view import View
from tests.tiny import DIMENSION, TinyEncoder

TIGHT = Limits(cpu_seconds=3, cpu_seconds_a_mebibyte=0.25)
_FREE = Limits(cpu_seconds=20, wall_factor=10, memory=2**36)
_HOARDING = """
import sys
def hoard(data):
    import time
    hoard = [b"x" * 2**20 for _ in range(1500)]
    time.sleep(1)
    raise ValueError("as large as it likes")
import index.reading.html
index.reading.html.read_html = hoard
"""
"""A reader of web pages that takes what it can get."""
_PIECE = 16
"""Texts, of a passage at most: some milliseconds."""
_KEPT: list[object] = []
_read = index.document_from_bytes
_text = View.text


def _crash(source: str, data: bytes, *rest: Any) -> RawDocument:
    try:
        return _read(source, data, *rest)
    except DocumentRejected as error:
        raise ValueError("a file was refused") from error


def _hoard(source: str, data: bytes, *rest: Any) -> RawDocument:
    _KEPT.append(os.urandom(2**20))
    return _read(source, data, *rest)


def _litter(source: str, data: bytes, *rest: Any) -> RawDocument:
    Path(os.environ["TMPDIR"], "litter").write_bytes(data[:10])
    return _read(source, data, *rest)


def _leave(source: str, data: bytes, *rest: Any) -> RawDocument:
    if len(_KEPT) < 3:
        _KEPT.append(subprocess.Popen(["sleep", "60"], start_new_session=True))
    return _read(source, data, *rest)


def _crowd(source: str, data: bytes, *rest: Any) -> RawDocument:
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        sum(range(10_000_000))  # one call: nobody else's turn comes before its end
    return _read(source, data, *rest)


def _misquoted(view: View, document_id: str) -> str:
    return " " + _text(view, document_id)


READERS: dict[str, Callable[..., RawDocument]] = {
    "crash": _crash, "hoard": _hoard, "litter": _litter, "leave": _leave, "crowd": _crowd,
}  # fmt: skip
CONTROLS = (*READERS, "misquote", "free")


class PoliteEncoder(TinyEncoder):
    """The tiny encoder, with texts in small pieces that questions go before, as those of the real one."""

    def __init__(self) -> None:
        super().__init__()
        self._precedence = Precedence(os.cpu_count() or 1)

    def encode_queries(self, texts: Sequence[str]) -> list[EncodedQuery]:
        with self._precedence.question():
            return super().encode_queries(texts)

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        found = [np.empty((0, DIMENSION), np.float32)]
        for first in range(0, len(texts), _PIECE):
            with self._precedence.piece():
                found.append(super()._vectors(texts[first : first + _PIECE]))
        return np.concatenate(found)


def main() -> None:
    """Change what is asked for, then serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--tight", action="store_true")
    parser.add_argument("--break", dest="control", choices=CONTROLS)
    options, sys.argv[1:] = parser.parse_known_args()
    if options.tiny:
        mock.patch("index.open_encoder", lambda *_: PoliteEncoder(), create=True).start()
    if options.tight or options.control == "free":
        limits = _FREE if options.control == "free" else TIGHT
        mock.patch.object(sandbox, "Limits", lambda **own: Limits(**own) if own else limits).start()
    if reader := READERS.get(options.control):
        mock.patch("index.load.document_from_bytes", reader).start()
        mock.patch("index.document_from_bytes", reader, create=True).start()
    if options.control == "free":
        path, _, rest = sandbox._START.rpartition("; ")
        start, _, module = path.rpartition("; ")
        mock.patch.object(sandbox, "_START", f"{start}\n{_HOARDING}{module}; {rest}").start()
    if options.control == "misquote":
        mock.patch.object(View, "text", _misquoted).start()
    from service.cli import app

    app()


if __name__ == "__main__":
    main()
