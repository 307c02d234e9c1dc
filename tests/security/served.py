"""The real service on a tiny encoder, as a process for the programs of this folder that send it nasty things.

    python -m tests.security.served FOLDER [--keys] [--break CONTROL]

Serves the data folder on 127.0.0.1 and prints its port and the seconds it took to be ready, then the secrets of its
keys as a JSON object by name ({} without ``--keys``). On SIGUSR1 it prints what it holds: connections, tasks of the
event loop, sockets, and how much work is under way or waiting.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import uvicorn

from index import Library
from service.access import Scope
from service.answer import AnswerPolicy
from service.app import build_app
from service.guard import Admission
from service.keys import KeyRing
from service.life import Life
from service.routes import AppState
from service.serving import Farewell, PatientProtocol, configured
from tests import tiny
from tests.durability.client import Server, end_with_parent
from tests.durability.common import ROOT
from tests.security.broken import CONTROLS
from tests.tiny import TinyEncoder

PATIENCE = 2
"""Seconds after which an impatient server drops who keeps it waiting."""
KEYS = {
    "admin": (Scope.ADMIN, None),
    "one": (Scope.WRITE, ["default"]),
    "other": (Scope.WRITE, ["other"]),
}
"""The keys there are: their scopes, and the collections they reach."""


class _Announcing(Farewell):
    """Says that it listens, and what it holds whenever it is asked."""

    def __init__(self, config: uvicorn.Config, life: Life, secrets: dict[str, str], state: AppState) -> None:
        super().__init__(config, life)
        self._began = time.perf_counter()
        self._secrets = secrets
        self._state = state

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._tell)
        port = self.servers[0].sockets[0].getsockname()[1]
        _report(f"{port} {time.perf_counter() - self._began:.4f}")
        _report(json.dumps(self._secrets))

    def _tell(self) -> None:
        lines = (self._state.questions, self._state.reads, self._state.writes, self._state.uploads)
        held = {
            "connections": len(self.server_state.connections),
            "addresses": sum(PatientProtocol._addresses.values()),
            "tasks": len(asyncio.all_tasks()),
            "sockets": _sockets(),
            "work": sum(each.line.running + each.line.waiting for each in lines),
        }
        _report(json.dumps(held))


def _sockets() -> int:
    """Return how many sockets this process has open."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that lists them is closed by now
            links.append(str(entry.readlink()))
    return sum(link.startswith("socket:") for link in links)


def _report(line: str) -> None:
    os.write(1, f"{line}\n".encode())


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs.

    Attributes:
        server: its process.
        secrets: of its keys, by name.
        errors: file of all that it wrote to stderr.
    """

    server: Server
    secrets: dict[str, str]
    errors: Path

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port

    def held(self) -> dict[str, int]:
        """Return what it holds."""
        self.server.send(signal.SIGUSR1)
        figures: dict[str, int] = json.loads(self.server.line(30))
        return figures

    def faults(self) -> list[str]:
        """Return the exceptions that nobody caught, each in one line."""
        written = self.errors.read_text("utf-8", "replace")
        return [block.strip().splitlines()[-1] for block in written.split("Traceback (most recent call last):")[1:]]


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Served]:
    """Run a server as a process of its own; ``folder`` is for its data and what it complains about."""
    reading, writing = os.pipe()
    folder.mkdir(parents=True, exist_ok=True)
    errors = folder / "stderr.txt"
    command = [sys.executable, "-m", "tests.security.served", str(folder / "data"), *options]
    with os.fdopen(writing, "wb") as output, errors.open("wb") as complaints:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=complaints)
    with Server(process.pid, reading, process) as server:
        yield Served(server, json.loads(server.line(30)), errors)


def main(arguments: Sequence[str]) -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keys", action="store_true", help="make keys, so that one is needed")
    parser.add_argument("--impatient", action="store_true", help="drop clients that keep it waiting soon")
    parser.add_argument("--break", dest="control", choices=sorted(CONTROLS), help="null control: break a guarantee")
    options = parser.parse_args(arguments)
    end_with_parent()
    mock.patch.object(tiny, "direction", functools.cache(tiny.direction)).start()
    quick = {"timeout_keep_alive": PATIENCE} if options.impatient else {}
    if options.impatient:
        for name in ("HEAD_SECONDS", "BODY_SECONDS", "READ_SECONDS"):
            mock.patch(f"service.serving.{name}", float(PATIENCE)).start()
    # Wrong keys are refused alike however many there are: what tells them apart is tested elsewhere.
    mock.patch("service.guard.FAILURES", "1000000/minute").start()
    if options.control:
        CONTROLS[options.control]()
    options.folder.mkdir(parents=True, exist_ok=True)
    with (
        Library(options.folder, TinyEncoder(), writable=True) as library,
        closing(KeyRing(options.folder)) as ring,
    ):
        secrets: dict[str, str] = {}
        if options.keys:
            for name, (scope, collections) in KEYS.items():
                _, secrets[name] = ring.create(name, scope, collections)
        state = AppState(library, AnswerPolicy(min_confidence=0.0), admission=Admission(ring))
        config = configured(build_app(state), "127.0.0.1", 0, log_level="error", **quick)
        _Announcing(config, state.life, secrets, state).run()


if __name__ == "__main__":
    main(sys.argv[1:])
