"""What the programs of this folder share: trials in forked children, arguments, results with their circumstances."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import selectors
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "docs" / "results" / "durability"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its exit status or the signal that killed it, and all it wrote."""

    status: int | None
    signal: int | None
    output: bytes


def run_forked(
    function: Callable[..., None], *args: object, timeout: float = 60, kill_after: float | None = None
) -> Ended:
    """Run ``function(write, *args)`` in a forked child and wait for its end.

    A fork costs milliseconds where a new interpreter costs a second. The parent must never have searched with FAISS:
    its thread pool does not survive a fork.

    Args:
        function: gets ``write(bytes)``, whose bytes reach the parent however the child ends, and ``args``.
        args: passed on.
        timeout: seconds after which the child counts as hanging; it is killed and ``TimeoutError`` raised.
        kill_after: seconds after its first byte of output at which the child is killed with SIGKILL.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _in_child(function, args, reading, writing)
    os.close(writing)
    try:
        output, hangs = _collect(reading, child, timeout, kill_after)
    finally:
        os.close(reading)
    _, result = os.waitpid(child, 0)
    if hangs:
        raise TimeoutError(f"a trial did not end within {timeout} s: {output[-500:]!r}")
    if os.WIFSIGNALED(result):
        return Ended(None, os.WTERMSIG(result), output)
    return Ended(os.WEXITSTATUS(result), None, output)


def _in_child(function: Callable[..., None], args: Sequence[object], reading: int, writing: int) -> None:
    status = 70
    try:
        os.close(reading)
        function(lambda data: os.write(writing, data), *args)
        status = 0
    except BaseException:  # the parent prints what the child could not handle
        os.write(writing, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _collect(reading: int, child: int, timeout: float, kill_after: float | None) -> tuple[bytes, bool]:
    pieces: list[bytes] = []
    deadline, kill_at = time.monotonic() + timeout, float("inf")
    with selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ)
        while True:
            now = time.monotonic()
            if now >= min(deadline, kill_at):
                os.kill(child, signal.SIGKILL)
                if now >= deadline:
                    return b"".join(pieces), True
                kill_at = float("inf")
            if not selector.select(max(0.0, min(deadline, kill_at) - now)):
                continue
            data = os.read(reading, 65536)
            if not data:
                return b"".join(pieces), False
            if not pieces and kill_after is not None:
                kill_at = time.monotonic() + kill_after
            pieces.append(data)


def parse_arguments(description: str | None, trials: int, breaks: Sequence[str] = ()) -> argparse.Namespace:
    """Parse the options every program has: ``trials``, ``seed``, ``save`` and ``control`` (from ``--break``)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--trials", type=int, default=trials, help=f"how many [default: {trials}]")
    parser.add_argument("--seed", type=int, default=None, help="replays an earlier run")
    parser.add_argument("--save", action="store_true", help="write the figures to docs/results")
    parser.add_argument("--break", dest="control", choices=breaks, help="null control: break the guarantee")
    arguments = parser.parse_args()
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(2**32)
    print(f"seed {arguments.seed}", flush=True)
    return arguments


def finish(
    arguments: argparse.Namespace,
    figures: Mapping[str, Any],
    began: float,
    name: str | None = None,
    folder: Path = RESULTS,
) -> None:
    """Print the figures as one line of JSON, save them if asked to, and exit with 1 if there are violations.

    Args:
        arguments: from :func:`parse_arguments`.
        figures: at least ``id``, ``trials`` and ``violations``.
        began: ``time.monotonic()`` at the start.
        name: of the result file; the id if not given.
        folder: where results are kept.
    """
    result = {**figures, "seed": arguments.seed, "seconds": round(time.monotonic() - began, 1)}
    if arguments.control:
        result["null_control"] = arguments.control
    if arguments.save:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**result, **_circumstances()}, indent=1)
        (folder / f"{name or figures['id']}.json").write_text(text + "\n", "utf-8")
    print(json.dumps(result), flush=True)
    sys.exit(1 if figures["violations"] else 0)


def run_program(
    module: str, *options: str, timeout: float = 600, package: str = "durability"
) -> tuple[int, dict[str, Any]]:
    """Run a program of this folder, or of a like one, as the tests do; return its exit code and its figures."""
    command = [sys.executable, "-m", f"tests.{package}.{module}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    lines = done.stdout.strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise AssertionError(f"{module} printed no figures:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    figures: dict[str, Any] = json.loads(lines[-1])
    return done.returncode, figures


def _circumstances() -> dict[str, object]:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "commit": commit,
        "versions": {
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            "faiss": version("faiss-cpu"),
            "numpy": version("numpy"),
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
