"""A05 and A11: a service, through its whole life, speaks to nobody and unpickles nothing.

The commands people use and a service that is asked everything run under strace, which sees every system call of every
process, native code's too, and with an audit hook, which sees each name that an unpickler looks up. Requests are sent
from outside of both.

    python -m tests.security.quiet [--break talk]
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.durability.common import ROOT, finish, parse_arguments
from tests.files import FORMATS, article_of, as_bytes

RESULTS = ROOT / "docs" / "results" / "security"
BREAKS = ("talk",)
"""Null control: the service looks up a name, connects to an address and unpickles an object as it starts."""
TALK = """
import contextlib, pathlib, pickle, socket
with contextlib.suppress(OSError): socket.getaddrinfo("example.invalid", 80)
away = socket.socket()
away.setblocking(False)
away.connect_ex(("192.0.2.1", 443))
pickle.loads(pickle.dumps(pathlib.PurePosixPath("x")))
"""
WATCHED = """
import os, sys
def watch(event, arguments):
    if event == "pickle.find_class":
        with open(os.environ["SEEN"], "a") as seen:
            seen.write(".".join(map(str, arguments)) + "\\n")
sys.addaudithook(watch)
exec(os.environ.get("HARM", ""))
from service.cli import main
main()
"""
_CALLS = "connect,sendto,sendmsg,sendmmsg"
_FAMILY = re.compile(r"sa_family=AF_(INET6?|UNIX|NETLINK)")
_PORT = re.compile(r"sin6?_port=htons\((\d+)\)")
_HOST = re.compile(r'inet_(?:addr\(|pton\(AF_INET6, )"([^"]+)"|sun_path=@?"([^"]*)"')
_HERE = re.compile(r"127\.|::1$|::ffff:127\.")
_NAMES = "53"
"""The port of name servers: who asks one, even on this machine, asks the world."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a life showed.

    Attributes:
        addresses: every address outside of this machine that was spoken to, name servers and all.
        unpickled: every name an unpickler looked up.
        calls: how many system calls with an address were seen at all: none would mean that nobody looked.
        answered: how many requests the service answered.
    """

    addresses: tuple[str, ...]
    unpickled: tuple[str, ...]
    calls: int
    answered: int


def outside(trace: str) -> tuple[list[str], int]:
    """Return the addresses beyond this machine in a trace of strace, and the number of calls with an address."""
    found, calls = [], 0
    for line in trace.splitlines():
        if (family := _FAMILY.search(line)) is None:
            continue
        calls += 1
        place = _HOST.search(line)
        host = (place[1] or place[2]) if place else ""
        port = port_of[1] if (port_of := _PORT.search(line)) else ""
        if family[1] == "UNIX":
            # The C library asks its cache of users' names where one runs; that says nothing about documents.
            if not host.endswith("/nscd/socket"):
                found.append(f"unix:{host}")
        elif family[1] != "NETLINK" and (not _HERE.match(host) or port == _NAMES):
            found.append(f"{host}:{port}")
    return found, calls


def live(folder: Path, control: str | None = None) -> Seen:
    """Run every command and a service in ``folder``; return what they did that is not this machine's.

    Args:
        folder: an empty one.
        control: of :data:`BREAKS`; the service alone is run then.
    """
    home = folder / "home"
    home.mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "FUNDSTELLE_MODELS_DIR") if name in os.environ}
    # A package that behaves itself in CI only is none to trust; so no CI=true here.
    environment = {**kept, "HOME": str(home), "SEEN": str(folder / "unpickled")}
    if not kept.get("FUNDSTELLE_MODELS_DIR"):
        from index.encoder import default_models_folder

        environment["FUNDSTELLE_MODELS_DIR"] = str(default_models_folder())
    trace, data = folder / "trace", folder / "data"
    watched = ["strace", "-f", "--seccomp-bpf", "-qq", "-A", "-s", "256", "-e", f"trace={_CALLS}", "-o", str(trace)]
    command = [*watched, sys.executable, "-c", WATCHED]

    def run(*words: str) -> None:
        subprocess.run(
            [*command, *words], cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=300
        )

    if control:
        environment["HARM"] = TALK
    else:
        run("index", str(ROOT / "sample"), "--data", str(data))
        run("ask", "what did Germany offer France?", "--data", str(data))
        run("verify", "--data", str(data))
        run("backup", str(folder / "copy"), "--data", str(data))
    with served(command, data, environment) as (address, log):
        try:
            answered = ask_everything(address)
        except BaseException:
            print(log.read_text("utf-8")[-4000:], file=sys.stderr)
            raise
    addresses, calls = outside(trace.read_text("utf-8"))
    seen = folder / "unpickled"
    unpickled = tuple(sorted(set(seen.read_text("utf-8").split()))) if seen.exists() else ()
    return Seen(tuple(sorted(set(addresses))), unpickled, calls, answered)


@contextmanager
def served(command: list[str], data: Path, environment: dict[str, str]) -> Iterator[tuple[str, Path]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = data.parent / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, "serve", "--data", str(data), "--port", str(port)],
            cwd=ROOT, env=environment, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        _wait(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}", log
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{address}/readyz", timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"the service was not ready: {log.read_text('utf-8')[-2000:]}")


def ask_everything(address: str) -> int:
    """Send one of everything; return how many were answered as they should be."""
    text = "The old bridge closes in October.\n\nIts repair costs four million euros.\n\nA ferry carries people."
    article = article_of(text)
    answered = 0
    with httpx.Client(base_url=address, timeout=120) as client:

        def send(method: str, path: str, status: int = 200, **words: object) -> httpx.Response:
            nonlocal answered
            response = client.request(method, path, **words)  # type: ignore[arg-type]
            if response.status_code != status:
                raise AssertionError(f"{method} {path}: {response.status_code} {response.text[:500]}")
            answered += 1
            return response

        for kind in FORMATS:
            send("POST", "/v1/documents", 201, files={"file": (f"bridge.{kind}", as_bytes(article, kind))})
        send("POST", "/v1/documents", 422, files={"file": ("broken.pdf", b"%PDF-1.7 nothing")})
        question = {"question": "When does the old bridge close?"}
        answer = send("POST", "/v1/ask", json=question).json()
        send("POST", "/v1/ask", json=question, headers={"Accept": "text/event-stream"})
        send("POST", "/v1/ask/batch", json={"questions": [question, {"question": "Was kostet die Brücke?"}]})
        send("POST", "/v1/search", json={"query": "bridge", "top_k": 5})
        messages = [{"role": "user", "content": "When does the old bridge close?"}]
        send("POST", "/v1/chat/completions", json={"model": "fundstelle", "messages": messages})
        send("GET", "/v1/models")
        send("POST", "/v1/citations/verify", json=answer["citations"][0]["receipt"])
        documents = send("GET", "/v1/documents").json()["documents"]
        first = f"/v1/documents/{documents[0]['id']}"
        for path in (first, f"{first}/text", f"{first}/original", "/metrics", "/", "/openapi.json"):
            send("GET", path)
        send("DELETE", first, 204)
    return answered


def main() -> None:
    """Run one life and say what it showed."""
    arguments = parse_arguments(__doc__, 1, BREAKS)
    if shutil.which("strace") is None:
        sys.exit("strace is missing: install it to see connections")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        seen = live(Path(folder), arguments.control)
    figures = {
        "id": "A05", "trials": seen.answered, "violations": len(seen.addresses) + len(seen.unpickled),
        "addresses": seen.addresses, "unpickled": seen.unpickled, "calls_seen": seen.calls,
    }  # fmt: skip
    finish(arguments, figures, began, folder=RESULTS)


if __name__ == "__main__":
    main()
