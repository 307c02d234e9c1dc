"""A12: the service runs as nobody, without privileges, on a read-only root, with a small scratch, without a network.

What a container engine does for the image is done here by ``unshare``, mounts and ``setpriv``, so that tests can run
inside: a root of its own with the system, Python and the project bound into it read-only, ``/tmp`` of 1 MiB, and
``/data``, the only place that may grow. First everything is tried that must not work there; then a service is asked
everything it can be asked, or, with ``--suite``, the tests of the API run in it.

    python -m tests.security.hardened [--suite] [--full] [--break root|write|network]
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.durability.common import ROOT

BREAKS = ("root", "write", "network")
"""Null controls: the service keeps its user and privileges, may write to its root, or has the machine's network."""
SCRATCH, GROWS = "1m", "2g"
"""Sizes of ``/tmp``, which nothing needs where TMPDIR is ``/data``, as in the image, and of ``/data``."""
NOBODY = 65534
SUITE = (
    "tests/test_api.py",
    "tests/test_api_life.py",
    "tests/test_access.py",
    "tests/test_chat.py",
    "tests/test_parts.py",
)
_LOOPBACK_UP = (0x8913, 0x8914, 0x1)  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP
_BUILD = """
set -eu
root=$1; scratch=$2; grows=$3; read_only=$4; shift 4
mount --make-rprivate /
mount -t tmpfs -o size=4m,mode=755 none "$root"
mkdir "$root/proc" "$root/dev" "$root/tmp" "$root/data"
mount -t tmpfs -o "size=$scratch,mode=1777,nosuid,nodev" none "$root/tmp"
mount -t tmpfs -o "size=$grows,mode=1777,nosuid,nodev" none "$root/data"
while [ "$1" != -- ]; do
  mkdir -p "$root$1"
  mount --bind "$1" "$root$1"
  [ "$read_only" = no ] || mount -o remount,bind,ro,nosuid,nodev "$root$1"
  shift
done
shift
for name in bin sbin lib lib64; do
  [ ! -L "/$name" ] || ln -s "$(readlink "/$name")" "$root/$name"
done
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
for name in null zero random urandom; do
  : >"$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
if [ "$read_only" = no ]; then chmod 777 "$root"; else mount -o remount,ro "$root"; fi
exec chroot "$root" "$@"
"""


