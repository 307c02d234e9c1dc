"""What is installed, shipped and pinned: the wheel, the lock files, the commands, the image.

Each rule about text (a hash missing, a machine's path, a version below its floor) is a function
with a null control: a made-up input that breaks it and has to be reported.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["index", "service", "eval"]
LOCKS = ["build.lock", "dev.lock", "runtime.lock"]
COMMANDS = {
    "help", "setup", "demo", "serve", "test", "lint", "check", "fmt", "lock", "bench", "image",
    "clean", "bench-browser", "bench-durability", "bench-fuzz", "bench-hostile", "bench-load",
    "bench-scale", "bench-security", "bench-writer", "sbom",
}  # fmt: skip

FLOORS = {
    "faiss-cpu": "1.15.0",  # hardened reading of index files
    "h11": "0.16.0",  # CVE-2025-43859
    "markdown-it-py": "2.2.0",  # CVE-2023-26302, CVE-2023-26303
    "orjson": "3.9.15",  # CVE-2024-27454
    "pypdf": "6.16.1",  # advisories on endless loops and memory
    "python-docx": "0.8.6",  # CVE-2016-5851
    "python-multipart": "0.0.27",  # GHSA-pp6c-gr5w-3c5g, CVE-2024-53981, CVE-2024-24762
    "starlette": "1.3.1",  # CVE-2026-54283 and older
    "torch": "2.6.0",  # CVE-2025-32434
    "transformers": "5.3.0",  # CVE-2026-4372
}
"""No version below these may be pinned: the first one without a known vulnerability."""

ABSENT = {"langchain-community", "litellm", "mammoth", "nltk", "pdfminer-six"}
"""Packages with a record of vulnerabilities that this project has no need of."""

CUDA = re.compile(r"(nvidia|cuda)(-|$)|triton")
"""What only some builds of PyTorch require."""


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def requirement_lines(text: str) -> Iterator[str]:
    """Yield a requirement file's logical lines, without comments and blank lines."""
    for line in text.replace("\\\n", " ").splitlines():
        stated = re.sub(r"(^|\s)#.*", "", line).strip()
        if stated:
            yield stated


def pins(text: str) -> dict[str, Version]:
    """Return name and version of each requirement of a lock file's text."""
    found = (re.match(r"([\w.-]+)==([\w.+!]+)", line) for line in requirement_lines(text))
    return {canonicalize_name(match[1]): Version(match[2]) for match in found if match}


def unlocked(text: str) -> list[str]:
    """Return the lines that are not one exact version with at least one sha256 hash."""
    locked = re.compile(r"[\w.-]+==[\w.+!]+(\s+--hash=sha256:[0-9a-f]{64})+")
    return [line for line in requirement_lines(text) if not locked.fullmatch(line)]


def below_floor(versions: dict[str, Version]) -> list[str]:
    """Return the pins that are older than their floor or should not be there at all."""
    old = [
        f"{name} {versions[name]} < {floor}"
        for name, floor in FLOORS.items()
        if name in versions and versions[name] < Version(floor)
    ]
    return old + [f"{name} is not needed" for name in sorted(ABSENT & versions.keys())]


def unmet(requirements: list[str], versions: dict[str, Version]) -> list[str]:
    """Return the requirements that no pin satisfies."""
    wanted = [Requirement(text) for text in requirements]
    return [
        str(one)
        for one in wanted
        if canonicalize_name(one.name) not in versions or versions[canonicalize_name(one.name)] not in one.specifier
    ]


def foreign_words(text: str) -> list[str]:
    """Return the places of one machine and the hosts of registries that ``text`` names."""
    # In pieces, so that this file passes its own test.
    places = ["/" + "work/", "/" + "root/", "/" + "tmp/exp", "/" + "opt/wheels", "/" + "opt/pypi"]
    hosts = ["pypi." + "org", "python" + "hosted.org", "npm" + "js.org", "npm" + "js.com"]
    hosts += ["deb.debian." + "org", "security.debian." + "org", "download.pytorch." + "org"]
    return [word for word in [*places, "file:" + "//", *hosts] if word in text]


def lock_text(name: str) -> str:
    return (ROOT / "requirements" / name).read_text("utf-8")


