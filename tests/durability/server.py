"""The real application on a tiny encoder, as a process that tests can kill.

    python -m tests.durability.server FOLDER [--background] [--break CONTROL]

Serves the data folder on 127.0.0.1 and prints its port and the seconds it took to be ready. On SIGUSR1 it compacts,
on SIGUSR2 it changes to the other of two models; when that is done it prints ``compacted`` or ``changed``, with the
generation then current, or ``failed`` with the reason; on SIGQUIT it shows what every thread is doing.
"""

from __future__ import annotations

import argparse
import faulthandler
import functools
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from unittest import mock

import numpy as np
import uvicorn
from numpy.typing import NDArray

from index import DEFAULT_COLLECTION, Library, Options, Ranking, RawDocument, SearchResult
from index.encoder import EncodedPassages, EncodedQuery, Encoder, TokenStates, Vectors
from index.errors import ModelMismatch
from index.generation import Generation
from index.library import Added
from index.upkeep import Upkeep
from index.view import View
from service.answer import AnswerPolicy
from service.app import build_app
from service.life import Life
from service.routes import AppState
from service.serving import Farewell, configured
from tests import tiny
from tests.durability.client import end_with_parent
from tests.tiny import TinyEncoder

_RANKING = Ranking(passage_candidates=12, sentence_candidates=24, reranked=12)
"""Enough to find a word that one document has; a request costs half as much as with the usual numbers."""


class TurnedEncoder(TinyEncoder):
    """Finds the same words as :class:`TinyEncoder` with vectors that mean nothing to it.

    A search that mixes the query of one model with the vectors of the other finds the wrong documents.
    """

    def __init__(self) -> None:
        super().__init__("other")

    def encode_queries(self, texts: Sequence[str]) -> list[EncodedQuery]:
        return [
            EncodedQuery(_turn(each.vector), _turn(each.centred), _turn(each.tokens), each.weights)
            for each in super().encode_queries(texts)
        ]

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        encoded = super().encode_passages(texts)
        states = [TokenStates(np.roll(each.codes, 1, axis=-1), each.starts) for each in encoded.tokens]
        return EncodedPassages(_turn(encoded.vectors), tuple(states))

    def encode_sentences(self, texts: Sequence[str]) -> Vectors:
        return _turn(super().encode_sentences(texts))


