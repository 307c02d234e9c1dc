"""R13: many requests of all kinds, and the service is as it was: memory, threads, open files, speed, disk.

Eight clients ask (90 %), add (8 %) and remove (2 %) as fast as they are answered. Documents are of a fixed number of
names, so that updates and removals keep their number level. Sampled twenty times; what the first tenth did (warming
up) does not count. Wanted: no error; resident memory grows by no more than the allowance; no more threads and files
than after the first tenth; in the end the disk holds no more than half as much again.

    python -m tests.load.soak --trials 20000
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from tests.durability.client import BROKEN, Client, start
from tests.durability.common import ROOT, finish, parse_arguments

RESULTS = ROOT / "docs" / "results" / "load"
BREAKS = ("leak",)
"""Null control: every search keeps 20 kB."""
CLIENTS = 8
NAMES = 200
SAMPLES = 20
ALLOWED_MIB = 1.0
"""Growth for 100,000 requests; in short runs, 4 MiB in all, since pages are given back when the allocator likes."""
_WORDS = "bridge ferry ward harvest budget council mayor repair engine letter market winter".split()


@dataclass
class Samples:
    """What was seen, one entry for each sample."""

    requests: list[int] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    disk: list[int] = field(default_factory=list)

    def take(self, pid: int, folder: Path, done: int) -> None:
        """Look at the process and its folder."""
        status = Path(f"/proc/{pid}/status").read_text("ascii")
        fields = dict(line.split(":", 1) for line in status.splitlines())
        self.requests.append(done)
        self.mib.append(int(fields["VmRSS"].split()[0]) / 1024)
        self.threads.append(int(fields["Threads"]))
        self.files.append(len(list(Path(f"/proc/{pid}/fd").iterdir())))
        self.disk.append(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))


class _Load:
    def __init__(self, port: int, requests: int, seed: int) -> None:
        self.done: Iterator[int] = count()
        self.finished = 0
        self.failures: Counter[str] = Counter()
        self.ids: dict[int, str] = {}
        self.taken: list[float] = []
        self._requests = requests
        self._threads = [
            threading.Thread(target=self._work, args=(port, random.Random(f"{seed}/{number}")), daemon=True)
            for number in range(CLIENTS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _work(self, port: int, chance: random.Random) -> None:
        with Client(port, timeout=60) as client:
            while next(self.done) < self._requests:
                begun = time.perf_counter()
                try:
                    status = self._one(client, chance)
                    if status not in {200, 201, 204, 404}:
                        self.failures[str(status)] += 1
                except BROKEN as error:
                    self.failures[type(error).__name__] += 1
                self.taken.append(time.perf_counter() - begun)
                self.finished += 1

    def _one(self, client: Client, chance: random.Random) -> int:
        kind = chance.random()
        name = chance.randrange(NAMES)
        words = " ".join(chance.choices(_WORDS, k=5))
        if kind < 0.45:
            return client.ask(f"Where is the {words}?").status
        if kind < 0.9:
            return client.search(words, 5).status
        if kind < 0.98:
            text = "\n\n".join(" ".join(chance.choices(_WORDS, k=60)) + "." for _ in range(chance.randrange(1, 4)))
            reply = client.put(f"{name}.txt", text)
            if reply.status == 201:
                self.ids[name] = reply.body["documents"][0]["id"]
            return reply.status
        document = self.ids.pop(name, None)
        return client.delete(document).status if document else 204


def run(trials: int, seed: int, control: str | None = None) -> dict[str, Any]:
    """Return figures of one long run."""
    samples = Samples()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        options = ["--background", *(["--break", control] if control else [])]
        with start(folder, options) as server:
            load = _Load(server.port, trials, seed)
            load.start()
            for step in range(1, SAMPLES + 1):
                while load.alive and load.finished < trials * step // SAMPLES:
                    time.sleep(0.02)
                samples.take(server.pid, folder, load.finished)
    warm = SAMPLES // 10
    requests, mib = np.array(samples.requests[warm:]), np.array(samples.mib[warm:])
    slope = float(np.polyfit(requests, mib, 1)[0]) * 100_000
    allowed = max(ALLOWED_MIB * trials / 100_000, 4.0)
    grown = slope * trials / 100_000
    middle = len(load.taken) // 2
    early, late = (float(np.percentile(part, 99)) for part in (load.taken[: middle or 1], load.taken[middle:]))
    wrong = {
        "errors": bool(load.failures),
        "memory": grown > allowed,
        "threads": max(samples.threads[warm:]) > samples.threads[warm] + 4,
        "files": max(samples.files[warm:]) > samples.files[warm] + 12,
        "disk": samples.disk[-1] > 1.5 * max(samples.disk[warm : warm + 3]) + 2**20,
    }
    problems = [name for name, bad in wrong.items() if bad]
    return {
        "id": "R13",
        "trials": trials,
        "violations": len(problems),
        "examples": problems,
        "mib_per_100000_requests": round(slope, 2),
        "mib": [round(value, 1) for value in samples.mib],
        "threads": [samples.threads[warm], samples.threads[-1]],
        "files": [samples.files[warm], samples.files[-1]],
        "disk_mib": [round(value / 2**20, 1) for value in (samples.disk[warm], samples.disk[-1])],
        "p99_ms": [round(value * 1000, 1) for value in (early, late)],
        "failures": dict(load.failures),
        "requests_per_second": round(len(load.taken) / max(sum(load.taken) / CLIENTS, 1e-9)),
    }


def main() -> None:
    """Send as many requests as asked for."""
    arguments = parse_arguments(__doc__, 20_000, BREAKS)
    began = time.monotonic()
    finish(arguments, run(arguments.trials, arguments.seed, arguments.control), began, folder=RESULTS)


if __name__ == "__main__":
    main()