def repository_files() -> list[Path]:
    """Return the files git knows or would add."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names in the built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=ROOT, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


def test_the_wheel_has_the_three_packages_and_nothing_else(wheel: list[str]) -> None:
    assert project()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == PACKAGES
    top = {name.partition("/")[0] for name in wheel}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)


def test_the_wheel_has_every_file_of_the_packages(wheel: list[str]) -> None:
    inside = {
        file.relative_to(ROOT).as_posix()
        for file in repository_files()
        if file.relative_to(ROOT).parts[0] in PACKAGES
    }
    assert inside - set(wheel) == set()
    assert {name for name in inside if name.startswith("service/static/")}, "no chat page"


def test_the_console_script_resolves() -> None:
    assert project()["project"]["scripts"] == {"fundstelle": "service.cli:main"}
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="fundstelle")
    assert script.value == "service.cli:main"
    assert callable(script.load())


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_every_package_with_hashes(name: str) -> None:
    text = lock_text(name)
    assert unlocked(text) == []
    assert len(pins(text)) == len(list(requirement_lines(text)))


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_neither_pytorch_nor_what_its_builds_differ_in(name: str) -> None:
    assert [package for package in pins(lock_text(name)) if CUDA.match(package)] == []
    assert "torch" not in pins(lock_text(name))


@pytest.mark.parametrize("name", LOCKS)
def test_no_version_is_below_its_floor(name: str) -> None:
    assert below_floor(pins(lock_text(name)) | pins(lock_text("torch.in"))) == []


def test_the_locks_agree_with_each_other() -> None:
    dev = pins(lock_text("dev.lock"))
    for name in ("build.lock", "runtime.lock"):
        assert pins(lock_text(name)).items() <= dev.items()


def test_the_locks_satisfy_the_project() -> None:
    declared = project()
    dev, torch = pins(lock_text("dev.lock")), pins(lock_text("torch.in"))
    groups = declared["dependency-groups"]
    developing = [one for one in groups["dev"] if isinstance(one, str)] + groups["build"]
    assert unmet(declared["project"]["dependencies"], pins(lock_text("runtime.lock")) | torch) == []
    assert unmet(developing + declared["build-system"]["requires"], dev) == []


def test_what_pytorch_requires_is_locked() -> None:
    (stated,) = project()["tool"]["uv"]["dependency-metadata"]
    assert stated["name"] == "torch"
    assert pins(lock_text("torch.in")) == {"torch": Version(stated["version"])}
    assert unmet(stated["requires-dist"], pins(lock_text("runtime.lock"))) == []
    installed = [Requirement(one) for one in importlib.metadata.requires("torch") or []]
    applying = [one for one in installed if not one.marker or one.marker.evaluate({"extra": ""})]
    named = {Requirement(one).name for one in stated["requires-dist"]}
    assert {one.name for one in applying if not CUDA.match(one.name)} <= named


@pytest.mark.slow
def test_the_bill_of_materials_has_what_the_lock_has() -> None:
    subprocess.run(["make", "sbom"], cwd=ROOT, check=True, capture_output=True, timeout=200)
    parts = json.loads((ROOT / "dist" / "sbom.cdx.json").read_text("utf-8"))["components"]
    listed = {part["name"]: Version(part["version"]) for part in parts}
    assert listed == pins(lock_text("runtime.lock")) | pins(lock_text("torch.in"))
    hashes = {
        each["content"] for part in parts for place in part["externalReferences"] for each in place.get("hashes", [])
    }
    assert hashes == set(re.findall(r"--hash=sha256:([0-9a-f]{64})", lock_text("runtime.lock")))


def test_no_file_names_a_place_of_one_machine_or_a_registry() -> None:
    found: list[str] = []
    for file in repository_files():
        content = file.read_bytes()
        if b"\0" not in content:
            words = foreign_words(content.decode("utf-8", "replace"))
            found += [f"{file.relative_to(ROOT)}: {word}" for word in words]
    assert found == []


def test_every_make_command_exists_and_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = {match[1] for match in re.finditer(r"^([a-z-]+):", makefile, re.M)}
    explained = {match[1] for match in re.finditer(r"^([a-z-]+):.*## \S", makefile, re.M)}
    assert targets == explained == COMMANDS
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.M)
    assert phony and set(phony[1].split()) == COMMANDS


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"
    text = script.read_text("utf-8")
    assert re.search(r"^step \w+ make test$", text, re.M)
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)


def test_the_image_runs_as_a_numeric_user_from_hashed_packages() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    users = re.findall(r"^USER (.*)$", text, re.M)
    assert users and re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    installs = re.findall(r"pip install [^&\n]*", text)
    unhashed = [one for one in installs if "--require-hashes" not in one]
    # PyTorch, whose build differs by machine, and the project itself.
    assert len(unhashed) == 2 and "torch.in" in unhashed[0] and "--no-deps" in unhashed[1]
    ignored = (ROOT / ".dockerignore").read_text("utf-8")
    assert next(requirement_lines(ignored)) == "*", "what is sent to the build is listed, not left out"


HASH = "--hash=sha256:" + 64 * "0"


@pytest.mark.parametrize(
    "line",
    [
        "numpy==2.4.6",
        f"numpy>=2.4.6 {HASH}",
        f"numpy {HASH}",
        "numpy==2.4.6 --hash=sha256:00",
        "numpy==2.4.6 --hash=md5:" + 32 * "0",
        "--index-url https://index.example/simple",
        f"numpy @ https://files.example/numpy.whl {HASH}",
        "-e .",
    ],
)
def test_an_unlocked_line_is_reported(line: str) -> None:
    assert unlocked(f"# comment\nrich==15.0.0 \\\n    {HASH}\n{line}\n") == [line]


@pytest.mark.parametrize(
    "versions",
    [{"starlette": "1.3.0"}, {"torch": "2.5.1"}, {"faiss-cpu": "1.14.2"}, {"litellm": "99"}],
)
def test_a_version_below_its_floor_is_reported(versions: dict[str, str]) -> None:
    assert len(below_floor({name: Version(text) for name, text in versions.items()})) == 1


def test_an_unmet_requirement_is_reported() -> None:
    versions = pins(f"NumPy==2.4.6 {HASH}\nfaiss_cpu==1.15.1 {HASH}")
    assert unmet(["numpy>=2", "faiss-cpu>=1.15", "numpy[x]==2.4.6"], versions) == []
    assert unmet(["numpy>=3", "rich"], versions) == ["numpy>=3", "rich"]


@pytest.mark.parametrize(
    "text",
    [
        "cd /" + "work/main",
        "see file:" + "///etc",
        "-i https://pypi." + "org/simple",
        "/" + "root/x",
    ],
)
def test_a_foreign_word_is_reported(text: str) -> None:
    assert len(foreign_words(text)) == 1
    assert foreign_words("homework/root, ../shared, https://example.org") == []