def can_run() -> str | None:
    """Return why this machine cannot build such a place; ``None`` if it can."""
    if os.geteuid() != 0:
        return "only root can build a root of its own"
    for tool in ("unshare", "setpriv", "chroot", "mount"):
        if shutil.which(tool) is None:
            return f"{tool} is missing"
    tried = subprocess.run(["unshare", "-mnpf", "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() or None


def run_inside(
    command: list[str], control: str | None = None, temporary: str = "/data", timeout: float = 900
) -> subprocess.CompletedProcess[str]:
    """Run a command of this project in a hardened place.

    Args:
        command: words after the name of the Python interpreter.
        control: of :data:`BREAKS`.
        temporary: where temporary files go.
        timeout: seconds until everything in there is killed.
    """
    from index.encoder import default_models_folder

    models = os.environ.get("FUNDSTELLE_MODELS_DIR") or str(default_models_folder())
    inner = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": "/data", "TMPDIR": temporary,
        "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "FUNDSTELLE_MODELS_DIR": models,
    }  # fmt: skip
    places = [Path(place) for place in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc")]
    places += [Path(sys.base_prefix), Path(sys.prefix), ROOT, Path(models)]
    bound = [str(place) for place in dict.fromkeys(places) if place.is_dir() and not place.is_symlink()]
    bound = [place for place in bound if not any(place.startswith(f"{other}/") for other in bound)]
    spaces = ["unshare", "--mount", "--ipc", "--uts", "--pid", "--fork", "--kill-child"]
    spaces += [] if control == "network" else ["--net"]
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    drop += ["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"]
    start = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import os; os.chdir({str(ROOT)!r});",
    ]
    start[-1] += (
        "from tests.security.hardened import loopback_up; loopback_up(); os.execvp(sys.argv[1], sys.argv[1:])"
    )
    with tempfile.TemporaryDirectory() as root:
        return subprocess.run(
            [
                *spaces, "bash", "-c", _BUILD, "hardened", root, SCRATCH, GROWS,
                "no" if control == "write" else "yes", *bound, "--",
                "env", "-i", *(f"{name}={value}" for name, value in inner.items()),
                *start, *([] if control == "root" else drop), sys.executable, *command,
            ],
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip


def loopback_up() -> None:
    """Let processes of a new network namespace speak to one another."""
    read, write, up = _LOOPBACK_UP
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = struct.pack("16sh", b"lo", 0)
        (flags,) = struct.unpack_from("16xh", fcntl.ioctl(any_socket, read, name))
        fcntl.ioctl(any_socket, write, struct.pack("16sh", b"lo", flags | up))


# ---- inside --------------------------------------------------------------------------------------------------


def _writes(path: str) -> bool:
    tried = Path(path) / "tried-to-write"
    try:
        tried.write_text("x")
        tried.unlink()
    except OSError:
        return False
    return True


def _connects() -> bool:
    with socket.socket() as away:
        away.settimeout(2)
        try:
            away.connect(("192.0.2.1", 80))
        except TimeoutError:
            return True  # a way there, and nobody at its end
        except OSError:
            return len(socket.if_nameindex()) > 1
    return True


def weaknesses() -> list[str]:
    """Return what a process in here can do and should not."""
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines() if ":\t" in line
    )
    found: dict[str, Callable[[], bool]] = {
        "is not nobody": lambda: {os.getuid(), os.geteuid(), os.getgid(), *os.getgroups()} != {NOBODY},
        "has capabilities": lambda: any(int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")),
        "may gain privileges": lambda: status["NoNewPrivs"].strip() != "1",
        "writes outside of its folder": lambda: any(_writes(place) for place in ("/", "/etc", "/usr", str(ROOT))),
        "reaches other machines": _connects,
        "cannot write where it should": lambda: not (_writes("/data") and _writes("/tmp")),
    }
    return [weakness for weakness, there in found.items() if there()]


def _without_room(address: str) -> None:
    """See that what finds no room for its temporary files is refused, and that the service goes on."""
    with httpx.Client(base_url=address, timeout=60) as client:
        for data in (b"The old bridge closes in October.", b"The ferry. " * 2**18):
            response = client.post("/v1/documents", files={"file": ("a.txt", data)})
            if (response.status_code, response.json()["error"]["code"]) != (507, "storage_full"):
                raise AssertionError(f"{response.status_code} {response.text[:500]}")
        if client.get("/v1/documents").json()["total"] != 0:
            raise AssertionError("something was stored")
        if client.get("/readyz").status_code != httpx.codes.OK:
            raise AssertionError("the service is not ready any more")


def _inside(suite: bool, dry: bool) -> int:
    if found := weaknesses():
        print(json.dumps({"weaknesses": found}))
        return 1
    answered = 0
    if not dry:
        from tests.security.quiet import ask_everything, served

        command = [sys.executable, "-m", "service"]
        with served(command, Path("/data/served"), dict(os.environ)) as (address, _):
            if tempfile.gettempdir() == "/data":
                answered = ask_everything(address)
            else:
                _without_room(address)
    if suite:
        words = ["-q", "-p", "no:cacheprovider", "--basetemp=/data/tests", *SUITE]
        subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT, check=True)
    print(json.dumps({"weaknesses": [], "answered": answered}))
    return 0


def main() -> None:
    """Build the place and run in it, or, inside of it, do what is to be done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", action="store_true", help="run the tests of the API in it, too")
    parser.add_argument("--dry", action="store_true", help="try only what must not work")
    parser.add_argument("--full", action="store_true", help="leave no room for temporary files")
    parser.add_argument("--break", dest="control", choices=BREAKS, help="null control: break the guarantee")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        sys.exit(_inside(arguments.suite, arguments.dry))
    if why := can_run():
        sys.exit(why)
    temporary = "/tmp" if arguments.full else "/data"
    words = ["--inside", *(["--suite"] if arguments.suite else []), *(["--dry"] if arguments.dry else [])]
    done = run_inside(["-m", "tests.security.hardened", *words], arguments.control, temporary)
    print(done.stdout[-20_000:], done.stderr[-20_000:], sep="")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
