"""R18: while a process writes to a folder no other may open it; once it was killed, the next may at once.

    python -m tests.durability.locks [--trials 10] [--seed S] [--break no-lock] [--save]

The null control ``no-lock`` has the kernel grant every lock.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

from index import Library
from index.errors import DataFolderInUse, FundstelleError
from tests.durability.common import finish, parse_arguments, run_forked
from tests.durability.workload import OPTIONS, Expected, Operation, State, Version, Write, check, replay, work
from tests.tiny import TinyEncoder

LONGEST_WAIT = 5.0
"""Seconds that opening may take after a kill."""


def hold(write: Write, folder: Path, version: Version, control: str | None) -> None:
    """Open a folder, see that others cannot, change it, and be killed with the lock in hand."""
    if control == "no-lock":
        mock.patch("fcntl.flock", lambda _descriptor, _operation: None).start()

    def refused(line: bytes) -> None:
        if line.startswith(b"ack"):
            for writable in (True, False):
                ended = run_forked(_try, folder, writable)
                write(b"rival " + (ended.output or b"died") + b"\n")
        write(line)
        if line.startswith(b"ack"):
            os.kill(os.getpid(), signal.SIGKILL)

    work(refused, folder, [Operation("add", documents=((f"{version.word}.txt", version),))])


def _try(write: Write, folder: Path, writable: bool) -> None:
    try:
        Library(folder, TinyEncoder(), writable=writable, options=OPTIONS).close()
    except DataFolderInUse:
        write(b"refused")
    except FundstelleError as error:
        write(error.code.encode())
    else:
        write(b"opened")


def main() -> None:
    """Run the trials and report."""
    arguments = parse_arguments(__doc__, 10, ["no-lock"])
    began = time.monotonic()
    draw = random.Random(arguments.seed)
    state: State = {}
    problems: list[str] = []
    waits: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "data")
        for trial in range(arguments.trials):
            version = Version(f"zqlocktrial{trial:04d}", draw.randint(1, 3))
            ended = run_forked(hold, folder, version, arguments.control)
            rivals = [line for line in ended.output.split(b"\n") if line.startswith(b"rival")]
            if rivals != [b"rival refused"] * 2 or ended.signal != signal.SIGKILL:
                problems.append(f"trial {trial}: {ended.output[-500:]!r}")
            state = replay(ended.output, state).before
            opening = time.monotonic()
            opened = run_forked(_try, folder, True)
            waits.append(time.monotonic() - opening)
            if opened.output != b"opened" or waits[-1] > LONGEST_WAIT:
                problems.append(f"trial {trial}: after the kill {opened.output!r} in {waits[-1]:.2f} s")
            problems += [
                violation.detail for violation in check(folder, Expected(state, state), run_forked).violations
            ]
    for problem in problems[:10]:
        print(problem)
    figures: dict[str, object] = {
        "id": "R18",
        "trials": arguments.trials,
        "violations": len(problems),
        "ms_to_open_after_kill": round(statistics.median(waits) * 1000, 1),
    }
    if problems:
        figures["examples"] = problems[:3]
    finish(arguments, figures, began)


if __name__ == "__main__":
    main()
