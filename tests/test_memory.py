"""What was used for a while goes back to the system. Each process is one of its own: allocators have no undo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from index import memory, sandbox
from tests.conftest import ROOT

MIB = 2**20

FREED = """
import json, sys, threading
sys.path.insert(0, sys.argv[1])
from index.memory import be_thrifty, give_back, held
if sys.argv[2] == "thrifty":
    be_thrifty()
bytearray(24 * 2**20)  # once so much was freed, the C library keeps all that is no larger
before, kept = held(), []

def work():
    for _ in range(3):
        many = [bytearray(2**20) for _ in range(8)]
        kept.append(bytearray(2000))

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
after = held()
give_back()
print(json.dumps([after - before, held() - before]))
"""

SHAPES = """
import json, sys
sys.path.insert(0, sys.argv[1])
from index import openvino_encoder
from index.memory import be_thrifty, give_back, held
be_thrifty()
openvino_encoder._SHAPES_KEPT = int(sys.argv[2])
from index import open_encoder
encoder = open_encoder()
def embed(words, texts):
    encoder.encode_sentences(["und " * words] * texts)
embed(100, 5)
give_back()
before = held()
for words in range(10, 110, 16):
    for texts in range(1, 6):
        embed(words, texts)
give_back()
print(json.dumps(held() - before))
"""


def run(program: str, *arguments: str) -> object:
    """Return what a program says at its end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", program, str(ROOT), *arguments],
        check=True, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def grown(how: str) -> int:
    found = run(FREED, how)
    assert isinstance(found, list)
    after, trimmed = map(int, found)
    assert trimmed <= after + MIB
    return after


def test_a_thrifty_process_keeps_nothing_of_large_arrays() -> None:
    """The null control is a process as the C library has it: it keeps most of them, in a heap for each thread."""
    assert grown("thrifty") < 8 * MIB
    assert grown("as usual") > 16 * MIB


def test_texts_of_ever_new_lengths_leave_nothing_behind() -> None:
    """With all shapes kept, the null control, each length that was ever met costs a megabyte for good."""
    bounded, unbounded = run(SHAPES, "16"), run(SHAPES, "5000")
    assert isinstance(bounded, int)
    assert isinstance(unbounded, int)
    assert unbounded > bounded + 8 * MIB
    assert bounded < 32 * MIB


def test_what_is_held_is_counted() -> None:
    before = memory.held()
    block = bytearray(os.urandom(1)) * (32 * MIB)
    assert memory.held() - before > 30 * MIB
    del block


def anonymous(pid: int) -> int:
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("RssAnon")]
    return int(line.split()[1]) * 1024


def test_a_worker_keeps_nothing_of_a_long_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The null control is a worker that holds on to what it was sent."""
    page = b"<p>" + b"The bridge is closed. " * 200_000 + b"</p>"

    def kept() -> int:
        box = sandbox.Sandbox(workers=1)
        try:
            box.read("html", page[:46])
            (worker,) = box._idle
            before = anonymous(worker._process.pid)
            box.read("html", page)
            return anonymous(worker._process.pid) - before
        finally:
            box.close()

    assert kept() < 3 * MIB
    careless = sandbox._START.replace("main()", "worker._receive = hold; main()").replace(
        "from index.sandbox_worker",
        "import index.sandbox_worker as worker; receive, held = worker._receive, []; "
        "hold = lambda stream: (held.append(receive(stream)), held[-1])[1]; from index.sandbox_worker",
    )
    monkeypatch.setattr(sandbox, "_START", careless)
    assert kept() > 3 * MIB