def _turn(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.roll(vectors, 1, axis=-1) if vectors.size else vectors


class _Swaps:
    """Compacts and changes the model in the background, one after the other."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._one = threading.Lock()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Start what the signal asks for."""
        threading.Thread(target=self._run, args=(number,), daemon=True).start()

    def _run(self, number: int) -> None:
        with self._one:
            try:
                if number == signal.SIGUSR1:
                    self._library.compact(force=True)
                    done = "compacted"
                else:
                    other = TurnedEncoder() if self._library.encoder.info.name == "tiny" else TinyEncoder()
                    self._library.change_model(other)
                    done = "changed"
                _report(f"{done} {self._library.generation}")
            except Exception as error:
                traceback.print_exc()
                _report(f"failed {error!r}")


class _Announcing(Farewell):
    """Says that it listens."""

    def __init__(self, config: uvicorn.Config, life: Life, began: float) -> None:
        super().__init__(config, life)
        self._began = began

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        _report(f"{port} {time.perf_counter() - self._began:.4f}")


def _report(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # one write: threads share the pipe


# ---- null controls: each breaks one promise, and the programs must notice ------------------------------------


def _acknowledge_early() -> None:
    """Say that a document was updated, and store it a little later."""
    add = Library.add

    def early(
        library: Library, documents: Sequence[RawDocument], collection: str = DEFAULT_COLLECTION
    ) -> list[Added]:
        with library.view() as view:
            known = [view.find_source(document.source, collection) for document in documents]
        present = [document for document in known if document is not None]
        if len(present) < len(documents):
            return add(library, documents, collection)
        threading.Timer(0.5, add, (library, documents, collection)).start()
        return [Added(document, "updated") for document in present]

    mock.patch.object(Library, "add", early).start()


def _publish_late() -> None:
    """Acknowledge a change that is durable but not yet visible."""
    serve = Library._serve

    def late(library: Library, generation: Generation) -> None:
        threading.Timer(0.03, serve, (library, generation)).start()

    mock.patch.object(Library, "_serve", late).start()


def _mix_generations() -> None:
    """Search one generation and say that it was the newest."""
    search = View.search

    def mixed(view: View, *arguments: Any) -> SearchResult:
        result = search(view, *arguments)
        time.sleep(0.02)
        return replace(result, generation=view.catalogue.generation())

    mock.patch.object(View, "search", mixed).start()


def _mix_models() -> None:
    """For a moment after a change of the model, go on embedding questions with the model before."""
    search = View.search
    seen: list[tuple[Encoder, float]] = []

    def mixed(view: View, *arguments: Any) -> SearchResult:
        if not seen or seen[-1][0] is not view.encoder:
            seen.append((view.encoder, time.monotonic()))
        before, _ = seen[-2] if len(seen) > 1 and time.monotonic() - seen[-1][1] < 0.2 else seen[-1]
        return search(replace(view, encoder=before), *arguments)

    mock.patch.object(View, "search", mixed).start()


def _without_limit() -> None:
    """Let any number wait."""
    mock.patch("service.turns.Turns.full", property(lambda self: False)).start()


def _leak() -> None:
    """Keep something of every search."""
    search = View.search
    kept: list[bytes] = []

    def keeping(view: View, *arguments: Any) -> SearchResult:
        kept.append(os.urandom(20_000))
        return search(view, *arguments)

    mock.patch.object(View, "search", keeping).start()


CONTROLS: dict[str, Callable[[], None]] = {
    "early-ack": _acknowledge_early,
    "stale-reads": _publish_late,
    "mixed": _mix_generations,
    "no-limit": _without_limit,
    "leak": _leak,
    "mixed-models": _mix_models,
}

# ---- the process --------------------------------------------------------------------------------------------


def _open(folder: Path, options: Options) -> Library:
    try:
        return Library(folder, TinyEncoder(), writable=True, options=options)
    except ModelMismatch:
        return Library(folder, TurnedEncoder(), writable=True, options=options)


def _cost(seconds: float) -> None:
    """Have every search take so long, waited and not computed."""
    search = View.search

    def slow(view: View, *arguments: Any) -> SearchResult:
        result = search(view, *arguments)
        time.sleep(seconds)
        return result

    mock.patch.object(View, "search", slow).start()


def serve(folder: Path, *, background: bool) -> None:
    """Serve until a signal ends the process."""
    began = time.perf_counter()
    # What takes time here and is not looked at: the same words again and again, and loading the language model.
    mock.patch.object(tiny, "direction", functools.cache(tiny.direction)).start()
    mock.patch("index.load.detect_language", lambda text, declared="": "de").start()
    with _open(folder, Options(ranking=_RANKING, background=background)) as library:
        faulthandler.register(signal.SIGQUIT)
        swaps = _Swaps(library)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, swaps.on_signal)
        state = AppState(library, AnswerPolicy(min_confidence=0.0))
        config = configured(build_app(state), "127.0.0.1", 0, log_level="warning", timeout_keep_alive=120)
        _Announcing(config, state.life, began).run()


def main(arguments: Sequence[str]) -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--background", action="store_true", help="compact in the background, and often")
    parser.add_argument("--break", dest="control", choices=sorted(CONTROLS), help="null control: break a guarantee")
    parser.add_argument("--cost", type=float, default=0.0, help="seconds that every search takes longer")
    options = parser.parse_args(arguments)
    end_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as the command line has it
    if options.background:
        mock.patch("index.library.Upkeep", functools.partial(Upkeep, seconds=0.05, least=1)).start()
    if options.cost:
        _cost(options.cost)
    if options.control:
        CONTROLS[options.control]()
    serve(options.folder, background=options.background)


def run(arguments: Sequence[str]) -> NoReturn:
    """Do the same in a forked child, which never returns to what its parent was doing."""
    status = 1
    try:
        main(arguments)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
