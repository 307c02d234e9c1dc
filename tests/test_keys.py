"""API keys: made once, kept as hashes, seen at once, useless when revoked or expired."""

from __future__ import annotations

import hashlib
import json
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, variance

import pytest
from typer.testing import CliRunner

from index import Library, document_from_text
from index.errors import FundstelleError, KeyRejected, NotFound, StorageUnavailable
from service.access import Caller, Scope
from service.cli import app
from service.keys import FILE, PREFIX, KeyRing


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path)


def test_a_key_opens_what_it_was_made_for(ring: KeyRing) -> None:
    key, secret = ring.create("reports", Scope.READ, ["press", "law"])
    assert ring.caller(secret) == Caller(key.id, Scope.READ, frozenset({"press", "law"}))
    assert ring.listed() == [key]
    assert ring.caller(secret[:-1]) is None
    assert ring.caller(secret + "A") is None
    assert ring.caller("") is None
    assert ring.caller(key.id) is None


def test_a_key_is_256_random_bits_and_only_its_hash_is_kept(ring: KeyRing, tmp_path: Path) -> None:
    secrets = [ring.create("x", Scope.READ)[1] for _ in range(50)]
    assert len(set(secrets)) == 50
    assert all(secret.startswith(PREFIX) and len(secret) == len(PREFIX) + 43 for secret in secrets)
    content = (tmp_path / FILE).read_bytes()
    for secret in secrets:
        body = secret.removeprefix(PREFIX)
        assert not any(body[start : start + 8].encode() in content for start in range(len(body) - 7))
        assert hashlib.sha256(secret.encode()).digest() in content
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_another_process_revokes_and_the_next_request_is_refused(ring: KeyRing, tmp_path: Path) -> None:
    elsewhere = KeyRing(tmp_path)
    assert not ring.required()
    key, secret = elsewhere.create("x", Scope.WRITE)
    assert ring.required()
    assert ring.caller(secret) is not None
    elsewhere.revoke(key.id)
    assert ring.caller(secret) is None
    assert ring.required(), "to revoke the last key opens nothing"
    assert not ring.usable()
    with pytest.raises(NotFound):
        elsewhere.revoke("key_000000000000")


def test_a_key_expires(tmp_path: Path) -> None:
    now = "2026-01-01T00:00:00Z"
    ring = KeyRing(tmp_path, clock=lambda: now)
    key, secret = ring.create("x", Scope.READ, days=30)
    assert key.expires == "2026-01-31T00:00:00Z"
    now = "2026-01-30T23:59:59Z"
    assert ring.caller(secret) is not None
    now = "2026-01-31T00:00:00Z"
    assert ring.caller(secret) is None
    assert not ring.usable()


@pytest.mark.parametrize(
    ("name", "scope", "collections", "days"),
    [
        ("", Scope.READ, None, None),
        (" x", Scope.READ, None, None),
        ("a\nb", Scope.READ, None, None),
        ("x" * 65, Scope.READ, None, None),
        ("x", Scope.PUBLIC, None, None),
        ("x", Scope.READ, [], None),
        ("x", Scope.READ, ["Press"], None),
        ("x", Scope.READ, ["a,b"], None),
        ("x", Scope.ADMIN, ["press"], None),
        ("x", Scope.READ, None, 0),
        ("x", Scope.READ, None, 36_501),
    ],
)
def test_what_makes_no_sense_is_refused(
    ring: KeyRing, name: str, scope: Scope, collections: list[str] | None, days: int | None
) -> None:
    with pytest.raises(KeyRejected):
        ring.create(name, scope, collections, days)
    assert ring.listed() == []


def test_keys_that_cannot_be_read_let_nobody_in(ring: KeyRing, tmp_path: Path) -> None:
    _, secret = ring.create("x", Scope.READ)
    (tmp_path / FILE).write_bytes(b"no database" * 500)
    with pytest.raises(StorageUnavailable):
        KeyRing(tmp_path).caller(secret)
    with pytest.raises(StorageUnavailable):
        KeyRing(tmp_path).required()


def test_many_threads_see_one_ring(ring: KeyRing) -> None:
    _, secret = ring.create("x", Scope.READ)
    missed: list[int] = []

    def look() -> None:
        missed.extend(1 for _ in range(300) if ring.caller(secret) is None)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(20):
        ring.create(str(number), Scope.READ)
    for thread in threads:
        thread.join()
    assert missed == []


@pytest.mark.alone
def test_the_time_of_a_check_says_nothing_about_the_key(ring: KeyRing) -> None:
    """Welch's t of two classes of wrong keys: nearly right, and not at all; the null control compares letters."""
    _, secret = ring.create("x", Scope.READ)
    near, far = secret[:-1] + ("A" if secret[-1] != "A" else "B"), PREFIX + "A" * 43

    def letters(guess: str) -> None:
        for ours, theirs in zip(secret, guess, strict=True):
            if ours != theirs:
                return

    assert abs(welch(ring.caller, near, far)) < 4.5
    assert abs(welch(letters, near, far)) > 4.5


