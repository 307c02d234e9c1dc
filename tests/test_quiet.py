"""The service speaks to nobody (A05), unpickles nothing (A11), and calls nothing that could run a file's content."""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.security.quiet import BREAKS, live, outside

needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None and os.environ.get("CI") != "true", reason="strace is missing"
)


@pytest.mark.slow
@needs_strace
def test_a_whole_life_speaks_to_nobody_and_unpickles_nothing(tmp_path: Path) -> None:
    seen = live(tmp_path)
    assert (seen.addresses, seen.unpickled) == ((), ())
    assert seen.answered > 15


@pytest.mark.slow
@needs_strace
def test_a_service_that_talks_is_noticed(tmp_path: Path) -> None:
    seen = live(tmp_path, BREAKS[0])
    assert "192.0.2.1:443" in seen.addresses
    assert any(address.endswith(":53") for address in seen.addresses)
    assert seen.unpickled == ("pathlib.PurePosixPath",)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('1 connect(3, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("192.0.2.1")}, 16) = 0', 1),
        ('1 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16) = 0', 1),
        ('1 connect(3, {sa_family=AF_UNIX, sun_path="/run/systemd/resolve/x"}, 110) = 0', 1),
        (
            '1 sendto(3, "x", 1, 0, {sa_family=AF_INET6, sin6_port=htons(443), '
            'inet_pton(AF_INET6, "2001:db8::1", &sin6_addr)}, 28) = 1',
            1,
        ),
        ('1 connect(3, {sa_family=AF_INET, sin_port=htons(8000), sin_addr=inet_addr("127.0.0.1")}, 16) = 0', 0),
        ('1 connect(3, {sa_family=AF_INET6, sin6_port=htons(8), inet_pton(AF_INET6, "::1", &sin6_addr)}, 28) = 0', 0),
        ('1 connect(3, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT', 0),
        ("1 sendto(3, {nlmsg_len=20}, 20, 0, {sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, 12) = 20", 0),
        ("1 sendto(3, NULL, 0, 0, NULL, 0) = 0", 0),
    ],
)
def test_a_trace_is_read(line: str, expected: int) -> None:
    assert len(outside(line)[0]) == expected


# ---- what the code itself may call ---------------------------------------------------------------------------

MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "jsonpickle", "pty"}
"""Reading with these can run what is read."""
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    "os.system", "os.popen", "torch.load", "yaml.load", "yaml.unsafe_load", "pandas.read_pickle",
    "subprocess.getoutput", "subprocess.getstatusoutput", "importlib.import_module",
}  # fmt: skip


def dangers(source: str) -> Iterator[str]:
    """Yield what a module does that could run the content of a file or of a request."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            yield from [node.module or ""] if (node.module or "").partition(".")[0] in MODULES else []
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            words = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if name in BUILTINS | CALLS:
                yield name
            elif name in {"np.load", "numpy.load"} and words.get("allow_pickle", "False") != "False":
                yield f"{name} that unpickles"
            elif name.startswith("subprocess.") and words.get("shell", "False") != "False":
                yield f"{name} with a shell"
            elif words.get("trust_remote_code", "False") != "False":
                yield f"{name} with code of a model"


def test_nothing_could_run_what_it_reads() -> None:
    files = [file for package in ("index", "service", "eval") for file in (ROOT / package).rglob("*.py")]
    assert len(files) > 50
    found = {file.relative_to(ROOT).as_posix(): list(dangers(file.read_text("utf-8"))) for file in files}
    assert {name: each for name, each in found.items() if each} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "eval(text)",
        "import torch; torch.load(file)",
        "np.load(file, allow_pickle=True)",
        "subprocess.run(line, shell=True)",
        "SentenceTransformer(name, trust_remote_code=True)",
    ],
)
def test_a_dangerous_call_is_noticed(source: str) -> None:
    assert list(dangers(source))


@pytest.mark.parametrize(
    "source", ["np.load(file)", "re.compile(text)", "ast.literal_eval(x)", "subprocess.run(['true'])"]
)
def test_a_harmless_one_is_not(source: str) -> None:
    assert not list(dangers(source))
