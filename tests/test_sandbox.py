"""Whatever a file does to its reader, the service reads the next one, and is no larger than before."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from index import sandbox, sandbox_worker
from index.errors import DocumentRejected
from index.reading.parsed import Parsed
from index.sandbox import Limits, Sandbox
from tests.files import as_bytes
from tests.test_reading import ARTICLE

QUICK = Limits(cpu_seconds=1, cpu_seconds_a_mebibyte=0, wall_factor=4, memory=2**29)
PAGE = b"<p>The bridge over the Tess is closed.</p>"

# Readers that misbehave: what a hostile file could make of a real one.
SPIN = "while True: pass"
SLEEP = "import time; time.sleep(60)"
HOARD = "hoard = [bytes(2**20) for _ in range(2**20)]"
DIE = "import faulthandler; faulthandler._sigsegv()"
EXIT = "import os; os._exit(0)"
WRITE = "open('/tmp/fundstelle-was-here', 'w').write('x')"
READ = "text = open('/etc/hostname').read()"
CONNECT = "import socket; socket.create_connection(('127.0.0.1', 9))"
RUN = "import subprocess; subprocess.run(['true'])"
FLOOD = "text = 'x' * (300 * 2**20)"
RAISE = "raise RuntimeError('a bug of the reader')"
RECURSE = "f = lambda: f() + 1; f()"


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Parsed]]:
    """Return a function that lets a reader run some code; a file without any is read as usual."""
    patched = (
        "import index.reading.html as page; real = page.read_html\n"
        "def misbehave(data):\n"
        "    if data.startswith(b'#'):\n"
        "        values = {}\n"
        "        exec(data[1:], values)\n"
        "        return type(real(b'<p>x</p>'))(values.get('text', 'unharmed'))\n"
        "    return real(data)\n"
        "page.read_html = misbehave\n"
    )
    start = sandbox._START.replace(
        "from index.sandbox_worker", patched.replace("\n", "\n") + "from index.sandbox_worker"
    )
    monkeypatch.setattr(sandbox, "_START", start.replace("; import index", "\nimport index"))
    box = Sandbox(workers=1, limits=QUICK)
    yield lambda code: box.read("html", f"#{code}".encode() if code else PAGE)
    box.close()


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        (SPIN, "document_too_complex"),
        (SLEEP, "document_too_complex"),
        (HOARD, "document_too_complex"),
        (FLOOD, "document_too_complex"),
        (RECURSE, "document_too_complex"),
        (DIE, "document_damaged"),
        (EXIT, "document_damaged"),
        (WRITE, "document_damaged"),
        (READ, "document_damaged"),
        (CONNECT, "document_damaged"),
        (RUN, "document_damaged"),
        (RAISE, "document_damaged"),
    ],
)
def test_a_file_costs_one_child_at_most(reading: Callable[[str], Parsed], code: str, refusal: str) -> None:
    assert reading("").text == "The bridge over the Tess is closed."
    began = time.monotonic()
    with pytest.raises(DocumentRejected) as refused:
        reading(code)
    assert refused.value.code == refusal
    assert time.monotonic() - began < 10
    assert not Path("/tmp/fundstelle-was-here").exists()
    assert reading("").text == "The bridge over the Tess is closed."


def test_without_its_limits_a_reader_could_do_all_that(
    reading: Callable[[str], Parsed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The null control: what is refused above is refused by the limits and by nothing else."""
    free = "import index.sandbox_worker as worker; worker._confine = lambda header: None; "
    start = sandbox._START.replace("from index.sandbox_worker", f"{free}from index.sandbox_worker")
    monkeypatch.setattr(sandbox, "_START", start)
    assert reading(READ).text == Path("/etc/hostname").read_text()
    assert reading(RUN).text == "unharmed"


def test_a_worker_that_is_killed_is_replaced() -> None:
    box = Sandbox(workers=1, limits=QUICK)
    assert box.read("html", PAGE).text
    (worker,) = box._idle
    worker._process.send_signal(signal.SIGKILL)
    worker._process.wait()
    assert box.read("html", PAGE).text  # it was idle: no file is to blame
    assert box._idle != [worker]
    box.close()


def test_readers_step_back_for_questions() -> None:
    """Low priority counts only inside of a session where Linux shares time among sessions first (autogroup)."""
    box = Sandbox(workers=1)
    assert box.read("html", PAGE).text
    (worker,) = box._idle
    pid = worker._process.pid
    assert os.getsid(pid) == os.getsid(0)
    assert os.getpgid(pid) == pid  # a Ctrl-C at the terminal does not reach it
    box.close()


def test_no_more_files_are_read_at_once_than_there_are_workers() -> None:
    box = Sandbox(workers=2)
    data = as_bytes(ARTICLE, "pdf")
    most, running, lock = 0, 0, threading.Lock()
    ask = sandbox._Worker.ask

    def counted(self: sandbox._Worker, kind: str, data: bytes, limits: Limits) -> bytes:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        try:
            return ask(self, kind, data, limits)
        finally:
            with lock:
                running -= 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox._Worker, "ask", counted)
        threads = [threading.Thread(target=box.read, args=("pdf", data)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == 2
    assert len(box._idle) <= 2
    box.close()


def test_nothing_is_left_when_the_one_who_asked_dies() -> None:
    """A worker and its child end with the process that started them, even if that is killed."""
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        os.close(reading)
        box = Sandbox(workers=1)
        threading.Thread(target=lambda: box.read("html", PAGE), daemon=True).start()
        while not box._idle:
            time.sleep(0.01)
        os.write(writing, str(box._idle[0]._process.pid).encode())
        time.sleep(60)
        os._exit(0)
    os.close(writing)
    worker = psutil.Process(int(os.read(reading, 20)))
    os.close(reading)
    assert worker.is_running()
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    gone, _ = psutil.wait_procs([worker], timeout=10)
    assert gone


def test_large_files_may_take_longer() -> None:
    limits = Limits()
    assert limits.cpu(100_000) == pytest.approx(20.4, abs=0.1)
    assert limits.cpu(10 * 2**20) == pytest.approx(60)
    assert limits.cpu(50 * 2**20) == 120


def test_the_workers_language_is_checked() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        sandbox_worker._reader("nonsense")