def welch(check: Callable[[str], object], one: str, other: str, samples: int = 10_000) -> float:
    taken: dict[str, list[int]] = {one: [], other: []}
    for number in range(2 * samples):
        guess = one if number % 2 else other
        begun = time.perf_counter_ns()
        check(guess)
        taken[guess].append(time.perf_counter_ns() - begun)
    # What the machine did meanwhile is in the slowest tenth.
    first, second = (sorted(values)[: int(0.9 * samples)] for values in taken.values())
    spread = (variance(first) / len(first) + variance(second) / len(second)) ** 0.5
    return float((fmean(first) - fmean(second)) / spread)


@pytest.mark.parametrize("weak", ["", "secret", "x" * 42, "x" * 42 + " ", "ä" * 50])
def test_a_key_of_the_settings_has_to_be_strong(ring: KeyRing, weak: str) -> None:
    with pytest.raises(KeyRejected):
        ring.accept(weak)
    assert not ring.required()


def test_a_key_of_the_settings_opens_everything_and_is_not_kept(ring: KeyRing, tmp_path: Path) -> None:
    secret = "0123456789abcdef" * 4
    ring.accept(secret)
    assert ring.required()
    assert ring.usable()
    assert ring.caller(secret) == Caller("key_setting", Scope.ADMIN)
    assert KeyRing(tmp_path).caller(secret) is None
    assert ring.listed() == []


def test_the_first_key_is_made_once_and_only_its_owner_can_read_it(ring: KeyRing, tmp_path: Path) -> None:
    file = tmp_path / "first-key"
    assert ring.first(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ring.caller(file.read_text().strip()) == Caller(ring.listed()[0].id, Scope.ADMIN)
    assert not ring.first(file)
    assert len(ring.listed()) == 1
    taken = tmp_path / "new" / "taken"
    taken.parent.mkdir()
    taken.write_text("")
    with pytest.raises(KeyRejected):
        KeyRing(tmp_path / "new").first(taken)
    with pytest.raises(StorageUnavailable):
        KeyRing(tmp_path / "new").first(tmp_path / "none" / "x")


# ---- the command line -----------------------------------------------------------------------------------------


def test_keys_are_managed_from_the_command_line(tmp_path: Path) -> None:
    data = ["--data", str(tmp_path / "data")]

    def run(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["keys", *words, *data])
        assert result.exit_code == code, result.output
        return result.stdout

    assert run("list") == "There are no keys.\n"
    secret = run("create", "reports", "--collection", "press", "--days", "30").strip()
    other = json.loads(run("create", "import", "--scope", "write", "--json"))
    ring = KeyRing(tmp_path / "data")
    assert ring.caller(secret) == Caller(ring.listed()[0].id, Scope.READ, frozenset({"press"}))
    assert ring.caller(other["key"]) == Caller(other["id"], Scope.WRITE)
    listed = run("list")
    assert "reports" in listed
    assert secret not in listed
    assert "opens nothing" in run("revoke", other["id"])
    assert ring.caller(other["key"]) is None
    assert [key["revoked"] is None for key in json.loads(run("list", "--json"))["keys"]] == [True, False]
    run("revoke", "key_0", code=1)
    run("create", "x", "--scope", "owner", code=2)


def test_keys_can_be_made_before_there_are_documents_and_while_they_are_served(
    tmp_path: Path, open_library: Callable[..., Library]
) -> None:
    KeyRing(tmp_path / "data").create("first", Scope.READ)
    library = open_library()  # holds the folder's lock
    library.add([document_from_text("a.txt", "The bridge closes in October.")])
    result = CliRunner().invoke(app, ["keys", "create", "second", "--data", str(tmp_path / "data")])
    assert result.exit_code == 0
    assert len(KeyRing(tmp_path / "data").listed()) == 2


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org"])
def test_a_service_that_others_reach_does_not_start_without_a_key(tmp_path: Path, host: str) -> None:
    data = tmp_path / "data"
    refused = CliRunner().invoke(app, ["serve", "--data", str(data), "--host", host])
    assert refused.exit_code == 1
    assert "keys_missing" in refused.stderr
    ring = KeyRing(data)
    key, _ = ring.create("x", Scope.READ)
    ring.revoke(key.id)
    refused = CliRunner().invoke(app, ["serve", "--data", str(data), "--host", host])
    assert "keys_missing" in refused.stderr, "a revoked key keeps nobody out"


def test_every_refusal_is_of_the_family(ring: KeyRing) -> None:
    for error in (KeyRejected("key_invalid", "x"), NotFound("key_not_found", "x")):
        assert isinstance(error, FundstelleError)
